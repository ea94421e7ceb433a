//! Commits the ledger's positions, with what finished above them in the metadata.
//!
//! One commit is under way at a time; a failed one leaves its positions dirty, so the next one
//! carries them again.

use std::time::{Duration, Instant};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, KafkaResult},
    topic_partition_list::Offset,
};
use vila2_actors::ledger::{Ledger, Position};

use super::rebalance::GroupCallbacks;

/// A commit that has not been answered for so long is taken for lost.
const LOST: Duration = Duration::from_secs(10);
/// How often failing commits are mentioned.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// When to commit, and what is under way.
pub(super) struct Committer {
    every: Duration,
    last: Instant,
    under_way: Option<Instant>,
    failures: u32,
    said: Option<Instant>,
}

impl Committer {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            last: Instant::now(),
            under_way: None,
            failures: 0,
            said: None,
        }
    }

    /// Commits what changed, where it is time.
    pub(super) fn tick(&mut self, consumer: &BaseConsumer<GroupCallbacks>, ledger: &Ledger) {
        if self.last.elapsed() >= self.every {
            self.commit(consumer, ledger);
        }
    }

    /// Commits what changed, unless a commit is under way.
    ///
    /// Returns whether everything is committed.
    pub(super) fn commit(
        &mut self,
        consumer: &BaseConsumer<GroupCallbacks>,
        ledger: &Ledger,
    ) -> bool {
        if self.under_way.is_some_and(|since| since.elapsed() < LOST) {
            return false;
        }
        self.last = Instant::now();
        self.under_way = None;
        let dirty = ledger.dirty();
        if dirty.is_empty() {
            return true;
        }
        let list = list(
            dirty
                .iter()
                .map(|(topic, partition, at)| (&**topic, *partition, at)),
        );
        match list.and_then(|list| consumer.commit(&list, CommitMode::Async)) {
            Ok(()) => self.under_way = Some(Instant::now()),
            Err(fault) => self.failed(&fault),
        }
        false
    }

    /// Takes the answer to the commit under way.
    pub(super) fn answered(&mut self, answer: &KafkaResult<()>) {
        self.under_way = None;
        match answer {
            Ok(()) => {
                if self.said.take().is_some() {
                    tracing::info!("commits succeed again after {} failures", self.failures);
                }
                self.failures = 0;
            }
            Err(fault) => self.failed(fault),
        }
    }

    fn failed(&mut self, fault: &KafkaError) {
        self.failures += 1;
        // One failure is usual in a rebalance; the next commit carries the same positions.
        let due = self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if self.failures > 1 && due {
            self.said = Some(Instant::now());
            tracing::warn!(
                "{} commits failed in a row, trying on: {fault}",
                self.failures
            );
        } else {
            tracing::debug!(%fault, "a commit failed");
        }
    }
}

/// A list for one commit. Always a new one: rdkafka leaks metadata that is overwritten.
pub(super) fn list<'a>(
    positions: impl Iterator<Item = (&'a str, i32, &'a Position)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, position) in positions {
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(position.offset))?;
        if !position.metadata.is_empty() {
            element.set_metadata(&position.metadata);
        }
    }
    Ok(list)
}
