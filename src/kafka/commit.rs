//! Commits the ledger's positions, with what finished above them in the metadata.
//!
//! One commit is under way at a time; a failed one leaves its positions dirty, so the next one
//! carries them again. Commits are made on a thread of their own, because rdkafka tells the outcome
//! of a commit only to whoever waits for it: its `commit_callback` is never called. A partition
//! that is given back takes its [`Turn`]: no older commit may land behind its last one.

use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult},
    topic_partition_list::Offset,
};
use vila2_actors::ledger::{Ledger, Position};

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
    pub(super) fn start<C: ConsumerContext + 'static>(
        consumer: Arc<BaseConsumer<C>>,
        ledger: Arc<Ledger>,
        turn: Arc<Turn>,
        every: Duration,
    ) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Positions>();
        let (outbox, answers) = mpsc::channel();
        thread::Builder::new()
            .name("kafka-commits".into())
            .spawn(move || {
                while let Ok(positions) = inbox.recv() {
                    let answer = commit(&consumer, &ledger, &turn, positions);
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
/// coordinator is to be found. Partitions that were given back meanwhile are left out, assigned
/// again or not: their last commit was made where they were revoked.
fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    ledger: &Ledger,
    turn: &Turn,
    mut positions: Positions,
) -> KafkaResult<()> {
    let _under_way = turn.begin(|| {
        positions.retain(|(topic, partition, at)| ledger.offers(topic, *partition, at.offset));
        positions
            .iter()
            .map(|(_, partition, _)| *partition)
            .collect()
    });
    let ours = positions.iter();
    let list = list(ours.map(|(topic, partition, at)| (&**topic, *partition, at)))?;
    if list.count() == 0 {
        return Ok(());
    }
    consumer.commit(&list, CommitMode::Sync)
}

/// Orders the commits of this thread and those of revocations. Between the decision what to commit
/// and the call that does it a partition could be given back; its last commit would then be
/// overwritten by an older one, and whoever has it next would run its records again.
#[derive(Debug, Default)]
pub(super) struct Turn {
    under_way: Mutex<HashSet<i32>>,
    answered: Condvar,
}

/// A commit under way.
struct UnderWay<'a>(&'a Turn);

impl Turn {
    /// Begins a commit of the partitions that `choose` names; no revocation comes in between.
    fn begin(&self, choose: impl FnOnce() -> HashSet<i32>) -> UnderWay<'_> {
        *self.lock() = choose();
        UnderWay(self)
    }

    /// Runs `revoke`, after which no commit of these partitions begins, and waits until those under
    /// way are answered.
    ///
    /// Returns what `revoke` did, and whether they were answered within `limit`.
    pub(super) fn revoke<T>(
        &self,
        partitions: &[i32],
        limit: Duration,
        revoke: impl FnOnce() -> T,
    ) -> (T, bool) {
        let under_way = self.lock();
        let revoked = revoke();
        let (_under_way, waited) = self
            .answered
            .wait_timeout_while(under_way, limit, |under_way| {
                partitions.iter().any(|number| under_way.contains(number))
            })
            .unwrap_or_else(PoisonError::into_inner);
        (revoked, !waited.timed_out())
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().clear();
        self.0.answered.notify_all();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_commit_of_a_revocation_comes_after_the_answer_to_the_one_under_way() {
        let turn = Turn::default();
        let order = Mutex::new(Vec::new());
        let note = |what| {
            order
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(what)
        };
        let under_way = turn.begin(|| HashSet::from([0, 1]));
        thread::scope(|scope| {
            let (revoked, revoking) = mpsc::channel();
            let (turn, note) = (&turn, &note);
            scope.spawn(move || {
                let (_, answered) = turn.revoke(&[1], Duration::from_secs(60), || {
                    revoked.send(()).expect("a test that waits");
                });
                assert!(answered);
                note("last commit");
            });
            revoking.recv().expect("a revocation");
            note("answer");
            drop(under_way);
        });
        assert_eq!(
            order.into_inner().expect("no panic"),
            ["answer", "last commit"]
        );
    }

    #[test]
    fn other_partitions_and_a_silent_broker_hold_no_revocation_up() {
        let turn = Turn::default();
        let _under_way = turn.begin(|| HashSet::from([0]));
        let long = Duration::from_secs(60);
        assert_eq!(turn.revoke(&[1, 2], long, || 7), (7, true));
        let moment = Duration::from_millis(10);
        assert_eq!(turn.revoke(&[0], moment, || 8), (8, false));
    }
}
