//! What every delivery of one pipeline shares, and what outlives a restart of its stages.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use ractor::ActorRef;
use tokio::sync::watch;

use crate::{
    budget::{ByteBudget, RecordBudget},
    config::ChainConfig,
    ledger::Ledger,
    record::{Epoch, RecordId},
    stage::Stage,
    telemetry::{Meters, Tracing},
    writes::Writes,
};

/// A delivery that was dropped without an answer.
#[derive(Debug)]
pub(crate) struct Abandoned {
    pub(crate) id: RecordId,
    pub(crate) epoch: Epoch,
}

/// Shared by intake, stages, engines and supervisor.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) config: ChainConfig,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) records: RecordBudget,
    pub(crate) bytes: ByteBudget,
    pub(crate) writes: Writes,
    pub(crate) meters: Meters,
    pub(crate) tracing: Tracing,
    supervisor: OnceLock<ActorRef<Abandoned>>,
    restarts: AtomicUsize,
    attempts: Attempts,
    /// Records that failed in a model, one after the other.
    model_failed_run: AtomicU32,
    failure: watch::Sender<Option<String>>,
}

impl Chain {
    pub(crate) fn new(config: ChainConfig, ledger: Arc<Ledger>) -> Self {
        Self {
            records: RecordBudget::new(config.limits.records),
            bytes: ByteBudget::new(config.limits.image_bytes),
            tracing: Tracing::new(config.names.clone()),
            writes: Writes::new(&config.names),
            config,
            ledger,
            meters: Meters::new(),
            supervisor: OnceLock::new(),
            restarts: AtomicUsize::new(0),
            attempts: Attempts::default(),
            model_failed_run: AtomicU32::new(0),
            failure: watch::channel(None).0,
        }
    }

    /// Tells who hears of abandoned deliveries.
    pub(crate) fn supervised_by(&self, supervisor: ActorRef<Abandoned>) {
        // Set once, at the start.
        let _ = self.supervisor.set(supervisor);
    }

    /// A delivery was dropped without an answer: the stages must start anew.
    pub(crate) fn abandoned(&self, id: RecordId, epoch: Epoch) {
        self.meters.abandoned.increment(1);
        if let Some(supervisor) = self.supervisor.get() {
            // It is gone where the chain was stopped: then there is nothing to restart.
            drop(supervisor.cast(Abandoned { id, epoch }));
        }
    }

    /// Restarts of the stages so far.
    pub(crate) fn restarts(&self) -> usize {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Failed attempts of records that are not settled yet.
    pub(crate) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Gives up for good; the first reason stays.
    pub(crate) fn fail(&self, reason: String) {
        self.failure.send_if_modified(|present| {
            let first = present.is_none();
            if first {
                tracing::error!("{reason}");
                *present = Some(reason);
            }
            first
        });
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Ends with the reason when the chain gives up.
    pub(crate) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        let reason = (failure.wait_for(Option::is_some).await)
            .ok()
            .and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// A record got through its models: the run of failures ends.
    pub(crate) fn model_worked(&self) {
        self.model_failed_run.store(0, Ordering::Relaxed);
    }

    /// A record is about to be dead-lettered as `model_failed`. Returns whether it may be: once
    /// the breaker has tripped, a wrong model must not empty the topic.
    pub(crate) fn model_failed(&self, detail: &str) -> bool {
        let run = self.model_failed_run.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.config.tolerance.model_failed_run;
        if run > limit {
            self.fail(format!(
                "{run} records in a row failed in a model, the last with: {detail}"
            ));
        }
        run <= limit
    }
}

/// Failed attempts per record and stage. They outlive the delivery, so that a restart cannot reset
/// them.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: Mutex<HashMap<RecordId, BTreeMap<Stage, u32>>>,
    /// Its size, so that the usual case costs no lock.
    len: AtomicUsize,
}

impl Attempts {
    /// Counts a failed attempt; returns how many there were in this stage.
    pub(crate) fn add(&self, id: &RecordId, stage: Stage) -> u32 {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = (failed.entry(id.clone()).or_default())
            .entry(stage)
            .or_default();
        *count += 1;
        let count = *count;
        self.len.store(failed.len(), Ordering::Release);
        count
    }

    /// Failed attempts so far in this stage.
    pub(crate) fn of(&self, id: &RecordId, stage: Stage) -> u32 {
        if self.len.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        (failed
            .get(id)
            .and_then(|stages| stages.get(&stage))
            .copied())
        .unwrap_or(0)
    }

    /// The record is settled.
    pub(crate) fn forget(&self, id: &RecordId) {
        if self.len.load(Ordering::Acquire) > 0 {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.remove(id);
            self.len.store(failed.len(), Ordering::Release);
        }
    }
}
