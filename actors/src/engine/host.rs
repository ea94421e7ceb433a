//! Keeps a model alive on its thread: loads it, guards every call, builds it again.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram, counter, histogram};

use tokio::sync::oneshot;

use super::{Ask, Facts, Failure, Ticket, counters::Counters};
use crate::{
    activity::Working,
    annotation::ModelFacts,
    chain::Chain,
    delivery::{Cut, Worked},
    error::{Disposition, ModelError, Reason},
    ports::Load,
    telemetry,
};

/// Wait before a model that could not be built again is tried once more; doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// A model on its thread.
pub(super) struct Host<M: ?Sized> {
    pub(super) name: String,
    pub(super) facts: Arc<ModelFacts>,
    pub(super) counters: Arc<Counters>,
    pub(super) chain: Arc<Chain>,
    pub(super) batch: Histogram,
    pub(super) tokens: Counter,
    load: Load<M>,
    read_facts: fn(&M) -> ModelFacts,
    /// `facts` for those outside of this thread.
    shown: Facts,
    /// When the model was built again, within the window of the tolerance.
    rebuilt: VecDeque<Instant>,
    /// `None` once it could not be built again: the chain has failed.
    model: Option<Box<M>>,
}

impl<M: ?Sized> Host<M> {
    /// Builds the model for the first time.
    pub(super) fn load(
        name: String,
        load: Load<M>,
        read_facts: fn(&M) -> ModelFacts,
        shown: Facts,
        counters: Arc<Counters>,
        chain: Arc<Chain>,
    ) -> Result<Self, ModelError> {
        let (model, facts) = build(&load, read_facts)?;
        shown.set(Arc::clone(&facts));
        Ok(Self {
            batch: histogram!(telemetry::BATCH, "engine" => name.clone()),
            tokens: counter!(telemetry::TOKENS, "engine" => name.clone()),
            name,
            facts,
            counters,
            chain,
            load,
            read_facts,
            shown,
            rebuilt: VecDeque::new(),
            model: Some(model),
        })
    }

    /// Calls the model. A panic is [`ModelError::Broken`].
    pub(super) fn call<R>(
        &mut self,
        work: impl FnOnce(&mut M) -> Result<R, ModelError>,
    ) -> Result<R, ModelError> {
        let Some(model) = self.model.as_deref_mut() else {
            return Err(ModelError::Broken(String::from("there is no model")));
        };
        self.counters.busy(true);
        let result = catch_unwind(AssertUnwindSafe(|| work(model)));
        self.counters.busy(false);
        result.unwrap_or_else(|panic| Err(ModelError::Broken(panicked(panic.as_ref()))))
    }

    /// Whether there is a model.
    pub(super) fn alive(&self) -> bool {
        self.model.is_some()
    }

    /// Asks the model a known-good question of its own, and tells the outcome.
    pub(super) fn check(
        &mut self,
        question: impl FnOnce(&mut M) -> Result<(), ModelError>,
        outcome: oneshot::Sender<Result<(), ModelError>>,
    ) {
        let checked = self.call(question);
        match &checked {
            Ok(()) => tracing::info!(engine = self.name, "passes its self-check"),
            Err(error) => tracing::error!(engine = self.name, "fails its self-check: {error}"),
        }
        // Nobody waits for it any more where the chain stops.
        let _ = outcome.send(checked);
    }

    /// Builds the model again, with growing waits. Gives the chain up where that fails as often as
    /// is tolerated, and where it was needed too often within the window.
    pub(super) fn rebuild(&mut self, why: &ModelError) {
        tracing::warn!(engine = self.name, "building the model again: {why}");
        if let Some(broken) = self.model.take() {
            // A broken session may panic once more when it goes.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        }
        self.counters.rebuilds.fetch_add(1, Ordering::Relaxed);
        let tolerance = &self.chain.config.tolerance;
        let now = Instant::now();
        self.rebuilt.push_back(now);
        (self.rebuilt).retain(|&at| now.duration_since(at) <= tolerance.window);
        if self.rebuilt.len() > tolerance.rebuilds {
            self.chain.fail(format!(
                "engine `{}` had to build its model again more than {} times within {:?}, the last \
                 time after: {why}",
                self.name, tolerance.rebuilds, tolerance.window
            ));
            return;
        }
        let mut wait = FIRST_WAIT;
        for _ in 0..tolerance.restarts.max(1) {
            match build(&self.load, self.read_facts) {
                Ok((model, facts)) => {
                    self.shown.set(Arc::clone(&facts));
                    (self.model, self.facts) = (Some(model), facts);
                    return;
                }
                Err(error) => {
                    tracing::error!(engine = self.name, "the model cannot be built: {error}");
                    std::thread::sleep(wait);
                    wait *= 2;
                }
            }
        }
        self.chain.fail(format!(
            "engine `{}` cannot build its model again after: {why}",
            self.name
        ));
    }

    /// Counts a failure of a record; whether it was one too many, and how many there were.
    pub(super) fn blame(&self, ticket: &Ticket) -> (bool, u32) {
        let (id, epoch) = (&ticket.record, ticket.epoch);
        let attempts = self.chain.ledger.blame(id, epoch, ticket.stage);
        tracing::info!(
            source = %ticket.record,
            trace_id = %ticket.trace.id(),
            engine = self.name,
            stage = ticket.stage.as_str(),
            attempts,
            "was in a failed run"
        );
        (attempts >= self.chain.config.attempts, attempts)
    }

    /// Whether a question is no longer worth an answer, after its model has been working on it for
    /// `worked` this time. One that waits is given up only where its epoch ended, or earlier runs
    /// have spent all it had.
    pub(super) fn cut(&self, ticket: &Ticket, worked: Duration) -> Option<Cut> {
        if !self.chain.ledger.is_current(&ticket.record, ticket.epoch) {
            Some(Cut::Stale)
        } else {
            (worked >= ticket.left()).then_some(Cut::Expired)
        }
    }

    /// Counts a question as worked on, until what it returns is dropped.
    pub(super) fn works(&self, ticket: &Ticket) -> Working {
        self.chain.meters.counts.works(ticket.stage)
    }

    /// Answers that the model will not answer.
    pub(super) fn refuse<Q, A>(
        &self,
        ask: Ask<Q, A>,
        worked: Worked,
        error: &ModelError,
        attempts: u32,
    ) {
        let reason = match error.disposition() {
            Disposition::Reject(reason) | Disposition::Retry(reason, _) => reason,
            Disposition::Fail => Reason::ModelFailed,
        };
        let failure = Failure::Model {
            reason,
            detail: error.to_string(),
            attempts,
        };
        ask.answer(Err(failure), worked, &self.facts);
    }
}

/// Whether the request itself is at fault: nothing is gained by trying again.
pub(super) fn rejects(error: &ModelError) -> bool {
    matches!(error.disposition(), Disposition::Reject(_))
}

fn build<M: ?Sized>(
    load: &Load<M>,
    read_facts: fn(&M) -> ModelFacts,
) -> Result<(Box<M>, Arc<ModelFacts>), ModelError> {
    catch_unwind(AssertUnwindSafe(|| {
        let model = load()?;
        let facts = Arc::new(read_facts(&model));
        Ok((model, facts))
    }))
    .unwrap_or_else(|panic| Err(ModelError::Broken(panicked(panic.as_ref()))))
}

/// The words of a panic.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> String {
    let words = (panic.downcast_ref::<&str>().copied())
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word");
    format!("panicked: {words}")
}
