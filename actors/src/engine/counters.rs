//! What an engine counts.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::annotation::ModelFacts;

/// What an engine did so far.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineStats {
    /// Its name.
    pub name: String,
    /// Its model.
    pub model: ModelFacts,
    /// Questions admitted to the model.
    pub admitted: u64,
    /// Of those, admitted while another request was between its first and its last step.
    pub joined_running_batch: u64,
    /// Decode steps, or runs of a one-shot model.
    pub steps: u64,
    /// Mean number of requests in a step.
    pub batch_mean: f64,
    /// Generated tokens.
    pub tokens: u64,
    /// How often the model was built again.
    pub rebuilds: u64,
    /// Requests in the model at this moment.
    pub running: usize,
    /// The most requests that it takes at once; 0 until it is loaded.
    pub slots: usize,
}

/// Counters of one engine, written by its thread only.
#[derive(Debug)]
pub(super) struct Counters {
    born: Instant,
    /// Nanoseconds after `born` plus one at which the present port call began; 0 between calls.
    busy_since: AtomicU64,
    pub(super) admitted: AtomicU64,
    pub(super) joined: AtomicU64,
    pub(super) steps: AtomicU64,
    pub(super) members: AtomicU64,
    pub(super) tokens: AtomicU64,
    pub(super) rebuilds: AtomicU64,
    pub(super) running: AtomicUsize,
    pub(super) slots: AtomicUsize,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            busy_since: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            members: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            rebuilds: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            slots: AtomicUsize::new(0),
        }
    }

    /// Marks the time of a port call, so that a wedged one can be seen from outside.
    pub(super) fn busy(&self, busy: bool) {
        let since = if busy {
            self.born.elapsed().as_nanos() as u64 + 1
        } else {
            0
        };
        self.busy_since.store(since, Ordering::Release);
    }

    /// How long the present port call has been running.
    pub(super) fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => (self.born.elapsed()).saturating_sub(Duration::from_nanos(since - 1)),
        }
    }

    /// Notes a step of so many requests.
    pub(super) fn stepped(&self, members: usize) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.members.fetch_add(members as u64, Ordering::Relaxed);
        self.runs(members);
    }

    /// Notes how many requests are in the model.
    pub(super) fn runs(&self, members: usize) {
        self.running.store(members, Ordering::Relaxed);
    }

    pub(super) fn stats(&self, name: &str, model: ModelFacts) -> EngineStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let steps = read(&self.steps);
        EngineStats {
            name: name.to_owned(),
            model,
            admitted: read(&self.admitted),
            joined_running_batch: read(&self.joined),
            steps,
            batch_mean: read(&self.members) as f64 / steps.max(1) as f64,
            tokens: read(&self.tokens),
            rebuilds: read(&self.rebuilds),
            running: self.running.load(Ordering::Relaxed),
            slots: self.slots.load(Ordering::Relaxed),
        }
    }
}
