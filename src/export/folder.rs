//! The folder an export fills, and whose it is.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
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
    pub(super) fn begin(path: &Path, request: &Value) -> Result<Self, Error> {
        let known = known(path)?;
        check(path, known.as_ref(), request)?;
        let lock = lock(path)?;
        let taken = lock.try_lock();
        let folder = Self::locked(path, request.clone(), lock, taken)?;
        folder.note(None)?;
        folder.clear()?;
        Ok(folder)
    }

    /// Takes an empty or new folder, or one that the same export began, which goes on, perhaps
    /// beside others. `request` names no group where the folder chooses its own; returns it.
    pub(super) fn go_on(path: &Path, mut request: Value) -> Result<(Self, String), Error> {
        known(path)?;
        // Two that begin at once choose one group.
        let choosing = lock_of(path, "choosing")?;
        choosing.lock().map_err(Error::file(path))?;
        let known = known(path)?;
        let there = known.as_ref().map(|known| &known["request"]["group"]);
        if request["group"].is_null() {
            request["group"] = match there {
                Some(Value::String(group)) => group.as_str().into(),
                _ => own_group().into(),
            };
        }
        check(path, known.as_ref(), &request)?;
        let lock = lock(path)?;
        let taken = lock.try_lock_shared();
        let group = request["group"].as_str().unwrap_or_default().to_owned();
        let folder = Self::locked(path, request, lock, taken)?;
        folder.note(None)?;
        Ok((folder, group))
    }

    fn locked(
        path: &Path,
        request: Value,
        lock: File,
        taken: Result<(), fs::TryLockError>,
    ) -> Result<Self, Error> {
        match taken {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                request,
                _lock: lock,
            }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Refused(format!(
                "{}: another `vila2 export` is writing there; wait for it, or name another folder",
                path.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(Error::file(path)(error)),
        }
    }

    /// Where the parts of an index lie: see [`shards`](super::shards).
    pub(super) fn parts(path: &Path) -> PathBuf {
        path.join(WORK).join("parts")
    }

    /// Does what one process alone may do at a time.
    pub(super) fn alone(&self, work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let turn = lock_of(&self.path, "index")?;
        turn.lock().map_err(Error::file(&self.path))?;
        work()
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
        let parts = Self::parts(&self.path);
        if parts.exists() {
            fs::remove_dir_all(&parts).map_err(Error::file(&parts))?;
        }
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
    shard
        || [
            "README.md",
            "data.json",
            "dataset_info.json",
            "wids-meta.json",
        ]
        .contains(&name)
}

/// What is noted of the export in a folder; `None` where the folder is new or empty.
fn known(path: &Path) -> Result<Option<Value>, Error> {
    if path.exists() && !path.is_dir() {
        return Err(refused(path, "is no folder"));
    }
    let is_empty = match fs::read_dir(path) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == WORK)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(Error::file(path)(error)),
    };
    let note = fs::read(path.join(WORK).join("export.json")).ok();
    let known: Option<Value> = note.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let known = known.filter(|known| known["schema"] == SCHEMA);
    if known.is_none() && !is_empty {
        return Err(refused(path, "holds something that is no export"));
    }
    Ok(known)
}

/// Whether a folder may be filled by this request.
fn check(path: &Path, known: Option<&Value>, request: &Value) -> Result<(), Error> {
    match known {
        Some(known) if known["request"] != *request => {
            let difference = difference(&known["request"], request);
            Err(refused(
                path,
                &format!("holds another export ({difference})"),
            ))
        }
        _ => Ok(()),
    }
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::Refused(format!(
        "{} {problem}; name an empty or new folder, or remove it first",
        path.display()
    ))
}

/// A group of this folder's own.
fn own_group() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default().as_nanos();
    format!("vila2-export-{since:x}-{:x}", std::process::id())
}

fn lock(path: &Path) -> Result<File, Error> {
    lock_of(path, "lock")
}

/// A file to lock.
fn lock_of(path: &Path, name: &str) -> Result<File, Error> {
    let work = path.join(WORK);
    fs::create_dir_all(&work).map_err(Error::file(&work))?;
    let file = work.join(name);
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(Error::file(&file))
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
