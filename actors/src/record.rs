//! What comes in: one record of the input topic, its identity, and the request it carries.

use std::{fmt, sync::Arc, time::Instant};

use bytes::Bytes;
use opentelemetry::Context;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Where a record stands in the input: `topic/partition/offset` when displayed (`vila2-source`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// One term of ownership of a partition. It is bumped on every assignment, revocation and chain
/// restart; what carries an older epoch is stale and must neither be published nor settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch(pub u64);

/// One record as the source handed it over. Key and value are the original bytes: a dead letter
/// carries them unchanged.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it stands in the input.
    pub id: RecordId,
    /// The original key.
    pub key: Option<Bytes>,
    /// The original value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The producer's trace context, read from `traceparent` and `tracestate`
    /// (an empty context where there was none or it was malformed).
    pub parent: Context,
    /// When the source received it.
    pub received: Instant,
}

/// What a record asks for (CONTRACTS.md, topic `images`), parsed and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The URL, as written by the producer.
    pub url: String,
    /// The producer's id, else the SHA-256 (lower-case hex) of the URL.
    pub id: String,
    /// The caption that came with the image.
    pub original_caption: Option<String>,
    /// The round of self-augmentation, 0 for the first.
    pub round: u32,
    /// Overrides of this image's caption.
    pub options: CaptionOptions,
    /// Passed through untouched.
    pub meta: Option<Meta>,
}

/// The JSON text of `meta`, as the producer wrote it: digits, order and repeated keys are kept,
/// blanks between tokens are not (a record is one line).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Meta(Box<RawValue>);

impl Meta {
    /// Takes JSON text.
    ///
    /// # Errors
    /// It is not JSON, is nested deeper than 127 levels, or holds what a strict reader of the
    /// output would refuse (half a surrogate pair, a number out of range).
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        // Whoever reads the output as a tree must be able to.
        serde_json::from_str::<serde_json::Value>(text)?;
        RawValue::from_string(compact(text)).map(Self)
    }

    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

/// Without the blanks between tokens.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|&c| {
            let blank = !in_string && c.is_ascii_whitespace();
            if escaped {
                escaped = false;
            } else if in_string && c == '\\' {
                escaped = true;
            } else if c == '"' {
                in_string = !in_string;
            }
            !blank
        })
        .collect()
}

/// `options` of a request: they overrule the configuration for this image's caption, within its
/// limits.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionOptions {
    /// The caption prompt instead of one of the configured.
    pub prompt: Option<String>,
    /// Upper bound of generated tokens; never above the configured one.
    pub max_tokens: Option<u32>,
}
