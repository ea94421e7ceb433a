//! The breaker: a wrong model must not empty a topic into the dead letters, and a run of records
//! that no model can read must not stop the service.
//!
//! A run of records that failed in a model is tolerated up to a length. Beyond it, what fails is
//! held while every engine answers a known-good question of its own. Where one cannot, the models
//! are at fault and the process gives up. Where all can, the run starts again, unless nearly all
//! of the last records failed: then it gives up all the same.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{chain::Chain, delivery::Delivery, engine::AnyEngine};

/// Records that reached a model and are remembered.
const LAST: usize = 200;

/// Failures among the last [`LAST`] records from which on it gives up, whatever the models answer.
const HOPELESS: usize = LAST * 9 / 10;

/// Distinct faults that are named when it gives up.
const NAMED: usize = 5;

/// Characters of a fault that are kept: its words may hold a stranger's text.
const WORDS: usize = 300;

/// One of a chain, over all its restarts.
pub(crate) struct Breaker {
    chain: Arc<Chain>,
    engines: Arc<[Box<dyn AnyEngine>]>,
    state: Mutex<State>,
    /// Counts questions that were answered.
    answered: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Failed records in a row that were let through since the engines were asked last.
    run: u32,
    /// Failed records in a row, those that are held included.
    row: usize,
    /// Of the last records that reached a model, the newest last: whether they failed.
    last: VecDeque<bool>,
    /// The last distinct faults, the newest last.
    faults: VecDeque<String>,
    /// The engines are being asked, or were and could not answer.
    asking: bool,
}

impl Breaker {
    pub(crate) fn new(chain: Arc<Chain>, engines: Arc<[Box<dyn AnyEngine>]>) -> Self {
        Self {
            chain,
            engines,
            state: Mutex::default(),
            answered: watch::channel(0).0,
        }
    }

    /// A record got through its models: the run of failures ends.
    pub(crate) fn worked(&self) {
        let mut state = self.lock();
        (state.run, state.row) = (0, 0);
        state.remember(false);
    }

    /// A record failed in a model. Ends with true when it may become a dead letter, and with false
    /// when it must be let go: the process gives up, or the partition is no longer ours. Until the
    /// engines have answered it is held.
    pub(crate) async fn failed(self: &Arc<Self>, delivery: &Delivery, detail: &str) -> bool {
        self.lock().note(detail);
        let mut answered = self.answered.subscribe();
        while !self.chain.has_failed() {
            {
                let mut state = self.lock();
                if !state.asking && state.tolerates(self.chain.config.tolerance.model_failed_run) {
                    state.run += 1;
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
        let mut state = self.lock();
        let (what, faults) = (state.what(), state.faults());
        if !broken.is_empty() {
            // Stays asking: nothing goes through any more.
            let broken = broken.join("; ");
            self.chain.fail(format!(
                "{what}, and a self-check fails too: {broken}; the last faults: {faults}"
            ));
        } else if state.hopeless() {
            self.chain.fail(format!(
                "{what}, although every model passes its self-check; the last faults: {faults}"
            ));
        } else {
            tracing::warn!(
                "{what}; every model passes its self-check, so the work goes on; the last faults: \
                 {faults}"
            );
            (state.run, state.asking) = (0, false);
        }
        drop(state);
        self.answered.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, detail: &str) {
        self.remember(true);
        self.row += 1;
        let fault: String = detail.chars().take(WORDS).collect();
        self.faults.retain(|known| *known != fault);
        self.faults.push_back(fault);
        if self.faults.len() > NAMED {
            self.faults.pop_front();
        }
    }

    fn remember(&mut self, failed: bool) {
        self.last.push_back(failed);
        if self.last.len() > LAST {
            self.last.pop_front();
        }
    }

    fn tolerates(&self, run: u32) -> bool {
        self.run < run && !self.hopeless()
    }

    fn hopeless(&self) -> bool {
        self.last.len() == LAST && self.failures() >= HOPELESS
    }

    fn failures(&self) -> usize {
        self.last.iter().filter(|failed| **failed).count()
    }

    fn what(&self) -> String {
        if self.hopeless() {
            let failed = self.failures();
            format!("{failed} of the last {LAST} records that reached a model failed in it")
        } else {
            format!("{} records in a row failed in a model", self.row)
        }
    }

    fn faults(&self) -> String {
        let faults: Vec<&str> = self.faults.iter().map(String::as_str).collect();
        faults.join("; ")
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("Breaker").field("state", &self.lock())).finish_non_exhaustive()
    }
}
