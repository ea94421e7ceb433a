//! The two gates of credit: records at intake, image bytes in fetch and decode.
//!
//! Image bytes are taken twice, in a fixed order: by fetch for the body, by decode for the pixels.
//! Nothing else in the chain waits for room, so nothing in it can deadlock. All of it goes back on
//! drop.

mod bytes;
#[cfg(test)]
mod tests;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

pub use self::bytes::{ByteBudget, ImageCredit};

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
