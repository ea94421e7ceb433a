//! Where a model behind an endpoint is, who asks, and how often.

use std::{fmt, time::Duration};

use url::Url;

/// A model behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// What `/chat/completions` and `/models` are appended to. User and password in it are sent,
    /// and never shown.
    pub url: Url,
    /// The model's name on the server.
    pub model: String,
    /// The key, and the variable it came from.
    pub key: Option<Key>,
    /// Calls under way at the same time.
    pub concurrency: usize,
    /// How long one call may take.
    pub timeout: Duration,
    /// Further tries of a call that was taken and failed.
    pub retries: u32,
    /// How long the server may be away.
    pub away: Duration,
    /// Bytes that pictures may take which are being written into requests, or are under way; the
    /// largest picture goes in any case.
    pub room: u64,
    /// The most pixels of a picture.
    pub most_pixels: u64,
}

/// A key, which is sent as `Authorization: Bearer …` and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The environment variable it came from.
    pub variable: String,
    /// The key itself.
    pub value: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(of {})", self.variable)
    }
}

impl EndpointSettings {
    /// The usual settings of a server: no key, eight calls at once.
    pub fn new(url: Url, model: impl Into<String>) -> Self {
        Self {
            url,
            model: model.into(),
            key: None,
            concurrency: 8,
            timeout: Duration::from_secs(120),
            retries: 3,
            away: Duration::from_secs(600),
            room: 128 << 20,
            most_pixels: 2_048 * 2_048,
        }
    }

    /// The same, not waiting for a server that is away.
    #[must_use]
    pub fn impatient(&self) -> Self {
        Self {
            away: Duration::ZERO,
            ..self.clone()
        }
    }

    /// The URL without user and password, and without the slash at its end.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut url = self.url.clone();
        // Only URLs without a host refuse, and those have no user.
        let _ = (url.set_username(""), url.set_password(None));
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// `text` without the key and the password: a server may repeat what it was sent.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let key = self.key.as_ref().map(|key| key.value.as_str());
        // A user without a password is one itself.
        let user = Some(self.url.username()).filter(|_| self.url.password().is_none());
        let secrets = [key, self.url.password(), user];
        secrets
            .into_iter()
            .flatten()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| {
                text.replace(secret, "[redacted]")
            })
    }
}
