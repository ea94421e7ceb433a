//! What every delivery of one pipeline shares, and what outlives a restart of its stages.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use ractor::ActorRef;
use tokio::sync::watch;

use crate::{
    breaker::Outcomes,
    budget::{ByteBudget, RecordBudget},
    config::ChainConfig,
    ledger::Ledger,
    ports::Observer,
    record::{Epoch, RecordId},
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
    pub(crate) outcomes: Outcomes,
    pub(crate) meters: Meters,
    pub(crate) tracing: Tracing,
    supervisor: OnceLock<ActorRef<Abandoned>>,
    observer: OnceLock<Box<dyn Observer>>,
    restarts: AtomicUsize,
    failure: watch::Sender<Option<String>>,
}

impl Chain {
    pub(crate) fn new(config: ChainConfig, ledger: Arc<Ledger>) -> Self {
        Self {
            records: RecordBudget::new(config.limits.records),
            bytes: ByteBudget::new(config.limits.image_bytes),
            tracing: Tracing::new(config.names.clone()),
            writes: Writes::new(&config.names),
            outcomes: Outcomes::default(),
            meters: Meters::new(&config.rules, &config.path()),
            config,
            ledger,
            supervisor: OnceLock::new(),
            observer: OnceLock::new(),
            restarts: AtomicUsize::new(0),
            failure: watch::channel(None).0,
        }
    }

    /// Tells who hears of abandoned deliveries.
    pub(crate) fn supervised_by(&self, supervisor: ActorRef<Abandoned>) {
        // Set once, at the start.
        let _ = self.supervisor.set(supervisor);
    }

    /// Tells who looks on; the first stays.
    pub(crate) fn observed_by(&self, observer: Box<dyn Observer>) {
        let _ = self.observer.set(observer);
    }

    /// Shows something to whoever looks on.
    pub(crate) fn observed(&self, show: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = self.observer.get() {
            show(&**observer);
        }
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
}
