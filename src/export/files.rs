//! Files that have their names only when they are whole, and tars that are the same in every run.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::Error;

/// The name of a file until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".new");
    name.into()
}

/// A file on its way.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::file(folder))?;
        }
        let file = File::create(beside(path)).map_err(Error::file(path))?;
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::with_capacity(1 << 18, file),
        })
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::file(&self.path))
    }

    /// On the disk, and under its name. Returns its size in bytes.
    pub(super) fn finish(self) -> Result<u64, Error> {
        let Self { path, mut out } = self;
        let mut end = || -> io::Result<u64> {
            out.flush()?;
            let file = out.get_ref();
            file.sync_all()?;
            fs::rename(beside(&path), &path)?;
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
            Ok(file.metadata()?.len())
        };
        end().map_err(Error::file(&path))
    }
}

/// Writes a whole file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = NewFile::create(path)?;
    file.put(bytes)?;
    file.finish().map(|_| ())
}

/// A tar on its way. Headers say nothing of when, where and by whom it was written.
pub(super) struct NewTar {
    path: PathBuf,
    builder: tar::Builder<NewFile>,
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl NewTar {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            builder: tar::Builder::new(NewFile::create(path)?),
        })
    }

    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        (self.builder.append_data(&mut header, name, bytes)).map_err(Error::file(&self.path))
    }

    /// As [`NewFile::finish`].
    pub(super) fn finish(self) -> Result<u64, Error> {
        let file = (self.builder.into_inner()).map_err(Error::file(&self.path))?;
        file.finish()
    }
}
