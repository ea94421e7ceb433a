//! Records out of a topic, by one process or by several that share its partitions.
//!
//! Every partition has shards of its own, numbered partition × 1000 + n. How far it is, the next
//! number and the counts are committed together, as the group's position and its note, and only
//! when everything before that position is in whole shards or left out by a reason: whoever goes
//! on begins there, and writes a shard that was not committed once more under the same number.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Error, Fetching, Note, OutFolder, Reason, Record, Report, Request, index,
    shards::Shards,
    sink,
    work::{Place, Rounds, Safe, Work},
};
use crate::kafka::{
    KafkaSettings,
    read::{self, Received},
    share::{Committed, Event, Share},
};

/// How long a poll waits.
const POLL: Duration = Duration::from_millis(200);
/// How often it is looked how far the others are.
const LOOK: Duration = Duration::from_secs(1);
/// How often a person hears that others are waited for.
const SAY: Duration = Duration::from_secs(10);
/// How long a commit that was not taken waits for the next attempt.
const AGAIN: Duration = Duration::from_millis(500);
/// Records of a partition in which a second delivery of one is looked for: more than an engine has
/// in flight when it is killed.
const WINDOW: i64 = 10_000;

/// The topic.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The cluster.
    pub settings: KafkaSettings,
    /// The topic's name.
    pub name: String,
    /// Who shares it; `None`: the folder has a group of its own.
    pub group: Option<String>,
}

/// What is committed beside a position.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Beside {
    /// The next shard.
    shard: Option<u64>,
    /// What came of all records before the position.
    #[serde(default)]
    report: Report,
}

impl Beside {
    /// A note that is none of ours counts as none.
    fn of(committed: &Committed) -> Self {
        let text = committed.as_ref().map_or("", |(_, text)| text);
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// Exports what is in a topic now. What several processes make is whole when the last one ends;
/// each stays until then, and takes over where another one dies. Returns the counts of all of them
/// and of earlier runs.
///
/// # Errors
/// See [`Error`]. The same again goes on.
pub fn run(
    topic: &Topic,
    request: &Request,
    out: &Path,
    fetching: Fetching,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Note<'_>),
) -> Result<Report, Error> {
    request.check()?;
    let bounds = read::bounds(&topic.settings, &topic.name)?;
    for partition in bounds.keys() {
        Shards::of_partition(out, request, *partition, None)?;
    }
    let mut asked = request.note(&format!("kafka:{}", topic.name));
    asked["group"] = json!(topic.group);
    let (folder, group) = OutFolder::go_on(out, asked)?;
    let mut work = Work::new(request, fetching, Vec::new(), tell);
    work.tell(Note::Group(&group));
    let mut sharing = Sharing {
        share: Share::join(&topic.settings, &topic.name, &group)?,
        all: bounds.keys().copied().collect(),
        topic,
        request,
        out,
        bounds,
        work,
        mine: BTreeMap::new(),
        said: Instant::now(),
    };
    let mut looked: Option<Instant> = None;
    let committed = loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        sharing.step()?;
        let is_idle = sharing
            .mine
            .values()
            .all(|part| part.is_done && part.due.is_none());
        if is_idle && looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            let committed = sharing.share.committed(&sharing.all)?;
            if sharing.is_whole(&committed) {
                break committed;
            }
        }
    };
    drop(sharing);
    folder.alone(|| index(request, out))?;
    let mut report = Report::default();
    for committed in committed.values() {
        add(&mut report, Beside::of(committed).report);
    }
    folder.finish(&serde_json::to_value(&report).unwrap_or_default())?;
    Ok(report)
}

fn add(sum: &mut Report, one: Report) {
    sum.read += one.read;
    sum.written += one.written;
    sum.samples += one.samples;
    sum.shards += one.shards;
    sum.without_original += one.without_original;
    sum.clauses_left_out += one.clauses_left_out;
    for (reason, count) in one.left_out {
        *sum.left_out.entry(reason).or_default() += count;
    }
}

/// One process's share of the work.
struct Sharing<'a> {
    topic: &'a Topic,
    request: &'a Request,
    out: &'a Path,
    /// First offset and end of each partition, as they were at the beginning.
    bounds: BTreeMap<i32, (i64, i64)>,
    all: Vec<i32>,
    share: Share,
    work: Work<'a>,
    mine: BTreeMap<i32, Part>,
    said: Instant,
}

/// A partition of ours.
struct Part {
    /// Records before it were exported before.
    from: i64,
    end: i64,
    seen: Seen,
    /// Everything up to `end` is settled and committed.
    is_done: bool,
    /// The shard of the last commit.
    shard: u64,
    /// What is to be committed, and not before when.
    due: Option<(Safe, Instant)>,
}

impl Sharing<'_> {
    fn step(&mut self) -> Result<(), Error> {
        match self.share.next(POLL)? {
            Event::Assigned(partitions) => self.begin(&partitions)?,
            Event::Revoked(partitions) => {
                for partition in &partitions {
                    self.commit(*partition, true)?;
                    self.work.drop_lane(*partition);
                    self.mine.remove(partition);
                }
                self.share.give_back(&partitions)?;
            }
            Event::Record(record) => self.take(&record)?,
            Event::End(partition) => self.end(partition)?,
            Event::Nothing => while self.work.settle()? {},
        }
        let mine: Vec<_> = self.mine.keys().copied().collect();
        for partition in mine {
            self.commit(partition, false)?;
        }
        Ok(())
    }

    fn begin(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let committed = self.share.committed(partitions)?;
        let mut starts = BTreeMap::new();
        for (&partition, committed) in &committed {
            // A partition that came after the beginning is for the next run.
            let (first, end) = self.bounds.get(&partition).copied().unwrap_or_default();
            let beside = Beside::of(committed);
            let shards = Shards::of_partition(self.out, self.request, partition, beside.shard)?;
            let position = committed.as_ref().map_or(first, |(offset, _)| *offset);
            // A position beyond the end is of a topic that was made anew.
            let from = if position > end {
                first
            } else {
                position.max(first)
            };
            let part = Part {
                from,
                end,
                seen: Seen::default(),
                is_done: from >= end,
                shard: shards.number(),
                due: None,
            };
            let newest = self.rounds(partition, (first, end))?;
            let sink = sink(self.request, self.out, shards);
            self.work.begin(partition, sink, newest, beside.report);
            starts.insert(partition, first.max(from - WINDOW));
            self.mine.insert(partition, part);
        }
        self.share.take(&starts)?;
        for partition in starts.into_keys().filter(|at| self.mine[at].is_done) {
            self.share.rest(partition)?;
        }
        Ok(())
    }

    /// The newest rounds of a partition: records of one id are in one partition.
    fn rounds(&self, partition: i32, stretch: (i64, i64)) -> Result<Option<Rounds>, Error> {
        if !self.request.newest_round {
            return Ok(None);
        }
        let mut rounds = Rounds::default();
        let (settings, name) = (&self.topic.settings, &self.topic.name);
        read::read_to_end(
            settings,
            name,
            &BTreeMap::from([(partition, stretch)]),
            |received| {
                let value = received.value.as_deref().unwrap_or_default();
                if let Ok(record) = Record::parse(value) {
                    rounds.add(&record);
                }
                true
            },
        )?;
        Ok(Some(rounds))
    }

    fn take(&mut self, received: &Received) -> Result<(), Error> {
        let (partition, offset) = (received.partition, received.offset);
        let Some(part) = self.mine.get_mut(&partition) else {
            return Ok(());
        };
        if part.is_done || offset >= part.end {
            return self.end(partition);
        }
        let is_again =
            (received.header("vila2-source")).is_some_and(|source| part.seen.has(source));
        // A tombstone is no record.
        if let (true, Some(value)) = (offset >= part.from, &received.value) {
            let place = Place {
                lane: partition,
                ordinal: u64::try_from(partition).unwrap_or_default() * 1_000_000_000_000
                    + u64::try_from(offset).unwrap_or_default(),
                after: offset + 1,
            };
            match Record::parse(value) {
                _ if is_again => self.work.leave_out(place, Reason::Redelivered)?,
                Ok(record) => self.work.take(record, place)?,
                Err(problem) => {
                    let id = format!("{} {partition}/{offset}", self.topic.name);
                    self.work.tell(Note::LeftOut {
                        id: &id,
                        why: &problem,
                    });
                    self.work.leave_out(place, Reason::NoRecord)?;
                }
            }
        }
        if offset + 1 >= self.mine[&partition].end {
            self.end(partition)?;
        }
        Ok(())
    }

    /// A partition is at its end: its last shard is whole, however small.
    fn end(&mut self, partition: i32) -> Result<(), Error> {
        let Some(part) = self.mine.get_mut(&partition).filter(|part| !part.is_done) else {
            return Ok(());
        };
        let report = self.work.end(partition)?;
        let safe = self.work.take_safe(partition);
        let shard = safe.map_or(part.shard, |safe| safe.shard);
        let safe = Safe {
            after: part.end,
            shard,
            report,
        };
        part.due = Some((safe, Instant::now()));
        part.is_done = true;
        self.share.rest(partition)?;
        Ok(())
    }

    /// Commits what is due; at the last moment also what is not.
    fn commit(&mut self, partition: i32, is_last: bool) -> Result<(), Error> {
        let Some(part) = self.mine.get_mut(&partition) else {
            return Ok(());
        };
        if let Some(safe) = self.work.take_safe(partition).filter(|_| !part.is_done)
            && (is_last || safe.shard > part.shard)
        {
            part.due = Some((safe, Instant::now()));
        }
        let Some((safe, when)) = &part.due else {
            return Ok(());
        };
        if !is_last && *when > Instant::now() {
            return Ok(());
        }
        let beside = Beside {
            shard: Some(safe.shard),
            report: safe.report.clone(),
        };
        let beside = serde_json::to_string(&beside).unwrap_or_default();
        if self.share.commit(partition, safe.after, &beside)? {
            part.shard = safe.shard;
            part.due = None;
        } else if let Some((_, when)) = &mut part.due {
            *when = Instant::now() + AGAIN;
        }
        Ok(())
    }

    /// Whether the group is at the end of every partition; says now and then who is not.
    fn is_whole(&mut self, committed: &BTreeMap<i32, Committed>) -> bool {
        let is_behind = |partition: &&i32| {
            let (first, end) = self.bounds[*partition];
            let at = committed.get(*partition).and_then(|at| at.as_ref());
            at.map_or(first, |(offset, _)| *offset).max(first) < end
        };
        let behind: Vec<_> = (self.all.iter())
            .filter(is_behind)
            .map(i32::to_string)
            .collect();
        if !behind.is_empty() && self.said.elapsed() >= SAY {
            self.said = Instant::now();
            let text = format!(
                "waiting for others of the group: partition {} not at the end yet",
                behind.join(", ")
            );
            self.work.tell(Note::Waiting(&text));
        }
        behind.is_empty()
    }
}

/// The newest sources of a partition.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    all: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Seen {
    /// Whether it was seen before; it is from now on.
    fn has(&mut self, source: &str) -> bool {
        let hash = self.hasher.hash_one(source);
        if !self.all.insert(hash) {
            return true;
        }
        self.order.push_back(hash);
        if self.order.len() as i64 > WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        false
    }
}
