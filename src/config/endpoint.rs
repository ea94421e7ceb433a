//! A model behind an endpoint: `models.NAME.endpoint` and what goes with it.

use std::{fmt, time::Duration};

use url::Url;

use super::{
    Model,
    read::{count, millis, not_empty, size},
    reader::Section,
};

/// Questions that are with a server at the same time, where nothing is said: what vLLM, SGLang and
/// the like batch without a larger card, and few enough for a paid service's first limits.
const CONCURRENCY: usize = 8;
/// How long one answer may take, where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Further tries of a question that the server failed on, where nothing is said.
const RETRIES: u32 = 3;
/// How long a server may be away, where nothing is said: as long as a large model takes to load.
const AWAY: Duration = Duration::from_secs(600);

/// A server that speaks the chat completions protocol of OpenAI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What `/chat/completions` is appended to. May hold user and password.
    pub url: Url,
    /// The model's name on the server.
    pub model: String,
    /// The environment variable that holds the key; `None`: the server asks for none.
    pub key_env: Option<String>,
    /// What is in it, where it is there.
    pub key: Option<Secret>,
    /// Questions that are with the server at the same time.
    pub concurrency: usize,
    /// How long one answer may take.
    pub timeout: Duration,
    /// Further tries of a question that the server failed on.
    pub retries: u32,
    /// How long the server may be away before the model counts as broken.
    pub away: Duration,
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `url` without user and password, for people.
pub(super) fn shown(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    // Only URLs without a host refuse, and those have no user.
    let (user, password) = (url.set_username(""), url.set_password(None));
    (user.is_ok() && password.is_ok()).then(|| url.into())
}

/// Whether a text can be the name of an environment variable; a key that was put in its place
/// seldom is, and must not be shown.
pub(super) fn is_variable(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Reads a section that has `endpoint`. Faults never show what may hold a secret.
pub(super) fn read(section: &Section<'_>) -> Model {
    let mut url = None;
    section.text(
        "endpoint",
        "http:// or https://, a host, and the path up to /v1: \"http://127.0.0.1:8000/v1\"",
        |text| {
            url = Some(parse(text)?);
            Ok(())
        },
    );
    let with = |key: &str| section.has(key);
    let (key_env, key) = if with("key_env") {
        let accepted = "the name of an environment variable that holds the key, never the key";
        let name = section.text("key_env", accepted, |name| {
            if is_variable(name) {
                Ok(())
            } else {
                Err("is no name of a variable".to_owned())
            }
        });
        let key = section.variable(&name).filter(|key| !key.is_empty());
        (Some(name), key.map(Secret))
    } else {
        (None, None)
    };
    let has_user = |url: &Url| !url.username().is_empty() || url.password().is_some();
    if key_env.is_some() && url.as_ref().is_some_and(has_user) {
        let problem = "comes beside user and password in `endpoint`, and a request has one of them";
        section.fault("key_env", problem, "one of the two");
    }
    let endpoint = Endpoint {
        model: section.text("model", "the model's name on the server", not_empty),
        concurrency: if with("concurrency") {
            size(section, "concurrency", 1..=1_024)
        } else {
            CONCURRENCY
        },
        timeout: if with("timeout_ms") {
            millis(section, "timeout_ms", 100..=3_600_000)
        } else {
            TIMEOUT
        },
        retries: if with("retries") {
            count(section, "retries", 0..=100)
        } else {
            RETRIES
        },
        away: if with("away_ms") {
            millis(section, "away_ms", 0..=86_400_000)
        } else {
            AWAY
        },
        url: url.unwrap_or_else(|| Url::parse("http://localhost").expect("bug: a URL")),
        key_env,
        key,
    };
    Model {
        endpoint: Some(endpoint),
        ..Model::default()
    }
}

fn parse(text: &str) -> Result<Url, String> {
    // Its words do not show what was parsed.
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        Err("is no URL of http or https".to_owned())
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("has a part after `?` or `#`, where a path is to be appended".to_owned())
    } else {
        Ok(url)
    }
}
