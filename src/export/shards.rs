//! Which shard a sample goes into, and what the shards of a folder have in common.
//!
//! Several writers may fill one folder, each with a range of numbers of its own. What an index over
//! all shards says of one is kept beside it as its part, from when the shard is whole; an index is
//! made from the parts that are there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Error, OutFolder, Request, files};

/// The most shards of a folder: their numbers have five digits.
const ALL: u64 = 100_000;
/// The most shards of a partition: its first one has the number partition × 1000.
pub(super) const OF_PARTITION: u64 = 1_000;

/// Numbers and counts of the shards that one writer makes.
#[derive(Debug)]
pub(super) struct Shards {
    parts: PathBuf,
    size: u64,
    shard: u64,
    /// Behind the last number.
    end: u64,
    /// Samples of the open shard.
    index: u64,
    pub(super) samples: u64,
    pub(super) whole: u64,
}

impl Shards {
    /// All numbers of a folder.
    pub(super) fn new(out: &Path, request: &Request) -> Self {
        Self::between(out, request, 0, ALL)
    }

    /// The numbers of a partition, from `first` on.
    ///
    /// # Errors
    /// [`Error::Partition`].
    pub(super) fn of_partition(
        out: &Path,
        request: &Request,
        partition: i32,
        first: Option<u64>,
    ) -> Result<Self, Error> {
        let number = u64::try_from(partition).unwrap_or(u64::MAX);
        let begin = number.saturating_mul(OF_PARTITION);
        if begin >= ALL {
            return Err(Error::Partition(partition));
        }
        let end = begin + OF_PARTITION;
        let first = first.unwrap_or(begin).clamp(begin, end);
        Ok(Self::between(out, request, first, end))
    }

    fn between(out: &Path, request: &Request, first: u64, end: u64) -> Self {
        Self {
            parts: OutFolder::parts(out),
            size: request.shard_size,
            shard: first,
            end,
            index: 0,
            samples: 0,
            whole: 0,
        }
    }

    /// The number of the shard that is open, or comes next.
    pub(super) fn number(&self) -> u64 {
        self.shard
    }

    /// The name of this shard, without its ending.
    pub(super) fn name(&self) -> Result<String, Error> {
        if self.shard >= self.end {
            return Err(if self.end == ALL {
                Error::TooManyShards
            } else {
                Error::TooManyOfPartition
            });
        }
        Ok(format!("{:05}", self.shard))
    }

    /// The key of the next sample as img2dataset has it: five digits of the shard, four of the
    /// index.
    pub(super) fn key(&self) -> String {
        format!("{:05}{:04}", self.shard, self.index)
    }

    /// Counts a sample.
    pub(super) fn add(&mut self) {
        self.index += 1;
        self.samples += 1;
    }

    /// Samples of the open shard.
    pub(super) fn open(&self) -> u64 {
        self.index
    }

    pub(super) fn is_full(&self) -> bool {
        self.index >= self.size
    }

    /// The open shard is whole, and everything of it has its name. `part`: what an index has of it.
    pub(super) fn end(&mut self, part: Option<&[u8]>) -> Result<(), Error> {
        if let Some(part) = part {
            files::write(&self.parts.join(format!("{:05}", self.shard)), part)?;
        }
        self.whole += 1;
        self.shard += 1;
        self.index = 0;
        Ok(())
    }
}

/// The parts of all whole shards, in the order of their numbers.
pub(super) fn parts(out: &Path) -> Result<impl Iterator<Item = Result<String, Error>>, Error> {
    let folder = OutFolder::parts(out);
    let mut names = Vec::new();
    if folder.exists() {
        for entry in fs::read_dir(&folder).map_err(Error::file(&folder))? {
            let path = entry.map_err(Error::file(&folder))?.path();
            if path.extension().is_none() {
                names.push(path);
            }
        }
    }
    names.sort();
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(Error::file(&path));
    Ok(names.into_iter().map(read))
}
