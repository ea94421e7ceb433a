//! Files of the folder: the lock, what is appended, what is removed.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use serde_json::json;

use super::{Dead, Error, WORK, state};
use crate::inputs::Sample;

/// Keeps a second process out.
pub(super) fn lock(path: &Path, work: &Path) -> Result<File, Error> {
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
            "{}: another `vila2 caption` is writing there; wait for it, or name another folder",
            path.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(Error::file(&file)(error)),
    }
}

/// Makes a folder ready for a trial: what an earlier trial left there is removed.
///
/// # Errors
/// [`Error::Refused`] where the folder holds captions that were no trial.
pub fn begin_trial(path: &Path) -> Result<(), Error> {
    let work = path.join(WORK);
    let (mark, state) = (work.join("trial"), path.join("state.json"));
    if state.exists() && !mark.exists() {
        return Err(Error::Refused(format!(
            "{} holds the captions of a `vila2 caption --out`, which a trial would remove; name \
             another folder",
            path.display()
        )));
    }
    fs::create_dir_all(&work).map_err(Error::file(&work))?;
    let _lock = lock(path, &work)?;
    if mark.exists() {
        clear(path)?;
    }
    let gallery = work.join("gallery");
    match fs::remove_dir_all(&gallery) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file(&gallery)(error));
        }
        _ => {}
    }
    fs::write(&mark, "").map_err(Error::file(&mark))
}

/// The dead letters of a folder, by the places of their inputs: input, reason and detail.
///
/// # Errors
/// They cannot be read.
pub fn dead_letters(path: &Path) -> Result<BTreeMap<u64, [String; 3]>, Error> {
    let file = path.join("dead.jsonl");
    let bytes = fs::read(path.join(WORK).join("dead.bin")).map_err(Error::file(path))?;
    let ordinals = (bytes.chunks_exact(8))
        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    let mut letters = BTreeMap::new();
    for (ordinal, line) in ordinals.zip(lines(&file)?) {
        let line = line.map_err(Error::file(&file))?;
        let letter: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
        let text = |key: &str| letter[key].as_str().unwrap_or_default().to_owned();
        letters.insert(ordinal, ["input", "reason", "detail"].map(text));
    }
    Ok(letters)
}

/// Appends behind so many bytes of a file; returns its new length.
pub(super) fn append(
    path: &Path,
    behind: u64,
    write: impl FnOnce(&mut io::BufWriter<&File>) -> io::Result<()>,
) -> Result<u64, Error> {
    let work = || -> io::Result<u64> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        file.set_len(behind)?;
        file.seek(SeekFrom::Start(behind))?;
        let mut out = io::BufWriter::new(&file);
        write(&mut out)?;
        out.flush()?;
        drop(out);
        file.sync_data()?;
        file.metadata().map(|metadata| metadata.len())
    };
    work().map_err(Error::file(path))
}

/// Refuses a Parquet file that is not what was written: `bytes` is its length then, 0 where that is
/// not known.
pub(super) fn is_as_written(path: &Path, bytes: u64) -> Result<(), Error> {
    let refused = |what: String| {
        Err(Error::Refused(format!(
            "{} {what}: something else changed it; put it back from a copy, name another folder, or \
             begin again with --again all",
            path.display()
        )))
    };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refused("is missing".to_owned());
        }
        file => file.map_err(Error::file(path))?,
    };
    let there = file.metadata().map_err(Error::file(path))?.len();
    if bytes > 0 && there != bytes {
        let what = format!("has {there} bytes, not {bytes} as when it was written");
        return refused(what);
    }
    // Whatever ends otherwise is no Parquet: zeros, say, after the power failed.
    let mut end = [0; 4];
    let read = (file.seek(SeekFrom::End(-4))).and_then(|_| file.read_exact(&mut end));
    if read.is_err() || end != *b"PAR1" {
        return refused("does not end as a Parquet file does".to_owned());
    }
    Ok(())
}

pub(super) fn ordinals(path: &Path) -> Result<Sample, Error> {
    let bytes = fs::read(path).map_err(Error::file(path))?;
    let ordinals = bytes
        .chunks_exact(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    Ok(Sample::of(ordinals))
}

/// Removes what a former run wrote, and nothing else. The state goes last: until then a crash leaves
/// a folder that can be cleared once more.
pub(super) fn clear(path: &Path) -> Result<(), Error> {
    let state = path.join("state.json");
    for entry in fs::read_dir(path).map_err(Error::file(path))? {
        let file = entry.map_err(Error::file(path))?.path();
        if state::is_ours(&file) && file.is_file() && file != state {
            fs::remove_file(&file).map_err(Error::file(&file))?;
        }
    }
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let work = path.join(WORK);
    match fs::remove_dir_all(work.join("gallery")) {
        Err(error) if !gone(&error) => return Err(Error::file(&work)(error)),
        _ => {}
    }
    let ours = ["dead.bin", "seen.bin", "again.bin", "journal.jsonl"].map(|name| work.join(name));
    for file in ours.into_iter().chain([state]) {
        match fs::remove_file(&file) {
            Err(error) if !gone(&error) => return Err(Error::file(&file)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// The lines of a file.
pub(super) fn lines(path: &Path) -> Result<impl Iterator<Item = io::Result<Vec<u8>>>, Error> {
    let file = File::open(path).map_err(Error::file(path))?;
    Ok(BufReader::new(file).split(b'\n'))
}

/// One line of `dead.jsonl`.
pub(super) fn dead_line(dead: &Dead<'_>) -> Vec<u8> {
    let Dead {
        input,
        reason,
        detail,
    } = dead;
    let mut line = json!({ "input": input, "reason": reason, "detail": detail }).to_string();
    line.push('\n');
    line.into_bytes()
}
