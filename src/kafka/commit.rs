//! Commits the ledger's positions, with what finished above them in the metadata.
//!
//! One commit is under way at a time; a failed one leaves its positions dirty, so the next one
//! carries them again. Commits are made on a thread of their own, because rdkafka tells the outcome
//! of a commit only to whoever waits for it: its `commit_callback` is never called.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, KafkaResult},
    topic_partition_list::Offset,
};
use vila2_actors::ledger::{Ledger, Position};

use super::rebalance::GroupCallbacks;

/// How often failing commits are mentioned.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Positions of partitions.
type Positions = Vec<(Arc<str>, i32, Position)>;

/// When to commit, and what is under way.
pub(super) struct Committer {
    every: Duration,
    last: Instant,
    requests: Sender<Positions>,
    answers: Receiver<KafkaResult<()>>,
    under_way: Option<(Instant, Positions)>,
    failures: u32,
    said: Option<Instant>,
}

impl Committer {
    /// Starts the thread. It ends with the committer, and holds the consumer until then.
    pub(super) fn start(
        consumer: Arc<BaseConsumer<GroupCallbacks>>,
        every: Duration,
    ) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Positions>();
        let (outbox, answers) = mpsc::channel();
        thread::Builder::new()
            .name("kafka-commits".into())
            .spawn(move || {
                while let Ok(positions) = inbox.recv() {
                    let answer = commit(&consumer, &positions);
                    if outbox.send(answer).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            every,
            last: Instant::now(),
            requests,
            answers,
            under_way: None,
            failures: 0,
            said: None,
        })
    }

    /// Takes the answer to the commit under way, and commits what changed, where it is time.
    pub(super) fn tick(&mut self, ledger: &Ledger) {
        self.take_answer(ledger);
        if self.last.elapsed() >= self.every {
            self.commit(ledger);
        }
    }

    /// Commits what changed, unless a commit is under way.
    ///
    /// Returns whether everything is committed.
    pub(super) fn commit(&mut self, ledger: &Ledger) -> bool {
        self.take_answer(ledger);
        if self.under_way.is_some() {
            return false;
        }
        self.last = Instant::now();
        let dirty = ledger.dirty();
        if dirty.is_empty() {
            return true;
        }
        // A thread that is gone leaves everything dirty; the last commit before a revocation is
        // not made there.
        if self.requests.send(dirty.clone()).is_ok() {
            self.under_way = Some((Instant::now(), dirty));
        }
        false
    }

    fn take_answer(&mut self, ledger: &Ledger) {
        let answer = match self.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {
                self.under_way = None;
                return;
            }
        };
        let Some((since, positions)) = self.under_way.take() else {
            return;
        };
        match answer {
            Ok(()) => {
                tracing::debug!(after = ?since.elapsed(), "committed");
                for (topic, partition, position) in &positions {
                    ledger.committed(topic, *partition, position.offset);
                }
                if self.said.take().is_some() {
                    tracing::info!("commits succeed again after {} failures", self.failures);
                }
                self.failures = 0;
            }
            Err(fault) => self.failed(&fault),
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

/// Commits and waits for the answer, which librdkafka gives in any case, if only that no
/// coordinator is to be found. Partitions that were given back meanwhile are left out: their last
/// commit is made where they are revoked.
fn commit(consumer: &BaseConsumer<GroupCallbacks>, positions: &Positions) -> KafkaResult<()> {
    let ledger = &consumer.context().ledger;
    let ours = positions.iter().filter(|(topic, partition, at)| {
        (ledger.position(topic, *partition)).is_some_and(|now| now.offset >= at.offset)
    });
    let list = list(ours.map(|(topic, partition, at)| (&**topic, *partition, at)))?;
    if list.count() == 0 {
        return Ok(());
    }
    consumer.commit(&list, CommitMode::Sync)
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
