//! The newest dead letter of each reason.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use vila2_actors::{ports::Outgoing, telemetry::redacted};

use super::{cards::shown_id, now_ms, shortened};

/// The longest request whose URL is looked for, in bytes.
const REQUEST_BYTES: usize = 16 << 10;
/// Characters of a URL that are shown.
const URL: usize = 300;

/// The newest of each reason. Kept whoever looks, since it costs a few hundred bytes each.
#[derive(Default)]
pub(super) struct DeadLetters(Mutex<BTreeMap<String, Newest>>);

struct Newest {
    id: Option<String>,
    stage: String,
    detail: String,
    at: u64,
    bytes: usize,
    /// The request, where it is short.
    request: Option<Bytes>,
}

/// One as it may be shown.
#[derive(Serialize)]
pub(super) struct Shown {
    id: Option<String>,
    url: String,
    stage: String,
    detail: String,
    /// Milliseconds since the Unix epoch.
    at_ms: u64,
}

impl DeadLetters {
    pub(super) fn written(&self, outgoing: &Outgoing) {
        let header = |name: &str| {
            let mut headers = outgoing.headers.iter();
            let found = headers.find(|(key, _)| *key == name);
            found.map(|(_, value)| value.clone())
        };
        let value = outgoing.value.as_ref();
        let newest = Newest {
            id: header("vila2-id"),
            stage: header("vila2-stage").unwrap_or_default(),
            detail: header("vila2-detail").unwrap_or_default(),
            at: now_ms(),
            bytes: value.map_or(0, Bytes::len),
            // A copy: what came may be a part of something larger.
            request: (value.filter(|value| value.len() <= REQUEST_BYTES))
                .map(|value| Bytes::copy_from_slice(value)),
        };
        let reason = header("vila2-reason").unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(reason, newest);
    }

    /// The newest one of a reason.
    pub(super) fn newest(&self, reason: &str) -> Option<Shown> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = all.get(reason)?;
        let written = newest.request.as_deref().and_then(url);
        let url = match &written {
            Some(written) => shortened(&redacted(written), URL),
            None => format!("no URL that can be shown, in {} bytes", newest.bytes),
        };
        let mut detail = newest.detail.clone();
        if let Some(written) = &written {
            detail = detail.replace(written.as_str(), &url);
        }
        Some(Shown {
            id: newest.id.as_deref().map(shown_id),
            url,
            stage: newest.stage.clone(),
            detail,
            at_ms: newest.at,
        })
    }
}

/// The URL of a request, as it was written.
fn url(request: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(request).ok()?.trim();
    let written = match serde_json::from_str::<Value>(text) {
        Ok(request) => request.get("url")?.as_str()?.to_owned(),
        Err(_) => text.to_owned(),
    };
    url::Url::parse(&written).is_ok().then_some(written)
}
