//! What can be wrong with a model folder.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One thing that is wrong with a model folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to the folder.
    pub file: String,
    /// What is wrong with it, and where it helps, what to do.
    pub what: String,
}

impl Fault {
    /// A fault of `file`.
    pub fn new(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            what: what.into(),
        }
    }
}

/// A model folder that cannot be used, with every reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// Everything that is wrong with it.
    pub faults: Vec<Fault>,
}

impl FolderError {
    /// Gathers the faults of the folder `path`.
    #[must_use]
    pub fn new(path: &Path, faults: Vec<Fault>) -> Self {
        Self {
            path: path.to_path_buf(),
            faults,
        }
    }
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model folder {}: ", self.path.display())?;
        for (i, fault) in self.faults.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", fault.file, fault.what)?;
        }
        Ok(())
    }
}
