//! Serves a [`Generator`]: continuous batching. Between two steps it takes what has arrived.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use super::{
    Ask, Command, Failure, Question,
    host::{Host, rejects},
};
use crate::{
    activity::Working,
    annotation::ModelFacts,
    delivery::Worked,
    error::ModelError,
    ports::{Generated, Generator, RequestId},
};

/// How often deadlines are looked at; revocations are seen at once.
const SWEEP: Duration = Duration::from_millis(20);

/// How many of those that wait a generator hears of: enough for the slots that come free in one
/// step, few enough that what is prepared for them stays small.
const ANNOUNCED: usize = 4;

type Asked = Ask<Question, Generated>;

/// Serves until told to stop.
pub(super) fn serve(host: Host<dyn Generator>, mailbox: Receiver<Command<Question, Generated>>) {
    let mut engine = Generate {
        generation: host.chain.ledger.generation(),
        host,
        waiting: VecDeque::new(),
        followups: VecDeque::new(),
        suspects: VecDeque::new(),
        running: Vec::new(),
        alone: false,
        next: 0,
        swept: Instant::now(),
        group: None,
    };
    while engine.take(&mailbox) {
        engine.sweep();
        engine.admit();
        engine.announce();
        engine.step();
        engine.host.counters.runs(engine.running.len());
    }
    engine.hold();
}

struct Generate {
    host: Host<dyn Generator>,
    /// Captions, in order of arrival.
    waiting: VecDeque<Asked>,
    /// Questions about images that have a caption: they go first, so that few images are
    /// between two questions, and each leaves as early as it can.
    followups: VecDeque<Asked>,
    /// Members of a batch that failed: each runs alone before anything else is admitted.
    suspects: VecDeque<Asked>,
    running: Vec<Running>,
    /// The running request is a suspect.
    alone: bool,
    next: u64,
    generation: u64,
    swept: Instant,
    /// Since when, and for how many steps, the same requests have been running (traced only).
    group: Option<(Instant, u64)>,
}

struct Running {
    id: RequestId,
    ask: Asked,
    started: Instant,
    /// The part of it that the model was only waiting, as it said last.
    waited: Duration,
    steps: u32,
    _working: Working,
}

impl Running {
    /// How long the model has been working on it.
    fn spent(&self, now: Instant) -> Duration {
        now.duration_since(self.started).saturating_sub(self.waited)
    }

    /// The question, with this run counted as work that came to nothing.
    fn suspect(mut self) -> Asked {
        self.ask.ticket.spent += self.spent(Instant::now());
        self.ask
    }

    fn answer(self, result: Result<Generated, Failure>, facts: &Arc<ModelFacts>) {
        let worked = self.worked();
        self.ask.answer(result, worked, facts);
    }

    fn worked(&self) -> Worked {
        Worked {
            waited: self.waited,
            ..Worked::since(self.started)
        }
    }
}

impl Generate {
    /// Takes what has arrived; waits where there is nothing to do. False: stop.
    fn take(&mut self, mailbox: &Receiver<Command<Question, Generated>>) -> bool {
        if self.running.is_empty() && self.suspects.is_empty() {
            let first = if self.none_waiting() {
                mailbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if self.host.alive() && self.free_slots() > 0 {
                Err(RecvTimeoutError::Timeout)
            } else {
                mailbox.recv_timeout(SWEEP)
            };
            match first {
                Ok(Command::Ask(ask)) => self.queue(ask),
                Ok(Command::Check(outcome)) => self.host.check(Generator::self_check, outcome),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match mailbox.try_recv() {
                Ok(Command::Ask(ask)) => self.queue(ask),
                Ok(Command::Check(outcome)) => self.host.check(Generator::self_check, outcome),
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn queue(&mut self, ask: Asked) {
        if ask.ticket.follows_up() {
            self.followups.push_back(ask);
        } else {
            self.waiting.push_back(ask);
        }
    }

    fn none_waiting(&self) -> bool {
        self.waiting.is_empty() && self.followups.is_empty()
    }

    /// Gives back what is stale or out of time.
    fn sweep(&mut self) {
        if !self.host.alive() {
            self.hold();
            return;
        }
        let (generation, now) = (self.host.chain.ledger.generation(), Instant::now());
        if generation == self.generation && now.duration_since(self.swept) < SWEEP {
            return;
        }
        (self.generation, self.swept) = (generation, now);
        for queue in [&mut self.waiting, &mut self.followups, &mut self.suspects] {
            for _ in 0..queue.len() {
                let Some(ask) = queue.pop_front() else { break };
                match self.host.cut(&ask.ticket, Duration::ZERO) {
                    None => queue.push_back(ask),
                    Some(cut) => {
                        let worked = Worked::since(now);
                        ask.answer(Err(Failure::Cut(cut)), worked, &self.host.facts);
                    }
                }
            }
        }
        self.look_at_waits();
        let running: Vec<RequestId> = self.running.iter().rev().map(|one| one.id).collect();
        for id in running {
            // A cancel that failed has made suspects of all that ran: they are swept next time.
            let Some(index) = self.running.iter().position(|one| one.id == id) else {
                return;
            };
            let running = &self.running[index];
            if let Some(cut) = self.host.cut(&running.ask.ticket, running.spent(now)) {
                let running = self.leave(index);
                running.answer(Err(Failure::Cut(cut)), &self.host.facts);
                self.cancel(id);
            }
        }
    }

    /// Asks the model how long it has only been waiting. One that cannot say will fail in what it is
    /// called for next.
    fn look_at_waits(&mut self) {
        let running = &mut self.running;
        let looked = self.host.call(|generator| {
            for one in running {
                one.waited = generator.waited(one.id);
            }
            Ok(())
        });
        if let Err(error) = looked {
            tracing::debug!(engine = self.host.name, "does not say what waited: {error}");
        }
    }

    fn admit(&mut self) {
        self.alone &= !self.running.is_empty();
        if self.alone {
            return;
        }
        if !self.suspects.is_empty() {
            if self.running.is_empty()
                && let Some(suspect) = self.suspects.pop_front()
            {
                self.alone = true;
                self.start(suspect);
            }
            return;
        }
        let mut free = if self.none_waiting() {
            0
        } else {
            self.free_slots()
        };
        while free > 0 && self.suspects.is_empty() && self.host.alive() {
            let next = (self.followups.pop_front()).or_else(|| self.waiting.pop_front());
            let Some(ask) = next else {
                return;
            };
            self.start(ask);
            free = self.free_slots();
        }
    }

    fn announce(&mut self) {
        if self.waiting.is_empty() || !self.host.alive() {
            return;
        }
        let next = self.waiting.iter().take(ANNOUNCED);
        let announced = self.host.call(|generator| {
            next.for_each(|ask| generator.announce(&ask.question.image));
            Ok(())
        });
        if let Err(error) = announced {
            self.failed(&error);
        }
    }

    fn free_slots(&mut self) -> usize {
        match self.host.call(|generator| Ok(generator.free_slots())) {
            Ok(free) => free,
            Err(error) => {
                self.failed(&error);
                0
            }
        }
    }

    fn start(&mut self, ask: Asked) {
        let started = Instant::now();
        if let Some(cut) = self.host.cut(&ask.ticket, Duration::ZERO) {
            let worked = Worked::since(started);
            ask.answer(Err(Failure::Cut(cut)), worked, &self.host.facts);
            return;
        }
        self.close_group();
        self.next += 1;
        let id = RequestId(self.next);
        let Question { image, prompt } = &ask.question;
        let counters = &self.host.counters;
        counters.admitted.fetch_add(1, Ordering::Relaxed);
        if self.running.iter().any(|other| other.steps > 0) {
            counters.joined.fetch_add(1, Ordering::Relaxed);
        }
        let image = Arc::clone(image);
        let admitted = (self.host).call(|generator| generator.admit(id, image, prompt));
        match admitted {
            Err(error) if rejects(&error) => {
                let (_, attempts) = self.host.blame(&ask.ticket);
                (self.host).refuse(ask, Worked::since(started), &error, attempts);
            }
            // Everything else is an error of the whole: it stands with the others.
            admitted => {
                self.running.push(Running {
                    _working: self.host.works(&ask.ticket),
                    id,
                    ask,
                    started,
                    waited: Duration::ZERO,
                    steps: 0,
                });
                if let Err(error) = admitted {
                    self.failed(&error);
                }
            }
        }
    }

    fn step(&mut self) {
        if self.running.is_empty() {
            return;
        }
        if self.group.is_none()
            && self
                .running
                .iter()
                .any(|one| one.ask.ticket.trace.recording)
        {
            self.group = Some((Instant::now(), 0));
        }
        self.host.counters.stepped(self.running.len());
        self.host.batch.record(self.running.len() as f64);
        let stepped = self.host.call(Generator::step);
        self.look_at_waits();
        match stepped {
            Err(error) => self.failed(&error),
            Ok(answers) => {
                if let Some((_, steps)) = &mut self.group {
                    *steps += 1;
                }
                for running in &mut self.running {
                    running.steps += 1;
                }
                let mut broken = None;
                for (id, result) in answers {
                    let Some(index) = self.running.iter().position(|one| one.id == id) else {
                        continue;
                    };
                    match result {
                        Ok(generated) => self.finish(index, generated),
                        Err(error @ ModelError::Broken(_)) => broken = Some(error),
                        Err(error) => self.fault(index, &error),
                    }
                }
                if let Some(error) = broken {
                    self.failed(&error);
                }
            }
        }
    }

    fn finish(&mut self, index: usize, generated: Generated) {
        let running = self.leave(index);
        let tokens = u64::from(generated.tokens);
        (self.host.counters.tokens).fetch_add(tokens, Ordering::Relaxed);
        self.host.tokens.increment(tokens);
        running.answer(Ok(generated), &self.host.facts);
    }

    /// The model blames one request: it runs again, once and alone.
    fn fault(&mut self, index: usize, error: &ModelError) {
        let retried = self.alone;
        let running = self.leave(index);
        self.cancel(running.id);
        let (spent, attempts) = self.host.blame(&running.ask.ticket);
        if retried || spent || rejects(error) {
            let worked = running.worked();
            (self.host).refuse(running.ask, worked, error, attempts);
        } else {
            self.suspects.push_back(running.suspect());
        }
    }

    /// An error of the whole: every running request is a suspect, and one that ran alone is the
    /// culprit.
    fn failed(&mut self, error: &ModelError) {
        let members = self.stop_running(error);
        let lone = members.len() == 1;
        for running in members {
            let (spent, attempts) = self.host.blame(&running.ask.ticket);
            if lone && spent && self.host.alive() {
                let worked = running.worked();
                (self.host).refuse(running.ask, worked, error, attempts);
            } else {
                self.suspects.push_back(running.suspect());
            }
        }
    }

    /// Takes every request off the model after an error of the whole, and builds the model again
    /// where it is broken.
    fn stop_running(&mut self, error: &ModelError) -> Vec<Running> {
        self.close_group();
        let members = std::mem::take(&mut self.running);
        if matches!(error, ModelError::Broken(_)) {
            self.host.rebuild(error);
        } else {
            tracing::warn!(
                engine = self.host.name,
                members = members.len(),
                "a step failed, its members run again one by one: {error}"
            );
            for member in &members {
                self.cancel(member.id);
            }
        }
        members
    }

    fn cancel(&mut self, id: RequestId) {
        let cancelled = self.host.call(|generator| {
            generator.cancel(id);
            Ok(())
        });
        if let Err(error) = cancelled {
            // An error of the whole, but the one to blame has left: nobody else is.
            let members = self.stop_running(&error);
            (self.suspects).extend(members.into_iter().map(Running::suspect));
        }
    }

    fn leave(&mut self, index: usize) -> Running {
        self.close_group();
        self.running.remove(index)
    }

    /// Ends the span of what has been running together.
    fn close_group(&mut self) {
        if let Some((started, steps)) = self.group.take()
            && steps > 0
        {
            let members = self.running.iter().map(|one| &one.ask.ticket.trace);
            let times = (started, Instant::now());
            let host = &self.host;
            (host.chain.tracing).batch(&host.name, &host.facts.model, times, members, steps);
        }
    }

    /// Gives everything back unanswered: the engine stops, or has no model any more.
    fn hold(&mut self) {
        self.close_group();
        let running = self.running.drain(..).map(|one| one.ask);
        let asks = running
            .chain(self.suspects.drain(..))
            .chain(self.followups.drain(..))
            .chain(self.waiting.drain(..));
        for ask in asks {
            let worked = Worked::since(Instant::now());
            ask.answer(Err(Failure::Held), worked, &self.host.facts);
        }
    }
}
