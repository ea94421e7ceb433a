//! From a sample to the whole input.
//!
//! What the sample showed is known; the rest is the sample's pace, shares and sizes, times what is
//! left. So the intervals narrow to nothing as the sample grows to everything. Two things are random
//! there: which pictures the sample has, and how fast the machine is while it works, in the sample
//! and after it. The loading of models, and the time until the chain is full, come once and are not
//! multiplied.

use serde::{Deserialize, Serialize};

use super::{
    Sampled, Written,
    pace::{self, Pace},
};
use crate::stats::{self, Estimate};

/// Rows of one Parquet file of `caption --out`.
const ROWS: u64 = 10_000;

/// What the whole input will take and give, with 95 % intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Inputs in all.
    pub inputs: u64,
    /// Those of the sample.
    pub sample: u64,
    /// Hours of one process on this machine, models loaded; `None`: nothing was captioned.
    pub hours: Option<Estimate>,
    /// What they cost, where an hour's price is given.
    pub price: Option<Estimate>,
    /// That price.
    pub price_per_hour: Option<f64>,
    /// Seconds for each captioned picture, once the chain is full.
    pub seconds_per_caption: Option<Estimate>,
    /// The stages that everything else waited for.
    pub waits_for: Vec<String>,
    /// Whether the sample filled the chain; if not, `hours` is what it takes at most, and its
    /// interval begins at the time the sample took.
    pub is_steady: bool,
    /// The share of the sample's work that the pace is measured on.
    pub measured: f64,
    /// How long the sample took, in seconds, models loaded.
    pub sample_seconds: f64,
    /// Captions.
    pub captions: Estimate,
    /// Dead letters.
    pub dead: Estimate,
    /// Bytes fetched.
    pub bytes_fetched: Estimate,
    /// Bytes of Parquet written.
    pub bytes_written: Estimate,
    /// Bytes of Parquet that a caption adds.
    pub bytes_per_caption: f64,
}

impl Forecast {
    /// That of a sample.
    #[must_use]
    pub fn of(sampled: &Sampled, price_per_hour: Option<f64>, seed: u64) -> Self {
        let asked = sampled.asked.max(1);
        let rest = sampled.inputs.saturating_sub(sampled.asked);
        let timed = sampled.timed();
        let pace = pace::pace(&timed, sampled.seconds);
        let hours = (pace.as_ref())
            .map(|pace| seconds(sampled, pace, timed.len() as u64, rest).times(1.0 / 3600.0));
        let captions = sampled.captions.len() as u64;
        let dead = sampled.dead.len() as u64;
        let ahead = |hits: u64| {
            stats::wilson_ahead(hits, asked, rest)
                .times(rest as f64)
                .plus(hits as f64)
        };
        let expected = ahead(captions);
        Self {
            inputs: sampled.inputs,
            sample: sampled.asked,
            price: price_per_hour.and_then(|price| hours.map(|hours| hours.times(price))),
            hours,
            price_per_hour,
            seconds_per_caption: pace.as_ref().map(|pace| pace.seconds),
            waits_for: pace
                .as_ref()
                .map(|pace| pace.waits_for.clone())
                .unwrap_or_default(),
            is_steady: pace.as_ref().is_some_and(|pace| pace.is_steady),
            measured: pace.as_ref().map_or(0.0, |pace| pace.measured),
            sample_seconds: sampled.seconds,
            captions: expected,
            dead: ahead(dead),
            bytes_fetched: fetched(sampled, rest, seed),
            bytes_written: written(sampled, expected, seed),
            bytes_per_caption: sampled.written.row,
        }
    }
}

/// What the sample took, and the pace times what is left.
fn seconds(sampled: &Sampled, pace: &Pace, captioned: u64, rest: u64) -> Estimate {
    if rest == 0 {
        return Estimate::exact(sampled.seconds);
    }
    let (asked, rest) = (sampled.asked.max(1) as f64, rest as f64);
    // Of the rest, as many are captioned as of the sample: also a share that is not exactly known.
    let share = (captioned as f64 / asked).min(1.0);
    let uncertain_share = (1.0 - share) / share * (1.0 / asked + 1.0 / rest);
    let left = rest * share;
    let error = pace.error.powi(2) + pace.spread.powi(2) / left + uncertain_share;
    let half = stats::Z * error.sqrt();
    let value = left * pace.seconds.value;
    let low = if pace.is_steady {
        value * (1.0 - half).max(0.0)
    } else {
        0.0
    };
    Estimate {
        value,
        low,
        high: value * (1.0 + half),
    }
    .plus(sampled.seconds)
}

fn fetched(sampled: &Sampled, rest: u64, seed: u64) -> Estimate {
    let mut sizes: Vec<f64> = sampled
        .fetched
        .values()
        .map(|bytes| *bytes as f64)
        .collect();
    let known = sizes.iter().sum();
    // Nothing was fetched of the others.
    sizes.resize(sizes.len().max(sampled.asked as usize), 0.0);
    stats::mean_of(&sizes, seed).times(rest as f64).plus(known)
}

/// Rows are as long as the sample's. How long they are on the whole is uncertain, and so is how well
/// many of them compress.
fn written(sampled: &Sampled, captions: Estimate, seed: u64) -> Estimate {
    let lengths: Vec<f64> = (sampled.captions.values())
        .map(|record| record.bytes as f64)
        .collect();
    let length = stats::mean_of(&lengths, seed);
    let relative = |end: f64| {
        if length.value > 0.0 {
            end / length.value
        } else {
            1.0
        }
    };
    let Written {
        frame,
        row,
        least,
        most,
    } = sampled.written;
    let size = |rows: f64, row: f64| (rows / ROWS as f64).ceil() * frame + rows * row;
    Estimate {
        value: size(captions.value, row),
        low: size(captions.low, least * relative(length.low)),
        high: size(captions.high, most * relative(length.high)),
    }
}
