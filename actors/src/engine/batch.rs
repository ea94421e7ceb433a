//! Serves a [`BatchModel`]: what queued up while it was busy is the next batch.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use super::{
    Ask, Command, Failure,
    host::{Host, rejects},
};
use crate::{
    delivery::{Cut, Worked},
    error::ModelError,
    ports::BatchModel,
};

/// Serves until told to stop.
pub(super) fn serve<M>(host: Host<M>, mailbox: Receiver<Command<M::Question, M::Answer>>)
where
    M: BatchModel + ?Sized,
{
    let mut engine = Batch {
        host,
        waiting: VecDeque::new(),
    };
    while engine.take(&mailbox) {
        engine.sweep();
        engine.run_next();
    }
    engine.hold();
}

struct Batch<M: BatchModel + ?Sized> {
    host: Host<M>,
    waiting: VecDeque<Ask<M::Question, M::Answer>>,
}

impl<M: BatchModel + ?Sized> Batch<M> {
    /// Takes what has arrived; waits where there is nothing to do. False: stop.
    fn take(&mut self, mailbox: &Receiver<Command<M::Question, M::Answer>>) -> bool {
        if self.waiting.is_empty() {
            match mailbox.recv() {
                Ok(Command::Ask(ask)) => self.waiting.push_back(ask),
                Ok(Command::Check(outcome)) => self.host.check(M::self_check, outcome),
                Ok(Command::Stop) | Err(_) => return false,
            }
        }
        loop {
            match mailbox.try_recv() {
                Ok(Command::Ask(ask)) => self.waiting.push_back(ask),
                Ok(Command::Check(outcome)) => self.host.check(M::self_check, outcome),
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Gives back what is stale or out of time.
    fn sweep(&mut self) {
        if !self.host.alive() {
            self.hold();
            return;
        }
        for _ in 0..self.waiting.len() {
            let Some(ask) = self.waiting.pop_front() else {
                return;
            };
            match self.host.cut(&ask.ticket, Duration::ZERO) {
                None => self.waiting.push_back(ask),
                Some(cut) => {
                    let worked = Worked::since(Instant::now());
                    ask.answer(Err(Failure::Cut(cut)), worked, &self.host.facts);
                }
            }
        }
    }

    fn run_next(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let most = match self.host.call(|model| Ok(model.max_batch())) {
            Ok(most) => most.clamp(1, self.waiting.len()),
            Err(error) => {
                self.host.rebuild(&error);
                return;
            }
        };
        let batch: Vec<_> = self.waiting.drain(..most).collect();
        if let Err((batch, error)) = self.run(batch, false) {
            self.failed(batch, error);
        }
    }

    /// One run, of a suspect alone where `alone`; gives an error of the whole back with its members.
    #[allow(clippy::type_complexity)]
    fn run(
        &mut self,
        mut batch: Vec<Ask<M::Question, M::Answer>>,
        alone: bool,
    ) -> Result<(), (Vec<Ask<M::Question, M::Answer>>, ModelError)> {
        let started = Instant::now();
        let questions: Vec<_> = batch.iter().map(|ask| ask.question.clone()).collect();
        let counters = &self.host.counters;
        (counters.admitted).fetch_add(batch.len() as u64, std::sync::atomic::Ordering::Relaxed);
        counters.stepped(batch.len());
        self.host.batch.record(batch.len() as f64);
        let working: Vec<_> = (batch.iter())
            .map(|ask| self.host.works(&ask.ticket))
            .collect();
        let result = self.host.call(|model| {
            let answers = model.run(&questions)?;
            if answers.len() == questions.len() {
                return Ok(answers);
            }
            let (got, asked) = (answers.len(), questions.len());
            Err(ModelError::Run(format!(
                "{got} answers to {asked} questions"
            )))
        });
        drop(working);
        self.host.counters.runs(0);
        let worked = Worked::since(started);
        if batch.iter().any(|ask| ask.ticket.trace.recording) {
            let members = batch.iter().map(|ask| &ask.ticket.trace);
            let (host, times) = (&self.host, (worked.started, worked.ended));
            (host.chain.tracing).batch(&host.name, &host.facts.model, times, members, 1);
        }
        match result {
            Err(error) => {
                for ask in &mut batch {
                    ask.ticket.spent += worked.whole();
                }
                Err((batch, error))
            }
            Ok(answers) => {
                for (ask, answer) in batch.into_iter().zip(answers) {
                    match answer {
                        Ok(_) if too_late(&ask, worked) => {
                            let cut = Err(Failure::Cut(Cut::Expired));
                            ask.answer(cut, worked, &self.host.facts);
                        }
                        Ok(answer) => ask.answer(Ok(answer), worked, &self.host.facts),
                        Err(error) => {
                            self.mend(&error);
                            self.fault(ask, worked, error, alone);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// An error of the whole: the members run again one by one.
    fn failed(&mut self, batch: Vec<Ask<M::Question, M::Answer>>, error: ModelError) {
        self.mend(&error);
        let lone = batch.len() == 1;
        for ask in batch {
            let worked = Worked::since(Instant::now());
            if lone {
                self.fault(ask, worked, error.clone(), false);
            } else {
                self.host.blame(&ask.ticket);
                self.run_alone(ask);
            }
        }
    }

    /// One question failed: it runs again, alone. Once where the model blames it and `retried`
    /// says that this was it, until its attempts are spent where the run failed.
    fn fault(
        &mut self,
        mut ask: Ask<M::Question, M::Answer>,
        worked: Worked,
        error: ModelError,
        retried: bool,
    ) {
        let (spent, attempts) = self.host.blame(&ask.ticket);
        if retried || spent || rejects(&error) {
            self.host.refuse(ask, worked, &error, attempts);
        } else {
            ask.ticket.spent += worked.whole();
            self.run_alone(ask);
        }
    }

    fn run_alone(&mut self, ask: Ask<M::Question, M::Answer>) {
        if !self.host.alive() {
            self.waiting.push_front(ask);
            return;
        }
        if let Some(cut) = self.host.cut(&ask.ticket, Duration::ZERO) {
            let worked = Worked::since(Instant::now());
            ask.answer(Err(Failure::Cut(cut)), worked, &self.host.facts);
            return;
        }
        if let Err((batch, error)) = self.run(vec![ask], true) {
            self.failed(batch, error);
        }
    }

    fn mend(&mut self, error: &ModelError) {
        if matches!(error, ModelError::Broken(_)) {
            self.host.rebuild(error);
        } else {
            tracing::warn!(engine = self.host.name, "a run failed: {error}");
        }
    }

    /// Gives everything back unanswered: the engine stops, or has no model any more.
    fn hold(&mut self) {
        for ask in self.waiting.drain(..) {
            let worked = Worked::since(Instant::now());
            ask.answer(Err(Failure::Held), worked, &self.host.facts);
        }
    }
}

/// Whether a run took longer than the stage allows: it cannot be stopped in the middle. What only
/// the record's own budget forbids is kept, for it is here.
fn too_late<Q, A>(ask: &Ask<Q, A>, worked: Worked) -> bool {
    let took = worked.whole() + ask.ticket.spent;
    ask.ticket.timeout.is_some_and(|timeout| took > timeout)
}
