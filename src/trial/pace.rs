//! How fast the chain is once it is full, from when each record was in which stage.
//!
//! Some resource is what everything else waits for: the model that is busy for longest, or a stage
//! that needs no model. A model takes some records at a time; while its places are taken, work gets
//! done at the rate of a long run, and a record takes its own time in a place, divided by the places
//! taken. How many these are is measured from when they fill up for the first time until they empty
//! for the last time; before and after, the chain fills up and runs empty.

use std::collections::BTreeMap;

use super::Record;
use crate::stats::{self, Estimate};

/// Places taken, as a share of those that usually are, from which on the resource counts as full.
const FULL: f64 = 0.75;
/// The least share of the work that must have been done while the resource was full.
const ENOUGH: f64 = 0.3;
/// Stretches of time whose rates are compared, at most, and records in each, at least.
const STRETCHES: usize = 10;
const IN_STRETCH: f64 = 4.0;

/// How much more than by its pictures a sample must vary with time for the machine to be uneven:
/// with ten stretches, chance alone gets there in one of ten samples.
const UNEVEN: f64 = 1.3;

/// The relative standard deviation of a machine's own speed from one short stretch of time to the
/// next, and the seconds over which it is much the same. A virtual machine has neighbours: of ten
/// samples of 1.5 to 1.9 s on two such cores, each right before the 2,000 pictures it was drawn of,
/// the long run took 0.85 to 1.19 times the forecast, where the pictures explain 0.04.
const DRIFT: f64 = 0.11;
const MEMORY: f64 = 5.0;

/// The pace of a long run.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Seconds for each captioned record, one after the other.
    pub seconds: Estimate,
    /// The relative standard error of `seconds`.
    pub error: f64,
    /// The relative standard deviation of one record's part in it.
    pub spread: f64,
    /// What everything else waits for: the stages it answers, in order.
    pub waits_for: Vec<String>,
    /// The share of the work that was measured while it was full.
    pub measured: f64,
    /// Whether that was enough; if not, `seconds` is that of the whole sample, its beginning and end
    /// included: more than a long run takes.
    pub is_steady: bool,
}

/// A stretch of time in which a record held a place.
struct Held {
    record: usize,
    from: f64,
    to: f64,
}

/// The pace of records that ended `ended` seconds after the beginning each; `whole` is how long all
/// of it took. `None`: nothing was captioned.
#[must_use]
pub fn pace(records: &[(f64, &Record)], whole: f64) -> Option<Pace> {
    if records.is_empty() {
        return None;
    }
    let resources = resources(records);
    let (stages, held) = resources
        .into_iter()
        .max_by(|(_, one), (_, other)| busy(one).total_cmp(&busy(other)))?;
    let work = work_of(&held, records.len());
    let all = records.len() as f64;
    let spread = relative(&work);
    // Of few records the spread itself is uncertain.
    let by_records = spread / all.sqrt() * stats::student(records.len() - 1) / stats::Z;
    let (from, to) = full(&held);
    let done = done(&held, &work, from, to);
    let is_steady = done >= ENOUGH * all && to > from;
    let (seconds, by_time) = if is_steady {
        // By Little's law. Records done within the time would be too many: at its end, those with
        // much work are still at it.
        let seconds = stats::mean(&work) / places(&held, from, to);
        (seconds, over_time(&held, &work, (from, to), done))
    } else {
        (whole / all, 0.0)
    };
    // Pictures alone make some stretches slower than others. Only where they differ by more than
    // that, the machine itself was uneven.
    let error = if by_time > UNEVEN * by_records {
        by_time
    } else {
        by_records
    };
    let watched = if is_steady { to - from } else { whole };
    let error = error.hypot(drift(watched));
    Some(Pace {
        seconds: within(seconds, error),
        error,
        spread,
        waits_for: stages,
        measured: done / all,
        is_steady,
    })
}

/// How far a machine's speed while it was watched, for so many seconds, is from that of a long run.
fn drift(watched: f64) -> f64 {
    DRIFT / (1.0 + watched.max(0.0) / MEMORY).sqrt()
}

fn within(value: f64, error: f64) -> Estimate {
    let half = stats::Z * error;
    Estimate {
        value,
        low: value * (1.0 - half).max(0.0),
        high: value * (1.0 + half),
    }
}

/// Who held what when. Stages that one model answers are one resource.
fn resources(records: &[(f64, &Record)]) -> Vec<(Vec<String>, Vec<Held>)> {
    let mut resources: BTreeMap<String, (Vec<String>, Vec<Held>)> = BTreeMap::new();
    for (index, (ended, record)) in records.iter().enumerate() {
        let mut at = ended - record.total_ms / 1000.0;
        for step in &record.steps {
            let from = at + step.queue_ms / 1000.0;
            let to = from + step.work_ms / 1000.0;
            at = to;
            let (stages, held) = resources.entry(step.resource().to_owned()).or_default();
            if !stages.contains(&step.stage) {
                stages.push(step.stage.clone());
            }
            held.push(Held {
                record: index,
                from,
                to,
            });
        }
    }
    resources.into_values().collect()
}

/// Seconds of each record in a resource.
fn work_of(held: &[Held], records: usize) -> Vec<f64> {
    let mut work = vec![0.0; records];
    for held in held {
        work[held.record] += held.to - held.from;
    }
    work
}

fn relative(values: &[f64]) -> f64 {
    let mean = stats::mean(values);
    if mean > 0.0 {
        stats::deviation(values) / mean
    } else {
        0.0
    }
}

/// Stretches with the places taken in each, in order.
fn profile(held: &[Held]) -> Vec<(f64, f64, usize)> {
    let mut turns: Vec<(f64, bool)> = Vec::with_capacity(held.len() * 2);
    for held in held {
        turns.push((held.from, true));
        turns.push((held.to, false));
    }
    // At one and the same moment, who leaves leaves first.
    turns.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let mut taken = 0_usize;
    let mut stretches = Vec::with_capacity(turns.len());
    for pair in turns.windows(2) {
        taken = if pair[0].1 {
            taken + 1
        } else {
            taken.saturating_sub(1)
        };
        if pair[1].0 > pair[0].0 {
            stretches.push((pair[0].0, pair[1].0, taken));
        }
    }
    stretches
}

/// How long a resource had anything to do.
fn busy(held: &[Held]) -> f64 {
    profile(held)
        .iter()
        .filter(|(_, _, taken)| *taken > 0)
        .map(|(from, to, _)| to - from)
        .sum()
}

/// From when until when the places were taken.
fn full(held: &[Held]) -> (f64, f64) {
    let stretches = profile(held);
    // The places that are usually taken: more than are taken for nine tenths of the time.
    let mut by_taken: BTreeMap<usize, f64> = BTreeMap::new();
    for (from, to, taken) in &stretches {
        *by_taken.entry(*taken).or_default() += to - from;
    }
    by_taken.remove(&0);
    let whole: f64 = by_taken.values().sum();
    let mut below = 0.0;
    let mut usual = 1;
    for (taken, seconds) in &by_taken {
        below += seconds;
        usual = *taken;
        if below >= 0.9 * whole {
            break;
        }
    }
    let enough = (usual as f64 * FULL).ceil() as usize;
    let is_full = |stretch: &&(f64, f64, usize)| stretch.2 >= enough;
    let first = stretches.iter().find(is_full);
    let last = stretches.iter().rev().find(is_full);
    match (first, last) {
        (Some(first), Some(last)) => (first.0, last.1),
        _ => (0.0, 0.0),
    }
}

/// Places taken between two moments, on average.
fn places(held: &[Held], from: f64, to: f64) -> f64 {
    let taken = |held: &Held| (held.to.min(to) - held.from.max(from)).max(0.0);
    held.iter().map(taken).sum::<f64>() / (to - from)
}

/// Records' worth of work between two moments.
fn done(held: &[Held], work: &[f64], from: f64, to: f64) -> f64 {
    held.iter()
        .map(|held| {
            let inside = held.to.min(to) - held.from.max(from);
            let whole = work[held.record];
            if whole > 0.0 {
                inside.max(0.0) / whole
            } else {
                0.0
            }
        })
        .sum()
}

/// The relative standard error by how the rate goes up and down from one stretch to the next.
fn over_time(held: &[Held], work: &[f64], (from, to): (f64, f64), all: f64) -> f64 {
    let count = ((all / IN_STRETCH) as usize).min(STRETCHES);
    if count < 2 {
        return 0.0;
    }
    let length = (to - from) / count as f64;
    let rates: Vec<f64> = (0..count)
        .map(|nth| {
            let from = from + length * nth as f64;
            done(held, work, from, from + length)
        })
        .collect();
    let mean = stats::mean(&rates);
    if mean <= 0.0 {
        return 0.0;
    }
    // Of neighbours only: an input that begins with small pictures is no uneven machine.
    let steps: f64 = (rates.windows(2))
        .map(|pair| (pair[1] - pair[0]).powi(2))
        .sum();
    let deviation = (steps / (2.0 * (count - 1) as f64)).sqrt();
    deviation / mean / (count as f64).sqrt()
}
