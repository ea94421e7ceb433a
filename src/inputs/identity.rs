//! Whether a source is still the one that it was.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use sha2::{Digest as _, Sha256};

/// What is read at either end of a file.
const END: u64 = 1 << 16;

/// Between what says which entries a source has, and what says that each is as it was.
pub(super) const AND: char = '.';

/// A hash over parts, each behind its length.
#[derive(Default)]
pub(super) struct Identity(Sha256);

impl Identity {
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// 32 hex digits.
    pub(super) fn text(self) -> String {
        let mut text = format!("{:x}", self.0.finalize());
        text.truncate(32);
        text
    }
}

/// That of a file: its size, its beginning and its end. What is written anew with the same bytes is
/// the same.
pub(super) fn of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut identity = Identity::default();
    identity.add(&size.to_be_bytes());
    for start in [0, size.saturating_sub(END)] {
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&file).take(END).read_to_end(&mut part)?;
        identity.add(&part);
    }
    Ok(identity.text())
}
