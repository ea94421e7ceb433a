//! What a sample of pictures, captioned by the real chain, says: about the text, about the whole
//! input, and about one configuration against another.

pub mod forecast;
pub mod pace;
pub mod pairs;
mod record;
pub mod shares;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
pub mod votes;

use std::collections::BTreeMap;

pub use record::{Record, Step, is_refusal};

/// A sample, done.
#[derive(Debug, Clone, Default)]
pub struct Sampled {
    /// Inputs in all.
    pub inputs: u64,
    /// Those of the sample.
    pub asked: u64,
    /// Captions by the place of their input among all, from 0 on.
    pub captions: BTreeMap<u64, Record>,
    /// Dead letters in the same way.
    pub dead: BTreeMap<u64, DeadLetter>,
    /// When each was answered, in seconds since the work began (models loaded).
    pub answered: BTreeMap<u64, f64>,
    /// Bytes that were fetched for each.
    pub fetched: BTreeMap<u64, u64>,
    /// How long all of it took, in seconds, without the loading of models.
    pub seconds: f64,
    /// The size of its rows.
    pub written: Written,
}

/// A picture without a caption.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// The input's name.
    pub input: String,
    /// One of the contract's reasons.
    pub reason: String,
    /// What happened.
    pub detail: String,
}

/// The size of a Parquet file: bytes of its frame, and bytes that each row adds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Written {
    /// Bytes of a file without its rows.
    pub frame: f64,
    /// Bytes of a row.
    pub row: f64,
    /// Those of a row among very many, at least: the more rows, the better they compress.
    pub least: f64,
    /// The same, at most.
    pub most: f64,
}

impl Written {
    /// From three files of the same kind, rows and bytes: of the first quarter of the rows, of the
    /// first half, and of all of them.
    #[must_use]
    pub fn of(quarter: (u64, u64), half: (u64, u64), all: (u64, u64)) -> Self {
        let (rows, bytes) = (all.0 as f64, all.1 as f64);
        if rows < 1.0 {
            return Self::default();
        }
        let added = |less: (u64, u64), more: (u64, u64)| {
            let rows = more.0 as f64 - less.0 as f64;
            let whole = bytes / all.0 as f64;
            if less.0 > 0 && rows > 0.0 {
                ((more.1 as f64 - less.1 as f64) / rows).clamp(0.0, whole)
            } else {
                whole
            }
        };
        let (before, row) = (added(quarter, half), added(half, all));
        let shrinks = if before > 0.0 {
            (row / before).min(1.0)
        } else {
            1.0
        };
        Self {
            frame: bytes - row * rows,
            row,
            least: row * shrinks,
            most: row.max(before),
        }
    }
}

impl Sampled {
    /// Captions with the times they came at; of pictures that repeat each other only the first,
    /// for the others cost nothing.
    #[must_use]
    pub fn timed(&self) -> Vec<(f64, &Record)> {
        let mut timed: Vec<_> = (self.captions.iter())
            .filter_map(|(ordinal, record)| Some((*self.answered.get(ordinal)?, record)))
            .collect();
        timed.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut first: Vec<(f64, &Record)> = Vec::with_capacity(timed.len());
        let mut known = std::collections::HashSet::new();
        for (at, record) in timed {
            if known.insert(record.clocked()) {
                first.push((at, record));
            }
        }
        first
    }

    /// Dead letters by reason.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<String, u64> {
        let mut reasons = BTreeMap::new();
        for letter in self.dead.values() {
            *reasons.entry(letter.reason.clone()).or_default() += 1;
        }
        reasons
    }
}
