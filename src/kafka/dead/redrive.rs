//! Gives originals back to the input topic.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use vila2_actors::error::Reason;

use super::{
    claim::Claim,
    positions::{GIVEN_UP, Mark, Positions, classes},
    scan::{Scan, mark, positions},
};
use crate::kafka::{
    Error, KafkaSettings,
    feeder::Feeder,
    read::{Received, bounds, read_to_end},
};

/// Letters between two commits of the position.
pub const BATCH: usize = 500;
/// Letters between two polls of the group: a member that does not poll is thrown out.
const KEEP_ALIVE: u64 = 1_000;
/// How long the confirmations of a batch may take.
const CONFIRM: Duration = Duration::from_secs(60);
/// Headers of a letter that were the original's, or that continue its trace.
const KEPT: [&str; 2] = ["traceparent", "tracestate"];

/// What to give back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Letters of one reason; `None`: of all.
    pub reason: Option<Reason>,
    /// What came back too often, instead of what did not.
    pub given_up: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Letters by reason (or `given_up`).
    pub by_reason: BTreeMap<&'static str, u64>,
    /// Letters that still wait, by reason: not asked for, or a signal came.
    pub left: BTreeMap<&'static str, u64>,
    /// Whether a signal ended it.
    pub stopped: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many letters were looked at.
    Looked(u64),
    /// So many are to be given back.
    Found(u64),
    /// So many were, confirmed and noted.
    Given(u64),
}

/// Gives letters back, each once. Blocks; `stop` ends it after the batch under way.
///
/// # Errors
/// The broker's, another call at work, a write that was not confirmed. What was confirmed and
/// committed until then is not sent again.
pub fn redrive(
    settings: &KafkaSettings,
    wanted: Wanted,
    stop: &AtomicBool,
    mut tell: impl FnMut(Step),
) -> Result<Redriven, Error> {
    let claim = if wanted.dry_run {
        None
    } else {
        let partitions = bounds(settings, &settings.topics.dead)?.len();
        Some(Claim::take(settings, partitions)?)
    };
    // Read while nobody else can move them.
    let mut at = positions(settings)?;
    let scan = Scan::read(settings, &mut at, |read| {
        if read.is_multiple_of(KEEP_ALIVE) {
            tell(Step::Looked(read));
            if let Some(claim) = &claim {
                claim.is_held();
            }
        }
        !stop.load(Ordering::Relaxed)
    })?;
    let waiting = scan.waiting(&at);
    let asked = |class: &str| wanted.asks_for(class);
    let chosen: BTreeMap<_, _> = waiting
        .iter()
        .filter(|(_, class)| asked(class))
        .map(|(place, class)| (*place, *class))
        .collect();
    let mut redriven = Redriven::default();
    for class in waiting.values().filter(|class| !asked(class)) {
        *redriven.left.entry(class).or_default() += 1;
    }
    tell(Step::Found(chosen.len() as u64));
    let Some(claim) = claim else {
        for class in chosen.values() {
            *redriven.by_reason.entry(class).or_default() += 1;
        }
        return Ok(redriven);
    };
    let work = Work {
        settings,
        claim,
        at,
        chosen,
        classes: classes().filter(|class| asked(class)).collect(),
    };
    let empty = Scan::empty_classes(&waiting);
    work.run(&scan, &empty, redriven, stop, &mut tell)
}

impl Wanted {
    fn asks_for(&self, class: &str) -> bool {
        match (self.given_up, self.reason) {
            (true, _) => class == GIVEN_UP,
            (false, Some(reason)) => class == reason.as_str(),
            (false, None) => class != GIVEN_UP,
        }
    }
}

struct Work<'a> {
    settings: &'a KafkaSettings,
    claim: Claim,
    at: BTreeMap<i32, Positions>,
    chosen: BTreeMap<(i32, i64), &'static str>,
    classes: Vec<&'static str>,
}

impl Work<'_> {
    fn run(
        mut self,
        scan: &Scan,
        empty: &[&'static str],
        mut redriven: Redriven,
        stop: &AtomicBool,
        tell: &mut impl FnMut(Step),
    ) -> Result<Redriven, Error> {
        let mut feeder = Feeder::new(self.settings, &self.settings.topics.images)?;
        let (mut batch, mut given) = (Vec::new(), 0);
        let mut fault = None;
        if !self.chosen.is_empty() && !stop.load(Ordering::Relaxed) {
            let from = self.stretch(scan);
            let topic = &self.settings.topics.dead;
            let mut read = 0_u64;
            read_to_end(self.settings, topic, &from, |letter| {
                read += 1;
                if read.is_multiple_of(KEEP_ALIVE) {
                    self.claim.is_held();
                }
                let place = (letter.partition, letter.offset);
                let Some(class) = self.chosen.get(&place) else {
                    return true;
                };
                if let Err(error) = give(&mut feeder, &letter) {
                    fault = Some(error);
                    return false;
                }
                batch.push((letter.partition, mark(&letter), *class));
                if batch.len() < BATCH {
                    return true;
                }
                match note(
                    &self.claim,
                    &feeder,
                    &mut self.at,
                    &self.classes,
                    &mut batch,
                    &mut redriven,
                ) {
                    Ok(count) => given += count,
                    Err(error) => fault = Some(error),
                }
                tell(Step::Given(given));
                fault.is_none() && !stop.load(Ordering::Relaxed)
            })?;
        }
        if fault.is_none() {
            given += note(
                &self.claim,
                &feeder,
                &mut self.at,
                &self.classes,
                &mut batch,
                &mut redriven,
            )?;
            tell(Step::Given(given));
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        redriven.stopped = stop.load(Ordering::Relaxed);
        if redriven.stopped {
            let sent: BTreeMap<_, _> = redriven.by_reason.clone();
            for class in self.chosen.values() {
                *redriven.left.entry(class).or_default() += 1;
            }
            for (class, count) in sent {
                redriven.left.entry(class).and_modify(|left| *left -= count);
            }
            redriven.left.retain(|_, left| *left > 0);
            return Ok(redriven);
        }
        // Nothing of these is left below the end that was looked at.
        for (partition, (_, end)) in &scan.ends {
            let at = self.at.entry(*partition).or_default();
            for class in self.classes.iter().chain(empty) {
                at.advance(class, *end);
            }
            if let Some(&last) = scan.last.get(partition) {
                at.remember(last);
            }
        }
        self.claim.commit(&self.at)?;
        Ok(redriven)
    }

    /// From the first letter to the one after the last, per partition.
    fn stretch(&self, scan: &Scan) -> BTreeMap<i32, (i64, i64)> {
        let partitions: BTreeSet<i32> = self
            .chosen
            .keys()
            .map(|(partition, _)| *partition)
            .collect();
        partitions
            .into_iter()
            .filter_map(|partition| {
                let mut places = self
                    .chosen
                    .range((partition, 0)..=(partition, i64::MAX))
                    .map(|((_, offset), _)| *offset);
                let first = places.next()?;
                let last = places.next_back().unwrap_or(first);
                scan.ends
                    .contains_key(&partition)
                    .then_some((partition, (first, last + 1)))
            })
            .collect()
    }
}

/// Hands an original over: its key, its value, its trace.
fn give(feeder: &mut Feeder, letter: &Received) -> Result<(), Error> {
    let headers: Vec<_> = KEPT
        .into_iter()
        .filter_map(|name| Some((name, letter.header(name)?)))
        .collect();
    feeder.send(letter.key.as_deref(), letter.value.as_deref(), &headers)
}

/// Waits for the confirmations of a batch, then moves and commits the positions.
fn note(
    claim: &Claim,
    feeder: &Feeder,
    at: &mut BTreeMap<i32, Positions>,
    classes: &[&'static str],
    batch: &mut Vec<(i32, Mark, &'static str)>,
    redriven: &mut Redriven,
) -> Result<u64, Error> {
    if batch.is_empty() {
        return Ok(0);
    }
    feeder.settle(CONFIRM)?;
    let count = batch.len() as u64;
    for (partition, letter, class) in batch.drain(..) {
        *redriven.by_reason.entry(class).or_default() += 1;
        let at = at.entry(partition).or_default();
        // Letters come in order: all chosen ones of the partition below are behind us.
        for class in classes {
            at.advance(class, letter.offset + 1);
        }
        at.remember(letter);
    }
    claim.commit(at)?;
    Ok(count)
}
