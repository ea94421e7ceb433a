//! `state.json`: what was asked for, and how far it has come.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Error;
use crate::inputs::{Known, Place};

const SCHEMA: &str = "vila2.caption-state/1";

/// What a folder is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The inputs.
    pub inputs: Vec<Known>,
    /// Every setting that changes the answers, as text.
    pub settings: BTreeMap<String, String>,
    /// How many entries are taken of all, and the seed that chooses them; `None`: all.
    pub sample: Option<(u64, u64)>,
}

/// Counts of the whole folder, all runs together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows.
    pub captions: u64,
    /// Dead letters by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Rows that repeat the answer of another.
    pub duplicates: u64,
    /// Files that are no pictures, in folders and tars.
    pub skipped: u64,
    /// How long it worked.
    pub seconds: f64,
}

impl Totals {
    /// Dead letters.
    #[must_use]
    pub fn dead(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// Inputs that were answered.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.captions + self.dead()
    }

    pub(super) fn note_dead(&mut self, reason: &str) {
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    /// `summary.json`, as the contract has it.
    #[must_use]
    pub fn summary(&self) -> Value {
        let rate = self.captions as f64 / self.seconds.max(0.001);
        json!({
            "read": self.read(),
            "captions": self.captions,
            "dead": self.dead(),
            "duplicates": self.duplicates,
            "skipped": self.skipped,
            "images_per_second": (rate * 1000.0).round() / 1000.0,
            "reasons": self.reasons,
        })
    }
}

/// Entries that were done when dead letters were taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// All below.
    pub low: u64,
    /// Ranges above it, ends included.
    pub above: Vec<[u64; 2]>,
}

/// What `state.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    schema: String,
    /// What was asked for.
    pub request: Request,
    /// Whether every input is answered.
    pub finished: bool,
    /// The counts, without what the journal adds.
    pub totals: Totals,
    /// Parquet files that count.
    pub shards: u32,
    /// How long each of them is, in bytes; 0 where that is not known.
    #[serde(default)]
    pub shard_bytes: Vec<u64>,
    /// Number of the journal whose lines are not in the files yet.
    #[serde(default)]
    pub journal: u64,
    /// Bytes of `dead.jsonl` that count.
    pub dead_bytes: u64,
    /// The same of the ordinals of its lines.
    pub dead_rows: u64,
    /// The same of the questions that were answered.
    pub seen_bytes: u64,
    /// All entries below are done.
    pub low: u64,
    /// So are those in these ranges, ends included.
    pub above: Vec<[u64; 2]>,
    /// Where the entry `low` is read.
    pub place: Place,
    /// Where dead letters are asked for again: what was done before.
    pub again: Option<Before>,
}

/// Whether a file of the folder is one that a run writes.
pub(super) fn is_ours(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let shard = name
        .strip_prefix("captions-")
        .map(|rest| rest.strip_suffix(".new").unwrap_or(rest))
        .and_then(|rest| rest.strip_suffix(".parquet"));
    shard.is_some_and(|number| number.parse::<u32>().is_ok())
        || ["dead.jsonl", "report.html", "summary.json", "state.json"].contains(&name)
}

/// Refuses a folder that holds files which a run would write over.
pub(super) fn unused(folder: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::Refused(format!(
                "{} is a file; --out takes a folder: name an empty or new one",
                folder.display()
            )));
        }
        entries => entries.map_err(Error::file(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::file(folder))?.path();
        if is_ours(&path) {
            return Err(Error::Refused(format!(
                "{} is there, but no state.json: the folder was written by something else; name an \
                 empty or new folder",
                path.display()
            )));
        }
    }
    Ok(())
}

impl State {
    /// That of a folder where nothing is yet.
    pub(super) fn new(request: Request) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            request,
            finished: false,
            totals: Totals::default(),
            shards: 0,
            shard_bytes: Vec::new(),
            journal: 0,
            dead_bytes: 0,
            dead_rows: 0,
            seen_bytes: 0,
            low: 0,
            above: Vec::new(),
            place: Place::default(),
            again: None,
        }
    }

    /// Whether nothing is answered.
    pub(super) fn is_blank(&self) -> bool {
        self.totals.read() == 0 && self.low == 0 && self.above.is_empty() && !self.finished
    }

    /// Reads that of a folder; `None` where it is not there.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join("state.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // The folder is a file: see `unused`.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(Error::file(&path)(error)),
        };
        let state = serde_json::from_slice(&bytes).ok();
        match state.filter(|state: &Self| state.schema == SCHEMA) {
            Some(state) => Ok(Some(state)),
            None => Err(Error::Refused(format!(
                "{} is not the state of a `vila2 caption --out` of this version, or was damaged; name \
                 another folder, or where the answers in this one may go, begin again with --again \
                 all",
                path.display()
            ))),
        }
    }

    /// The state for a request that goes on. Where what failed is asked for again, it may have been
    /// mended in between.
    pub(super) fn goes_on(
        mut self,
        folder: &Path,
        request: Request,
        may_be_mended: bool,
    ) -> Result<Self, Error> {
        let Some(problem) = difference(&self.request, &request, may_be_mended) else {
            self.request.inputs = request.inputs;
            return Ok(self);
        };
        Err(Error::Refused(format!(
            "{} holds the captions of another request: {problem}; name another folder, or begin again \
             with --again all",
            folder.display()
        )))
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join("state.json");
        let write = || -> io::Result<()> {
            let beside = folder.join(super::WORK).join("state.new");
            let mut file = fs::File::create(&beside)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.sync_data()?;
            fs::rename(&beside, &path)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(Error::file(&path))
    }
}

/// The first difference between two requests, in words.
fn difference(there: &Request, now: &Request, may_be_mended: bool) -> Option<String> {
    let names = |request: &Request| -> Vec<String> {
        request
            .inputs
            .iter()
            .map(|input| input.name.clone())
            .collect()
    };
    let plain = |request: &Request| -> Vec<String> {
        names(request).iter().map(|name| plain(name)).collect()
    };
    if plain(there) != plain(now) {
        return Some(format!(
            "its inputs are {}, not {}",
            short(&names(there)),
            short(&names(now))
        ));
    }
    for (old, new) in there.inputs.iter().zip(&now.inputs) {
        match (&old.identity, &new.identity) {
            (Some(a), Some(b)) if a == b => {}
            _ if may_be_mended && new.has_entries_of(old) => {}
            (Some(_), Some(_)) if new.has_entries_of(old) => {
                return Some(format!(
                    "a picture in {} has changed since (--again failed goes on with the mended ones \
                     among what failed)",
                    old.name
                ));
            }
            (Some(_), Some(_)) => {
                return Some(format!("{} has changed since", old.name));
            }
            _ => {
                return Some(format!(
                    "{} can be read once only, so nothing can go on; save it to a file and name that",
                    old.name
                ));
            }
        }
    }
    let keys = there.settings.keys().chain(now.settings.keys());
    for key in keys {
        let (old, new) = (there.settings.get(key), now.settings.get(key));
        if old != new {
            let shown = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
            return Some(format!("{key} is {} there, {} now", shown(old), shown(new)));
        }
    }
    if there.sample != now.sample {
        let shown = |sample: Option<(u64, u64)>| match sample {
            Some((size, seed)) => format!("a sample of {size} (seed {seed})"),
            None => "everything".to_owned(),
        };
        return Some(format!(
            "{} there, {} now",
            shown(there.sample),
            shown(now.sample)
        ));
    }
    None
}

/// A path as it is, however it was written: `./pictures/` is `pictures`. URLs stay as they are.
fn plain(name: &str) -> String {
    if name.contains("://") {
        return name.to_owned();
    }
    let parts = Path::new(name).components();
    let parts = parts.filter(|part| !matches!(part, Component::CurDir));
    parts.collect::<PathBuf>().display().to_string()
}

fn short(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [name] => name.clone(),
        [name, rest @ ..] => format!("{name} and {} more", rest.len()),
    }
}
