//! A file inside of a tar, read where it lies.

use std::{io::SeekFrom, path::PathBuf};

use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use url::Url;
use vila2_actors::{budget::ImageCredit, error::FetchError, image::Fetched};

/// Where a file lies in a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The tar, as an absolute path.
    pub path: PathBuf,
    /// Where its bytes begin.
    pub at: u64,
    /// How many there are.
    pub bytes: u64,
}

impl Member {
    /// Its address: `file:///TAR?at=N&bytes=N#KEY`; `None` where the path is not absolute.
    #[must_use]
    pub fn url(&self, key: &str) -> Option<String> {
        let mut url = Url::from_file_path(&self.path).ok()?;
        url.set_query(Some(&format!("at={}&bytes={}", self.at, self.bytes)));
        url.set_fragment(Some(key));
        Some(url.into())
    }

    /// Reads an address; `None` where it is another kind of URL.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "file")?;
        let number = |name: &str| {
            let (_, value) = url.query_pairs().find(|(key, _)| key == name)?;
            value.parse().ok()
        };
        Some(Self {
            at: number("at")?,
            bytes: number("bytes")?,
            path: url.to_file_path().ok()?,
        })
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is larger than `max_bytes` or the room there is, or the tar is not what it was.
    pub async fn read(
        &self,
        url: &str,
        max_bytes: u64,
        credit: &mut ImageCredit,
    ) -> Result<Fetched, FetchError> {
        if self.bytes > max_bytes {
            return Err(FetchError::TooLarge {
                got: self.bytes,
                limit: max_bytes,
            });
        }
        credit.resize(self.bytes)?;
        let read = async {
            let mut file = File::open(&self.path).await?;
            file.seek(SeekFrom::Start(self.at)).await?;
            let mut body = vec![0; self.bytes as usize];
            file.read_exact(&mut body).await?;
            Ok::<_, std::io::Error>(body)
        };
        let body = (read.await).map_err(|error| FetchError::Protocol(error.to_string()))?;
        Ok(Fetched {
            body: body.into(),
            final_url: url.to_owned(),
            content_type: None,
        })
    }
}
