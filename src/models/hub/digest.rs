//! Digests of files, each computed once a process however often a folder is opened, those of large
//! files once for all processes; and the revision made of them.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use vila2_actors::request::hex;

use crate::models::disk;

/// From this size on, bytes, a digest is kept on disk too: smaller files are read as fast.
const KEPT: u64 = 16 << 20;

/// A file changed as recently as this, or later, may change again without its time telling.
const SETTLED: Duration = Duration::from_secs(3);

/// A SHA-256.
type Sum = [u8; 32];

/// What tells one content of a path from another without reading it. Not the time of the inode's
/// last change: a link to the file changes that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(facts: &Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            bytes: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
        }
    }
}

/// Path → what it was when it was read, and its digest.
static KNOWN: LazyLock<Mutex<HashMap<PathBuf, (Stamp, Sum)>>> = LazyLock::new(Mutex::default);

/// The SHA-256 of a file. A file that has not changed since it was last asked for is not read
/// again: a start opens every model folder several times, and graphs have gigabytes.
fn sum(path: &Path) -> io::Result<Sum> {
    let facts = fs::metadata(path)?;
    let stamp = Stamp::from(&facts);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, sum)) = known().get(path).filter(|(then, _)| *then == stamp) {
        return Ok(*sum);
    }
    let kept = (stamp.bytes >= KEPT).then(|| Kept::of(stamp)).flatten();
    if let Some(sum) = kept.as_ref().and_then(Kept::read) {
        known().insert(path.to_owned(), (stamp, sum));
        return Ok(sum);
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
    let sum: Sum = digest.finalize().into();
    let settled = facts.modified().is_ok_and(|at| {
        let age = SystemTime::now().duration_since(at);
        age.is_ok_and(|age| age > SETTLED)
    });
    if let Some(kept) = kept.filter(|_| settled) {
        kept.write(&sum);
    }
    #[cfg(test)]
    tests::READS.with_borrow_mut(|reads| reads.push(path.to_owned()));
    known().insert(path.to_owned(), (stamp, sum));
    Ok(sum)
}

/// How many bytes of a file would be read for its digest now.
pub(in crate::models) fn unread(path: &Path) -> u64 {
    let Ok(facts) = fs::metadata(path) else {
        return 0;
    };
    let stamp = Stamp::from(&facts);
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let in_memory = known.get(path).is_some_and(|(then, _)| *then == stamp);
    let on_disk =
        || stamp.bytes >= KEPT && Kept::of(stamp).is_some_and(|kept| kept.read().is_some());
    if in_memory || on_disk() {
        0
    } else {
        stamp.bytes
    }
}

/// A digest on disk: a file of its own, named by the stamp, so that processes need no lock.
struct Kept(PathBuf);

impl Kept {
    fn of(stamp: Stamp) -> Option<Self> {
        let name = hex(&Sha256::digest(format!("{stamp:?}")));
        Some(Self(disk::own_folder()?.join("digests").join(name)))
    }

    fn read(&self) -> Option<Sum> {
        let text = fs::read_to_string(&self.0).ok()?;
        let mut sum = [0; 32];
        if text.len() != 2 * sum.len() || !text.is_ascii() {
            return None;
        }
        for (byte, at) in sum.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(sum)
    }

    /// Without it the next process reads the file again.
    fn write(&self, sum: &Sum) {
        let Some(folder) = self.0.parent() else {
            return;
        };
        let partial = self.0.with_extension(std::process::id().to_string());
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&partial, hex(sum)))
            .and_then(|()| fs::rename(&partial, &self.0));
        if let Err(error) = written {
            tracing::debug!(%error, "the digest of a graph is not kept");
        }
    }
}

/// A revision with what the configuration changes in a model's answers.
pub(in crate::models) fn with(revision: &str, options: &str) -> String {
    let mut changed = Revision::default();
    changed.add_text("revision", revision);
    changed.add_text("options", options);
    changed.finish()
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
    fn a_digest_on_disk_is_found_by_the_stamp_and_a_spoilt_one_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept(folder.path().join("digests/name"));
        assert_eq!(kept.read(), None);
        kept.write(&[0xa5; 32]);
        assert_eq!(kept.read(), Some([0xa5; 32]));
        fs::write(&kept.0, "a5".repeat(31)).expect("a file");
        assert_eq!(kept.read(), None);
        fs::write(&kept.0, "é".repeat(32)).expect("a file");
        assert_eq!(kept.read(), None);
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
