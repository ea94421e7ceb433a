//! The hops of one HTTP fetch: each URL checked, each redirect followed by hand, the body capped.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::BytesMut;
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION},
    redirect::Policy,
};
use url::{Host, Position, Url};
use vila2_actors::{budget::ImageCredit, error::FetchError, image::Fetched};

use super::{
    Deadline, FetchSettings, MAX_REDIRECTS, SettingsFault,
    coding::Codings,
    failure::failure,
    guard::AddressGuard,
    headers::{opt_out, retry_after},
    resolve::{Answers, GuardedResolver, Lookup},
};

/// What is decoded here, so that a server that chooses by `Accept` sends one of them.
const ACCEPTED: &str =
    "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff,image/*;q=0.2,*/*;q=0.1";
/// Header lines of one answer; their bytes are bounded by the client's buffer (about 400 KiB).
const MAX_HEADERS: usize = 1000;
/// Bytes of a URL that the client can send.
const MAX_URL: usize = u16::MAX as usize - 1;
/// A body's buffer starts no larger than this, whatever `Content-Length` claims.
const FIRST_BUFFER: u64 = 1 << 20;
/// Bytes of an encoded body that are decoded before other tasks have a turn.
const ENCODED_PART: usize = 4 << 10;

/// The clients and what they have to respect.
#[derive(Debug)]
pub(super) struct HttpHops {
    guard: Arc<AddressGuard>,
    /// For ports that no `address:port` entry names.
    client: Client,
    by_port: HashMap<u16, Client>,
    timeout: Duration,
    max_bytes: u64,
    token: String,
    directives: Vec<String>,
}

impl HttpHops {
    pub(super) fn new(
        settings: &FetchSettings,
        guard: AddressGuard,
        lookup: Lookup,
    ) -> Result<Self, SettingsFault> {
        let guard = Arc::new(guard);
        let answers = Answers::new(lookup);
        let build = |port| {
            client(
                settings,
                GuardedResolver {
                    guard: guard.clone(),
                    answers: answers.clone(),
                    port,
                },
            )
        };
        let mut by_port = HashMap::new();
        for port in guard.ports() {
            by_port.insert(port, build(port)?);
        }
        let agent = settings.user_agent.as_str();
        let token = agent.split(['/', ' ']).next().unwrap_or(agent);
        Ok(Self {
            client: build(0)?,
            by_port,
            timeout: settings.timeout,
            max_bytes: settings.max_bytes,
            token: token.to_ascii_lowercase(),
            directives: if settings.respect_opt_out {
                settings.opt_out_directives.clone()
            } else {
                Vec::new()
            },
            guard,
        })
    }

    /// Follows redirects to a good answer's head.
    pub(super) async fn head(&self, mut url: Url) -> Result<Head, FetchError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask(&url).await?;
            let status = response.status();
            if let Some(target) = redirect(&url, &response)? {
                url = target;
                continue;
            }
            if !holds_whole_body(status) {
                return Err(FetchError::Status {
                    status: status.as_u16(),
                    retry_after: retry_after(response.headers(), SystemTime::now()),
                });
            }
            if let Some(said) = opt_out(response.headers(), &self.token, &self.directives) {
                return Err(FetchError::OptedOut(said));
            }
            return Ok(Head {
                response,
                url,
                max_bytes: self.max_bytes,
                timeout: self.timeout,
            });
        }
        Err(FetchError::Protocol(format!(
            "more than {MAX_REDIRECTS} redirects"
        )))
    }

    /// One request, without following anything.
    async fn ask(&self, url: &Url) -> Result<Response, FetchError> {
        let port = url.port_or_known_default().unwrap_or_default();
        self.check_literal(url, port)?;
        let client = self.by_port.get(&port).unwrap_or(&self.client);
        let mut asked = url.clone();
        asked.set_fragment(None);
        let sent = client.get(asked).send().await;
        sent.map_err(|e| failure(e, self.timeout))
    }

    /// The client never resolves a host that is an address, so those are checked here.
    fn check_literal(&self, url: &Url, port: u16) -> Result<(), FetchError> {
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            Some(Host::Domain(name)) => name.parse().ok(),
            None => return Err(FetchError::BadUrl("no host".to_owned())),
        };
        match address {
            Some(address) if !self.guard.allows(address, port) => Err(FetchError::BlockedAddress {
                host: url.host_str().unwrap_or_default().to_owned(),
                address: address.to_canonical().to_string(),
            }),
            _ => Ok(()),
        }
    }
}

fn client(settings: &FetchSettings, resolver: GuardedResolver) -> Result<Client, SettingsFault> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Client::builder()
        .user_agent(&settings.user_agent)
        .default_headers(headers)
        .dns_resolver(Arc::new(resolver))
        .no_proxy() // a proxy would connect where the guard cannot see
        .redirect(Policy::none()) // followed by hand: each hop is checked
        .referer(false)
        .connect_timeout(settings.timeout) // shared out among a host's addresses
        // Header lines as browsers take them; what cannot be read is passed over.
        .http1_max_headers(MAX_HEADERS)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(16)
        .build()
        .map_err(|e| SettingsFault {
            key: "fetch.user_agent",
            value: settings.user_agent.clone(),
            problem: format!("the HTTP client cannot be built: {e}"),
            accepted: "visible ASCII, and a working TLS library",
        })
}

/// 204, 205 and 206 are successes without a (whole) picture.
fn holds_whole_body(status: StatusCode) -> bool {
    status.is_success() && !matches!(status.as_u16(), 204..=206)
}

/// Where a redirect leads, if the answer is one that can be followed.
fn redirect(from: &Url, response: &Response) -> Result<Option<Url>, FetchError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let target = resolve(from, location.as_bytes())
        .map_err(|error| FetchError::Protocol(format!("redirected to what is no URL: {error}")))?;
    match target.scheme() {
        "http" | "https" => {}
        "file" => {
            let host = from.host_str().unwrap_or_default();
            return Err(FetchError::BlockedFile(format!(
                "{host} redirects to a local file, which is never followed; the request has to name \
                 a picture that a web server sends"
            )));
        }
        other => {
            return Err(FetchError::UnsupportedScheme {
                scheme: other.to_owned(),
                accepted: "http, https (redirect)".to_owned(),
            });
        }
    }
    let length = length(&target);
    if length > MAX_URL {
        return Err(FetchError::Protocol(format!(
            "redirected to a URL of {length} bytes, more than the {MAX_URL} that can be asked for"
        )));
    }
    Ok(Some(target))
}

/// `Location` as browsers read it: bytes beyond ASCII, in whatever character set, are sent back as
/// they came; all else is the URL standard's. User and password go along to the same origin only.
pub(super) fn resolve(from: &Url, location: &[u8]) -> Result<Url, url::ParseError> {
    let mut text = String::with_capacity(location.len());
    for &byte in location {
        match byte {
            0..0x80 => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    let mut target = from.join(&text)?;
    if target.origin() == from.origin() && !has_user(&target) && has_user(from) {
        // Both have a host, so both have room for a user.
        let _ = target.set_username(from.username());
        let _ = target.set_password(from.password());
    }
    Ok(target)
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Bytes of a URL as it is asked for: the fragment stays here.
fn length(url: &Url) -> usize {
    url[..Position::AfterQuery].len()
}

/// Whether a request can carry a URL.
pub(super) fn check_length(url: &Url) -> Result<(), FetchError> {
    let length = length(url);
    if length > MAX_URL {
        let limit = MAX_URL;
        return Err(FetchError::UrlTooLong { length, limit });
    }
    Ok(())
}

/// A URL as it may be shown.
fn without_user(mut url: Url) -> Url {
    if has_user(&url) {
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url
}

/// A good answer whose body has not been read.
pub(super) struct Head {
    response: Response,
    url: Url,
    max_bytes: u64,
    timeout: Duration,
}

impl Head {
    /// Reads the body, within credit that grows with it and never waits.
    pub(super) async fn body(
        mut self,
        credit: &mut ImageCredit,
        deadline: Deadline,
    ) -> Result<Fetched, FetchError> {
        let claimed = self.response.content_length();
        self.check(claimed.unwrap_or(0))?;
        let codings = Codings::of(self.response.headers(), self.max_bytes)?;
        // What an encoded body needs is not what is claimed.
        if let Some(claimed) = claimed.filter(|_| codings.is_empty()) {
            credit.resize(claimed)?;
        }
        let content_type = self.response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|v| v.to_str().ok().map(str::to_owned));
        let body = self.read(claimed.unwrap_or(0), codings, credit);
        let body = deadline.bound(body).await?;
        credit.resize(body.len() as u64)?;
        Ok(Fetched {
            body: body.freeze(),
            final_url: without_user(self.url).into(),
            content_type,
        })
    }

    async fn read(
        &mut self,
        claimed: u64,
        mut codings: Codings,
        credit: &mut ImageCredit,
    ) -> Result<BytesMut, FetchError> {
        let mut body = BytesMut::with_capacity(claimed.min(FIRST_BUFFER) as usize);
        let mut received = 0;
        loop {
            let chunk = self.response.chunk().await;
            let chunk = chunk.map_err(|e| failure(e, self.timeout))?;
            let mut take = |bytes: &[u8]| {
                let got = body.len() as u64 + bytes.len() as u64;
                self.check(got)?;
                self.grow(credit, got)?;
                body.extend_from_slice(bytes);
                Ok(())
            };
            let Some(chunk) = chunk else {
                codings.finish(&mut take)?;
                return Ok(body);
            };
            received += chunk.len() as u64;
            self.check(received)?;
            if codings.is_empty() {
                take(&chunk)?;
                continue;
            }
            for part in chunk.chunks(ENCODED_PART) {
                codings.push(part, &mut take)?;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Credit for `got` bytes of a body whose length nobody said: twice as much each time. Where that
    /// does not fit, only the cap is sure to be enough the next time.
    fn grow(&self, credit: &mut ImageCredit, got: u64) -> Result<(), FetchError> {
        if got <= credit.held() {
            return Ok(());
        }
        let twice = (credit.held() * 2).clamp(got, self.max_bytes);
        let grown = credit.resize(twice).or_else(|_| credit.resize(got));
        grown.map_err(|error| match error {
            FetchError::NoRoom { .. } => FetchError::NoRoom {
                bytes: self.max_bytes.min(credit.limit()),
            },
            other => other,
        })
    }

    fn check(&self, got: u64) -> Result<(), FetchError> {
        let limit = self.max_bytes;
        if got > limit {
            return Err(FetchError::TooLarge { got, limit });
        }
        Ok(())
    }
}
