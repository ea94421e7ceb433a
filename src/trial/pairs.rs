//! Two configurations on the same pictures.

use rand_pcg::{Pcg64, rand_core::Rng as _};
use serde::{Deserialize, Serialize};

use super::{Record, Sampled, pace, shares::Counted};
use crate::stats::{self, Estimate};

/// Whether the text of the second stands on the left: a coin for each picture.
#[must_use]
pub fn is_turned(seed: u64, ordinal: u64) -> bool {
    Pcg64::new(u128::from(seed), u128::from(ordinal)).next_u64() & 1 == 1
}

/// One figure of both, and the difference on the pictures that both captioned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// That of the first.
    pub a: f64,
    /// That of the second.
    pub b: f64,
    /// Second minus first, with its 95 % interval (bootstrap over pictures).
    pub difference: Estimate,
}

/// Two configurations, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Pictures that both captioned: everything but time and dead letters is of these.
    pub both: u64,
    /// Words of the merged text, on average.
    pub words: Option<Paired>,
    /// Clauses with evidence, as a share of all clauses.
    pub grounded: Option<Paired>,
    /// Statements of a caption that something contradicts, on average; `None` where the records do
    /// not say.
    pub contradictions: Option<Paired>,
    /// The share of captions that ended for want of tokens (`finish` is `length`).
    pub truncated: Option<Paired>,
    /// The share of captions that were cut because they began to repeat themselves.
    pub repeated: Option<Paired>,
    /// The share of captions that begin as a refusal.
    pub refusals: Option<Paired>,
    /// The share of captions of which no clause has any evidence.
    pub unverified: Option<Paired>,
    /// Seconds for each captioned picture once the chain is full, each alone on the machine; the
    /// interval is that of two separate runs.
    pub seconds: Option<Paired>,
    /// Dead letters of the first.
    pub dead_a: Counted,
    /// Dead letters of the second.
    pub dead_b: Counted,
    /// Pictures that the first alone captioned.
    pub only_a: u64,
    /// Pictures that the second alone captioned.
    pub only_b: u64,
}

impl Comparison {
    /// That of two runs over the same sample.
    #[must_use]
    pub fn of(a: &Sampled, b: &Sampled, seed: u64) -> Self {
        let both: Vec<_> = (a.captions.iter())
            .filter_map(|(ordinal, one)| Some((one, b.captions.get(ordinal)?)))
            .collect();
        let ratio = |top: fn(&Record) -> usize, bottom: fn(&Record) -> usize| {
            paired(&both, seed, top, bottom)
        };
        let share = |has: fn(&Record) -> bool| {
            paired(&both, seed, |record| usize::from(has(record)), |_| 1)
        };
        let is_disputed = |record: &Record| record.disputed.is_some();
        let told = both.iter().any(|(a, b)| is_disputed(a) || is_disputed(b));
        Self {
            both: both.len() as u64,
            words: ratio(Record::words, |_| 1),
            grounded: ratio(Record::supported, |record| record.clauses),
            contradictions: ratio(|record| record.disputed.unwrap_or(0), |_| 1).filter(|_| told),
            truncated: share(Record::is_truncated),
            repeated: share(Record::is_repeated),
            refusals: share(Record::is_refused),
            unverified: share(Record::is_unverified),
            seconds: seconds(a, b),
            dead_a: Counted::new(a.dead.len() as u64, a.asked),
            dead_b: Counted::new(b.dead.len() as u64, b.asked),
            only_a: a.captions.len() as u64 - both.len() as u64,
            only_b: b.captions.len() as u64 - both.len() as u64,
        }
    }
}

fn paired(
    both: &[(&Record, &Record)],
    seed: u64,
    top: impl Fn(&Record) -> usize,
    bottom: impl Fn(&Record) -> usize,
) -> Option<Paired> {
    if both.is_empty() {
        return None;
    }
    let figure = |indices: &[usize], second: bool| {
        let (mut tops, mut bottoms) = (0.0, 0.0);
        for &index in indices {
            let (a, b) = both[index];
            let record = if second { b } else { a };
            tops += top(record) as f64;
            bottoms += bottom(record) as f64;
        }
        if bottoms > 0.0 { tops / bottoms } else { 0.0 }
    };
    let all: Vec<usize> = (0..both.len()).collect();
    Some(Paired {
        a: figure(&all, false),
        b: figure(&all, true),
        difference: stats::bootstrap(both.len(), seed, |indices| {
            figure(indices, true) - figure(indices, false)
        }),
    })
}

fn seconds(a: &Sampled, b: &Sampled) -> Option<Paired> {
    let pace_of = |sampled: &Sampled| pace::pace(&sampled.timed(), sampled.seconds);
    let (a, b) = (pace_of(a)?, pace_of(b)?);
    let (one, other) = (a.seconds.value, b.seconds.value);
    let half = stats::Z * (a.error * one).hypot(b.error * other);
    Some(Paired {
        a: one,
        b: other,
        difference: Estimate {
            value: other - one,
            low: other - one - half,
            high: other - one + half,
        },
    })
}
