//! What is wrong with the captions of a sample, each as a share with its interval.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Record, Sampled};
use crate::stats::{self, Estimate};

/// So many of so many, with the 95 % interval (Wilson) of their share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub hits: u64,
    /// Of how many.
    pub of: u64,
    /// Their share.
    pub share: Estimate,
}

impl Counted {
    /// So many of so many.
    #[must_use]
    pub fn new(hits: u64, of: u64) -> Self {
        Self {
            hits,
            of,
            share: stats::wilson(hits, of),
        }
    }
}

/// Shares of a sample. Those up to `unverified` are of its captions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Captions that ended for want of tokens (`finish` is `length`).
    pub truncated: Counted,
    /// Captions that were cut because they began to repeat themselves (`finish` is `repeat`).
    pub repeated: Counted,
    /// Captions whose text begins as a refusal.
    pub refused: Counted,
    /// Captions of which no clause has any evidence.
    pub unverified: Counted,
    /// The share of clauses without evidence, over all clauses of all captions; the interval is a
    /// bootstrap over captions.
    pub unverified_clauses: Estimate,
    /// Inputs that are dead letters.
    pub dead: Counted,
    /// The same by reason.
    pub dead_by_reason: BTreeMap<String, Counted>,
}

impl Shares {
    /// Those of a sample.
    #[must_use]
    pub fn of(sampled: &Sampled, seed: u64) -> Self {
        let captions = sampled.captions.len() as u64;
        let read = captions + sampled.dead.len() as u64;
        let count = |has: fn(&Record) -> bool| {
            let hits = sampled.captions.values().filter(|record| has(record));
            Counted::new(hits.count() as u64, captions)
        };
        let each = |number: fn(&Record) -> usize| -> Vec<f64> {
            (sampled.captions.values())
                .map(|record| number(record) as f64)
                .collect()
        };
        let (unverified, clauses) = (
            each(|record| record.unverified),
            each(|record| record.clauses),
        );
        Self {
            truncated: count(Record::is_truncated),
            repeated: count(Record::is_repeated),
            refused: count(Record::is_refused),
            unverified: count(Record::is_unverified),
            unverified_clauses: stats::ratio_of(&unverified, Some(&clauses), seed),
            dead: Counted::new(sampled.dead.len() as u64, read),
            dead_by_reason: (sampled.reasons().into_iter())
                .map(|(reason, hits)| (reason, Counted::new(hits, read)))
                .collect(),
        }
    }
}
