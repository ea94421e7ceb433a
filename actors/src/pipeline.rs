//! The supervisor, and the only list of stages.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    budget::{ByteBudget, RecordBudget},
    config::ChainConfig,
    engine::EngineStats,
    intake::Intake,
    ledger::Ledger,
    ports::{Decoder, Fetcher, Generator, Load, Merger, Publisher, Relater, Source, TextReader},
};

/// What the chain is built on.
pub struct Ports {
    /// The ledger that the source assigns partitions to and the publisher asks for epochs.
    pub ledger: Arc<Ledger>,
    /// Fetches bodies.
    pub fetcher: Arc<dyn Fetcher>,
    /// Decodes pictures.
    pub decoder: Arc<dyn Decoder>,
    /// Merges findings.
    pub merger: Arc<dyn Merger>,
    /// Writes records.
    pub publisher: Arc<dyn Publisher>,
    /// The input; may be set later with [`PipelineHandle::set_source`].
    pub source: Option<Arc<dyn Source>>,
    /// Engine name → how its generator is built.
    pub generators: BTreeMap<String, Load<dyn Generator>>,
    /// The text reader, unless `read_text` is off.
    pub text_reader: Option<Load<TextReader>>,
    /// The relater, unless `relate` is off.
    pub relater: Option<Load<Relater>>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("generators", &self.generators.keys())
            .finish_non_exhaustive()
    }
}

/// Every fault that keeps the chain from starting, one a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", faults.join("\n"))]
pub struct StartError {
    /// The faults.
    pub faults: Vec<String>,
}

/// What a drain left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Records still in flight when the wait ended; 0 where all settled.
    pub left: usize,
}

/// The chain.
#[derive(Debug)]
pub struct Pipeline;

impl Pipeline {
    /// Loads every model on its engine's thread, then starts the stages and opens the intake.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Every model that could not be loaded, and every engine that is missing.
    pub async fn start(config: ChainConfig, ports: Ports) -> Result<PipelineHandle, StartError> {
        let records = RecordBudget::new(config.limits.records);
        let bytes = ByteBudget::new(config.limits.image_bytes);
        let intake = Intake::new(Arc::clone(&ports.ledger), records.clone());
        Ok(PipelineHandle {
            shared: Arc::new(Shared {
                intake,
                records,
                bytes,
                source: Mutex::new(ports.source),
                failure: watch::channel(None).0,
            }),
        })
    }
}

struct Shared {
    intake: Intake,
    records: RecordBudget,
    bytes: ByteBudget,
    source: Mutex<Option<Arc<dyn Source>>>,
    failure: watch::Sender<Option<String>>,
}

/// A running chain. Clones are the same chain.
#[derive(Clone)]
pub struct PipelineHandle {
    shared: Arc<Shared>,
}

impl PipelineHandle {
    /// Where a source hands its records over.
    #[must_use]
    pub fn intake(&self) -> Intake {
        self.shared.intake.clone()
    }

    /// Sets the input that is told to go back after a restart of the chain.
    pub fn set_source(&self, source: Arc<dyn Source>) {
        *(self.shared.source.lock()).unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// Records that hold a permit: on their way, or cancelled and about to stop.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.records.taken()
    }

    /// Bytes of bodies and pixels alive.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        self.shared.bytes.used()
    }

    /// What each engine did so far.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineStats> {
        Vec::new()
    }

    /// Ends when every permit is home, without closing the intake.
    pub async fn idle(&self) {
        self.shared.records.all_home().await;
    }

    /// Closes the intake and waits, at most `deadline`, until every permit is home.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.shared.intake.close();
        let home = self.shared.records.all_home();
        let left = match tokio::time::timeout(deadline, home).await {
            Ok(()) => 0,
            Err(_) => self.shared.records.taken(),
        };
        Drained { left }
    }

    /// Ends when the process should give up, with the reason: the restart budget or the breaker is
    /// spent, or the publisher is broken. The process must exit 1; what is in flight stays
    /// unsettled.
    pub async fn failed(&self) -> String {
        let mut failure = self.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether no model call has been running, and no record has been unsettled, for longer than
    /// `bound`.
    #[must_use]
    pub fn is_live(&self, bound: Duration) -> bool {
        (self.shared.intake.ledger().oldest_unsettled()).is_none_or(|age| age <= bound)
    }
}

impl fmt::Debug for PipelineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineHandle")
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
