//! The actor that owns a model: admits, steps, answers, rebuilds.
//!
//! An engine is one OS thread with a mailbox. It holds questions only while it works on them; the
//! answer travels back as a message to the stage that asked. What the model does wrong (errors,
//! panics) ends here: a failed batch is run again one by one, which isolates the poison; a broken
//! model is built again in place, and nobody outside notices.

mod batch;
mod counters;
mod generate;
mod host;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::sync::{oneshot, watch};

pub use self::counters::EngineStats;
pub(crate) use self::host::panicked;
use self::{counters::Counters, host::Host};
use crate::{
    annotation::ModelFacts,
    chain::Chain,
    delivery::{Cut, Delivery, Worked},
    error::{ModelError, Reason},
    image::Image,
    ports::{BatchModel, Footprint, Generated, Generator, Load, Prompt},
    record::{Epoch, RecordId},
    stage::Stage,
    telemetry::Trace,
};

/// What a stage gets back.
#[derive(Debug)]
pub struct Answer<A> {
    pub(crate) result: Result<A, Failure>,
    pub(crate) worked: Worked,
    pub(crate) model: Arc<ModelFacts>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The model's side refused the request as [`Reason::BadRequest`], or the model failed on it
    /// alone, too often.
    Model {
        reason: Reason,
        detail: String,
        attempts: u32,
    },
    /// There was no time left for it.
    Cut(Cut),
    /// The process gives up; the record stays unsettled.
    Held,
}

/// What an engine must know of a record while its stage waits for the answer.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) stage: Stage,
    pub(crate) record: RecordId,
    pub(crate) epoch: Epoch,
    /// How long its model may work on it, all runs together. Counted from its start in the model:
    /// waiting for a slot or for its turn is no work.
    pub(crate) budget: Duration,
    /// Work of runs that failed, and of answers that a rule did not take.
    pub(crate) spent: Duration,
    /// The stage's own bound, for models that cannot be stopped in the middle.
    pub(crate) timeout: Option<Duration>,
    pub(crate) trace: Trace,
}

impl Ticket {
    /// For a delivery that may be worked on for `timeout` at most, and never longer than its record
    /// may.
    pub(crate) fn new(stage: Stage, delivery: &mut Delivery, timeout: Option<Duration>) -> Self {
        delivery.in_hand = false;
        let left = delivery.left();
        Self {
            stage,
            record: delivery.record().id.clone(),
            epoch: delivery.epoch(),
            budget: timeout.map_or(left, |timeout| timeout.min(left)),
            spent: Duration::ZERO,
            timeout,
            trace: delivery.trace.clone(),
        }
    }

    /// The same question asked again, after so much work on it.
    pub(crate) fn again(self, spent: Duration) -> Self {
        Self { spent, ..self }
    }

    /// Whether its image has been through this model before: it goes first, so that few images are
    /// between two questions.
    pub(crate) fn follows_up(&self) -> bool {
        self.stage != Stage::Caption || !self.spent.is_zero()
    }

    /// How much longer its model may work on it.
    pub(crate) fn left(&self) -> Duration {
        self.budget.saturating_sub(self.spent)
    }
}

impl Failure {
    /// For a span.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Model { detail, .. } => detail.clone(),
            Self::Cut(Cut::Expired) => String::from("no answer in time"),
            Self::Cut(Cut::Stale) => String::from("the partition is no longer ours"),
            Self::Held => String::from("left unsettled"),
        }
    }
}

/// A question with its way back. The way back owns the envelope.
pub(crate) struct Ask<Q, A> {
    pub(crate) question: Q,
    pub(crate) ticket: Ticket,
    pub(crate) reply: Box<dyn FnOnce(Answer<A>) + Send>,
}

impl<Q, A> Ask<Q, A> {
    fn answer(self, result: Result<A, Failure>, worked: Worked, model: &Arc<ModelFacts>) {
        let before = self.ticket.spent;
        (self.reply)(Answer {
            result,
            worked: Worked { before, ..worked },
            model: Arc::clone(model),
        });
    }
}

enum Command<Q, A> {
    Ask(Ask<Q, A>),
    /// A known-good question of the model's own; its outcome goes back.
    Check(oneshot::Sender<Result<(), ModelError>>),
    Stop,
}

/// What an engine's model is: written when it is built, and again with every rebuild.
#[derive(Debug, Clone)]
struct Facts(Arc<RwLock<Arc<ModelFacts>>>);

impl Facts {
    fn get(&self) -> Arc<ModelFacts> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, facts: Arc<ModelFacts>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = facts;
    }
}

/// A question to a generator.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) image: Arc<Image>,
    pub(crate) prompt: Prompt,
}

/// An engine of a generator.
pub(crate) type GenerateEngine = Engine<Question, Generated>;

/// The mailbox of an engine. Clones are the same engine.
pub(crate) struct Engine<Q, A> {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command<Q, A>>,
}

struct Shared {
    name: String,
    counters: Arc<Counters>,
    facts: Facts,
    chain: Arc<Chain>,
    ended: watch::Receiver<bool>,
    /// It was asked to stop: what it leaves unanswered is no fault of its own.
    stopping: AtomicBool,
}

/// Ends with the outcome of a model's loading.
pub(crate) type Loading = oneshot::Receiver<Result<Footprint, ModelError>>;
/// Ends with the outcome of a self-check, unless the engine stops before.
pub(crate) type Checking = oneshot::Receiver<Result<(), ModelError>>;

impl Engine<Question, Generated> {
    /// Starts a thread that loads a generator and serves it.
    pub(crate) fn of_generator(
        name: &str,
        load: Load<dyn Generator>,
        chain: &Arc<Chain>,
    ) -> (Self, Loading) {
        let footprint = |model: &dyn Generator| model.footprint();
        Self::start(
            name,
            load,
            |model| model.facts(),
            footprint,
            |model| model.free_slots(),
            chain,
            generate::serve,
        )
    }
}

impl<Q: Clone + Send + Sync + 'static, A: Send + 'static> Engine<Q, A> {
    /// Starts a thread that loads a one-shot model and serves it.
    pub(crate) fn of_batch_model<M>(
        name: &str,
        load: Load<M>,
        chain: &Arc<Chain>,
    ) -> (Self, Loading)
    where
        M: BatchModel<Question = Q, Answer = A> + ?Sized,
    {
        let footprint = |model: &M| model.footprint();
        Self::start(
            name,
            load,
            |model| model.facts(),
            footprint,
            |model| model.max_batch(),
            chain,
            batch::serve,
        )
    }
}

impl<Q: Send + 'static, A: Send + 'static> Engine<Q, A> {
    fn start<M: ?Sized + 'static>(
        name: &str,
        load: Load<M>,
        facts: fn(&M) -> ModelFacts,
        footprint: fn(&M) -> Footprint,
        slots: fn(&M) -> usize,
        chain: &Arc<Chain>,
        serve: fn(Host<M>, mpsc::Receiver<Command<Q, A>>),
    ) -> (Self, Loading) {
        let (commands, mailbox) = mpsc::channel();
        let (loaded, loading) = oneshot::channel();
        let (ended, watch) = watch::channel(false);
        let counters = Arc::new(Counters::new());
        // Until it is loaded; nobody can ask before.
        let unloaded = Arc::new(ModelFacts {
            model: name.to_owned(),
            revision: String::new(),
            prompt: None,
        });
        let shown = Facts(Arc::new(RwLock::new(unloaded)));
        let engine = Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                counters: Arc::clone(&counters),
                facts: shown.clone(),
                chain: Arc::clone(chain),
                ended: watch,
                stopping: AtomicBool::new(false),
            }),
            commands,
        };
        let (name, chain) = (name.to_owned(), Arc::clone(chain));
        let thread = std::thread::Builder::new().name(format!("engine {name}"));
        let spawned = thread.spawn(move || {
            let _ended = Ended(ended);
            match Host::load(name, load, facts, shown, counters, chain) {
                Ok(mut host) => match host.call(|model| Ok((footprint(model), slots(model)))) {
                    Ok((footprint, slots)) => {
                        host.counters.slots.store(slots, Ordering::Relaxed);
                        // Nobody waits for it any more where the start failed elsewhere.
                        let _ = loaded.send(Ok(footprint));
                        serve(host, mailbox);
                    }
                    Err(error) => drop(loaded.send(Err(error))),
                },
                Err(error) => drop(loaded.send(Err(error))),
            }
        });
        if let Err(error) = spawned {
            // The loading's sender is gone with the closure: its receiver tells the caller.
            tracing::error!("no thread for an engine: {error}");
        }
        (engine, loading)
    }

    /// Asks; the answer comes by the question's own way back.
    pub(crate) fn ask(&self, ask: Ask<Q, A>) {
        if let Err(mpsc::SendError(Command::Ask(ask))) = self.commands.send(Command::Ask(ask)) {
            let name = &self.shared.name;
            self.shared.chain.fail(format!("engine `{name}` ended"));
            let facts = self.facts();
            ask.answer(Err(Failure::Held), Worked::since(Instant::now()), &facts);
        }
    }

    fn facts(&self) -> Arc<ModelFacts> {
        self.shared.facts.get()
    }
}

/// What the pipeline does with any engine.
pub(crate) trait AnyEngine: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;
    /// Asks the model a known-good question of its own, between two of its steps.
    fn check(&self) -> Checking;
    /// Whether it was asked to stop.
    fn stopping(&self) -> bool;
    /// What it did so far.
    fn stats(&self) -> EngineStats;
    /// How long its present port call has been running.
    fn busy_for(&self) -> Duration;
    /// Asks its thread to end after what it holds is let go.
    fn stop(&self);
    /// Turns true when its thread ended.
    fn ended(&self) -> watch::Receiver<bool>;
}

impl<Q: Send + 'static, A: Send + 'static> AnyEngine for Engine<Q, A> {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn check(&self) -> Checking {
        let (outcome, checking) = oneshot::channel();
        // Its thread is gone where nobody receives; the outcome's sender goes with the command.
        let _ = self.commands.send(Command::Check(outcome));
        checking
    }

    fn stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    fn stats(&self) -> EngineStats {
        let facts = ModelFacts::clone(&self.facts());
        self.shared.counters.stats(&self.shared.name, facts)
    }

    fn busy_for(&self) -> Duration {
        self.shared.counters.busy_for()
    }

    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Its thread is gone where nobody receives.
        let _ = self.commands.send(Command::Stop);
    }

    fn ended(&self) -> watch::Receiver<bool> {
        self.shared.ended.clone()
    }
}

impl<Q, A> Clone for Engine<Q, A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            commands: self.commands.clone(),
        }
    }
}

impl<Q, A> fmt::Debug for Engine<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("Engine").field("name", &self.shared.name)).finish_non_exhaustive()
    }
}

struct Ended(watch::Sender<bool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}
