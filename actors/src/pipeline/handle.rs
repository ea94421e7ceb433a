//! What the outside holds of a running chain.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ractor::{Actor, ActorRef, SpawnErr};

use super::{Parts, supervisor::Supervisor};
use crate::{
    activity::Activity,
    chain::{Abandoned, Chain},
    engine::{AnyEngine, EngineStats},
    intake::Intake,
    ports::{Observer, Source},
    writes::Outage,
};

/// How often the gauges are set while nobody asks.
const OBSERVE: Duration = Duration::from_secs(1);

/// How long engines may take to end: a native call that hangs cannot be ended at all.
const ENGINES: Duration = Duration::from_secs(10);

/// What a drain left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Records still in flight when the wait ended; 0 where all settled.
    pub left: usize,
}

/// A running chain. Clones are the same chain; the last one stops it on drop.
#[derive(Clone)]
pub struct PipelineHandle {
    shared: Arc<Shared>,
}

struct Shared {
    chain: Arc<Chain>,
    intake: Intake,
    engines: Arc<[Box<dyn AnyEngine>]>,
    source: Arc<Mutex<Option<Arc<dyn Source>>>>,
    supervisor: ActorRef<Abandoned>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl PipelineHandle {
    pub(super) async fn supervise(
        chain: Arc<Chain>,
        parts: Arc<Parts>,
        intake: Intake,
        engines: Arc<[Box<dyn AnyEngine>]>,
        source: Option<Arc<dyn Source>>,
    ) -> Result<Self, SpawnErr> {
        let source = Arc::new(Mutex::new(source));
        let supervisor = Supervisor {
            chain: Arc::clone(&chain),
            parts,
            intake: intake.clone(),
            source: Arc::clone(&source),
        };
        let (supervisor, _) = Actor::spawn(None, supervisor, ()).await?;
        let shut = {
            let (chain, intake) = (Arc::clone(&chain), intake.clone());
            tokio::spawn(async move {
                chain.failed().await;
                intake.shut();
            })
        };
        let gauges = {
            let chain = Arc::clone(&chain);
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(OBSERVE);
                loop {
                    ticks.tick().await;
                    chain.writes.look();
                    observe(&chain);
                }
            })
        };
        Ok(Self {
            shared: Arc::new(Shared {
                chain,
                intake,
                engines,
                source,
                supervisor,
                tasks: vec![shut, gauges],
            }),
        })
    }

    /// Where a source hands its records over.
    #[must_use]
    pub fn intake(&self) -> Intake {
        self.shared.intake.clone()
    }

    /// Sets the input that is told to go back after a restart of the chain.
    pub fn set_source(&self, source: Arc<dyn Source>) {
        *(self.shared.source.lock()).unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// Sets who looks on; the first call counts.
    pub fn set_observer(&self, observer: Box<dyn Observer>) {
        self.shared.chain.observed_by(observer);
    }

    /// What is where at this moment, and what was done so far.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let chain = &self.shared.chain;
        Activity {
            restarts: chain.restarts(),
            breaker: chain.outcomes.look(),
            ..chain.meters.counts.look()
        }
    }

    /// Age of the oldest record on its way; `None`: none is.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.shared.chain.ledger.oldest_unsettled()
    }

    /// Records that hold a permit: on their way, or cancelled and about to stop.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.chain.records.taken()
    }

    /// Bytes of bodies and pixels alive.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        self.shared.chain.bytes.used()
    }

    /// The most bytes of bodies and pixels that were ever alive at once.
    #[must_use]
    pub fn most_image_bytes(&self) -> u64 {
        self.shared.chain.bytes.most_used()
    }

    /// What each engine did so far.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineStats> {
        let engines = self.shared.engines.iter();
        engines.map(|engine| engine.stats()).collect()
    }

    /// Restarts of the stages so far.
    #[must_use]
    pub fn restarts(&self) -> usize {
        self.shared.chain.restarts()
    }

    /// Ends when every permit is home, without closing the intake.
    pub async fn idle(&self) {
        self.shared.chain.records.all_home().await;
    }

    /// Closes the intake and waits, at most `deadline`, until every permit is home.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.shared.intake.shut();
        // Ends early or late, what counts is who is still out.
        let _ = tokio::time::timeout(deadline, self.idle()).await;
        Drained {
            left: self.in_flight(),
        }
    }

    /// Ends when the process should give up, with the reason: the restart budget or the breaker is
    /// spent, an engine cannot be built again, or the producer is broken. The process must exit 1;
    /// what is in flight stays unsettled.
    pub async fn failed(&self) -> String {
        self.shared.chain.failed().await
    }

    /// Whether it gave up.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.chain.has_failed()
    }

    /// Whether nothing is wedged, see [`PipelineHandle::wedged`].
    #[must_use]
    pub fn is_live(&self, bound: Duration) -> bool {
        self.wedged(bound).is_none()
    }

    /// Why only a restart of the process helps: one call of a model has been running for longer
    /// than `bound`, or records are in flight and none was settled for longer than that. The age of
    /// a record is no reason: a deep backlog on a slow model is old and moves on. Nor is an output
    /// topic that is away: the second clock begins when it takes writes again.
    #[must_use]
    pub fn wedged(&self, bound: Duration) -> Option<String> {
        for engine in self.shared.engines.iter() {
            let busy = engine.busy_for();
            if busy > bound {
                return Some(format!(
                    "a call of engine `{}` has been running for {} s, the bound is {bound:?}",
                    engine.stats().name,
                    busy.as_secs()
                ));
            }
        }
        let Chain { ledger, writes, .. } = &*self.shared.chain;
        let none_settled = ledger.none_settled_for()?;
        let still = writes
            .held_ago()
            .map_or(none_settled, |ago| ago.min(none_settled));
        (still > bound).then(|| {
            format!(
                "{} records are in flight and none was settled for {} s, the bound is {bound:?}",
                ledger.in_flight(),
                still.as_secs()
            )
        })
    }

    /// The output topics that take no writes: those are held, and nothing new is taken in.
    #[must_use]
    pub fn outages(&self) -> Vec<Outage> {
        self.shared.chain.writes.outages()
    }

    /// Sets the gauges; also done every second.
    pub fn observe(&self) {
        observe(&self.shared.chain);
    }

    /// Stops stages and engines, and waits for both; for engines 10 s at most, since a native call
    /// that hangs cannot be ended. What is in flight is let go unsettled: drain first.
    pub async fn stop(&self) {
        self.shared.intake.shut();
        // Whatever is dropped from now on belongs to an epoch that ended.
        self.shared.chain.ledger.rewind();
        // It is gone already where it was stopped before.
        drop(self.shared.supervisor.stop_and_wait(None, None).await);
        for engine in self.shared.engines.iter() {
            engine.stop();
        }
        let ended = async {
            for engine in self.shared.engines.iter() {
                // An error is a thread that ended with its sender.
                let _ = engine.ended().wait_for(|ended| *ended).await;
            }
        };
        if tokio::time::timeout(ENGINES, ended).await.is_err() {
            tracing::warn!("an engine does not end within {ENGINES:?}; it ends with the process");
        }
    }
}

fn observe(chain: &Chain) {
    chain.meters.in_flight.set(chain.records.taken() as f64);
    chain.meters.image_bytes.set(chain.bytes.used() as f64);
    let oldest = chain.ledger.oldest_unsettled().unwrap_or_default();
    chain.meters.oldest.set(oldest.as_secs_f64());
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.intake.shut();
        self.supervisor.stop(None);
        self.engines.iter().for_each(|engine| engine.stop());
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl fmt::Debug for PipelineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineHandle")
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
