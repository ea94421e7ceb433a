//! Fetching: one attempt at the bytes behind a URL, within bounds, from addresses that are allowed.
//!
//! [`HttpFetcher`] reads `http` and `https` (and `file` under configured roots). What bounds it:
//!
//! - one deadline over everything: names, connection, every redirect, head and body (files have none);
//! - credit for the body, found before the request is sent: a response never stays open while its
//!   body has nowhere to go. What turns out larger than fits is let go, and asked for again once
//!   there is room;
//! - a byte cap, applied to `Content-Length` before, to the stream while reading, and to what an
//!   encoded body ([`coding`]) decodes to;
//! - the address guard ([`guard`]): every address, of every hop, is checked, and the connection is
//!   made to the very address that was checked, so a name cannot change its mind in between;
//! - at most [`MAX_REDIRECTS`] redirects, each checked like a first URL;
//! - no proxy from the environment, no cookies, no referer; `identity` is asked for.
//!
//! A server that opts out by `X-Robots-Tag` is respected (see [`FetchSettings::respect_opt_out`]).

mod coding;
mod failure;
mod file;
pub mod guard;
mod headers;
mod http;
pub mod member;
mod resolve;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use url::Url;
use vila2_actors::{budget::ImageCredit, error::FetchError, image::Fetched, ports::Fetcher};

pub use self::resolve::{Lookup, system_lookup};
use self::{file::FileRoots, guard::AddressGuard, http::HttpHops};

/// The most redirects that one fetch follows.
pub const MAX_REDIRECTS: usize = 10;

/// Room that is found before a request is sent, in bytes, unless bodies may not even be so large:
/// most pictures of the web are smaller.
pub const EXPECTED_BYTES: u64 = 1 << 20;

/// How to fetch; the `[fetch]` section of the configuration.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// Bound of one attempt in all; the wait for image credit comes before it.
    pub timeout: Duration,
    /// Largest body, in bytes.
    pub max_bytes: u64,
    /// `User-Agent`; the part before `/` is our token in agent-scoped opt-out headers.
    pub user_agent: String,
    /// What the guard lets through besides public addresses: `address`, `network/prefix`,
    /// `address:port` (IPv6: `[address]:port`).
    pub allow_addresses: Vec<String>,
    /// Folders under which `file` URLs are read; none: `file` is not fetched.
    pub file_roots: Vec<PathBuf>,
    /// Whether `X-Robots-Tag` is obeyed.
    pub respect_opt_out: bool,
    /// Directives of `X-Robots-Tag` that mean "not this image", lower case.
    pub opt_out_directives: Vec<String>,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(20),
            max_bytes: 32 << 20,
            user_agent: concat!("vila2/", env!("CARGO_PKG_VERSION")).to_owned(),
            allow_addresses: Vec::new(),
            file_roots: Vec::new(),
            respect_opt_out: true,
            opt_out_directives: ["noai", "noimageai", "noindex", "noimageindex"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value:?}: {problem}; accepted: {accepted}")]
pub struct SettingsFault {
    /// Key in the configuration.
    pub key: &'static str,
    /// The value as given.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub accepted: &'static str,
}

/// Fetches over HTTP(S), and from files under configured roots. Cheap to call from many tasks;
/// connections are kept per host.
#[derive(Debug)]
pub struct HttpFetcher {
    http: HttpHops,
    files: FileRoots,
    timeout: Duration,
    max_bytes: u64,
}

impl HttpFetcher {
    /// Builds the clients, with the system's resolver of names.
    ///
    /// # Errors
    /// Every fault of the settings.
    pub fn new(settings: &FetchSettings) -> Result<Self, Vec<SettingsFault>> {
        Self::with_lookup(settings, system_lookup())
    }

    /// The same with a resolver of one's own; what it answers is checked all the same.
    ///
    /// # Errors
    /// Every fault of the settings.
    pub fn with_lookup(
        settings: &FetchSettings,
        lookup: Lookup,
    ) -> Result<Self, Vec<SettingsFault>> {
        let mut faults = Vec::new();
        let guard = AddressGuard::new(&settings.allow_addresses)
            .map_err(|found| faults.extend(found))
            .unwrap_or_default();
        let files = FileRoots::new(&settings.file_roots, settings.max_bytes)
            .map_err(|found| faults.extend(found))
            .unwrap_or_default();
        match HttpHops::new(settings, guard, lookup) {
            Ok(http) if faults.is_empty() => Ok(Self {
                http,
                files,
                timeout: settings.timeout,
                max_bytes: settings.max_bytes,
            }),
            Ok(_) => Err(faults),
            Err(fault) => {
                faults.push(fault);
                Err(faults)
            }
        }
    }

    async fn attempt(&self, url: &str, credit: &mut ImageCredit) -> Result<Fetched, FetchError> {
        let url = Url::parse(url).map_err(|e| FetchError::BadUrl(e.to_string()))?;
        if url.scheme() != "file" || self.files.is_empty() {
            self.check_scheme(&url)?;
            http::check_length(&url)?;
        }
        if credit.held() > 0 {
            return self.within_credit(url, credit).await;
        }
        // Nobody has made room yet.
        credit
            .reserve_expected(EXPECTED_BYTES.min(self.max_bytes))
            .await;
        let mut asked_again = false;
        loop {
            let fetched = self.within_credit(url.clone(), credit).await;
            if fetched.is_err() {
                credit.release();
            }
            match fetched {
                // A body that grows from one answer to the next gets the most there can be.
                Err(FetchError::NoRoom { .. }) if asked_again => {
                    credit.reserve(self.max_bytes.min(credit.limit())).await?;
                }
                Err(FetchError::NoRoom { bytes }) => credit.reserve(bytes).await?,
                fetched => return fetched,
            }
            asked_again = true;
        }
    }

    /// One attempt with the credit there is.
    async fn within_credit(
        &self,
        url: Url,
        credit: &mut ImageCredit,
    ) -> Result<Fetched, FetchError> {
        if url.scheme() == "file" {
            return self.files.read(&url, credit).await;
        }
        let deadline = Deadline::after(self.timeout);
        let head = deadline.bound(self.http.head(url)).await?;
        head.body(credit, deadline).await
    }

    fn check_scheme(&self, url: &Url) -> Result<(), FetchError> {
        if matches!(url.scheme(), "http" | "https") {
            return Ok(());
        }
        let files = match (self.files.is_empty(), url.scheme()) {
            (true, "file") => "; file where fetch.file_roots lists folders",
            (true, _) => "",
            (false, _) => ", file",
        };
        Err(FetchError::UnsupportedScheme {
            scheme: url.scheme().to_owned(),
            accepted: format!("http, https{files}"),
        })
    }
}

impl Fetcher for HttpFetcher {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        credit: &'a mut ImageCredit,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(self.attempt(url, credit))
    }
}

/// The bound of one attempt.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    whole: Duration,
}

impl Deadline {
    fn after(whole: Duration) -> Self {
        let at = Instant::now() + whole;
        Self { at, whole }
    }

    async fn bound<T>(
        &self,
        work: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        timeout_at(self.at, work)
            .await
            .unwrap_or(Err(FetchError::Timeout(self.whole)))
    }
}
