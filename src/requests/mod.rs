//! Requests from files, for `publish`: lines (bare URLs or JSON, passed on as they are), and
//! Parquet, whose columns are mapped to a request.
//!
//! Everything is looked at before anything is read: a folder that is missing, a column that is not
//! there or a codec that cannot be read is said for all files at once. A row that is no request is
//! an [`Item`] with a fault and never ends the reading.

mod files;
mod lines;
mod parquet;
pub mod resume;
#[cfg(test)]
mod tests;

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use files::open;

/// What is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct Fault {
    /// The file, as it was named.
    pub name: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl Fault {
    fn new(name: &str, problem: impl fmt::Display) -> Self {
        Self {
            name: name.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// Which columns of a Parquet file make a request. Names are those of the file, `a.b` inside of a
/// group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The URL. `None`: `url` in any case (`URL`, `Url`).
    pub url: Option<String>,
    /// The id; numbers are written as text. Null or empty: none.
    pub id: Option<String>,
    /// The original caption. Null: none.
    pub caption: Option<String>,
    /// Columns that go into `meta`, under their names.
    pub meta: Vec<String>,
}

impl Columns {
    /// Whether any was named.
    #[must_use]
    pub fn is_named(&self) -> bool {
        *self != Self::default()
    }
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Lines: bytes. Parquet: rows.
    pub at: u64,
    /// The number of the last line or row, from 1 on; 0: none yet.
    pub number: u64,
}

/// A line or row; a stretch of rows where a part of a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Number of the first line or row, from 1 on.
    pub first: u64,
    /// Where reading goes on; `number` is that of the last line or row.
    pub after: Position,
    /// The value to publish, or what is wrong with it.
    pub content: Result<Vec<u8>, String>,
}

impl Item {
    /// Lines or rows in it.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.after.number + 1 - self.first
    }
}

/// Reads an input from a position on.
pub type Items = Box<dyn Iterator<Item = Result<Item, Fault>>>;

/// An input that was looked at.
#[derive(Debug)]
pub struct Input {
    /// As it was named; `-` is stdin.
    pub name: String,
    /// Lines that are not empty, or rows, where that can be known.
    pub count: Option<u64>,
    /// Size of the file in bytes; `None`: no regular file, so it cannot be resumed.
    pub bytes: Option<u64>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Stdin,
    Lines(PathBuf),
    Parquet(PathBuf, Box<parquet::Mapping>),
}

impl Input {
    /// Whether its items are lines; else they are rows.
    #[must_use]
    pub fn is_text(&self) -> bool {
        !matches!(self.kind, Kind::Parquet(..))
    }

    /// Reads it from a position on.
    ///
    /// # Errors
    /// The file cannot be opened (any more). An item that is an error ends the reading: the disk
    /// failed, not a row.
    pub fn read(&self, from: Position) -> Result<Items, Fault> {
        let fault = |error: io::Error| Fault::new(&self.name, error);
        Ok(match &self.kind {
            Kind::Stdin => Box::new(lines::Lines::of(&self.name, io::stdin())),
            Kind::Lines(path) => {
                Box::new(lines::Lines::open(&self.name, path, from).map_err(fault)?)
            }
            Kind::Parquet(path, mapping) => {
                Box::new(parquet::Rows::open(&self.name, path, mapping, from)?)
            }
        })
    }
}
