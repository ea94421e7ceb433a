//! The two gates of credit: records at intake, image bytes in fetch.
//!
//! Nothing else in the chain waits for room, so nothing in it can deadlock. Both give back on
//! drop.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::error::FetchError;

/// The `records` gate: how many records may be on their way at once.
#[derive(Debug, Clone)]
pub struct RecordBudget {
    shared: Arc<Records>,
}

#[derive(Debug)]
struct Records {
    total: usize,
    taken: AtomicUsize,
    returned: Notify,
}

/// The right of one record to be on its way; goes home on drop.
#[derive(Debug)]
pub struct RecordPermit {
    shared: Arc<Records>,
}

impl RecordBudget {
    /// A gate for `total` records, at least one.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self {
            shared: Arc::new(Records {
                total: total.max(1),
                taken: AtomicUsize::new(0),
                returned: Notify::new(),
            }),
        }
    }

    /// A permit, if one is free.
    #[must_use]
    pub fn try_take(&self) -> Option<RecordPermit> {
        let next = |taken| (taken < self.shared.total).then_some(taken + 1);
        (self.shared.taken)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .ok()?;
        Some(RecordPermit {
            shared: Arc::clone(&self.shared),
        })
    }

    /// Permits that are free now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.shared.total - self.taken()
    }

    /// Permits that are out now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::Acquire)
    }

    /// Ends when at least `free` permits are free (never more than there are). They may be gone
    /// again.
    pub async fn room(&self, free: usize) {
        let wanted = free.min(self.shared.total);
        loop {
            let mut returned = pin!(self.shared.returned.notified());
            returned.as_mut().enable();
            if self.free() >= wanted {
                return;
            }
            returned.await;
        }
    }

    /// Ends when every permit is home.
    pub async fn all_home(&self) {
        self.room(self.shared.total).await;
    }
}

impl Drop for RecordPermit {
    fn drop(&mut self) {
        self.shared.taken.fetch_sub(1, Ordering::AcqRel);
        self.shared.returned.notify_waiters();
    }
}

/// The `image_bytes` gate: how many bytes of bodies and pixels may be alive at once.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    shared: Arc<Bytes>,
}

#[derive(Debug)]
struct Bytes {
    limit: u64,
    used: AtomicU64,
    /// Whoever holds it is next: large bodies are not overtaken for ever by small ones.
    turn: tokio::sync::Mutex<()>,
    returned: Notify,
    gate: Mutex<()>,
}

impl ByteBudget {
    /// A gate for `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            shared: Arc::new(Bytes {
                limit,
                used: AtomicU64::new(0),
                turn: tokio::sync::Mutex::new(()),
                returned: Notify::new(),
                gate: Mutex::new(()),
            }),
        }
    }

    /// Bytes that are out now; more than the limit where a reservation grew.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shared.used.load(Ordering::Acquire)
    }

    /// Credit for one image, empty until [`ImageCredit::reserve`].
    #[must_use]
    pub fn credit(&self) -> ImageCredit {
        ImageCredit {
            shared: Arc::clone(&self.shared),
            held: 0,
            waited: Duration::ZERO,
        }
    }
}

impl Bytes {
    /// Takes `bytes` if they fit now.
    fn try_take(&self, bytes: u64) -> bool {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.used.load(Ordering::Acquire);
        let fits = used.saturating_add(bytes) <= self.limit;
        if fits {
            self.used.store(used + bytes, Ordering::Release);
        }
        fits
    }

    /// Replaces `old` by `new` without waiting, into debt if need be.
    fn replace(&self, old: u64, new: u64) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.used.load(Ordering::Acquire);
        self.used.store(used - old + new, Ordering::Release);
        if new < old {
            self.returned.notify_one();
        }
    }
}

/// Credit for one image's bytes. [`ImageCredit::reserve`] waits until the budget has room; what
/// is held goes back on drop.
#[derive(Debug)]
pub struct ImageCredit {
    shared: Arc<Bytes>,
    held: u64,
    waited: Duration,
}

impl ImageCredit {
    /// Takes credit for a body of `bytes` bytes, waiting for room. A second call replaces the
    /// first amount without waiting: it may go into debt, and newcomers wait until that is paid.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`] where one image would exceed the whole budget.
    pub async fn reserve(&mut self, bytes: u64) -> Result<(), FetchError> {
        if self.held > 0 {
            return self.resize(bytes);
        }
        self.check(bytes)?;
        let shared = Arc::clone(&self.shared);
        let started = Instant::now();
        let turn = shared.turn.lock().await;
        while !shared.try_take(bytes) {
            // `notify_one` keeps a permit where nobody waits yet: no return is missed.
            shared.returned.notified().await;
        }
        drop(turn);
        self.held = bytes;
        self.waited += started.elapsed();
        Ok(())
    }

    /// Replaces what is held without waiting.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`] where one image would exceed the whole budget.
    pub fn resize(&mut self, bytes: u64) -> Result<(), FetchError> {
        self.check(bytes)?;
        self.shared.replace(self.held, bytes);
        self.held = bytes;
        Ok(())
    }

    /// Gives everything back.
    pub fn release(&mut self) {
        self.shared.replace(self.held, 0);
        self.held = 0;
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// How long reservations waited for room, in all.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Credit out of a budget of its own, so that it never waits and admits up to `limit` bytes:
    /// for tests of fetchers.
    #[must_use]
    pub fn unlimited(limit: u64) -> Self {
        ByteBudget::new(limit).credit()
    }

    fn check(&self, bytes: u64) -> Result<(), FetchError> {
        if bytes > self.shared.limit {
            return Err(FetchError::TooLarge {
                got: bytes,
                limit: self.shared.limit,
            });
        }
        Ok(())
    }
}

impl Drop for ImageCredit {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_reservation_waits_until_bytes_come_back() {
        let budget = ByteBudget::new(100);
        let (mut first, mut second) = (budget.credit(), budget.credit());
        assert!(first.reserve(80).now_or_never().is_some());
        {
            let mut waiting = Box::pin(second.reserve(30));
            assert!((&mut waiting).now_or_never().is_none());
            first.release();
            assert!(waiting.now_or_never().is_some());
        }
        assert_eq!(budget.used(), 30);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn growing_never_waits_and_newcomers_wait_until_the_debt_is_paid() {
        let budget = ByteBudget::new(100);
        let (mut first, mut second, mut third) =
            (budget.credit(), budget.credit(), budget.credit());
        assert!(first.reserve(50).now_or_never().is_some());
        assert!(second.reserve(50).now_or_never().is_some());
        first.resize(90).expect("below the limit");
        assert_eq!(budget.used(), 140);
        let mut waiting = Box::pin(third.reserve(10));
        assert!((&mut waiting).now_or_never().is_none());
        drop(second);
        assert!(waiting.now_or_never().is_some());
    }

    #[test]
    fn one_image_above_the_whole_budget_is_too_large() {
        let mut credit = ByteBudget::new(100).credit();
        let answer = credit.reserve(101).now_or_never().expect("answers at once");
        assert!(matches!(
            answer,
            Err(FetchError::TooLarge {
                got: 101,
                limit: 100
            })
        ));
    }

    #[test]
    fn a_large_body_is_not_overtaken_by_small_ones() {
        let budget = ByteBudget::new(100);
        let (mut held, mut large, mut small) = (budget.credit(), budget.credit(), budget.credit());
        assert!(held.reserve(50).now_or_never().is_some());
        let mut large = Box::pin(large.reserve(100));
        assert!((&mut large).now_or_never().is_none());
        let mut small = Box::pin(small.reserve(10));
        assert!((&mut small).now_or_never().is_none());
        held.release();
        assert!(large.now_or_never().is_some());
        assert!(small.now_or_never().is_none());
    }

    #[test]
    fn a_waiter_that_gives_up_leaves_its_turn_to_the_next() {
        let budget = ByteBudget::new(100);
        let (mut held, mut gives_up, mut next) =
            (budget.credit(), budget.credit(), budget.credit());
        assert!(held.reserve(100).now_or_never().is_some());
        let mut first = Box::pin(gives_up.reserve(10));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(next.reserve(10));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        held.release();
        assert!(second.now_or_never().is_some());
        assert_eq!(budget.used(), 10);
    }

    #[tokio::test]
    async fn all_permits_are_home_once_the_last_comes_back() {
        let budget = RecordBudget::new(2);
        let (one, two) = (budget.try_take(), budget.try_take());
        assert!(one.is_some() && two.is_some() && budget.try_take().is_none());
        assert_eq!(budget.taken(), 2);
        let mut home = Box::pin(budget.all_home());
        assert!((&mut home).now_or_never().is_none());
        drop((one, two));
        home.await;
        assert_eq!(budget.taken(), 0);
    }
}
