//! The folder an export fills, and whose it is.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Error, files};

/// Our own files, where no loader looks.
const WORK: &str = ".vila2";
const SCHEMA: &str = "vila2.export/1";

/// The folder, for as long as it is written.
#[derive(Debug)]
pub(super) struct OutFolder {
    path: PathBuf,
    request: Value,
    _lock: File,
}

impl OutFolder {
    /// Takes an empty or new folder, or one that the same export began: that begins over.
    pub(super) fn open(path: &Path, request: Value) -> Result<Self, Error> {
        let refused = |problem: &str| {
            Error::Refused(format!(
                "{} {problem}; name an empty or new folder, or remove it first",
                path.display()
            ))
        };
        if path.exists() && !path.is_dir() {
            return Err(refused("is no folder"));
        }
        let work = path.join(WORK);
        let note = work.join("export.json");
        let is_empty = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(Error::file(path)(error)),
        };
        if !is_empty {
            let known: Option<Value> = fs::read(&note)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let Some(known) = known.filter(|known| known["schema"] == SCHEMA) else {
                return Err(refused("holds something that is no export"));
            };
            if known["request"] != request {
                return Err(refused(&format!(
                    "holds another export ({})",
                    difference(&known["request"], &request)
                )));
            }
        }
        fs::create_dir_all(&work).map_err(Error::file(&work))?;
        let lock = lock(path, &work)?;
        let folder = Self {
            path: path.to_owned(),
            request,
            _lock: lock,
        };
        folder.note(None)?;
        folder.clear()?;
        Ok(folder)
    }

    /// It is whole.
    pub(super) fn finish(&self, report: &Value) -> Result<(), Error> {
        self.note(Some(report))
    }

    fn note(&self, report: Option<&Value>) -> Result<(), Error> {
        let note = json!({
            "schema": SCHEMA,
            "request": self.request,
            "finished": report.is_some(),
            "report": report,
        });
        let mut text = serde_json::to_vec_pretty(&note).unwrap_or_default();
        text.push(b'\n');
        files::write(&self.path.join(WORK).join("export.json"), &text)
    }

    /// Removes what an earlier run of the same export left.
    fn clear(&self) -> Result<(), Error> {
        for entry in fs::read_dir(&self.path).map_err(Error::file(&self.path))? {
            let path = entry.map_err(Error::file(&self.path))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let removed = match path.is_dir() {
                true if FOLDERS.contains(&&*name) => fs::remove_dir_all(&path),
                false if is_ours(&name) => fs::remove_file(&path),
                _ => Ok(()),
            };
            removed.map_err(Error::file(&path))?;
        }
        Ok(())
    }
}

/// Folders that exports make; what loaders put into them belongs to the old files.
const FOLDERS: [&str; 4] = [".nv-meta", "data", "images", "recaption"];

/// Whether a file is one that exports make.
fn is_ours(name: &str) -> bool {
    let name = name.strip_suffix(".new").unwrap_or(name);
    let shard = name.split_once('.').is_some_and(|(number, ending)| {
        number.len() == 5
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && ["tar", "parquet", "tar.idx"].contains(&ending)
    });
    shard || ["data.json", "dataset_info.json", "wids-meta.json"].contains(&name)
}

fn lock(path: &Path, work: &Path) -> Result<File, Error> {
    let file = work.join("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(Error::file(&file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Refused(format!(
            "{}: another `vila2 export` is writing there; wait for it, or name another folder",
            path.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(Error::file(&file)(error)),
    }
}

/// The first member that differs, in words.
fn difference(there: &Value, now: &Value) -> String {
    let (Value::Object(there), Value::Object(now)) = (there, now) else {
        return "of another version".to_owned();
    };
    for (name, value) in now {
        let old = there.get(name).unwrap_or(&Value::Null);
        if old != value {
            return format!("{name} is {old} there, {value} now");
        }
    }
    "of another version".to_owned()
}
