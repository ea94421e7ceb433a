//! Digests of files, each computed once a process however often a folder is opened, and the
//! revision made of them.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

/// A SHA-256.
type Sum = [u8; 32];

/// What tells one content of a path from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(facts: &Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            bytes: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }
}

/// Path → what it was when it was read, and its digest.
static KNOWN: LazyLock<Mutex<HashMap<PathBuf, (Stamp, Sum)>>> = LazyLock::new(Mutex::default);

/// The SHA-256 of a file. A file that has not changed since it was last asked for is not read
/// again: a start opens every model folder several times, and graphs have gigabytes.
fn sum(path: &Path) -> io::Result<Sum> {
    let stamp = Stamp::from(&fs::metadata(path)?);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, sum)) = known().get(path).filter(|(then, _)| *then == stamp) {
        return Ok(*sum);
    }
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; stamp.bytes.clamp(1, 1 << 20) as usize];
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => digest.update(&block[..read]),
        }
    }
    let sum = digest.finalize().into();
    #[cfg(test)]
    tests::READS.with_borrow_mut(|reads| reads.push(path.to_owned()));
    known().insert(path.to_owned(), (stamp, sum));
    Ok(sum)
}

/// Gathers what a model's answers depend on.
#[derive(Debug, Default)]
pub(in crate::models) struct Revision(Sha256);

impl Revision {
    /// Adds a file under a name. The path it lies at does not matter.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn add_file(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let sum = sum(path)?;
        self.add(name, &sum);
        Ok(())
    }

    /// Adds a text under a name.
    pub fn add_text(&mut self, name: &str, text: &str) {
        self.add(name, &Sha256::digest(text));
    }

    fn add(&mut self, name: &str, sum: &[u8]) {
        self.0.update((name.len() as u64).to_be_bytes());
        self.0.update(name);
        self.0.update(sum);
    }

    /// The first 12 hex digits of the digest of all.
    pub fn finish(self) -> String {
        let digest = self.0.finalize();
        digest[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

#[cfg(test)]
pub(in crate::models) mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// The files whose content was read for a digest on this thread.
        pub(in crate::models) static READS: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    #[test]
    fn a_file_is_read_again_only_when_it_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weights");
        let reads =
            || READS.with_borrow(|reads| reads.iter().filter(|read| **read == path).count());
        fs::write(&path, "one").expect("a file");
        let first = sum(&path).expect("read");
        assert_eq!((sum(&path).expect("read"), reads()), (first, 1));
        // Replaced as `models pull` and `mv` do it: another file of the same size under the name.
        let other = folder.path().join("other");
        fs::write(&other, "two").expect("a file");
        fs::rename(&other, &path).expect("renamed");
        assert_ne!(sum(&path).expect("read"), first);
        assert_eq!(reads(), 2);
    }
}
