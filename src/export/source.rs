//! The records: a folder of `vila2 caption --out`, or a file of JSON lines.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use super::{Error, record::Record};
use crate::{dataset::State, records};

/// Where records come from.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder {
        files: Vec<PathBuf>,
        state: Box<State>,
    },
    Lines,
}

/// The list that was captioned, by the folder's own counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OriginalList {
    /// Inputs that were answered.
    pub read: u64,
    /// Captions among them.
    pub captions: u64,
    /// Dead letters among them.
    pub dead: u64,
    /// Whether every input was answered.
    pub finished: bool,
}

impl Source {
    /// Looks at what a person named.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is neither.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refused = |problem: String| Error::Refused(format!("{}: {problem}", path.display()));
        let kind = match fs::metadata(path) {
            Err(error) => {
                return Err(refused(format!(
                    "{error}; name a folder of `vila2 caption --out`, a file of records (.jsonl), or \
                     kafka:captions"
                )));
            }
            Ok(found) if found.is_dir() => {
                let state = State::read(path).map_err(|error| Error::Refused(error.to_string()))?;
                let Some(state) = state else {
                    return Err(refused(
                        "a folder without state.json; name one that `vila2 caption --out` wrote"
                            .to_owned(),
                    ));
                };
                let files: Vec<_> = (0..state.shards)
                    .map(|number| path.join(format!("captions-{number:05}.parquet")))
                    .collect();
                for file in &files {
                    records::check(file).map_err(|error| Error::Refused(error.to_string()))?;
                }
                Kind::Folder {
                    files,
                    state: Box::new(state),
                }
            }
            Ok(_) => Kind::Lines,
        };
        let path = std::path::absolute(path).map_err(Error::file(path))?;
        // However it was written: with a slash at its end or without.
        let path = path.components().collect();
        Ok(Self { path, kind })
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many records there are, where that is known before they are read.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match &self.kind {
            Kind::Folder { state, .. } => Some(state.totals.captions),
            Kind::Lines => None,
        }
    }

    /// Files that the pictures were named by: among them are tars.
    #[must_use]
    pub fn inputs(&self) -> Vec<PathBuf> {
        match &self.kind {
            Kind::Folder { state, .. } => {
                let inputs = state.request.inputs.iter();
                inputs.map(|input| PathBuf::from(&input.name)).collect()
            }
            Kind::Lines => Vec::new(),
        }
    }

    /// What was captioned.
    #[must_use]
    pub fn original_list(&self) -> Option<OriginalList> {
        let Kind::Folder { state, .. } = &self.kind else {
            return None;
        };
        let counted = fs::read(self.path.join("summary.json")).ok();
        let counted: Option<Value> = counted.and_then(|text| serde_json::from_slice(&text).ok());
        let number = |name: &str, otherwise: u64| {
            (counted.as_ref().and_then(|counts| counts[name].as_u64())).unwrap_or(otherwise)
        };
        let totals = &state.totals;
        Some(OriginalList {
            read: number("read", totals.read()),
            captions: number("captions", totals.captions),
            dead: number("dead", totals.dead()),
            finished: state.finished,
        })
    }

    /// Calls `each` with every record in order, until it fails.
    ///
    /// # Errors
    /// A file cannot be read, a line is no record; or that of `each`.
    pub fn read(&self, each: &mut dyn FnMut(Record) -> Result<(), Error>) -> Result<(), Error> {
        let bad = |place: String, problem: String| Error::Record { place, problem };
        match &self.kind {
            Kind::Folder { files, .. } => {
                for file in files {
                    for (row, json) in records::read(file)?.enumerate() {
                        let json = json?;
                        let place = || format!("{} row {row}", file.display());
                        each(Record::parse(&json).map_err(|problem| bad(place(), problem))?)?;
                    }
                }
            }
            Kind::Lines => {
                let file = File::open(&self.path).map_err(Error::file(&self.path))?;
                for (number, line) in BufReader::new(file).split(b'\n').enumerate() {
                    let line = line.map_err(Error::file(&self.path))?;
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    let place = || format!("{} line {}", self.path.display(), number + 1);
                    each(Record::parse(&line).map_err(|problem| bad(place(), problem))?)?;
                }
            }
        }
        Ok(())
    }
}
