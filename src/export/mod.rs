//! Captions as what trainers read: WebDataset, VILA, LLaVA, Energon, Hugging Face.
//!
//! Records come in the order of their source, pictures from where they came from, untouched. The
//! same source gives the same bytes in every run. A file has its name only when it is whole; an
//! export that was interrupted begins over.

mod energon;
mod files;
mod folder;
mod hf;
mod llava;
mod pictures;
mod record;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod vila;
mod webdataset;

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use self::{
    folder::OutFolder,
    pictures::{Loading, Pictures},
};
pub use self::{
    pictures::Fetching,
    record::Record,
    source::{OriginalList, Source},
    text::{Composed, TEMPLATE, Text, Turn},
};
use crate::records;

/// Pictures on their way at a time.
const AHEAD: usize = 16;
/// The most samples of a shard: an index in it has four digits.
pub const LARGEST_SHARD: u64 = 10_000;
/// The most shards: their numbers have five digits.
const SHARDS: u64 = 100_000;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot be; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read or written.
    #[error("{}: {source}; mend it (free space?) and give the same command again", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Rows cannot be read or written.
    #[error("{0}; give the same command again once it is mended")]
    Records(#[from] records::Error),
    /// What should be a record is none.
    #[error("{place} {problem}")]
    Record {
        /// File and line or row.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// There are more samples than shards can be numbered.
    #[error("more than 100,000 shards; name a larger --shard-size")]
    TooManyShards,
    /// It was told to stop.
    #[error("interrupted")]
    Stopped,
}

impl Error {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Why a record is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The text asked for is empty or absent.
    NoText,
    /// No clause has one of the verdicts asked for.
    Verdicts,
    /// It is degraded, and complete ones were asked for.
    Status,
    /// There is a newer round of it.
    OlderRound,
    /// The file, tar or sample is not there any more.
    PictureGone,
    /// The bytes are not those that were captioned.
    PictureChanged,
    /// It could not be fetched again.
    FetchFailed,
    /// Another text stands under the same URL in the shard, and the format has one per URL.
    SameUrl,
    /// Another sample has the same key, and the format has one per key.
    SameKey,
}

/// What trainers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As img2dataset writes it.
    Webdataset,
    /// VILA and NVILA.
    Vila,
    /// LLaVA, InternVL, LLaMA-Factory.
    Llava,
    /// Megatron Energon.
    Energon,
    /// Parquet with an image column.
    Hf,
}

impl Format {
    /// As it is named on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Webdataset => "webdataset",
            Self::Vila => "vila",
            Self::Llava => "llava",
            Self::Energon => "energon",
            Self::Hf => "hf",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The format.
    pub format: Format,
    /// The text.
    pub text: Text,
    /// The merged text has the clauses of these verdicts alone.
    pub verdicts: Option<Vec<String>>,
    /// Degraded records are left out.
    pub complete_only: bool,
    /// Of each id and URL only the newest round.
    pub newest_round: bool,
    /// Whether pictures are copied.
    pub images: bool,
    /// Samples of a shard, 1 to [`LARGEST_SHARD`].
    pub shard_size: u64,
}

impl Request {
    /// Checks what goes together.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn check(&self) -> Result<(), Error> {
        let refused = |problem: &str| Err(Error::Refused(problem.to_owned()));
        let has_clauses = matches!(self.text, Text::Enriched | Text::Mix(_));
        if self.verdicts.is_some() && !has_clauses {
            return refused(
                "--verdicts chooses among the clauses of the enriched text: it goes with --text enriched or mix:P",
            );
        }
        if !self.images && matches!(self.format, Format::Llava | Format::Vila) {
            return refused(
                "--no-images: this format names pictures that must be there; it goes with energon, webdataset and hf",
            );
        }
        if !self.images && self.format == Format::Energon && self.text == Text::Qa {
            return refused(
                "--no-images: of qa, Energon reads one sample a question, which cannot be joined with one sample a picture; leave --no-images out, or take another --text",
            );
        }
        if !(1..=LARGEST_SHARD).contains(&self.shard_size) {
            return refused("--shard-size: from 1 to 10000");
        }
        Ok(())
    }

    fn text(&self) -> String {
        match &self.text {
            Text::Enriched => "enriched".to_owned(),
            Text::Caption => "caption".to_owned(),
            Text::Original => "original".to_owned(),
            Text::OriginalCaption(_) => "original+caption".to_owned(),
            Text::Qa => "qa".to_owned(),
            Text::Mix(probability) => format!("mix:{probability}"),
        }
    }

    fn note(&self, source: &Path) -> Value {
        let template = match &self.text {
            Text::OriginalCaption(template) => Some(template),
            _ => None,
        };
        json!({
            "source": source.display().to_string(),
            "format": self.format.name(),
            "text": self.text(),
            "template": template,
            "verdicts": self.verdicts,
            "complete_only": self.complete_only,
            "newest_round": self.newest_round,
            "images": self.images,
            "shard_size": self.shard_size,
        })
    }
}

/// What came of it: `read` = `written` + all of `left_out`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Records of the source.
    pub read: u64,
    /// Records that are in the export.
    pub written: u64,
    /// The others.
    pub left_out: BTreeMap<Reason, u64>,
    /// Samples: as many as `written`, but where one record makes several.
    pub samples: u64,
    /// Shards; of formats without, 1.
    pub shards: u64,
    /// Written records whose text was to have the original, and that have none.
    pub without_original: u64,
    /// The list that was captioned, where the source is a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_list: Option<OriginalList>,
    /// `written` of the list's inputs, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
}

/// One record on its way into a shard.
struct Sample<'a> {
    record: &'a Record,
    composed: &'a Composed,
    /// `None` where none are copied.
    picture: Option<&'a [u8]>,
    /// Where it stands among all records of the source.
    ordinal: u64,
    /// The key of its sample in the tar it came from.
    source_key: Option<&'a str>,
}

/// Writes a format.
trait Sink {
    /// Adds a record; `Err` inside: it cannot be in there.
    fn add(&mut self, sample: &Sample<'_>) -> Result<Result<(), Reason>, Error>;
    /// Ends the last shard and writes what stands beside the shards.
    fn finish(&mut self) -> Result<Written, Error>;
}

/// What a sink wrote.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    samples: u64,
    shards: u64,
}

/// A record that waits for its picture.
struct Waiting {
    record: Record,
    composed: Composed,
    ordinal: u64,
    loading: Loading,
}

/// How it goes: records behind us, and what is told of single ones.
#[derive(Debug)]
pub enum Note<'a> {
    /// So many were read.
    Read(u64),
    /// The picture of one cannot be had.
    LeftOut {
        /// The record.
        id: &'a str,
        /// What is wrong.
        why: &'a str,
    },
}

/// Writes an export into a folder.
///
/// # Errors
/// See [`Error`]; what is there then is replaced when the same is asked for again.
pub fn run(
    source: &Source,
    request: &Request,
    out: &Path,
    fetching: Fetching,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Note<'_>),
) -> Result<Report, Error> {
    request.check()?;
    let newest = request.newest_round.then(|| rounds(source)).transpose()?;
    let folder = OutFolder::open(out, request.note(source.path()))?;
    let mut work = Work {
        request,
        newest,
        pictures: Pictures::new(fetching, source.inputs(), AHEAD),
        sink: sink(request, out),
        waiting: VecDeque::new(),
        report: Report::default(),
        tell,
    };
    source.read(&mut |record| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        work.take(record)
    })?;
    while work.settle_one(stop)? {}
    let written = work.sink.finish()?;
    let mut report = work.report;
    (report.samples, report.shards) = (written.samples, written.shards);
    report.original_list = source.original_list();
    report.coverage = report
        .original_list
        .filter(|list| list.read > 0)
        .map(|list| {
            let share = report.written as f64 / list.read as f64;
            (share * 1e6).round() / 1e6
        });
    folder.finish(&serde_json::to_value(&report).unwrap_or_default())?;
    Ok(report)
}

fn sink(request: &Request, out: &Path) -> Box<dyn Sink> {
    match request.format {
        Format::Webdataset => Box::new(webdataset::Webdataset::new(out, request)),
        Format::Vila => Box::new(vila::Vila::new(out, request)),
        Format::Llava => Box::new(llava::Llava::new(out, request)),
        Format::Energon => Box::new(energon::Energon::new(out, request)),
        Format::Hf => Box::new(hf::Hf::new(out, request)),
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

fn rounds(source: &Source) -> Result<HashMap<(u64, u64), u32>, Error> {
    let mut newest = HashMap::new();
    source.read(&mut |record| {
        let known = newest.entry(identity(&record)).or_default();
        *known = record.round.max(*known);
        Ok(())
    })?;
    Ok(newest)
}

struct Work<'a> {
    request: &'a Request,
    newest: Option<HashMap<(u64, u64), u32>>,
    pictures: Pictures,
    sink: Box<dyn Sink>,
    waiting: VecDeque<Waiting>,
    report: Report,
    tell: &'a mut dyn FnMut(Note<'_>),
}

impl Work<'_> {
    fn take(&mut self, record: Record) -> Result<(), Error> {
        let ordinal = self.report.read;
        self.report.read += 1;
        (self.tell)(Note::Read(self.report.read));
        let composed = match self.compose(&record) {
            Ok(composed) => composed,
            Err(reason) => {
                self.leave_out(reason);
                return Ok(());
            }
        };
        let loading = if self.request.images {
            self.pictures.load(&record)
        } else {
            self.pictures.pass(&record)
        };
        self.waiting.push_back(Waiting {
            record,
            composed,
            ordinal,
            loading,
        });
        if self.waiting.len() >= AHEAD {
            self.settle()?;
        }
        Ok(())
    }

    fn compose(&self, record: &Record) -> Result<Composed, Reason> {
        if self.request.complete_only && record.status != "complete" {
            return Err(Reason::Status);
        }
        let newest = self
            .newest
            .as_ref()
            .and_then(|all| all.get(&identity(record)));
        if newest.is_some_and(|newest| record.round < *newest) {
            return Err(Reason::OlderRound);
        }
        let verdicts = self.request.verdicts.as_deref();
        self.request.text.compose(record, verdicts)
    }

    fn settle_one(&mut self, stop: &AtomicBool) -> Result<bool, Error> {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        self.settle()
    }

    /// Writes the oldest that waits; false where none does.
    fn settle(&mut self) -> Result<bool, Error> {
        let Some(mut waiting) = self.waiting.pop_front() else {
            return Ok(false);
        };
        let picture: Option<Bytes> = match self.pictures.wait(&mut waiting.loading) {
            Ok(picture) => picture,
            Err((reason, why)) => {
                let id = &waiting.record.id;
                (self.tell)(Note::LeftOut { id, why: &why });
                self.leave_out(reason);
                return Ok(true);
            }
        };
        let sample = Sample {
            record: &waiting.record,
            composed: &waiting.composed,
            picture: picture.as_deref(),
            ordinal: waiting.ordinal,
            source_key: waiting.loading.key.as_deref(),
        };
        match self.sink.add(&sample)? {
            Ok(()) => {
                self.report.written += 1;
                self.report.without_original += u64::from(waiting.composed.without_original);
            }
            Err(reason) => self.leave_out(reason),
        }
        Ok(true)
    }

    fn leave_out(&mut self, reason: Reason) {
        *self.report.left_out.entry(reason).or_default() += 1;
    }
}

/// Which shard a sample goes into, and its place there.
#[derive(Debug, Clone, Copy, Default)]
struct Numbering {
    shard: u64,
    index: u64,
}

impl Numbering {
    /// The key as img2dataset has it: five digits of the shard, four of the index.
    fn key(self) -> String {
        format!("{:05}{:04}", self.shard, self.index)
    }

    /// The name of the shard, without its ending.
    fn name(self) -> Result<String, Error> {
        if self.shard >= SHARDS {
            return Err(Error::TooManyShards);
        }
        Ok(format!("{:05}", self.shard))
    }

    fn next_shard(&mut self) {
        *self = Self {
            shard: self.shard + 1,
            index: 0,
        };
    }
}
