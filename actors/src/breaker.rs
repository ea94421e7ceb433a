//! The breaker: a wrong model must not empty a topic into the dead letters, and a run of records
//! that no model can read must not stop the service.
//!
//! A run of records that failed in a model is tolerated up to a length. Beyond it, what fails is
//! held while every engine answers a known-good question of its own. Where one cannot, the models
//! are at fault and the process gives up. Where all can, the run starts again, unless nearly all
//! of the last records failed: then it gives up all the same.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{
    activity::BreakerActivity, chain::Chain, delivery::Delivery, engine::AnyEngine, stage::Stage,
};

/// Records that reached a stage's model and are remembered.
const LAST: usize = 200;

/// Failures among the last [`LAST`] records from which on it gives up, whatever the models answer.
const HOPELESS: usize = LAST * 9 / 10;

/// Distinct faults that are named when it gives up.
const NAMED: usize = 5;

/// Characters of a fault that are kept: its words may hold a stranger's text.
const WORDS: usize = 300;

/// What became of records in the models. Both outcomes are noted where a stage ends: counted
/// further on, failures would come before the successes of the same time, which have later stages
/// to go through.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(Mutex<State>);

impl Outcomes {
    /// The stage's model has answered: its run of failures ends.
    pub(crate) fn worked(&self, stage: Stage) {
        let mut state = self.lock();
        let row = state.stages.entry(stage).or_default();
        (row.run, row.row) = (0, 0);
        row.remember(false);
    }

    /// The stage's model failed in a way that ends the record; whether it may become a dead letter
    /// without the models being asked, as long as no more than `run` did so in a row.
    pub(crate) fn failed(&self, stage: Stage, detail: &str, run: u32) -> bool {
        let mut state = self.lock();
        let row = state.stages.entry(stage).or_default();
        row.row += 1;
        row.remember(true);
        state.note(detail);
        !state.asking && state.tolerates(stage, run)
    }

    /// How it stands.
    pub(crate) fn look(&self) -> BreakerActivity {
        let state = self.lock();
        let failed = |row: &Row| row.last.iter().filter(|failed| **failed).count();
        let worst = state.stages.values().max_by_key(|row| failed(row));
        BreakerActivity {
            in_a_row: (state.stages.values().map(|row| row.row).max()).unwrap_or_default(),
            asking: state.asking,
            failed: worst.map(failed).unwrap_or_default(),
            of_last: worst.map(|row| row.last.len()).unwrap_or_default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    stages: BTreeMap<Stage, Row>,
    /// The last distinct faults, the newest last.
    faults: VecDeque<String>,
    /// The engines are being asked, or were and could not answer.
    asking: bool,
}

/// One stage's records.
#[derive(Debug, Default)]
struct Row {
    /// Failed records in a row that were let through since the engines were asked last.
    run: u32,
    /// Failed records in a row, those that are held included.
    row: usize,
    /// Of the last records that reached the model, the newest last: whether they failed.
    last: VecDeque<bool>,
}

/// One of a chain, over all its restarts.
pub(crate) struct Breaker {
    chain: Arc<Chain>,
    engines: Arc<[Box<dyn AnyEngine>]>,
    /// Counts questions that were answered.
    answered: watch::Sender<u64>,
}

impl Breaker {
    pub(crate) fn new(chain: Arc<Chain>, engines: Arc<[Box<dyn AnyEngine>]>) -> Self {
        Self {
            chain,
            engines,
            answered: watch::channel(0).0,
        }
    }

    /// Holds a record that failed in a stage's model, one too many in a row, until the engines have
    /// answered. Ends with true when it may become a dead letter, and with false when it must be let
    /// go: the process gives up, or the partition is no longer ours.
    pub(crate) async fn hold(self: &Arc<Self>, delivery: &Delivery, stage: Stage) -> bool {
        let tolerated = self.chain.config.tolerance.model_failed_run;
        let mut answered = self.answered.subscribe();
        while !self.chain.has_failed() {
            {
                let mut state = self.chain.outcomes.lock();
                if !state.asking && state.tolerates(stage, tolerated) {
                    return true;
                }
                answered.mark_unchanged();
                if !state.asking {
                    state.asking = true;
                    tokio::spawn(Arc::clone(self).ask());
                }
            }
            let (id, epoch) = (&delivery.record().id, delivery.epoch());
            tokio::select! {
                () = self.chain.ledger.stale(id, epoch) => return false,
                _ = self.chain.failed() => return false,
                // The sender lives as long as `self`.
                _ = answered.changed() => {}
            }
        }
        false
    }

    /// Asks every engine, and decides.
    async fn ask(self: Arc<Self>) {
        // All are asked before the first answer is waited for.
        let asked: Vec<_> = (self.engines.iter())
            .map(|engine| (engine, engine.check()))
            .collect();
        let mut broken = Vec::new();
        for (engine, checking) in asked {
            let name = engine.name();
            match checking.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => broken.push(format!("engine `{name}`: {error}")),
                // The chain stops: whoever is held is let go as stale.
                Err(_) if engine.stopping() => return,
                Err(_) => broken.push(format!("engine `{name}` ended")),
            }
        }
        let mut state = self.chain.outcomes.lock();
        let (what, faults) = (state.what(), state.faults());
        if !broken.is_empty() {
            // Stays asking: nothing goes through any more.
            let broken = broken.join("; ");
            self.chain.fail(format!(
                "{what}, and a self-check fails too: {broken}; the last faults: {faults}"
            ));
        } else if state.hopeless().is_some() {
            self.chain.fail(format!(
                "{what}, although every model passes its self-check; the last faults: {faults}"
            ));
        } else {
            tracing::warn!(
                "{what}; every model passes its self-check, so the work goes on; the last faults: \
                 {faults}"
            );
            state.stages.values_mut().for_each(|row| row.run = 0);
            state.asking = false;
        }
        drop(state);
        self.answered.send_modify(|count| *count += 1);
    }
}

impl Row {
    fn remember(&mut self, failed: bool) {
        self.last.push_back(failed);
        if self.last.len() > LAST {
            self.last.pop_front();
        }
    }
}

impl State {
    fn note(&mut self, detail: &str) {
        let fault: String = detail.chars().take(WORDS).collect();
        self.faults.retain(|known| *known != fault);
        self.faults.push_back(fault);
        if self.faults.len() > NAMED {
            self.faults.pop_front();
        }
    }

    /// Whether one more failure of the stage may go through; counts it where it may.
    fn tolerates(&mut self, stage: Stage, run: u32) -> bool {
        let hopeless = self.hopeless().is_some();
        let row = self.stages.entry(stage).or_default();
        let tolerated = row.run < run && !hopeless;
        row.run += u32::from(tolerated);
        tolerated
    }

    /// Failures among the last [`LAST`] records of a stage in which they are too many.
    fn hopeless(&self) -> Option<usize> {
        self.stages.values().find_map(|row| {
            let failures = row.last.iter().filter(|failed| **failed).count();
            (row.last.len() == LAST && failures >= HOPELESS).then_some(failures)
        })
    }

    fn what(&self) -> String {
        if let Some(failed) = self.hopeless() {
            return format!(
                "{failed} of the last {LAST} records that reached a model failed in it"
            );
        }
        let longest = self.stages.values().map(|row| row.row).max();
        let row = longest.unwrap_or_default();
        format!("{row} records in a row failed in a model")
    }

    fn faults(&self) -> String {
        let faults: Vec<&str> = self.faults.iter().map(String::as_str).collect();
        faults.join("; ")
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").finish_non_exhaustive()
    }
}
