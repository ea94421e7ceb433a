//! Captions as what trainers read: WebDataset, VILA, LLaVA, Energon, Hugging Face.
//!
//! Records come in the order of their source, pictures from where they came from, untouched. The
//! same source gives the same bytes in every run. A file has its name only when it is whole; an
//! export that was interrupted begins over.

mod card;
mod energon;
mod files;
mod folder;
mod hf;
mod llava;
mod pictures;
mod record;
mod shards;
mod source;
#[cfg(test)]
mod tests;
mod text;
pub mod topic;
mod vila;
mod webdataset;
mod work;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    folder::OutFolder,
    shards::Shards,
    work::{Place, Rounds, Sample, Work},
};
pub use self::{
    pictures::Fetching,
    record::Record,
    source::{OriginalList, Source},
    text::{Composed, TEMPLATE, Text, Turn},
};
use crate::{kafka, records};

/// The most samples of a shard: an index in it has four digits.
pub const LARGEST_SHARD: u64 = 10_000;

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
    /// A partition has more samples than its shards can be numbered.
    #[error(
        "a partition has more than 1,000 shards; name a larger --shard-size, or export what comes \
         now into another folder with the same --group"
    )]
    TooManyOfPartition,
    /// A partition whose shards cannot be numbered.
    #[error(
        "the topic has a partition {0}: shards are numbered partition x 1000 + n in five digits, so \
         partitions from 100 on cannot be exported; save the topic first (`vila2 tail \
         --from-beginning --idle-ms 5000 --json > captions.jsonl`) and export that"
    )]
    Partition(i32),
    /// The topic.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The same request was answered before: Kafka delivers at least once.
    Redelivered,
    /// What lies in the topic is no caption record.
    NoRecord,
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

    fn note(&self, source: &str) -> Value {
        let template = match &self.text {
            Text::OriginalCaption(template) => Some(template),
            _ => None,
        };
        json!({
            "source": source,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Records of the source.
    pub read: u64,
    /// Records that are in the export.
    pub written: u64,
    /// The others.
    pub left_out: BTreeMap<Reason, u64>,
    /// Samples: as many as `written`, but where one record makes several.
    pub samples: u64,
    /// Shards; of LLaVA, folders of pictures.
    pub shards: u64,
    /// Written records whose text was to have the original, and that have none.
    pub without_original: u64,
    /// Clauses of written records that are not in their texts, because of their verdicts.
    pub clauses_left_out: u64,
    /// The list that was captioned, where the source is a folder.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub original_list: Option<OriginalList>,
    /// `written` of the list's inputs, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
}

/// Writes a format.
trait Sink {
    /// Adds a record to the open shard, or begins one; `Err` inside: it cannot be in there.
    fn add(&mut self, sample: &Sample<'_>) -> Result<Result<(), Reason>, Error>;
    /// Ends the open shard, where there is one.
    fn end_shard(&mut self) -> Result<(), Error>;
    /// What was made.
    fn shards(&self) -> &Shards;
}

/// How it goes: records behind us, and what is told of single ones.
#[derive(Debug)]
pub enum Note<'a> {
    /// So many were read.
    Read(u64),
    /// The picture of one cannot be had.
    LeftOut {
        /// The record: its URL and id, or its place.
        id: &'a str,
        /// What is wrong.
        why: &'a str,
    },
    /// The group a topic is read as.
    Group(&'a str),
    /// What others are at, and we wait for.
    Waiting(&'a str),
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
    let mut newest = request.newest_round.then(Rounds::default);
    if let Some(newest) = &mut newest {
        source.read(&mut |record| {
            newest.add(&record);
            Ok(())
        })?;
    }
    let from = source.path().display().to_string();
    let folder = OutFolder::begin(out, &request.note(&from))?;
    let mut work = Work::new(request, fetching, source.inputs(), tell);
    work.begin(
        WHOLE,
        sink(request, out, Shards::new(out, request)),
        newest,
        Report::default(),
    );
    let mut ordinal = 0;
    source.read(&mut |record| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let place = Place {
            lane: WHOLE,
            ordinal,
            after: 0,
        };
        ordinal += 1;
        work.take(record, place)
    })?;
    while work.settle()? {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
    }
    let mut report = work.end(WHOLE)?;
    index(request, out)?;
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

/// The only lane of an export that is made by one writer.
const WHOLE: i32 = 0;

fn sink(request: &Request, out: &Path, shards: Shards) -> Box<dyn Sink> {
    match request.format {
        Format::Webdataset => Box::new(webdataset::Webdataset::new(out, shards)),
        Format::Vila => Box::new(vila::Vila::new(out, shards)),
        Format::Llava => Box::new(llava::Llava::new(out, shards)),
        Format::Energon => Box::new(energon::Energon::new(out, request, shards)),
        Format::Hf => Box::new(hf::Hf::new(out, request, shards)),
    }
}

/// Writes what stands beside the shards.
fn index(request: &Request, out: &Path) -> Result<(), Error> {
    card::write(out, request)?;
    match request.format {
        Format::Webdataset | Format::Hf => Ok(()),
        Format::Vila => vila::index(out),
        Format::Llava => llava::index(out),
        Format::Energon => energon::index(out, request),
    }
}
