//! Pictures in a folder and in the folders in it, in the order of their names.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{
    Entry, Fault, Spot, at,
    identity::{AND, Identity},
};
use crate::requests::name_of;

/// Endings of pictures; some are of kinds that are not decoded, so that they are told, not passed
/// over in silence.
const ENDINGS: [&str; 18] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff",
    "heic", "heif", "avif", "jxl", "jp2", "ppm",
];

/// The folder that a run keeps inside of its `--out`.
const WORK: &str = ".vila2";

/// Whether a name has a picture's ending.
pub(super) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// A folder that was looked at.
#[derive(Debug)]
pub(super) struct Folder {
    /// As it was named.
    path: PathBuf,
    /// Its real path.
    real: PathBuf,
}

/// What is in a folder.
pub(super) struct Found {
    pub(super) pictures: u64,
    /// Other files.
    pub(super) skipped: u64,
    /// Changes where a picture comes, goes, or changes its size: that of the names, then that of
    /// the sizes.
    pub(super) identity: String,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Result<Self, Fault> {
        let real = path.canonicalize().map_err(|error| fault(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            real,
        })
    }

    /// Its real path.
    pub(super) fn real(&self) -> &Path {
        &self.real
    }

    /// Goes through all of it once.
    pub(super) fn look(&self) -> Result<Found, Fault> {
        let mut found = Found {
            pictures: 0,
            skipped: 0,
            identity: String::new(),
        };
        let (mut names, mut sizes) = (Identity::default(), Identity::default());
        for file in self.files() {
            let file = file?;
            if !is_picture(&file) {
                found.skipped += 1;
                continue;
            }
            found.pictures += 1;
            let relative = file.strip_prefix(&self.path).unwrap_or(&file);
            names.add(relative.as_os_str().as_encoded_bytes());
            // Not the time, which changes where a collection is copied.
            let size = file.metadata().map_or(0, |metadata| metadata.len());
            sizes.add(&size.to_be_bytes());
        }
        found.identity = format!("{}{AND}{}", names.text(), sizes.text());
        Ok(found)
    }

    /// Its pictures behind the first `from`.
    pub(super) fn read(
        &self,
        from: u64,
    ) -> impl Iterator<Item = Result<(Entry, Spot), Fault>> + '_ {
        let pictures =
            (self.files()).filter(|file| file.as_ref().map_or(true, |file| is_picture(file)));
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        (1..).zip(pictures).skip(from).map(|(number, file)| {
            let file = file?;
            let relative = file.strip_prefix(&self.path).unwrap_or(&file);
            let name = name_of(file.as_os_str());
            Ok((Entry::file(name, &self.real.join(relative)), at(number)))
        })
    }

    fn files(&self) -> impl Iterator<Item = Result<PathBuf, Fault>> + '_ {
        let walk = WalkDir::new(&self.path).follow_links(true);
        let walk = walk.sort_by_file_name().into_iter();
        // What `--out` keeps for itself is none of the person's.
        let walk = walk.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != WORK);
        walk.filter_map(|entry| match entry {
            Ok(entry) if entry.file_type().is_dir() => None,
            Ok(entry) => Some(Ok(entry.into_path())),
            // A link to a folder around it: all that is in there is being gone through.
            Err(error) if error.loop_ancestor().is_some() => None,
            Err(error) => {
                let path = error.path().unwrap_or(&self.path);
                // A link that leads nowhere is a picture that cannot be read, like any other.
                if path != self.path && path.is_symlink() && !path.exists() {
                    return Some(Ok(path.to_owned()));
                }
                Some(Err(fault(path, &error)))
            }
        })
    }
}

fn fault(path: &Path, error: impl std::fmt::Display) -> Fault {
    Fault {
        name: name_of(path.as_os_str()),
        problem: format!("cannot be read: {error}"),
    }
}
