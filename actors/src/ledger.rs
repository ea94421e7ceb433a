//! The offset ledger: per partition, what is in flight, what is finished, and what may be
//! committed. It knows no broker; every rule about epochs and watermarks is in here.
//!
//! Records of a partition are admitted in offset order within an epoch. Offsets that are passed
//! over (compaction, transaction markers) count as finished. The watermark is the lowest
//! unsettled offset; what finished above it travels in the commit's metadata, so that a slow
//! record holds nothing back and a restart repeats only what was in flight.
//!
//! After [`Ledger::rewind`] records are refused until the source reports its seek
//! ([`Ledger::sought`]) or the watermark comes again: until then they are leftovers of a queue.
//! From there on the next record is whatever the source delivers. Records read before that do not come again (retention or
//! compaction deleted them) count as finished too, and the log names them as gone.

mod finished;
mod partition;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use self::{finished::Finished, partition::Partition};
use crate::{
    error::Reason,
    record::{Epoch, RecordId},
    stage::Stage,
};

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The broker confirmed the enriched caption.
    Published,
    /// The broker confirmed the dead letter.
    DeadLettered(Reason),
    /// Dropped without an answer: a bug. The offset stays unsettled.
    Abandoned,
}

/// What to do with a record that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// New: it is tracked as in flight from now on.
    New(Epoch),
    /// Settled before, or in flight already: skip it.
    Finished,
    /// The partition is not assigned, or the source has not reported its seek
    /// ([`Ledger::sought`]) since [`Ledger::rewind`]: drop it, it comes again.
    NotOurs,
}

/// What may be committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Next to commit: the lowest unsettled offset.
    pub offset: i64,
    /// What finished above it, at most 4,096 bytes of ASCII; empty where nothing did.
    pub metadata: String,
    /// The map is nearly full: pause this partition.
    pub full: bool,
}

/// The ledger of all assigned partitions. Shared as `Arc<Ledger>`; every call is short.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
    generation: AtomicU64,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    last_epoch: u64,
    topics: HashMap<Arc<str>, BTreeMap<i32, Partition>>,
    /// When a record was settled last, or when the first one came in after idleness.
    moved: Option<Instant>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// A ledger without partitions.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::default(),
            generation: AtomicU64::new(0),
            changes: watch::channel(0).0,
        }
    }

    /// Takes a partition over at its committed offset (`None`: nothing was committed, the first
    /// record decides) and reads back what finished above it. A partition that was suspended goes
    /// on where nobody else has settled anything meanwhile: what is in flight stays.
    pub fn assign(
        &self,
        topic: &Arc<str>,
        partition: i32,
        committed: Option<i64>,
        metadata: Option<&str>,
    ) -> Epoch {
        let mut inner = self.lock();
        let epoch = inner.next_epoch();
        let finished = match (committed, metadata) {
            (Some(offset), Some(text)) => Finished::decode(offset, text),
            _ => Finished::default(),
        };
        let state = Partition {
            epoch,
            assigned: epoch,
            watermark: committed,
            cursor: committed,
            seen: 0,
            seeking: false,
            suspended: false,
            in_flight: BTreeMap::new(),
            failed: BTreeMap::new(),
            finished,
            version: 0,
            offered: None,
            committed: 0,
        };
        let partitions = inner.topics.entry(Arc::clone(topic)).or_default();
        if let Some(present) = partitions.get_mut(&partition)
            && present.resume(&state)
        {
            return present.epoch;
        }
        if partitions.insert(partition, state).is_some() {
            drop(inner);
            self.changed();
        }
        epoch
    }

    /// Decides on a record that arrived, and tracks it as in flight where it is new.
    pub fn admit(&self, id: &RecordId) -> Admission {
        let mut inner = self.lock();
        let idle = inner.is_idle();
        let Some(partition) = inner.partition(&id.topic, id.partition) else {
            return Admission::NotOurs;
        };
        let (admission, gone) = partition.admit(id.offset);
        if idle && matches!(admission, Admission::New(_)) {
            inner.moved = Some(Instant::now());
        }
        drop(inner);
        for (first, end) in gone {
            tracing::error!(
                topic = &*id.topic,
                partition = id.partition,
                "records {first} to {} were read, not settled, and are gone from the topic before \
                 they could be read again (retention, compaction or a deletion)",
                end - 1
            );
        }
        admission
    }

    /// Ends a delivery. Ended before, or of a partition that was given back meanwhile: ignored. Of
    /// an epoch that a rewind ended: a confirmed write counts, unless its record is in flight
    /// again.
    ///
    /// Returns whether it counted.
    pub fn settle(&self, id: &RecordId, epoch: Epoch, outcome: Outcome) -> bool {
        let mut inner = self.lock();
        let counted = match inner.partition(&id.topic, id.partition) {
            Some(partition) if partition.epoch == epoch => partition.settle(id.offset, outcome),
            Some(partition) if partition.assigned <= epoch => {
                partition.settle_late(id.offset, outcome)
            }
            _ => false,
        };
        if counted && outcome != Outcome::Abandoned {
            inner.moved = Some(Instant::now());
        }
        counted
    }

    /// Counts a failed attempt of a record that is in flight; returns how many there were in this
    /// stage, this one included. Of an older epoch: not counted.
    pub(crate) fn blame(&self, id: &RecordId, epoch: Epoch, stage: Stage) -> u32 {
        let mut inner = self.lock();
        let partition = inner.partition(&id.topic, id.partition);
        let Some(partition) = partition.filter(|partition| partition.epoch == epoch) else {
            return 1;
        };
        let stages = partition.failed.entry(id.offset).or_default();
        let count = stages.entry(stage).or_default();
        *count += 1;
        *count
    }

    /// Failed attempts of an unsettled record in this stage so far.
    pub(crate) fn attempts(&self, id: &RecordId, stage: Stage) -> u32 {
        let mut inner = self.lock();
        (inner.partition(&id.topic, id.partition))
            .and_then(|partition| partition.failed.get(&id.offset)?.get(&stage).copied())
            .unwrap_or(0)
    }

    /// Whether a delivery of `epoch` may still be published and settled.
    #[must_use]
    pub fn is_current(&self, id: &RecordId, epoch: Epoch) -> bool {
        let mut inner = self.lock();
        (inner.partition(&id.topic, id.partition)).is_some_and(|p| p.epoch == epoch)
    }

    /// Whether the record was admitted in the present epoch and is not settled.
    #[must_use]
    pub fn is_in_flight(&self, id: &RecordId) -> bool {
        let mut inner = self.lock();
        (inner.partition(&id.topic, id.partition))
            .is_some_and(|partition| partition.in_flight.contains_key(&id.offset))
    }

    /// What may be committed now; `None` where the partition is not assigned or nothing of it is
    /// known yet.
    #[must_use]
    pub fn position(&self, topic: &str, partition: i32) -> Option<Position> {
        let mut inner = self.lock();
        let partition = inner.partition(topic, partition)?;
        (!partition.suspended).then(|| partition.position())?
    }

    /// Records of a partition below `end` that are not settled, in flight or not read yet; `None`
    /// where the partition is not assigned or nothing of it is known yet.
    #[must_use]
    pub fn unsettled(&self, topic: &str, partition: i32, end: i64) -> Option<i64> {
        let mut inner = self.lock();
        let partition = inner.partition(topic, partition)?;
        let open = end - partition.watermark? - partition.finished.count();
        Some(open.max(0))
    }

    /// Whether [`Ledger::dirty`] offered `offset` last for this partition, in its present
    /// assignment: else the offer is of a partition that was given back since.
    #[must_use]
    pub fn offers(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let mut inner = self.lock();
        (inner.partition(topic, partition))
            .and_then(|partition| partition.offered)
            .is_some_and(|(offered, _)| offered == offset)
    }

    /// Every partition whose position changed since it was last [`Ledger::committed`].
    #[must_use]
    pub fn dirty(&self) -> Vec<(Arc<str>, i32, Position)> {
        let mut dirty = Vec::new();
        for (topic, partitions) in &mut self.lock().topics {
            for (&number, partition) in partitions {
                if partition.version == partition.committed || partition.suspended {
                    continue;
                }
                if let Some(position) = partition.position() {
                    partition.offered = Some((position.offset, partition.version));
                    dirty.push((Arc::clone(topic), number, position));
                }
            }
        }
        dirty
    }

    /// The broker took the position that [`Ledger::dirty`] offered last, at `offset`.
    pub fn committed(&self, topic: &str, partition: i32, offset: i64) {
        if let Some(partition) = self.lock().partition(topic, partition)
            && let Some((offered, version)) = partition.offered
            && offered == offset
        {
            partition.committed = version;
        }
    }

    /// Gives a partition up: its epoch ends and what is in flight is forgotten. Returns the last
    /// position, to be committed before the partition goes.
    pub fn revoke(&self, topic: &str, partition: i32) -> Option<Position> {
        let mut gone = (self.lock().topics.get_mut(topic)?).remove(&partition)?;
        self.changed();
        gone.position()
    }

    /// A partition was lost without a word, as when the broker is away for longer than a session:
    /// it is not committed and takes no records, but what is in flight is kept until it is known
    /// who has the partition: [`Ledger::assign`], or [`Ledger::drop_suspended`].
    pub fn suspend(&self, topic: &str, partition: i32) {
        if let Some(partition) = self.lock().partition(topic, partition) {
            partition.suspended = true;
            partition.offered = None;
        }
    }

    /// The partitions that are suspended belong to others now: what is in flight is forgotten.
    /// Returns which they were.
    pub fn drop_suspended(&self, topic: &str) -> Vec<i32> {
        let mut gone = Vec::new();
        if let Some(partitions) = self.lock().topics.get_mut(topic) {
            partitions.retain(|&number, partition| {
                if partition.suspended {
                    gone.push(number);
                }
                !partition.suspended
            });
        }
        if !gone.is_empty() {
            self.changed();
        }
        gone
    }

    /// Starts a new epoch on every partition and forgets what is in flight. Returns where the
    /// source must seek; until it reports that ([`Ledger::sought`]), records of partitions that
    /// had any in flight are refused with [`Admission::NotOurs`].
    pub fn rewind(&self) -> Vec<(Arc<str>, i32, i64)> {
        let mut seeks = Vec::new();
        let mut inner = self.lock();
        let mut last = inner.last_epoch;
        for (topic, partitions) in &mut inner.topics {
            for (&number, partition) in partitions {
                last += 1;
                partition.rewind(Epoch(last));
                if let Some(offset) = partition.watermark {
                    seeks.push((Arc::clone(topic), number, offset));
                }
            }
        }
        inner.last_epoch = last;
        drop(inner);
        self.changed();
        seeks
    }

    /// Where the source must seek after a rewind, and the epoch to report that with; `None` where
    /// the partition is not assigned or nothing of it was ever admitted.
    #[must_use]
    pub fn seek_to(&self, topic: &str, partition: i32) -> Option<(Epoch, i64)> {
        let mut inner = self.lock();
        let partition = inner.partition(topic, partition)?;
        Some((partition.epoch, partition.watermark?))
    }

    /// The source has gone back: what it delivers from now on was read after the seek. A report
    /// for an epoch that ended meanwhile is ignored; another seek is due then.
    pub fn sought(&self, topic: &str, partition: i32, epoch: Epoch) {
        if let Some(partition) = self.lock().partition(topic, partition)
            && partition.epoch == epoch
        {
            partition.seeking = false;
        }
    }

    /// How long records have been in flight without one being settled, counted from the first that
    /// came in after idleness; `None` while nothing is in flight.
    #[must_use]
    pub fn none_settled_for(&self) -> Option<Duration> {
        let inner = self.lock();
        let moved = inner.moved.filter(|_| !inner.is_idle())?;
        Some(moved.elapsed())
    }

    /// How many records are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        (self.lock().topics.values())
            .flat_map(BTreeMap::values)
            .map(|partition| partition.in_flight.len())
            .sum()
    }

    /// The age of the oldest record in flight.
    #[must_use]
    pub fn oldest_unsettled(&self) -> Option<Duration> {
        let inner = self.lock();
        (inner.topics.values())
            .flat_map(BTreeMap::values)
            .flat_map(|partition| partition.in_flight.values())
            .min()
            .map(Instant::elapsed)
    }

    /// Rises whenever an epoch ended. Where it stands still, what was current is current.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Ends when the delivery is no longer current.
    pub async fn stale(&self, id: &RecordId, epoch: Epoch) {
        let mut changes = self.changes.subscribe();
        while self.is_current(id, epoch) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn changed(&self) {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.changes.send_replace(generation);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn next_epoch(&mut self) -> Epoch {
        self.last_epoch += 1;
        Epoch(self.last_epoch)
    }

    fn partition(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.get_mut(&partition)
    }

    /// Whether nothing is in flight.
    fn is_idle(&self) -> bool {
        (self.topics.values())
            .flat_map(BTreeMap::values)
            .all(|partition| partition.in_flight.is_empty())
    }
}
