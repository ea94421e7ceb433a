//! Records on their way into shards: each waits for its picture, in the order in which it came.
//!
//! A lane is one writer's range of shards: the whole of a folder, or one partition of a topic.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    path::PathBuf,
};

use bytes::Bytes;

use super::{
    Composed, Error, Fetching, Note, Reason, Record, Report, Request, Sink,
    pictures::{Loading, Pictures},
};

/// Pictures on their way at a time.
const AHEAD: usize = 16;

/// One record on its way into a shard.
pub(super) struct Sample<'a> {
    pub(super) record: &'a Record,
    pub(super) composed: &'a Composed,
    /// `None` where none are copied.
    pub(super) picture: Option<&'a [u8]>,
    /// Where it stands among all records of the source.
    pub(super) ordinal: u64,
    /// The key of its sample in the tar it came from.
    pub(super) source_key: Option<&'a str>,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) lane: i32,
    /// See [`Sample::ordinal`].
    pub(super) ordinal: u64,
    /// The position behind it in its lane.
    pub(super) after: i64,
}

/// A record that waits for its picture, or one that is left out.
struct Waiting {
    place: Place,
    what: Result<(Box<Record>, Composed, Loading), Reason>,
}

/// The newest round of each picture under each id.
#[derive(Default)]
pub(super) struct Rounds(HashMap<(u64, u64), u32>);

impl Rounds {
    pub(super) fn add(&mut self, record: &Record) {
        let known = self.0.entry(identity(record)).or_default();
        *known = record.round.max(*known);
    }

    fn is_older(&self, record: &Record) -> bool {
        let newest = self.0.get(&identity(record));
        newest.is_some_and(|newest| record.round < *newest)
    }
}

/// What tells the same picture under one id in several rounds; 128 bits, so that two of a billion
/// do not meet.
fn identity(record: &Record) -> (u64, u64) {
    let hash = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, &record.id, &record.url).hash(&mut hasher);
        hasher.finish()
    };
    (hash(0), hash(1))
}

struct Lane {
    sink: Box<dyn Sink>,
    newest: Option<Rounds>,
    /// What is settled, shards and samples of this run left out.
    report: Report,
    /// The position behind what is settled.
    after: i64,
    safe: Option<Safe>,
}

/// A position before which everything is in whole shards or left out, and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Safe {
    pub(super) after: i64,
    /// The next shard's number.
    pub(super) shard: u64,
    pub(super) report: Report,
}

impl Lane {
    fn report(&self) -> Report {
        let mut report = self.report.clone();
        report.samples += self.sink.shards().samples;
        report.shards += self.sink.shards().whole;
        report
    }

    fn leave_out(&mut self, reason: Reason) {
        *self.report.left_out.entry(reason).or_default() += 1;
    }

    /// Everything up to here is settled.
    fn settled(&mut self, after: i64) {
        self.after = after;
        let shards = self.sink.shards();
        if shards.open() == 0 {
            self.safe = Some(Safe {
                after,
                shard: shards.number(),
                report: self.report(),
            });
        }
    }
}

/// An export on its way.
pub(super) struct Work<'a> {
    request: &'a Request,
    pictures: Pictures,
    lanes: BTreeMap<i32, Lane>,
    waiting: VecDeque<Waiting>,
    read: u64,
    tell: &'a mut dyn FnMut(Note<'_>),
}

impl<'a> Work<'a> {
    pub(super) fn new(
        request: &'a Request,
        fetching: Fetching,
        inputs: Vec<PathBuf>,
        tell: &'a mut dyn FnMut(Note<'_>),
    ) -> Self {
        Self {
            request,
            pictures: Pictures::new(fetching, inputs, AHEAD),
            lanes: BTreeMap::new(),
            waiting: VecDeque::new(),
            read: 0,
            tell,
        }
    }

    pub(super) fn tell(&mut self, note: Note<'_>) {
        (self.tell)(note);
    }

    /// Opens a lane; `before`: what came of it in earlier runs.
    pub(super) fn begin(
        &mut self,
        lane: i32,
        sink: Box<dyn Sink>,
        newest: Option<Rounds>,
        before: Report,
    ) {
        let lane_is = Lane {
            sink,
            newest,
            report: before,
            after: 0,
            safe: None,
        };
        self.lanes.insert(lane, lane_is);
    }

    /// Takes a record of an open lane.
    pub(super) fn take(&mut self, record: Record, place: Place) -> Result<(), Error> {
        let what = self.look(record, place.lane);
        self.push(Waiting { place, what })
    }

    /// Leaves out what stands at a place.
    pub(super) fn leave_out(&mut self, place: Place, reason: Reason) -> Result<(), Error> {
        let what = Err(reason);
        self.push(Waiting { place, what })
    }

    fn push(&mut self, waiting: Waiting) -> Result<(), Error> {
        self.read += 1;
        (self.tell)(Note::Read(self.read));
        self.waiting.push_back(waiting);
        if self.waiting.len() >= AHEAD {
            self.settle()?;
        }
        Ok(())
    }

    fn look(
        &mut self,
        record: Record,
        lane: i32,
    ) -> Result<(Box<Record>, Composed, Loading), Reason> {
        if self.request.complete_only && record.status != "complete" {
            return Err(Reason::Status);
        }
        let newest = self.lanes.get(&lane).and_then(|lane| lane.newest.as_ref());
        if newest.is_some_and(|newest| newest.is_older(&record)) {
            return Err(Reason::OlderRound);
        }
        let verdicts = self.request.verdicts.as_deref();
        let composed = self.request.text.compose(&record, verdicts)?;
        let loading = if self.request.images {
            self.pictures.load(&record)
        } else {
            self.pictures.pass(&record)
        };
        Ok((Box::new(record), composed, loading))
    }

    /// Writes the oldest that waits; false where none does.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        let Some(Waiting { place, what }) = self.waiting.pop_front() else {
            return Ok(false);
        };
        // Else it was given up with its lane.
        let Some(lane) = self.lanes.get_mut(&place.lane) else {
            return Ok(true);
        };
        lane.report.read += 1;
        match what {
            Err(reason) => lane.leave_out(reason),
            Ok((record, composed, mut loading)) => match self.pictures.wait(&mut loading) {
                Err((reason, why)) => {
                    let id = format!("{} ({})", record.url, record.id);
                    (self.tell)(Note::LeftOut { id: &id, why: &why });
                    lane.leave_out(reason);
                }
                Ok(picture) => {
                    let picture: Option<Bytes> = picture;
                    let sample = Sample {
                        record: &record,
                        composed: &composed,
                        picture: picture.as_deref(),
                        ordinal: place.ordinal,
                        source_key: loading.key.as_deref(),
                    };
                    match lane.sink.add(&sample)? {
                        Ok(()) => {
                            // Between records only: the samples of one stay together.
                            if lane.sink.shards().is_full() {
                                lane.sink.end_shard()?;
                            }
                            lane.report.written += 1;
                            lane.report.without_original += u64::from(composed.without_original);
                            lane.report.clauses_left_out += composed.clauses_left_out as u64;
                        }
                        Err(reason) => lane.leave_out(reason),
                    }
                }
            },
        }
        lane.settled(place.after);
        Ok(true)
    }

    /// Settles all that waits and ends the open shard of a lane, which stays open for what comes.
    pub(super) fn end(&mut self, lane: i32) -> Result<Report, Error> {
        while self.settle()? {}
        let Some(lane) = self.lanes.get_mut(&lane) else {
            return Ok(Report::default());
        };
        lane.sink.end_shard()?;
        lane.settled(lane.after);
        Ok(lane.report())
    }

    /// Gives a lane up; what is in its open shard is lost.
    pub(super) fn drop_lane(&mut self, lane: i32) {
        self.lanes.remove(&lane);
        self.waiting.retain(|waiting| waiting.place.lane != lane);
    }

    /// How far a lane is, since this was asked last.
    pub(super) fn take_safe(&mut self, lane: i32) -> Option<Safe> {
        self.lanes.get_mut(&lane)?.safe.take()
    }
}
