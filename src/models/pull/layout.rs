//! Where files stand: in the hub's cache, shared with every other program that knows it, or in a
//! plain folder.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use vila2_actors::request::hex;

use super::PullError;

/// Where a folder is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// The hub's cache (`HF_HUB_CACHE`, else `HF_HOME/hub`): `models--org--name/` with `blobs/` by
    /// content, `snapshots/COMMIT/` of links to them, and `refs/REVISION` with the commit.
    Cache(PathBuf),
    /// The files by their names.
    Plain(PathBuf),
}

impl Layout {
    /// The folder of a commit.
    #[must_use]
    pub fn folder(&self, repository: &str, commit: &str) -> PathBuf {
        match self {
            Self::Plain(folder) => folder.clone(),
            Self::Cache(_) => self.repository(repository).join("snapshots").join(commit),
        }
    }

    /// The folder of a repository in the cache.
    fn repository(&self, repository: &str) -> PathBuf {
        let (Self::Cache(root) | Self::Plain(root)) = self;
        root.join(format!("models--{}", repository.replace('/', "--")))
    }

    /// Where a file goes.
    pub(super) fn place(&self, repository: &str, commit: &str, name: &str, tag: &str) -> Place {
        let shown = self.folder(repository, commit).join(name);
        match self {
            Self::Plain(_) => Place {
                content: shown,
                link: None,
            },
            Self::Cache(_) => {
                let content = self.repository(repository).join("blobs").join(tag);
                // From snapshots/COMMIT/a/b up to the repository's folder.
                let up = "../".repeat(2 + name.matches('/').count());
                let target = PathBuf::from(format!("{up}blobs/{tag}"));
                Place {
                    content,
                    link: Some((shown, target)),
                }
            }
        }
    }

    /// Notes which commit a branch or tag stood for.
    pub(super) fn remember(
        &self,
        repository: &str,
        revision: &str,
        commit: &str,
    ) -> Result<(), PullError> {
        if matches!(self, Self::Plain(_)) || revision == commit {
            return Ok(());
        }
        let path = self.repository(repository).join("refs").join(revision);
        prepare(&path)?;
        fs::write(&path, commit).map_err(|source| PullError::Write { path, source })
    }
}

/// Where one file goes.
#[derive(Debug, Clone)]
pub(super) struct Place {
    content: PathBuf,
    /// The link that shows it, and what it points to.
    link: Option<(PathBuf, PathBuf)>,
}

impl Place {
    /// Whether the content is there, as the hub describes it.
    pub(super) fn is_whole(&self, size: Option<u64>, sha256: Option<&str>) -> bool {
        let Ok(found) = self.content.metadata() else {
            return false;
        };
        // In the cache the name is the content's: it only gets there once it was verified.
        let named = self.link.is_some();
        let fits = size.is_none_or(|size| size == found.len());
        fits && (named || sha256.is_none_or(|sum| digest(&self.content).is_ok_and(|d| d == sum)))
    }

    /// What is fetched so far.
    pub(super) fn partial(&self) -> PathBuf {
        let mut name = self.content.clone().into_os_string();
        name.push(".incomplete");
        PathBuf::from(name)
    }

    /// Puts what was fetched and verified into its place.
    pub(super) fn keep(&self) -> Result<(), PullError> {
        let path = self.content.clone();
        fs::rename(self.partial(), &path).map_err(|source| PullError::Write { path, source })
    }

    /// Makes the link that shows the content, where there is one.
    pub(super) fn link(&self) -> Result<(), PullError> {
        let Some((path, target)) = &self.link else {
            return Ok(());
        };
        if fs::read_link(path).is_ok_and(|found| found == *target) {
            return Ok(());
        }
        prepare(path)?;
        let linked = match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => std::os::unix::fs::symlink(target, path),
        };
        linked.map_err(|source| PullError::Write {
            path: path.clone(),
            source,
        })
    }
}

/// Makes the folder that a file goes to.
pub(super) fn prepare(path: &Path) -> Result<(), PullError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(|source| PullError::Write {
        path: folder.to_owned(),
        source,
    })
}

/// SHA-256 of a file, hex.
pub(super) fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => hash.update(&block[..read]),
        }
    }
    Ok(hex(&hash.finalize()))
}
