//! What the ledger knows of one partition.

use std::{collections::BTreeMap, time::Instant};

use super::{Admission, Outcome, Position, finished::Finished};
use crate::{record::Epoch, stage::Stage};

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) epoch: Epoch,
    /// The epoch in which it was assigned; those since ended by a rewind.
    pub(super) assigned: Epoch,
    /// The lowest unsettled offset; unknown until the first record where nothing was committed.
    pub(super) watermark: Option<i64>,
    /// One above the highest offset admitted in this epoch.
    pub(super) cursor: Option<i64>,
    /// One above the highest offset admitted since the assignment.
    pub(super) seen: i64,
    /// The source has not gone back to the watermark yet.
    pub(super) seeking: bool,
    /// It was lost, not given back: see [`Ledger::suspend`].
    pub(super) suspended: bool,
    pub(super) in_flight: BTreeMap<i64, Instant>,
    /// Failed attempts of unsettled records, by stage. They outlive a rewind, so that a restart of
    /// the chain cannot reset them, and end with the partition's term.
    pub(super) failed: BTreeMap<i64, BTreeMap<Stage, u32>>,
    pub(super) finished: Finished,
    /// Counts what would change a commit; `offered` and `committed` are values of it.
    pub(super) version: u64,
    pub(super) offered: Option<(i64, u64)>,
    pub(super) committed: u64,
}

impl Partition {
    /// Also returns which offsets (start, exclusive end) were read before, are not settled, and do
    /// not come again.
    pub(super) fn admit(&mut self, offset: i64) -> (Admission, Vec<(i64, i64)>) {
        // The watermark itself was delivered before: it is in no queue, so a seek brought it.
        if self.suspended || self.seeking && self.watermark != Some(offset) {
            return (Admission::NotOurs, Vec::new());
        }
        self.seeking = false;
        let watermark = *self.watermark.get_or_insert(offset);
        let cursor = self.cursor.unwrap_or(offset);
        let mut gone = Vec::new();
        if offset > cursor {
            gone = (self.finished).missing(cursor.max(watermark), offset.min(self.seen));
            self.finish(cursor, offset);
        }
        self.cursor = Some(cursor.max(offset + 1));
        self.seen = self.seen.max(offset + 1);
        let settled = self.watermark.is_some_and(|w| offset < w) || self.finished.contains(offset);
        if settled || self.in_flight.contains_key(&offset) {
            return (Admission::Finished, gone);
        }
        self.in_flight.insert(offset, Instant::now());
        (Admission::New(self.epoch), gone)
    }

    pub(super) fn settle(&mut self, offset: i64, outcome: Outcome) -> bool {
        if self.in_flight.remove(&offset).is_none() {
            return false;
        }
        if outcome != Outcome::Abandoned {
            self.failed.remove(&offset);
            self.finish(offset, offset + 1);
        }
        true
    }

    /// A write that was confirmed after its epoch had ended is in its topic all the same.
    pub(super) fn settle_late(&mut self, offset: i64, outcome: Outcome) -> bool {
        let settled = self.watermark.is_none_or(|w| offset < w) || self.finished.contains(offset);
        if outcome == Outcome::Abandoned || settled || self.in_flight.contains_key(&offset) {
            return false;
        }
        self.failed.remove(&offset);
        self.finish(offset, offset + 1);
        true
    }

    pub(super) fn finish(&mut self, start: i64, end: i64) {
        self.finished.insert(start, end);
        self.version += 1;
        self.advance();
    }

    pub(super) fn advance(&mut self) {
        if let Some(watermark) = self.watermark {
            let watermark = self.finished.advance(watermark);
            self.watermark = Some(watermark);
            // What lies below is settled, or was deleted unread.
            while (self.failed.first_key_value()).is_some_and(|(offset, _)| *offset < watermark) {
                self.failed.pop_first();
            }
        }
    }

    /// Goes on after a suspension, where everything that `committed` knows as settled is known as
    /// settled here: then nobody else has worked on the partition.
    pub(super) fn resume(&mut self, committed: &Self) -> bool {
        let (Some(ours), Some(theirs)) = (self.watermark, committed.watermark) else {
            return false;
        };
        let known = theirs <= ours && committed.finished.is_within(&self.finished, ours);
        if !self.suspended || !known {
            return false;
        }
        self.suspended = false;
        // The source begins at or below the watermark.
        self.seeking = false;
        self.version += 1;
        true
    }

    pub(super) fn position(&mut self) -> Option<Position> {
        let offset = self.watermark?;
        let (metadata, full) = self.finished.encode(offset);
        Some(Position {
            offset,
            metadata,
            full,
        })
    }

    pub(super) fn rewind(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.in_flight.clear();
        // Below the cursor the watermark is a record that was in flight: it must come again. A
        // seek that an earlier rewind asked for is still due.
        self.seeking |= self.watermark < self.cursor;
        self.cursor = self.watermark;
    }
}
