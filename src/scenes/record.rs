//! What the scorer reads of a caption record (`vila2.caption/1`); the rest is passed over.

use serde::Deserialize;

use super::geometry::Box2;
use super::scene::id;

/// A caption record, as far as it is scored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct CaptionRecord {
    /// Joined with the truth by its last path segment.
    pub url: String,
    /// The captioner's own text; objects and attributes are read from it alone.
    #[serde(default)]
    pub caption: Option<CaptionText>,
    /// Phrases with boxes.
    #[serde(default)]
    pub grounding: Vec<Grounded>,
    /// Lines that were read.
    #[serde(default)]
    pub text: Vec<ReadLine>,
    /// Relations between groundings.
    #[serde(default)]
    pub spatial: Vec<Spatial>,
}

/// The `caption` of a record.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct CaptionText {
    /// The text.
    pub text: String,
}

/// One of `grounding`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Grounded {
    /// What relations refer to.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// The phrase.
    pub phrase: String,
    /// Its box in pixels.
    #[serde(rename = "box")]
    pub bounds: Box2,
}

/// One of `text`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ReadLine {
    /// The text.
    pub text: String,
}

/// One of `spatial`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Spatial {
    /// Grounding id.
    #[serde(deserialize_with = "id")]
    pub subject: String,
    /// The relation's words.
    pub relation: String,
    /// Grounding id.
    #[serde(deserialize_with = "id")]
    pub object: String,
}

impl CaptionRecord {
    /// The file the record is about: the last path segment of its URL, without query and fragment.
    pub fn file(&self) -> &str {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_contract_is_read_and_joined_by_its_last_segment() {
        let record: CaptionRecord = serde_json::from_str(
            r#"{"schema":"vila2.caption/1","id":"x","url":"http://127.0.0.1:8/a/b.jpg?x=/1#y",
            "caption":{"text":"a star","tokens":3,"finish":"stop"},
            "grounding":[{"id":"g0","phrase":"a star","box":[1,2.5,3,4],"score":null}],
            "text":[],"spatial":[],"clauses":[],"status":"complete"}"#,
        )
        .unwrap();
        assert_eq!(record.file(), "b.jpg");
        assert_eq!(record.grounding[0].bounds, [1.0, 2.5, 3.0, 4.0]);
    }

    #[test]
    fn missing_parts_are_empty() {
        let record: CaptionRecord = serde_json::from_str(r#"{"url":"a.jpg"}"#).unwrap();
        assert_eq!(
            record,
            CaptionRecord {
                url: "a.jpg".into(),
                ..CaptionRecord::default()
            }
        );
    }
}
