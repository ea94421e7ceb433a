//! What is read of a caption record (`vila2.caption/1`); what is not known is passed over.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// A record.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    schema: String,
    /// Its id.
    pub id: String,
    /// Where the picture came from.
    pub url: String,
    /// The round.
    #[serde(default)]
    pub round: u32,
    /// JSON text, passed through.
    pub meta: Option<Box<RawValue>>,
    /// The picture.
    pub image: Facts,
    /// The text it came with.
    pub original_caption: Option<String>,
    /// The captioner's.
    pub caption: Caption,
    /// Phrases with boxes.
    #[serde(default)]
    pub grounding: Vec<Grounding>,
    /// Lines of text.
    #[serde(default)]
    pub text: Vec<Line>,
    /// Relations between groundings.
    #[serde(default)]
    pub spatial: Vec<Relation>,
    /// What specialists of the kind `answer` said.
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// Parts of `enriched`.
    #[serde(default)]
    pub clauses: Vec<Clause>,
    /// The merged text.
    #[serde(default)]
    pub enriched: String,
    /// `complete` or `degraded`.
    pub status: String,
    /// Members that are passed on as JSON text.
    #[serde(skip)]
    pub whole: Value,
}

/// The picture's file.
#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    /// Lower-case hex.
    pub sha256: String,
    /// Pixels across, upright.
    pub width: u32,
    /// Pixels down, upright.
    pub height: u32,
    /// `jpeg`, `png`, …
    pub format: String,
}

/// The captioner's text.
#[derive(Debug, Clone, Deserialize)]
pub struct Caption {
    /// The text.
    pub text: String,
}

/// A phrase with its box.
#[derive(Debug, Clone, Deserialize)]
pub struct Grounding {
    /// `g0`, …
    pub id: String,
    /// The phrase.
    pub phrase: String,
    /// Pixels: x1, y1, x2, y2.
    #[serde(rename = "box")]
    pub bounding_box: [f64; 4],
}

/// A line that was read.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// `t0`, …
    pub id: String,
    /// The text.
    pub text: String,
}

/// How two groundings stand to each other.
#[derive(Debug, Clone, Deserialize)]
pub struct Relation {
    /// Grounding id.
    pub subject: String,
    /// One of the closed list.
    pub relation: String,
    /// Grounding id.
    pub object: String,
}

/// A specialist's answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    /// What it was asked.
    pub question: String,
    /// What it said.
    pub text: String,
}

/// A part of the merged text.
#[derive(Debug, Clone, Deserialize)]
pub struct Clause {
    /// The words.
    pub text: String,
    /// `grounded`, `read`, `inferred`, `unverified`.
    pub verdict: String,
    /// Ids.
    #[serde(default)]
    pub evidence: Vec<String>,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let mut record: Self = serde_json::from_slice(json)
            .map_err(|error| format!("is no caption record (`vila2.caption/1`): {error}"))?;
        if record.schema.split('/').next() != Some("vila2.caption") {
            let schema = &record.schema;
            return Err(format!("is no caption record: its schema is {schema:?}"));
        }
        record.whole = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Ok(record)
    }

    /// A member as JSON text; an empty list where it is absent.
    #[must_use]
    pub fn member(&self, name: &str) -> String {
        (self.whole.get(name)).map_or_else(|| "[]".to_owned(), Value::to_string)
    }

    /// The text it came with, where it is not blank.
    #[must_use]
    pub fn original(&self) -> Option<&str> {
        let text = self.original_caption.as_deref()?.trim();
        (!text.is_empty()).then_some(text)
    }
}
