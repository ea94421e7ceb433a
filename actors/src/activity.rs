//! What one chain does at this moment and has done so far, counted by itself: for whoever looks at
//! it while it runs. The process's metrics say the same of all chains together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    error::Reason,
    stage::{Path, Stage},
};

const REASONS: usize = Reason::ALL.len();

/// What is where, and what was done since the start of the chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// Every stage, in path order. The records of all stages together are those in flight.
    pub stages: Vec<StageActivity>,
    /// Records whose caption was confirmed.
    pub published: u64,
    /// Records whose dead letter was confirmed, for every reason of the closed list.
    pub dead_letters: Vec<(Reason, u64)>,
    /// Restarts of the stages.
    pub restarts: usize,
    /// Runs of failures in models.
    pub breaker: BreakerActivity,
}

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageActivity {
    /// Which.
    pub stage: Stage,
    /// Records that wait for it: for a socket, room, a thread, or a slot of its engine.
    pub waiting: usize,
    /// Records that are worked on: fetched, decoded, in the model, or handed to the broker.
    pub working: usize,
    /// Records that it was done with, well or not.
    pub done: u64,
    /// Work on those, waiting not included.
    pub work: Duration,
    /// Captions that went on without it.
    pub degraded: u64,
}

/// How near the chain is to giving up because of its models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BreakerActivity {
    /// Records in a row that failed in a model, of the stage where they are most.
    pub in_a_row: usize,
    /// The models are being asked a question of their own; what fails is held meanwhile.
    pub asking: bool,
    /// Failures among the last records of the stage that has most of them.
    pub failed: usize,
    /// How many last records these are; 200 at most.
    pub of_last: usize,
}

/// Counts of one chain, over all its restarts.
#[derive(Debug)]
pub(crate) struct Counts {
    path: Path,
    /// In the order of the path.
    stages: Vec<StageCounts>,
    published: AtomicU64,
    dead: [AtomicU64; REASONS],
}

#[derive(Debug, Default)]
struct StageCounts {
    present: AtomicUsize,
    working: AtomicUsize,
    done: AtomicU64,
    work_micros: AtomicU64,
    degraded: AtomicU64,
}

impl Counts {
    pub(crate) fn new(path: Path) -> Self {
        Self {
            stages: path
                .stages()
                .iter()
                .map(|_| StageCounts::default())
                .collect(),
            path,
            published: AtomicU64::default(),
            dead: Default::default(),
        }
    }

    fn at(&self, stage: Stage) -> &StageCounts {
        &self.stages[self.path.place(stage)]
    }

    /// A record comes in.
    pub(crate) fn place(self: &Arc<Self>) -> Place {
        let stage = Stage::Intake;
        self.at(stage).present.fetch_add(1, Ordering::Relaxed);
        Place {
            counts: Arc::clone(self),
            stage,
        }
    }

    /// A stage works on a record, until this is dropped.
    pub(crate) fn works(self: &Arc<Self>, stage: Stage) -> Working {
        self.at(stage).working.fetch_add(1, Ordering::Relaxed);
        Working {
            counts: Arc::clone(self),
            stage,
        }
    }

    pub(crate) fn worked(&self, stage: Stage, work: Duration) {
        let at = self.at(stage);
        at.done.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(work.as_micros()).unwrap_or(u64::MAX);
        at.work_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dead_lettered(&self, reason: Reason) {
        self.dead[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn degraded(&self, stage: Stage) {
        self.at(stage).degraded.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything that is counted here.
    pub(crate) fn look(&self) -> Activity {
        let stage = |(&stage, at): (&Stage, &StageCounts)| {
            let working = at.working.load(Ordering::Relaxed);
            let present = at.present.load(Ordering::Relaxed);
            // A call that was given up works on without its record.
            let working = working.min(present);
            StageActivity {
                stage,
                waiting: present - working,
                working,
                done: at.done.load(Ordering::Relaxed),
                work: Duration::from_micros(at.work_micros.load(Ordering::Relaxed)),
                degraded: at.degraded.load(Ordering::Relaxed),
            }
        };
        let dead = |reason: Reason| (reason, self.dead[reason as usize].load(Ordering::Relaxed));
        Activity {
            stages: self
                .path
                .stages()
                .iter()
                .zip(&self.stages)
                .map(stage)
                .collect(),
            published: self.published.load(Ordering::Relaxed),
            dead_letters: Reason::ALL.map(dead).into(),
            ..Activity::default()
        }
    }
}

/// Where a record is; dropped with it.
#[derive(Debug)]
pub(crate) struct Place {
    counts: Arc<Counts>,
    stage: Stage,
}

impl Place {
    /// The record has come to another stage, or is still at this one.
    pub(crate) fn enter(&mut self, stage: Stage) {
        if self.stage != stage {
            let counts = &self.counts;
            counts.at(stage).present.fetch_add(1, Ordering::Relaxed);
            counts
                .at(self.stage)
                .present
                .fetch_sub(1, Ordering::Relaxed);
            self.stage = stage;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.counts.at(self.stage).present).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Work on a record under way.
#[derive(Debug)]
pub(crate) struct Working {
    counts: Arc<Counts>,
    stage: Stage,
}

impl Drop for Working {
    fn drop(&mut self) {
        (self.counts.at(self.stage).working).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason}");
        }
    }

    #[test]
    fn a_record_is_at_one_stage_and_waits_or_is_worked_on() {
        let counts = Arc::new(Counts::new(Path::default()));
        let at = |stage: Stage| {
            let found = counts.look().stages[counts.path.place(stage)];
            (found.waiting, found.working)
        };
        let mut place = counts.place();
        assert_eq!(at(Stage::Intake), (1, 0));
        place.enter(Stage::Fetch);
        place.enter(Stage::Fetch);
        assert_eq!((at(Stage::Intake), at(Stage::Fetch)), ((0, 0), (1, 0)));
        let working = counts.works(Stage::Fetch);
        assert_eq!(at(Stage::Fetch), (0, 1));
        drop(place);
        assert_eq!(at(Stage::Fetch), (0, 0), "given up, and still under way");
        drop(working);
        assert_eq!(at(Stage::Fetch), (0, 0));
    }
}
