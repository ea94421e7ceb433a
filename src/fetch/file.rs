//! `file` URLs, under configured roots only.

use std::path::{Path, PathBuf};

use tokio::{fs, io::AsyncReadExt as _};
use url::Url;
use vila2_actors::{budget::ImageCredit, error::FetchError, image::Fetched};

use super::SettingsFault;

/// Folders whose files may be read, as real paths.
#[derive(Debug, Default)]
pub(super) struct FileRoots {
    roots: Vec<PathBuf>,
    max_bytes: u64,
}

impl FileRoots {
    /// Resolves the roots; every one must be a folder.
    pub(super) fn new(roots: &[PathBuf], max_bytes: u64) -> Result<Self, Vec<SettingsFault>> {
        let mut faults = Vec::new();
        let mut resolved = Vec::new();
        for root in roots {
            let fault = |problem: String| SettingsFault {
                key: "fetch.file_roots",
                value: root.display().to_string(),
                problem,
                accepted: "paths of folders that exist",
            };
            match root.canonicalize() {
                Ok(path) if path.is_dir() => resolved.push(path),
                Ok(_) => faults.push(fault("not a folder".to_owned())),
                Err(error) => faults.push(fault(error.to_string())),
            }
        }
        if faults.is_empty() {
            Ok(Self {
                roots: resolved,
                max_bytes,
            })
        } else {
            Err(faults)
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Reads a file whose real path, symbolic links resolved, lies under a root. The deadline of a
    /// fetch does not count here: a busy machine that takes long is no reason to give a picture up.
    pub(super) async fn read(
        &self,
        url: &Url,
        credit: &mut ImageCredit,
    ) -> Result<Fetched, FetchError> {
        let (path, size) = self.locate(url).await?;
        credit.resize(size)?;
        let body = self.bytes(&path).await?;
        credit.resize(body.len() as u64)?; // it may have changed
        Ok(Fetched {
            body: body.into(),
            final_url: url.to_string(),
            content_type: None,
        })
    }

    async fn locate(&self, url: &Url) -> Result<(PathBuf, u64), FetchError> {
        let named = url
            .to_file_path()
            .map_err(|()| FetchError::BadUrl("a file URL with a host or no path".to_owned()))?;
        let path = fs::canonicalize(&named).await.map_err(unreadable)?;
        if !self.roots.iter().any(|root| path.starts_with(root)) {
            return Err(FetchError::BlockedFile(format!(
                "{} is outside of the folders that fetch.file_roots lists",
                named.display()
            )));
        }
        let metadata = fs::metadata(&path).await.map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(FetchError::Protocol("not a regular file".to_owned()));
        }
        self.check(metadata.len())?;
        Ok((path, metadata.len()))
    }

    async fn bytes(&self, path: &Path) -> Result<Vec<u8>, FetchError> {
        let file = fs::File::open(path).await.map_err(unreadable)?;
        let mut body = Vec::new();
        let mut capped = file.take(self.max_bytes + 1); // it may have grown
        capped.read_to_end(&mut body).await.map_err(unreadable)?;
        self.check(body.len() as u64)?;
        Ok(body)
    }

    fn check(&self, got: u64) -> Result<(), FetchError> {
        let limit = self.max_bytes;
        if got > limit {
            return Err(FetchError::TooLarge { got, limit });
        }
        Ok(())
    }
}

/// A file that is not there will not be there at the next attempt.
fn unreadable(error: std::io::Error) -> FetchError {
    FetchError::Protocol(error.to_string())
}
