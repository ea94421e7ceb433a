//! The one way from the chain to the producer. The revoke callback closes it per partition: once
//! [`Gate::close`] has returned, nothing more is handed over for that partition.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use vila2_actors::{
    ledger::Ledger,
    record::{Epoch, RecordId},
};

/// How long the chain may take from a confirmation to settling its record: later it is no longer
/// waited for.
const SETTLING: Duration = Duration::from_secs(1);
/// How often the ledger is asked whether the chain has settled.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Shared by the producer and the rebalance callbacks.
#[derive(Debug)]
pub struct Gate {
    ledger: Arc<Ledger>,
    state: Mutex<State>,
    changed: Condvar,
}

type PartitionKey = (Arc<str>, i32);

#[derive(Debug, Default)]
struct State {
    closed: HashSet<PartitionKey>,
    /// Offset → when the broker confirmed it (`None`: not yet).
    handed: HashMap<PartitionKey, HashMap<i64, Option<Instant>>>,
}

impl Gate {
    /// A gate that is open for every current delivery.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Runs `hand` where the delivery is current and its partition is not being revoked; while it
    /// runs, no revocation can begin. `hand` must not block. `None`: the delivery is stale.
    pub(super) fn pass<E>(
        &self,
        id: &RecordId,
        epoch: Epoch,
        hand: impl FnOnce() -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let key = key(id);
        let mut state = self.lock();
        if state.closed.contains(&key) || !self.ledger.is_current(id, epoch) {
            return None;
        }
        let handed = hand();
        if handed.is_ok() {
            state.handed.entry(key).or_default().insert(id.offset, None);
        }
        Some(handed)
    }

    /// The broker confirmed (or finally refused: `confirmed = false`) what was handed over.
    pub(super) fn answered(&self, id: &RecordId, confirmed: bool) {
        let key = key(id);
        let mut state = self.lock();
        if let Some(offsets) = state.handed.get_mut(&key) {
            if confirmed {
                offsets.insert(id.offset, Some(Instant::now()));
                if offsets.len() > 256 {
                    offsets.retain(|_, at| at.is_none_or(|at| at.elapsed() < SETTLING));
                }
            } else {
                offsets.remove(&id.offset);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Closes the gate for these partitions.
    pub(super) fn close(&self, topic: &Arc<str>, partitions: &[i32]) {
        let mut state = self.lock();
        state.closed.extend(
            partitions
                .iter()
                .map(|&partition| (Arc::clone(topic), partition)),
        );
    }

    /// Opens the gate again, after their epochs have ended, and forgets what was handed over.
    pub(super) fn open(&self, topic: &Arc<str>, partitions: &[i32]) {
        let mut state = self.lock();
        for &partition in partitions {
            let key = (Arc::clone(topic), partition);
            state.closed.remove(&key);
            state.handed.remove(&key);
        }
    }

    /// Opens the gate again for a partition whose epoch goes on.
    pub(super) fn reopen(&self, topic: &Arc<str>, partition: i32) {
        let key = (Arc::clone(topic), partition);
        self.lock().closed.remove(&key);
    }

    /// Waits until what was handed over for these partitions is confirmed and settled.
    ///
    /// Returns how many writes were still open after `limit`.
    pub(super) fn wait(&self, topic: &Arc<str>, partitions: &[i32], limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            let open: usize = partitions
                .iter()
                .map(|&partition| self.open_writes(&state, topic, partition))
                .sum();
            let left = deadline.saturating_duration_since(Instant::now());
            if open == 0 || left.is_zero() {
                return open;
            }
            // The chain settles in the ledger, not here, so this also looks from time to time.
            (state, _) = self
                .changed
                .wait_timeout(state, left.min(LOOK_EVERY))
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn open_writes(&self, state: &State, topic: &Arc<str>, partition: i32) -> usize {
        let Some(offsets) = state.handed.get(&(Arc::clone(topic), partition)) else {
            return 0;
        };
        offsets
            .iter()
            .filter(|(offset, confirmed)| match confirmed {
                None => true,
                Some(at) => {
                    let id = RecordId {
                        topic: Arc::clone(topic),
                        partition,
                        offset: **offset,
                    };
                    at.elapsed() < SETTLING && self.ledger.is_in_flight(&id)
                }
            })
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(id: &RecordId) -> PartitionKey {
    (Arc::clone(&id.topic), id.partition)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, thread};

    use vila2_actors::ledger::{Admission, Outcome};

    use super::*;

    struct Bench {
        gate: Arc<Gate>,
        ledger: Arc<Ledger>,
        topic: Arc<str>,
        epoch: Epoch,
    }

    fn bench() -> Bench {
        let topic: Arc<str> = "images".into();
        let ledger = Arc::new(Ledger::new());
        let epoch = ledger.assign(&topic, 0, Some(0), None);
        Bench {
            gate: Arc::new(Gate::new(Arc::clone(&ledger))),
            ledger,
            topic,
            epoch,
        }
    }

    impl Bench {
        fn id(&self, offset: i64) -> RecordId {
            RecordId {
                topic: Arc::clone(&self.topic),
                partition: 0,
                offset,
            }
        }

        fn pass(&self, offset: i64) -> bool {
            let hand = || Ok::<_, Infallible>(());
            self.gate.pass(&self.id(offset), self.epoch, hand).is_some()
        }
    }

    #[test]
    fn a_stale_epoch_does_not_pass() {
        let bench = bench();
        assert!(bench.pass(0));
        bench.ledger.revoke("images", 0);
        assert!(!bench.pass(1));
        bench.ledger.assign(&bench.topic, 0, Some(0), None);
        assert!(!bench.pass(1));
    }

    #[test]
    fn nothing_passes_a_closed_gate() {
        let bench = bench();
        bench.gate.close(&bench.topic, &[0]);
        assert!(!bench.pass(0));
        bench.gate.open(&bench.topic, &[0]);
        assert!(bench.pass(0));
    }

    #[test]
    fn a_gate_that_is_opened_again_still_knows_what_was_handed_over() {
        let bench = bench();
        assert!(bench.pass(0));
        bench.gate.close(&bench.topic, &[0]);
        assert!(!bench.pass(1));
        bench.gate.reopen(&bench.topic, 0);
        assert!(bench.pass(1));
        let moment = Duration::from_millis(20);
        assert_eq!(bench.gate.wait(&bench.topic, &[0], moment), 2);
    }

    #[test]
    fn waiting_ends_when_the_confirmed_record_is_settled() {
        let bench = bench();
        let Admission::New(epoch) = bench.ledger.admit(&bench.id(0)) else {
            panic!("new")
        };
        assert!(bench.pass(0));
        bench.gate.close(&bench.topic, &[0]);
        let (gate, ledger, id) = (
            Arc::clone(&bench.gate),
            Arc::clone(&bench.ledger),
            bench.id(0),
        );
        let chain = thread::spawn(move || {
            gate.answered(&id, true);
            ledger.settle(&id, epoch, Outcome::Published);
        });
        assert_eq!(
            bench.gate.wait(&bench.topic, &[0], Duration::from_secs(30)),
            0
        );
        assert_eq!(
            bench
                .ledger
                .revoke("images", 0)
                .map(|position| position.offset),
            Some(1)
        );
        chain.join().unwrap();
    }

    #[test]
    fn waiting_is_bounded_and_counts_what_is_open() {
        let bench = bench();
        assert!(bench.pass(0) && bench.pass(1));
        bench.gate.answered(&bench.id(1), false);
        assert_eq!(
            bench
                .gate
                .wait(&bench.topic, &[0], Duration::from_millis(20)),
            1
        );
    }
}
