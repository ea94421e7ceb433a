//! Texts beside pictures: `NAME.txt` for `NAME.jpg`. A file that we did not write stays as it is.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use url::Url;
use vila2_actors::annotation::EnrichedCaption;

use crate::{
    dataset::{self, Folder},
    records,
};

/// Writes texts, and remembers which are ours.
#[derive(Debug, Default)]
pub struct Sidecars {
    /// A file of the hashes of what was written, 16 bytes each; `None`: only what is new is written.
    memory: Option<PathBuf>,
    /// What stands in it, once that was needed.
    known: Option<HashSet<[u8; 16]>>,
    /// Texts that were not written, and the first file that was in the way.
    kept: Option<(u64, PathBuf)>,
}

impl Sidecars {
    /// Remembers in a file, over many runs.
    #[must_use]
    pub fn remembering(memory: PathBuf) -> Self {
        Self {
            memory: Some(memory),
            ..Self::default()
        }
    }

    /// How many texts were not written because another file is there, and the first of these.
    #[must_use]
    pub fn kept(&self) -> Option<(u64, &Path)> {
        (self.kept.as_ref()).map(|(count, first)| (*count, first.as_path()))
    }

    /// Writes the text of a record beside its picture. What is there is replaced only where it is
    /// the text that we wrote for this picture before.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&mut self, picture: &Path, record: &[u8]) -> Result<(), dataset::Error> {
        let Ok(record) = serde_json::from_slice::<EnrichedCaption>(record) else {
            return Ok(());
        };
        let path = picture.with_extension("txt");
        self.replace(picture, &path, &format!("{}\n", record.enriched))
            .map_err(|source| dataset::Error::File {
                path: path.clone(),
                source,
            })
    }

    /// Writes the texts of all rows that a folder has: those of a run that was not asked for them.
    ///
    /// # Errors
    /// The disk; a file of rows that cannot be read.
    pub fn catch_up(&mut self, folder: &Folder) -> Result<(), dataset::Error> {
        for shard in folder.shards() {
            for record in records::read(&shard)? {
                let record = record?;
                let picture = (serde_json::from_slice::<EnrichedCaption>(&record).ok())
                    .and_then(|record| Url::parse(&record.url).ok())
                    .filter(|url| url.scheme() == "file" && url.query().is_none())
                    .and_then(|url| url.to_file_path().ok());
                if let Some(picture) = picture.filter(|picture| picture.is_file()) {
                    self.write(&picture, &record)?;
                }
            }
        }
        Ok(())
    }

    fn replace(&mut self, picture: &Path, path: &Path, text: &str) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let there = fs::read(path).unwrap_or_default();
                if there == text.as_bytes() {
                    return Ok(());
                }
                if !self.is_ours(picture, &there)? {
                    let kept = self.kept.get_or_insert_with(|| (0, path.to_owned()));
                    kept.0 += 1;
                    return Ok(());
                }
            }
        }
        // Remembered first: a text that a crash leaves is ours.
        self.remember(picture, text.as_bytes())?;
        let mut beside = OsString::from(".");
        beside.push(picture.file_name().unwrap_or_default());
        beside.push(".vila2");
        let beside = picture.with_file_name(beside);
        fs::write(&beside, text)?;
        fs::rename(&beside, path)
    }

    fn is_ours(&mut self, picture: &Path, text: &[u8]) -> io::Result<bool> {
        let Some(memory) = &self.memory else {
            return Ok(false);
        };
        if self.known.is_none() {
            let bytes = match fs::read(memory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                bytes => bytes?,
            };
            let hashes = bytes
                .chunks_exact(16)
                .filter_map(|hash| hash.try_into().ok());
            self.known = Some(hashes.collect());
        }
        let hash = hash(picture, text);
        Ok((self.known.as_ref()).is_some_and(|known| known.contains(&hash)))
    }

    fn remember(&mut self, picture: &Path, text: &[u8]) -> io::Result<()> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let hash = hash(picture, text);
        let mut file = OpenOptions::new().create(true).append(true).open(memory)?;
        file.write_all(&hash)?;
        if let Some(known) = &mut self.known {
            known.insert(hash);
        }
        Ok(())
    }
}

/// Of a picture's path and a text.
fn hash(picture: &Path, text: &[u8]) -> [u8; 16] {
    let picture = std::path::absolute(picture).unwrap_or_else(|_| picture.to_owned());
    let name = picture.as_os_str().as_encoded_bytes();
    let mut hash = Sha256::new();
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name);
    hash.update(text);
    let hash = hash.finalize();
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Vec<u8> {
        serde_json::json!({
            "schema": "vila2.caption/1", "id": "a", "url": "file:///a.png", "round": 0,
            "image": { "sha256": "00", "width": 1, "height": 1, "format": "png", "bytes": 1 },
            "caption": { "text": text, "tokens": 1, "finish": "stop" },
            "grounding": [], "text": [], "spatial": [], "clauses": [], "enriched": text,
            "models": {}, "status": "complete", "timings_ms": {}, "queue_ms": {},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn only_a_text_of_ours_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (picture, path) = (folder.path().join("a.b.png"), folder.path().join("a.b.txt"));
        let read = || fs::read_to_string(&path).unwrap();
        let memory = folder.path().join("texts.bin");
        let mut sidecars = Sidecars::remembering(memory.clone());
        sidecars.write(&picture, &record("one")).unwrap();
        assert_eq!(read(), "one\n");
        // Another run, another text.
        let mut sidecars = Sidecars::remembering(memory);
        sidecars.write(&picture, &record("two")).unwrap();
        assert_eq!((read().as_str(), sidecars.kept()), ("two\n", None));
        // Another picture of the same name.
        let twin = folder.path().join("a.b.jpg");
        sidecars.write(&twin, &record("three")).unwrap();
        assert_eq!(read(), "two\n");
        assert_eq!(sidecars.kept(), Some((1, path.as_path())));
        // Somebody changed it.
        fs::write(&path, "mine").unwrap();
        sidecars.write(&picture, &record("two")).unwrap();
        assert_eq!(read(), "mine");
        assert_eq!(sidecars.kept().map(|(count, _)| count), Some(2));
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2, "the text and the memory");
    }

    #[test]
    fn without_a_memory_only_the_same_text_may_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let (picture, path) = (folder.path().join("a.png"), folder.path().join("a.txt"));
        let mut sidecars = Sidecars::default();
        for _ in 0..2 {
            sidecars.write(&picture, &record("one")).unwrap();
            assert_eq!(sidecars.kept(), None);
        }
        sidecars.write(&picture, &record("two")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        assert_eq!(sidecars.kept(), Some((1, path.as_path())));
        // A link that leads nowhere is a file of somebody's, too.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        sidecars.write(&picture, &record("one")).unwrap();
        assert!(path.is_symlink() && !path.exists());
    }
}
