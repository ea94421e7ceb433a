//! The way in: where a source hands over its records.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use crate::{
    budget::{RecordBudget, RecordPermit},
    ledger::{Admission, Ledger},
    record::{Epoch, Record},
};

/// Takes a record that has a permit and is tracked by the ledger.
pub(crate) type Entry = Box<dyn Fn(Record, Epoch, RecordPermit) + Send + Sync>;

/// Handed to a source. Clones are the same intake.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Arc<Ledger>,
    records: RecordBudget,
    /// `None` while the chain restarts or drains.
    entry: RwLock<Option<Entry>>,
    open: watch::Sender<bool>,
    /// Writes are held: an output topic is away.
    held: watch::Receiver<bool>,
    shut: AtomicBool,
}

impl Intake {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        records: RecordBudget,
        held: watch::Receiver<bool>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                ledger,
                records,
                entry: RwLock::new(None),
                open: watch::channel(false).0,
                held,
                shut: AtomicBool::new(false),
            }),
        }
    }

    /// Hands a record over, without waiting. Records of a partition come in offset order. What the
    /// ledger knows as finished, and what is not ours, is dropped here.
    ///
    /// # Errors
    /// The record, where no `records` permit is free, the chain restarts or an output topic takes
    /// no writes: keep it, pause, try again.
    #[allow(clippy::result_large_err)] // the record comes back whole, on a path that is rare
    pub fn try_admit(&self, record: Record) -> Result<(), Record> {
        // Held while the record goes in, so that a restart bumps epochs strictly between records.
        let entry = (self.shared.entry.read()).unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entry.as_ref() else {
            return Err(record);
        };
        if *self.shared.held.borrow() {
            return Err(record);
        }
        let Some(permit) = self.shared.records.try_take() else {
            return Err(record);
        };
        if let Admission::New(epoch) = self.shared.ledger.admit(&record.id) {
            entry(record, epoch, permit);
        }
        Ok(())
    }

    /// The ledger that records are admitted to.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// Free `records` permits, for a low-water mark; none while an output topic takes no writes.
    #[must_use]
    pub fn free_records(&self) -> usize {
        if *self.shared.held.borrow() {
            return 0;
        }
        self.shared.records.free()
    }

    /// Ends when a record would be admitted.
    pub async fn room(&self) {
        let mut open = self.shared.open.subscribe();
        let mut held = self.shared.held.clone();
        loop {
            if open.wait_for(|open| *open).await.is_err()
                || held.wait_for(|held| !*held).await.is_err()
            {
                return;
            }
            self.shared.records.room(1).await;
            if *open.borrow() && !*held.borrow() {
                return;
            }
        }
    }

    /// Ends when every permit is home.
    pub async fn idle(&self) {
        self.shared.records.all_home().await;
    }

    /// Opens the intake to a chain that has started, unless it was shut.
    pub(crate) fn open(&self, entry: Entry) {
        let mut present = (self.shared.entry.write()).unwrap_or_else(PoisonError::into_inner);
        if !self.shared.shut.load(Ordering::Acquire) {
            *present = Some(entry);
            self.shared.open.send_replace(true);
        }
    }

    /// Closes the intake for good.
    pub(crate) fn shut(&self) {
        self.shared.shut.store(true, Ordering::Release);
        self.close();
    }

    /// Closes the intake: when it returns, nothing is on its way in.
    pub(crate) fn close(&self) {
        let mut present = (self.shared.entry.write()).unwrap_or_else(PoisonError::into_inner);
        *present = None;
        self.shared.open.send_replace(false);
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("free_records", &self.free_records())
            .finish_non_exhaustive()
    }
}
