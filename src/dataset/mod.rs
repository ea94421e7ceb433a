//! The folder that `vila2 caption --out` fills: rows in Parquet files, dead letters, and how far it
//! has come.
//!
//! Every answer is first a line of a journal, which is what counts after a crash. From time to time
//! (every [`ROWS`] lines, and at an end of any kind) the journal becomes a Parquet file:
//!
//! 1. its captions are written to `captions-NNNNN.parquet` (under another name until it is whole),
//!    its dead letters appended to `dead.jsonl`;
//! 2. `state.json` is replaced: it says how many of the files and how many bytes of the others
//!    count;
//! 3. the journal is emptied, and gets the next number.
//!
//! Whatever a crash leaves between these steps is more than `state.json` says, and is written again
//! from the journal; a journal of another number than `state.json` says is in the files already. So
//! no answer is lost and none is written twice.

mod done;
mod files;
mod journal;
mod seen;
mod state;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use vila2_actors::ports::QuestionId;

pub use self::{
    files::{begin_trial, dead_letters},
    seen::{Found, Repetitions, Seen, Spot},
    state::{Before, Request, State, Totals},
};
use crate::{
    inputs::{Place, Sample},
    records::{self, RecordWriter},
};
use done::Done;
use files::{append, clear, dead_line, is_as_written, lines, lock, ordinals};
use journal::{Journal, Line};

/// Rows of one Parquet file.
pub const ROWS: u64 = 10_000;

/// Our own files beside those that people read.
const WORK: &str = ".vila2";

/// Why the folder cannot be used, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not what it should be; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read or written.
    #[error(
        "{}: {source}; what was captioned so far is kept: mend it (free space?) and give the same \
         command again",
        path.display()
    )]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The rows cannot be written or read.
    #[error(
        "{0}; what was captioned so far is kept: mend it (free space?) and give the same command \
         again"
    )]
    Records(#[from] records::Error),
}

impl Error {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// What is done again in a folder that has answers already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The inputs that are dead letters.
    Failed,
    /// Everything: the old answers are removed.
    All,
}

/// The folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    state: State,
    done: Done,
    journal: Journal,
    seen: Arc<Mutex<Seen>>,
    /// What was done before dead letters are done again, and which these are.
    again: Option<Arc<(Done, Sample)>>,
    /// When the work began that is not counted yet.
    since: Instant,
    /// Held while the folder is in use.
    _lock: File,
}

/// An entry that has its answer.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Where it stands among all entries, from 0 on.
    pub ordinal: u64,
    /// The place behind it.
    pub place: Place,
}

/// A caption to keep.
#[derive(Debug)]
pub struct Caption<'a> {
    /// The record, JSON.
    pub record: &'a [u8],
    /// What was asked, for those that ask the same later.
    pub question: Option<QuestionId>,
    /// Whether it repeats the answer of another.
    pub repeat: bool,
}

/// A dead letter to keep.
#[derive(Debug)]
pub struct Dead<'a> {
    /// The input's name.
    pub input: &'a str,
    /// One of the contract's reasons.
    pub reason: &'a str,
    /// What happened.
    pub detail: &'a str,
}

impl Folder {
    /// Opens the folder for a request: a new one, or one where the same request goes on.
    ///
    /// # Errors
    /// [`Error::Refused`] where it holds something else: other inputs, another configuration,
    /// foreign files; where another process uses it.
    pub fn open(path: &Path, request: Request, again: Option<Again>) -> Result<Self, Error> {
        let (work, journal) = (path.join(WORK), path.join(WORK).join("journal.jsonl"));
        if !journal.is_file() && State::read(path)?.is_none() {
            state::unused(path)?;
        }
        fs::create_dir_all(&work).map_err(|error| {
            let path = path.display();
            Error::Refused(format!(
                "{path} cannot be made: {error}; name another folder"
            ))
        })?;
        let lock = lock(path, &work)?;
        let state = match State::read(path) {
            // A state that cannot be read is no reason to keep what lies beside a journal of ours.
            found if again == Some(Again::All) && (found.is_ok() || journal.is_file()) => {
                clear(path)?;
                State::new(request)
            }
            Err(error) => return Err(error),
            Ok(None) => {
                state::unused(path)?;
                State::new(request)
            }
            // Nothing was answered: what was asked for may still be put otherwise.
            Ok(Some(state)) if state.is_blank() && journal::is_blank(&journal) => {
                State::new(request)
            }
            Ok(Some(state)) => state.goes_on(path, request, again == Some(Again::Failed))?,
        };
        let mut folder = Self {
            path: path.to_owned(),
            done: Done::new(state.low, &state.above),
            journal: Journal::open(&journal, state.shards, state.journal)?,
            seen: Arc::default(),
            again: None,
            since: Instant::now(),
            state,
            _lock: lock,
        };
        folder.cut_to_state()?;
        folder.replay()?;
        folder.rotate(folder.state.finished)?;
        if again == Some(Again::Failed) && folder.state.again.is_none() {
            folder.begin_again()?;
        }
        if let Some(before) = &folder.state.again {
            let before = Done::new(before.low, &before.above);
            folder.again = Some(Arc::new((before, ordinals(&folder.file("again.bin"))?)));
        }
        Ok(folder)
    }

    /// Where reading goes on, and the ordinal of the next entry there.
    #[must_use]
    pub fn start(&self) -> (Place, u64) {
        (self.state.place, self.state.low)
    }

    /// Whether an entry is still to be done, as it is now.
    pub fn wanted(&self) -> impl Fn(u64) -> bool + Send + 'static {
        let (done, again) = (self.done.clone(), self.again.clone());
        move |ordinal| {
            let is_asked = |again: &Arc<(Done, Sample)>| {
                let (before, failed) = &**again;
                !before.has(ordinal) || failed.has(ordinal)
            };
            !done.has(ordinal) && again.as_ref().is_none_or(is_asked)
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.state.totals
    }

    /// Whether every input is answered.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state.finished
    }

    /// The folder's own path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder for what is kept of a few pictures, until the page is made.
    #[must_use]
    pub fn gallery(&self) -> PathBuf {
        self.file("gallery")
    }

    /// A file for what is known of texts beside pictures; it outlives [`Again::All`].
    #[must_use]
    pub fn texts(&self) -> PathBuf {
        self.file("texts.bin")
    }

    /// The files of rows that are whole.
    pub fn shards(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.state.shards).map(|number| self.shard(number))
    }

    /// What was asked before.
    #[must_use]
    pub fn seen(&self) -> Arc<Mutex<Seen>> {
        Arc::clone(&self.seen)
    }

    /// The work begins now, for the rate.
    pub fn begin(&mut self) {
        self.since = Instant::now();
    }

    /// Files that are no pictures, in folders and tars. Counted where nothing is answered yet: texts
    /// beside pictures, and a folder of answers among them, are none of these.
    pub fn skipped(&mut self, files: u64) {
        if self.state.totals.read() == 0 {
            self.state.totals.skipped = files;
        }
    }

    /// Keeps a caption; returns where it stands.
    ///
    /// # Errors
    /// The disk.
    pub fn caption(&mut self, entry: Answered, caption: &Caption<'_>) -> Result<Spot, Error> {
        let seconds = self.since.elapsed().as_secs_f64();
        let spot = self.journal.caption(entry.ordinal, caption, seconds)?;
        self.note_caption(caption.question, spot, caption.repeat);
        self.settled(entry)?;
        Ok(spot)
    }

    /// Keeps a dead letter.
    ///
    /// # Errors
    /// The disk.
    pub fn dead(&mut self, entry: Answered, dead: &Dead<'_>) -> Result<(), Error> {
        let seconds = self.since.elapsed().as_secs_f64();
        self.journal.dead(entry.ordinal, dead, seconds)?;
        self.state.totals.note_dead(dead.reason);
        self.settled(entry)
    }

    /// Passes over an entry that is done, or not asked for.
    pub fn pass_over(&mut self, entry: Answered) {
        self.done.add(entry.ordinal, Some(entry.place));
    }

    /// The record at a spot.
    ///
    /// # Errors
    /// The disk.
    pub fn record(&self, spot: Spot) -> Result<Vec<u8>, Error> {
        if spot.shard == self.state.shards {
            return self.journal.record(spot.row);
        }
        Ok(records::row(&self.shard(spot.shard), spot.row)?)
    }

    /// Makes a Parquet file of the journal, notes how far it has come, and writes `summary.json`.
    ///
    /// # Errors
    /// The disk.
    pub fn save(&mut self, finished: bool) -> Result<(), Error> {
        self.rotate(finished)?;
        let path = self.path.join("summary.json");
        let mut text = serde_json::to_vec_pretty(&self.state.totals.summary()).unwrap_or_default();
        text.push(b'\n');
        fs::write(&path, text).map_err(Error::file(&path))
    }

    fn settled(&mut self, entry: Answered) -> Result<(), Error> {
        self.done.add(entry.ordinal, Some(entry.place));
        if self.journal.lines() >= ROWS {
            self.rotate(false)?;
        }
        Ok(())
    }

    fn note_caption(&mut self, question: Option<QuestionId>, spot: Spot, repeat: bool) {
        self.state.totals.captions += 1;
        self.state.totals.duplicates += u64::from(repeat);
        if let (Some(question), false) = (question, repeat) {
            self.seen()
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .answered(question, spot);
        }
    }

    /// Takes over what a run left in the journal.
    fn replay(&mut self) -> Result<(), Error> {
        let mut known = Seen::default();
        known.load(&self.file("seen.bin"))?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = known;
        let (found, seconds) = self.journal.replay()?;
        self.state.totals.seconds += seconds;
        for line in found {
            match line {
                Line::Caption {
                    ordinal,
                    question,
                    spot,
                    repeat,
                } => {
                    self.note_caption(question, spot, repeat);
                    self.done.add(ordinal, None);
                }
                Line::Dead { ordinal, reason } => {
                    self.state.totals.note_dead(&reason);
                    self.done.add(ordinal, None);
                }
            }
        }
        Ok(())
    }

    fn rotate(&mut self, finished: bool) -> Result<(), Error> {
        self.journal.sync()?;
        self.state.totals.seconds += self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        let mut next = self.state.clone();
        if self.journal.captions() > 0 {
            let path = self.shard(self.state.shards);
            let mut writer = RecordWriter::create(&path)?;
            self.journal.records(|record| Ok(writer.push(record)?))?;
            writer.finish()?;
            let length = fs::metadata(&path).map_err(Error::file(&path))?.len();
            next.shard_bytes.resize(next.shards as usize, 0);
            next.shard_bytes.push(length);
            next.shards += 1;
        }
        let dead_path = self.path.join("dead.jsonl");
        next.dead_bytes = append(&dead_path, self.state.dead_bytes, |out| {
            self.journal.each_dead(&mut |_, text| out.write_all(text))
        })?;
        let dead_ordinals = self.file("dead.bin");
        next.dead_rows = append(&dead_ordinals, self.state.dead_rows, |out| {
            self.journal
                .each_dead(&mut |ordinal, _| out.write_all(&ordinal.to_le_bytes()))
        })?;
        next.seen_bytes = {
            let path = self.file("seen.bin");
            append(&path, self.state.seen_bytes, |out| {
                self.journal.each_question(out)
            })?
        };
        (next.low, next.above) = self.done.parts();
        if let Some(place) = self.done.place() {
            next.place = place;
        }
        next.journal += 1;
        next.finished = finished;
        if finished {
            next.again = None;
        }
        next.save(&self.path)?;
        self.state = next;
        self.journal.renew(self.state.shards, self.state.journal)
    }

    /// Takes away what `state.json` does not count.
    fn cut_to_state(&mut self) -> Result<(), Error> {
        for (path, bytes) in [
            (self.path.join("dead.jsonl"), self.state.dead_bytes),
            (self.file("dead.bin"), self.state.dead_rows),
            (self.file("seen.bin"), self.state.seen_bytes),
        ] {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let file = file.map_err(Error::file(&path))?;
            let there = file.metadata().map_err(Error::file(&path))?.len();
            if there < bytes {
                return Err(Error::Refused(format!(
                    "{} is shorter than when it was written ({there} bytes, not {bytes}): something \
                     else changed it; name another folder, or begin again with --again all",
                    path.display()
                )));
            }
            file.set_len(bytes).map_err(Error::file(&path))?;
        }
        for number in 0..self.state.shards {
            let bytes = self.state.shard_bytes.get(number as usize);
            is_as_written(&self.shard(number), bytes.copied().unwrap_or(0))?;
        }
        let more = self.shard(self.state.shards);
        match fs::remove_file(&more) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(&more)(error)),
            _ => Ok(()),
        }
    }

    /// Takes the dead letters back: their inputs are asked for once more, with what is not done yet.
    fn begin_again(&mut self) -> Result<(), Error> {
        let (dead, again) = (self.file("dead.bin"), self.file("again.bin"));
        fs::copy(&dead, &again).map_err(Error::file(&again))?;
        if ordinals(&again)?.is_empty() {
            return Ok(());
        }
        let (low, above) = self.done.parts();
        self.state.again = Some(Before { low, above });
        self.state.totals.reasons.clear();
        (self.state.dead_bytes, self.state.dead_rows) = (0, 0);
        (self.state.low, self.state.above) = (0, Vec::new());
        self.state.place = Place::default();
        self.state.finished = false;
        self.state.save(&self.path)?;
        self.done = Done::default();
        self.cut_to_state()
    }

    fn shard(&self, number: u32) -> PathBuf {
        self.path.join(format!("captions-{number:05}.parquet"))
    }

    /// A file of our own.
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(WORK).join(name)
    }
}
