//! What a person names to be captioned: pictures, URLs, folders, lists, Parquet, WebDataset tars.
//!
//! Everything is looked at before anything is read, and counted where that can be done. Entries
//! come one after the other, each with a [`Place`] behind it where reading can go on; an input of
//! any length takes the memory of one entry. Every entry is one picture, or one fault with a name:
//! nothing is left out but the files of a folder or tar that are no pictures, and those are counted.

mod entry;
mod folder;
mod identity;
mod open;
mod sample;
mod shards;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::{
    entry::{Ask, Entry, Refusal},
    open::open,
    sample::Sample,
    shards::is_tar,
};
use crate::requests;
pub use crate::requests::{Columns, Fault, Position};

/// Where reading goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which source, from 0 on.
    pub source: usize,
    /// Where in it.
    pub position: Position,
    /// Entries behind that position that are passed, too: rows of a stretch that cannot be read
    /// have no position each.
    #[serde(default)]
    pub within: u64,
}

/// Everything that was named, in order.
#[derive(Debug)]
pub struct Inputs {
    sources: Vec<Source>,
}

/// One of them.
#[derive(Debug)]
struct Source {
    /// As it was named.
    name: String,
    /// Entries, where that can be known.
    count: Option<u64>,
    /// Files in it that are no pictures.
    skipped: u64,
    /// Changes where the source does; `None`: it is read once, as stdin is.
    identity: Option<String>,
    /// The one file that is read from its beginning to its end.
    file: Option<PathBuf>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// One picture, one URL, or what is wrong with it.
    One(Entry),
    Folder(folder::Folder),
    Shard(shards::Shard),
    List(requests::Input, entry::Base),
}

/// What identifies a source, for a later run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// As it was named.
    pub name: String,
    /// Changes where the source does; `None`: it can be read once only.
    pub identity: Option<String>,
}

impl Known {
    /// Whether the source has the same entries as `other`, though what they hold may have changed.
    #[must_use]
    pub fn has_entries_of(&self, other: &Self) -> bool {
        fn entries(known: &Known) -> Option<&str> {
            known.identity.as_deref()?.split(identity::AND).next()
        }
        self.identity.is_some() && entries(self) == entries(other)
    }
}

/// Entries with the places behind them.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<(Entry, Place), Fault>> + 'a>;

impl Inputs {
    /// How many entries there are, where that can be known.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.sources.iter().map(|source| source.count).sum()
    }

    /// Files that are no pictures, in folders and tars.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.sources.iter().map(|source| source.skipped).sum()
    }

    /// What identifies the sources.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        let known = |source: &Source| Known {
            name: source.name.clone(),
            identity: source.identity.clone(),
        };
        self.sources.iter().map(known).collect()
    }

    /// Whether all of it is pictures and URLs named one by one, whose answers are printed.
    #[must_use]
    pub fn is_named_singly(&self) -> bool {
        (self.sources.iter()).all(|source| matches!(source.kind, Kind::One(_)))
    }

    /// Reads from a place on. An item that is an error ends the reading: the disk failed, or the
    /// source changed; not an entry.
    pub fn read(&self, from: Place) -> Entries<'_> {
        let sources = self.sources.iter().enumerate().skip(from.source);
        Box::new(sources.flat_map(move |(index, source)| {
            let start = if index == from.source {
                (from.position, from.within)
            } else {
                Spot::default()
            };
            let place = move |(entry, (position, within))| {
                let place = Place {
                    source: index,
                    position,
                    within,
                };
                (entry, place)
            };
            // A list that became shorter while it was read looks as if it had ended there.
            let read = source.read(start);
            let read = read.chain(std::iter::once_with(|| source.changed().map(Err)).flatten());
            read.map(move |read| read.map(place))
        }))
    }
}

/// A position in a source, and entries behind it.
type Spot = (Position, u64);

/// The entries of one source, each with where reading goes on behind it.
type Read<'a> = Box<dyn Iterator<Item = Result<(Entry, Spot), Fault>> + 'a>;

impl Source {
    /// What there is to say where the file that was read is not the one that was looked at.
    fn changed(&self) -> Option<Fault> {
        let (file, before) = (self.file.as_ref()?, self.identity.as_ref()?);
        let problem = match identity::of_file(file) {
            Ok(now) if now == *before => return None,
            Ok(_) => {
                "changed while it was read, so that some of it may be missing: put it back as it \
                      was and give the same command again, or begin again with --again all"
                    .to_owned()
            }
            Err(error) => format!("cannot be read any more: {error}"),
        };
        Some(Fault {
            name: self.name.clone(),
            problem,
        })
    }

    fn read(&self, (from, within): Spot) -> Read<'_> {
        match &self.kind {
            Kind::One(_) if from.number > 0 => Box::new(std::iter::empty()),
            Kind::One(entry) => Box::new(std::iter::once(Ok((entry.clone(), at(1))))),
            Kind::Folder(folder) => Box::new(folder.read(from.number)),
            Kind::Shard(shard) => shard.read(from.number),
            Kind::List(list, base) => match list.read_plain(from) {
                Ok(items) => {
                    let (mut before, mut passed) = (from, 0);
                    let entries = items.flat_map(move |item| {
                        let start = before;
                        if let Ok(item) = &item {
                            before = item.after;
                        }
                        entry::of_item(item, start, list, base)
                    });
                    Box::new(entries.filter(move |read| {
                        let is_passed = read.is_ok() && passed < within;
                        passed += u64::from(is_passed);
                        !is_passed
                    }))
                }
                Err(fault) => Box::new(std::iter::once(Err(fault))),
            },
        }
    }
}

/// The position behind so many entries.
fn at(number: u64) -> Spot {
    (Position { at: number, number }, 0)
}

#[cfg(test)]
mod tests;
