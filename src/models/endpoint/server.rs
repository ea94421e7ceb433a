//! The server: one HTTP client, what it says of its models, and what it means that it does not
//! answer.

use std::{
    error::Error as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, RequestBuilder, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::{Host, Url};
use vila2_actors::{error::ModelError, ports::Generated};

use super::{
    answer::{self, Unread},
    patience::{Clock, Fault, Presence, Tries},
    question::QUALITY,
    settings::EndpointSettings,
};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Servers close idle connections after 5 s and more: one that is closed while it is used again
/// looks like a server that was killed.
const IDLE: Duration = Duration::from_secs(2);
/// The most bytes of a response; a text of 8,192 tokens has 50 thousand.
const LARGEST: usize = 4 << 20;
/// Refusals in a row after which a question of our own is asked.
const REFUSED: u32 = 20;
/// Bumped where what is sent changes for the same question.
const SCHEME: &str = "vila2.endpoint/1";
/// What a server says of a model that stays the same as long as the model does; `created` is the
/// time of the call on some.
const LASTING: [&str; 5] = ["id", "root", "parent", "owned_by", "max_model_len"];

/// A server, as the calls see it.
#[derive(Debug)]
pub(super) struct Server {
    /// Its URL: what every message begins with.
    who: String,
    name: String,
    settings: EndpointSettings,
    client: Client,
    chat: Url,
    models: Url,
    presence: Presence,
    /// Names of its models, where it says them.
    served: Mutex<Vec<String>>,
    refused: AtomicU32,
}

/// What a server says of its models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Their names, in its order; none where it has no such list.
    pub names: Vec<String>,
    /// What it says of ours, as far as that lasts, as JSON.
    lasting: String,
}

impl Served {
    fn of(body: &[u8], model: &str) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let all = json["data"].as_array().map_or(&[][..], Vec::as_slice);
        let id = |entry: &Value| entry["id"].as_str().map(str::to_owned);
        let ours = all.iter().find(|entry| entry["id"] == model);
        let lasting = ours.map(|ours| LASTING.map(|key| ours[key].clone()));
        Self {
            names: all.iter().filter_map(id).collect(),
            lasting: lasting
                .map(|all| json!(all).to_string())
                .unwrap_or_default(),
        }
    }

    /// There are no weights to hash: 12 hex digits of a SHA-256 over the URL without user and
    /// password, the model's name, what the server says of it at `/models` (id, root, parent, owner,
    /// longest sequence), and how pictures are sent. Other weights under the same name are not seen.
    #[must_use]
    pub fn revision(&self, settings: &EndpointSettings) -> String {
        let quality = QUALITY.to_string();
        let mut hash = Sha256::new();
        for part in [
            SCHEME,
            &settings.shown(),
            &settings.model,
            &self.lasting,
            &quality,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digits = hash.finalize();
        digits[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl Server {
    pub(super) fn new(
        name: &str,
        settings: &EndpointSettings,
        patience: Duration,
    ) -> Result<Self, ModelError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &settings.key {
            let bearer = HeaderValue::try_from(format!("Bearer {}", key.value));
            let mut bearer = bearer.map_err(|_| {
                ModelError::Broken(format!("what {} holds is no key", key.variable))
            })?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let mut client = Client::builder()
            .user_agent(concat!("vila2/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(Policy::none()) // a question that is redirected loses its body, or its key
            .referer(false)
            .connect_timeout(CONNECT.min(settings.timeout))
            .timeout(settings.timeout)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.concurrency);
        if is_here(&settings.url) {
            client = client.no_proxy(); // one of the environment cannot reach this machine
        }
        let client = client.build().map_err(|error| {
            ModelError::Broken(format!("the HTTP client cannot be built: {error}"))
        })?;
        Ok(Self {
            who: settings.shown(),
            name: name.to_owned(),
            client,
            chat: below(&settings.url, "chat/completions"),
            models: below(&settings.url, "models"),
            presence: Presence::new(patience),
            served: Mutex::default(),
            refused: AtomicU32::new(0),
            settings: settings.clone(),
        })
    }

    pub(super) fn model(&self) -> &str {
        &self.settings.model
    }

    /// From now on it may be away for so long.
    pub(super) fn is_open(&self, away: Duration, served: &Served) {
        self.presence.set_bound(away);
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = served.names.clone();
    }

    /// What it says of its models; nothing where it has no such list.
    ///
    /// # Errors
    /// As [`Tries::failed`].
    pub(super) async fn served(&self) -> Result<Served, ModelError> {
        let clock = Clock::default();
        let mut tries = self.tries(&clock);
        loop {
            let began = Instant::now();
            match self.list().await {
                Ok(served) => {
                    tries.answered();
                    return Ok(served);
                }
                Err(fault) => tries.failed(began, fault).await?,
            }
        }
    }

    /// One answer, with as many tries as it takes.
    ///
    /// # Errors
    /// As [`Tries::failed`].
    pub(super) async fn answer(
        &self,
        body: &Bytes,
        clock: &Clock,
    ) -> Result<Generated, ModelError> {
        let mut tries = self.tries(clock);
        loop {
            let began = Instant::now();
            let fault = match self.complete(body).await {
                Ok(generated) => {
                    tries.answered();
                    self.refused.store(0, Ordering::Relaxed);
                    return Ok(generated);
                }
                Err(fault) => fault,
            };
            if matches!(fault, Fault::Refused(_)) {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            tries.failed(began, fault).await?;
        }
    }

    fn tries<'a>(&'a self, clock: &'a Clock) -> Tries<'a> {
        Tries::new(&self.who, &self.presence, clock, self.settings.retries)
    }

    async fn list(&self) -> Result<Served, Fault> {
        let (status, body, after) = self.send(self.client.get(self.models.clone())).await?;
        match status.as_u16() {
            200..=299 => Ok(Served::of(&body, &self.settings.model)),
            // Not every server has one.
            404 | 405 | 501 => Ok(Served::default()),
            _ => Err(self.fault(status, &body, after)),
        }
    }

    async fn complete(&self, body: &Bytes) -> Result<Generated, Fault> {
        let request = self.client.post(self.chat.clone());
        let request = request.header(CONTENT_TYPE, "application/json");
        let (status, body, after) = self.send(request.body(body.clone())).await?;
        if !status.is_success() {
            return Err(self.fault(status, &body, after));
        }
        answer::read(&body).map_err(|unread| match unread {
            Unread::Nonsense(why) => Fault::Failed {
                why: self.settings.without_secrets(&why),
                after: None,
            },
            Unread::Withheld => Fault::Refused(
                "withheld the text (finish_reason `content_filter`); use another picture or prompt"
                    .to_owned(),
            ),
        })
    }

    /// Whether so many questions in a row were refused that it may be the model; each time anew.
    pub(super) fn refuses_in_a_row(&self) -> bool {
        let refused = self.refused.load(Ordering::Relaxed);
        refused >= REFUSED && refused.is_multiple_of(REFUSED)
    }

    /// That a question of our own was not answered, with what to do.
    pub(super) fn fails_on_ours(&self, error: &ModelError) -> String {
        let ours = "on a small picture and a short prompt of our own";
        let (name, model) = (&self.name, &self.settings.model);
        match error {
            ModelError::Input(why) => format!(
                "{why}, {ours}; set models.{name}.model (`{model}`) to one that takes pictures"
            ),
            ModelError::Run(why) => format!("{why}, {ours}; look at what the server logs"),
            ModelError::Broken(why) => why.clone(),
        }
    }

    async fn send(
        &self,
        request: RequestBuilder,
    ) -> Result<(StatusCode, BytesMut, Option<Duration>), Fault> {
        let mut response = request.send().await.map_err(|error| self.lost(error))?;
        let status = response.status();
        let after = retry_after(response.headers());
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.lost(error))? {
            if body.len() + part.len() > LARGEST {
                let why = format!("answers with more than {LARGEST} bytes");
                return Err(Fault::Failed { why, after });
            }
            body.extend_from_slice(&part);
        }
        Ok((status, body, after))
    }

    /// What an error of the client means.
    fn lost(&self, error: reqwest::Error) -> Fault {
        let (connect, timeout) = (error.is_connect(), error.is_timeout());
        let builder = error.is_builder();
        let error = error.without_url();
        let mut text = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        let mut cause = error.source().and_then(|error| error.source());
        while let Some(more) = cause {
            let words = more.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            cause = more.source();
        }
        let name = &self.name;
        if text.contains("certificate") || builder {
            let why = format!(
                "cannot be asked: {text}; mend models.{name}.endpoint, or the authorities that this \
                 machine trusts"
            );
            return Fault::Broken(why);
        }
        if connect {
            let why = format!(
                "cannot be reached ({text}); start the server, or mend models.{name}.endpoint"
            );
            return Fault::Away { why, after: None };
        }
        let why = if timeout {
            format!(
                "gave no answer within {} s (models.{name}.timeout_ms)",
                self.settings.timeout.as_secs_f64()
            )
        } else {
            format!("broke off: {text}")
        };
        Fault::Failed { why, after: None }
    }

    /// What a status other than success means.
    fn fault(&self, status: StatusCode, body: &[u8], after: Option<Duration>) -> Fault {
        let said = self.settings.without_secrets(&answer::words(body));
        let (name, model) = (&self.name, &self.settings.model);
        let what = match said.as_str() {
            "" => format!("answers {status}"),
            said => format!("answers {status}: {said}"),
        };
        match status.as_u16() {
            400 | 413 | 415 | 422 => Fault::Refused(what),
            401..=403 => {
                let to_do = match &self.settings.key {
                    Some(key) => format!(
                        "give {} (models.{name}.key_env) a key that may use `{model}`",
                        key.variable
                    ),
                    None => format!(
                        "set models.{name}.key_env to the environment variable that holds its key"
                    ),
                };
                Fault::Broken(format!("{what}; {to_do}"))
            }
            300..=399 => Fault::Broken(format!(
                "{what}; set models.{name}.endpoint to where it redirects"
            )),
            404 | 405 | 410 | 501 => {
                let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
                let known = match served.as_slice() {
                    [] => String::new(),
                    names => format!("; it serves {}", names.join(", ")),
                };
                Fault::Broken(format!(
                    "{what}{known}; mend models.{name}.model (`{model}`), or models.{name}.endpoint, \
                     whose path mostly ends with /v1"
                ))
            }
            425 | 429 | 502 | 503 => Fault::Away { why: what, after },
            _ => Fault::Failed { why: what, after },
        }
    }
}

/// `path` below the URL, whether that ends with a slash or not.
fn below(url: &Url, path: &str) -> Url {
    let mut below = url.clone();
    let base = url.path().trim_end_matches('/');
    below.set_path(&format!("{base}/{path}"));
    below
}

/// Whether a URL names this machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// `Retry-After`, in seconds or as an HTTP date; a date in the past is no wait.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}
