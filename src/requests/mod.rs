//! Requests from files, for `publish`: lines (bare URLs or JSON, passed on as they are), a JSON
//! array of the same, and tables (CSV, TSV, Parquet), whose columns are mapped to a request.
//!
//! Everything is looked at before anything is read: a folder that is missing, a column that is not
//! there or a codec that cannot be read is said for all files at once. A row that is no request is
//! an [`Item`] with a fault and never ends the reading.

mod array;
mod columns;
mod compose;
mod files;
mod lines;
mod parquet;
pub mod resume;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::{fmt, fs::File, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use text::Text;

pub use columns::Columns;
pub use files::{name_of, open, open_as};
pub(crate) use lines::blank;

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

/// How a list is written, where its name and beginning do not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A URL or a JSON object a line.
    Lines,
    /// A JSON array of objects or URLs.
    Array,
    /// A table with commas.
    Csv,
    /// A table with tabs.
    Tsv,
    /// Parquet.
    Parquet,
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Text: bytes, of UTF-16 those it has as UTF-8. Parquet: rows.
    pub at: u64,
    /// The number of the last line, row (a header is one) or element, from 1 on; 0: none yet.
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
    /// Stdin or a pipe, which is read once.
    Once(Option<PathBuf>, Format, Columns),
    Lines(PathBuf),
    Array(PathBuf),
    /// `None`: there is no row.
    Table(PathBuf, Option<table::Table>),
    Parquet(PathBuf, Box<parquet::Mapping>),
}

impl Input {
    /// Whether its items are lines; else they are rows or elements.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.unit() == "line"
    }

    /// What its items are called.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match &self.kind {
            Kind::Lines(_) | Kind::Once(_, Format::Lines, _) => "line",
            Kind::Array(_) | Kind::Once(_, Format::Array, _) => "element",
            Kind::Table(..) | Kind::Parquet(..) | Kind::Once(..) => "row",
        }
    }

    /// Reads it from a position on.
    ///
    /// # Errors
    /// The file cannot be opened (any more). An item that is an error ends the reading: the disk
    /// failed, not a row.
    pub fn read(&self, from: Position) -> Result<Items, Fault> {
        self.read_as(from, lines::request)
    }

    /// As [`Input::read`], but lines of text may hold blanks: paths do.
    ///
    /// # Errors
    /// As [`Input::read`].
    pub fn read_plain(&self, from: Position) -> Result<Items, Fault> {
        self.read_as(from, lines::plain)
    }

    fn read_as(&self, from: Position, request: lines::Reading) -> Result<Items, Fault> {
        let fault = |error: io::Error| Fault::new(&self.name, error);
        let open = |path: &PathBuf| Text::open(path, from.at).map_err(fault);
        let lines = |text: Text, number: u64| {
            let name = self.name.clone();
            let lines = lines::Lines::new(text, number);
            Box::new(lines::Requests {
                name,
                lines,
                request,
            })
        };
        Ok(match &self.kind {
            Kind::Once(path, format, columns) => {
                let mut text = match path {
                    None => Text::of(io::stdin()),
                    Some(path) => File::open(path).and_then(Text::of),
                }
                .map_err(fault)?;
                match format {
                    Format::Lines if text.begins_with(b'[').map_err(fault)? => {
                        Box::new(array::Elements::new(&self.name, text, 0))
                    }
                    Format::Array => Box::new(array::Elements::new(&self.name, text, 0)),
                    Format::Csv | Format::Tsv => {
                        let separator = if *format == Format::Csv {
                            table::Separator::Comma
                        } else {
                            table::Separator::Tab
                        };
                        match table::Rows::of(&self.name, text, separator, columns)? {
                            None => Box::new(std::iter::empty()),
                            Some(rows) => Box::new(rows),
                        }
                    }
                    Format::Lines | Format::Parquet => lines(text, 0),
                }
            }
            Kind::Lines(path) => lines(open(path)?, from.number),
            Kind::Array(path) => {
                Box::new(array::Elements::new(&self.name, open(path)?, from.number))
            }
            Kind::Table(_, None) => Box::new(std::iter::empty()),
            Kind::Table(path, Some(table)) => {
                Box::new(table::Rows::open(&self.name, path, table, from).map_err(fault)?)
            }
            Kind::Parquet(path, mapping) => {
                Box::new(parquet::Rows::open(&self.name, path, mapping, from)?)
            }
        })
    }
}
