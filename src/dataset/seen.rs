//! Questions that were asked before, and where their answers stand.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use vila2_actors::{
    ports::{QuestionId, Repeats},
    record::RecordId,
};

use super::Error;

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Number of the Parquet file.
    pub shard: u32,
    /// Row in it, from 0 on.
    pub row: u32,
}

/// What is known of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Its answer stands there.
    Answered(Spot),
    /// It is being asked.
    Asked,
}

/// All questions of a folder: 24 bytes each, and what a hash table adds.
#[derive(Debug, Default)]
pub struct Seen {
    answered: HashMap<[u8; 16], Spot>,
    /// Who asks them now, by offset.
    asked: HashMap<[u8; 16], i64>,
    /// What those in flight ask.
    questions: HashMap<i64, QuestionId>,
}

/// Bytes of one entry in the file: question, shard, row.
const ENTRY: usize = 24;

impl Seen {
    /// What the record at this offset asks, which is no longer in flight.
    pub fn take(&mut self, offset: i64) -> Option<QuestionId> {
        self.questions.remove(&offset)
    }

    /// The answer of a question stands there.
    pub fn answered(&mut self, question: QuestionId, spot: Spot) {
        self.asked.remove(&question.0);
        self.answered.insert(question.0, spot);
    }

    /// A question has no answer.
    pub fn failed(&mut self, question: QuestionId) {
        self.asked.remove(&question.0);
    }

    /// What is known of a question.
    #[must_use]
    pub fn find(&self, question: QuestionId) -> Option<Found> {
        let answered = self.answered.get(&question.0).copied().map(Found::Answered);
        answered.or_else(|| self.asked.contains_key(&question.0).then_some(Found::Asked))
    }

    /// Reads what was written by [`Spot::entry`].
    pub(super) fn load(&mut self, path: &Path) -> Result<(), Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::file(path)(error)),
        };
        for entry in bytes.chunks_exact(ENTRY) {
            let number =
                |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap_or_default());
            let spot = Spot {
                shard: number(16),
                row: number(20),
            };
            let question = entry[..16].try_into().unwrap_or_default();
            self.answered.insert(question, spot);
        }
        Ok(())
    }
}

impl Spot {
    pub(super) fn entry(self, question: QuestionId) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        entry[..16].copy_from_slice(&question.0);
        entry[16..20].copy_from_slice(&self.shard.to_le_bytes());
        entry[20..].copy_from_slice(&self.row.to_le_bytes());
        entry
    }
}

/// Asked by the chain, once the bytes of a picture are there.
#[derive(Debug)]
pub struct Repetitions(pub std::sync::Arc<Mutex<Seen>>);

impl Repeats for Repetitions {
    fn is_repeat(&self, record: &RecordId, question: QuestionId) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.questions.insert(record.offset, question);
        if seen.answered.contains_key(&question.0) {
            return true;
        }
        let first = *seen.asked.entry(question.0).or_insert(record.offset);
        first != record.offset
    }
}
