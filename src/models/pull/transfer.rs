//! One file: what the hub says of it, then its bytes, resumed after every break and verified.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    time::Duration,
};

use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{
        ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RANGE,
        RETRY_AFTER,
    },
};

use super::{
    Listing, PullError,
    layout::{Place, digest, prepare},
};

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A hub and one repository of it.
pub(super) struct Hub {
    /// Follows no redirect: what is said of a file stands in the first answer.
    pub(super) asking: Client,
    /// Follows redirects, and takes the token off where they leave the host.
    pub(super) fetching: Client,
    pub(super) endpoint: String,
    pub(super) repository: String,
    pub(super) token: Option<String>,
    pub(super) retries: u32,
    pub(super) backoff: Duration,
}

/// What the hub says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileFacts {
    /// Names its content in the cache.
    pub(super) tag: String,
    /// Bytes.
    pub(super) size: Option<u64>,
    /// SHA-256 of the content, hex; large files have one.
    pub(super) sha256: Option<String>,
}

/// A try that did not work.
enum Failed {
    /// It may work later; after this wait, where the hub asks for one.
    Later(String, Option<Duration>),
    For(PullError),
}

impl From<PullError> for Failed {
    fn from(error: PullError) -> Self {
        Self::For(error)
    }
}

impl Hub {
    pub(super) async fn listing(&self, revision: &str) -> Result<Listing, PullError> {
        let revision = revision.replace('/', "%2F");
        let url = format!(
            "{}/api/models/{}/revision/{revision}",
            self.endpoint, self.repository
        );
        self.trying(&url, async || {
            let answer = self.send(self.fetching.get(&url)).await?;
            let answer = accepted(&url, answer)?;
            let body = answer.bytes().await.map_err(|error| later(&error))?;
            serde_json::from_slice(&body).map_err(|error| {
                let why = format!("what it answers is no listing: {error}");
                let url = url.clone();
                Failed::For(PullError::Answer { url, why })
            })
        })
        .await
    }

    pub(super) async fn facts(&self, commit: &str, name: &str) -> Result<FileFacts, PullError> {
        let first = self.url(commit, name);
        self.trying(&first, async || {
            let mut url = first.clone();
            for _ in 0..5 {
                let request = self.asking.head(&url).header(ACCEPT_ENCODING, "identity");
                let answer = self.send(request).await?;
                // A repository that was renamed redirects within the hub; one to a store ends here.
                match within(&url, &answer) {
                    Some(next) => url = next,
                    None if answer.status().is_redirection() => {
                        return facts(answer.headers(), &url).map_err(Failed::For);
                    }
                    None => {
                        let answer = accepted(&url, answer)?;
                        return facts(answer.headers(), &url).map_err(Failed::For);
                    }
                }
            }
            let why = "too many redirects".to_owned();
            Err(Failed::For(PullError::Answer { url, why }))
        })
        .await
    }

    /// Fetches a file into its place; `progress` is called with the bytes that are there.
    pub(super) async fn fetch(
        &self,
        commit: &str,
        name: &str,
        facts: &FileFacts,
        place: &Place,
        mut progress: impl FnMut(u64),
    ) -> Result<(), PullError> {
        let url = self.url(commit, name);
        let partial = place.partial();
        prepare(&partial)?;
        let mut wait = self.backoff;
        let mut left = self.retries;
        let mut spoilt = false;
        loop {
            let failed = match self.attempt(&url, facts, place, &mut progress).await {
                Ok(()) => match verify(name, facts, place) {
                    Ok(()) => return place.keep(),
                    Err(damaged) => {
                        // What is there cannot be gone on with.
                        let _ = fs::remove_file(&partial);
                        // Twice is no accident of the way here.
                        if left == 0 || std::mem::replace(&mut spoilt, true) {
                            return Err(damaged);
                        }
                        Failed::Later(damaged.to_string(), None)
                    }
                },
                Err(failed) => failed,
            };
            match failed {
                Failed::For(error) => return Err(error),
                Failed::Later(why, _) if left == 0 => {
                    return Err(PullError::Interrupted { url, why });
                }
                Failed::Later(why, asked) => {
                    tracing::debug!(name, "trying again: {why}");
                    let wait_now = asked.unwrap_or(wait).min(LONGEST_WAIT);
                    tokio::time::sleep(wait_now).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    left -= 1;
                }
            }
        }
    }

    async fn attempt(
        &self,
        url: &str,
        facts: &FileFacts,
        place: &Place,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), Failed> {
        let partial = place.partial();
        let write = |source| PullError::Write {
            path: place.partial(),
            source,
        };
        let mut there = partial.metadata().map_or(0, |found| found.len());
        if facts.size.is_some_and(|size| there > size) {
            there = 0;
        }
        if there > 0 && facts.size == Some(there) {
            return Ok(());
        }
        let mut request = self.fetching.get(url).header(ACCEPT_ENCODING, "identity");
        if there > 0 {
            request = request.header(RANGE, format!("bytes={there}-"));
        }
        let answer = accepted(url, self.send(request).await?)?;
        // A server that does not resume sends the whole.
        if answer.status() != StatusCode::PARTIAL_CONTENT || starts_at(&answer) != Some(there) {
            if answer.status() == StatusCode::PARTIAL_CONTENT {
                let why = "it resumes at another place than asked for".to_owned();
                let _ = fs::remove_file(&partial);
                return Err(Failed::Later(why, None));
            }
            there = 0;
        }
        let mut file: File = OpenOptions::new()
            .create(true)
            .append(there > 0)
            .write(true)
            .truncate(there == 0)
            .open(&partial)
            .map_err(write)?;
        let mut answer = answer;
        while let Some(chunk) = answer.chunk().await.map_err(|error| later(&error))? {
            file.write_all(&chunk).map_err(write)?;
            there += chunk.len() as u64;
            progress(there);
        }
        file.sync_all().map_err(write)?;
        match facts.size {
            Some(size) if there < size => Err(Failed::Later(
                format!("it ended after {there} of {size} bytes"),
                None,
            )),
            _ => Ok(()),
        }
    }

    /// Asks again after transient failures.
    async fn trying<T>(
        &self,
        url: &str,
        ask: impl AsyncFn() -> Result<T, Failed>,
    ) -> Result<T, PullError> {
        let mut wait = self.backoff;
        for left in (0..=self.retries).rev() {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(Failed::For(error)) => return Err(error),
                Err(Failed::Later(why, _)) if left == 0 => {
                    let url = url.to_owned();
                    return Err(PullError::Interrupted { url, why });
                }
                Err(Failed::Later(_, asked)) => {
                    tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
        unreachable!("bug: the last try returns")
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failed> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.map_err(|error| later(&error))
    }

    fn url(&self, commit: &str, name: &str) -> String {
        format!(
            "{}/{}/resolve/{commit}/{name}",
            self.endpoint, self.repository
        )
    }
}

fn later(error: &reqwest::Error) -> Failed {
    // The outermost error only says that something failed.
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    Failed::Later(why, None)
}

/// An answer that can be used.
fn accepted(url: &str, answer: Response) -> Result<Response, Failed> {
    let status = answer.status();
    let url = url.to_owned();
    match status {
        status if status.is_success() => Ok(answer),
        StatusCode::NOT_FOUND => Err(PullError::NotFound { url }.into()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(PullError::Denied { url, status }.into())
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failed::Later(status.to_string(), retry_after(&answer)))
        }
        status if status.is_server_error() => {
            Err(Failed::Later(status.to_string(), retry_after(&answer)))
        }
        status => Err(PullError::Answer {
            url,
            why: status.to_string(),
        }
        .into()),
    }
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = text(answer.headers(), RETRY_AFTER.as_str())?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Where a redirect leads that stays on the same host.
fn within(url: &str, answer: &Response) -> Option<String> {
    if !answer.status().is_redirection() || answer.headers().contains_key("x-linked-etag") {
        return None;
    }
    let location = text(answer.headers(), LOCATION.as_str())?;
    let base = Url::parse(url).ok()?;
    let next = base.join(&location).ok()?;
    (next.origin() == base.origin()).then(|| next.into())
}

/// First byte of a partial answer.
fn starts_at(answer: &Response) -> Option<u64> {
    let range = text(answer.headers(), CONTENT_RANGE.as_str())?;
    range
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

fn facts(headers: &HeaderMap, url: &str) -> Result<FileFacts, PullError> {
    let tag = text(headers, "x-linked-etag").or_else(|| text(headers, ETAG.as_str()));
    let tag = tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
    let legal = |tag: &String| !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphanumeric());
    let Some(tag) = tag.filter(legal) else {
        return Err(PullError::Answer {
            url: url.to_owned(),
            why: "it gives no ETag".to_owned(),
        });
    };
    // A redirect's own length is not the file's.
    let size = text(headers, "x-linked-size").or_else(|| {
        let own = !headers.contains_key(LOCATION);
        text(headers, CONTENT_LENGTH.as_str()).filter(|_| own)
    });
    let is_sha256 = tag.len() == 64 && tag.chars().all(|c| c.is_ascii_hexdigit());
    Ok(FileFacts {
        size: size.and_then(|size| size.parse().ok()),
        sha256: is_sha256.then(|| tag.to_ascii_lowercase()),
        tag,
    })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn verify(name: &str, facts: &FileFacts, place: &Place) -> Result<(), PullError> {
    let damaged = |why: String| PullError::Damaged {
        file: name.to_owned(),
        why,
    };
    let partial = place.partial();
    let size = partial.metadata().map_or(0, |found| found.len());
    if let Some(wanted) = facts.size.filter(|wanted| *wanted != size) {
        return Err(damaged(format!(
            "it has {size} bytes, the hub says {wanted}"
        )));
    }
    let Some(wanted) = &facts.sha256 else {
        return Ok(());
    };
    match digest(&partial) {
        Ok(found) if found == *wanted => Ok(()),
        Ok(found) => Err(damaged(format!(
            "its SHA-256 is {found}, the hub says {wanted}"
        ))),
        Err(source) => Err(PullError::Write {
            path: partial,
            source,
        }),
    }
}
