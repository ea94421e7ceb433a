//! Scores of caption records against the truth of their pictures: plain programs, no model.
//!
//! All counts are summed over the pictures first (micro average). `F1 = 2·P·R / (P + R)`.
//! A ratio of nothing to nothing is 1, of nothing given while something was expected 0; attributes
//! score 0 where objects were expected and none was matched.
//!
//! | score | precision | recall |
//! | --- | --- | --- |
//! | object | mentions in `caption.text` matched / mentions | objects matched / objects |
//! | attribute | colour and size words that are right / given, on matched mentions | right / 2 per matched object |
//! | relation | distinct relations that are in the truth's list / predicted | pairs with one that is right / pairs of objects with a relation |
//! | grounding | groundings matched / groundings | objects matched / objects |
//!
//! - Mentions are read by [`super::parse`] and matched one to one with objects of the same shape,
//!   so that as many colours and sizes as possible agree.
//! - Groundings are matched one to one with objects by the greatest total IoU, of at least 0.5,
//!   where the phrase names the object's shape. Relations need the boxes only: their
//!   groundings are matched alike whatever the phrase; one whose box is of no object is wrong.
//! - `cer`: edited characters / characters of the truth, over words matched with the fewest edits;
//!   a word not read costs its length, a word that is not there its length. `word_recall`: words
//!   read whole / words. Neither minds case.
//! - `chair_i`: mentions of a shape the picture has none of / mentions. `chair_s`: captions with at
//!   least one / captions.
//!
//! # Source
//! CHAIR: Rohrbach et al., "Object Hallucination in Image Captioning", 2018. Object, attribute and
//! relation F1 in the manner of CAPTURE: Dong et al., "Benchmarking and Improving Detail Image Caption", 2024.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measure::{Counts, Tally, measure};
use super::record::CaptionRecord;
use super::scene::Scene;

/// Precision, recall and their harmonic mean, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prf {
    /// Share of what was predicted that is right.
    pub precision: f64,
    /// Share of the truth that was predicted.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// Scores of reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextScore {
    /// Character error rate; 0 is best, above 1 is possible.
    pub cer: f64,
    /// Share of the words that were read whole.
    pub word_recall: f64,
}

/// The scores of a data set, as `scenes score --json` prints them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Object mentions of the caption alone.
    pub object: Prf,
    /// Colours and sizes of the caption alone.
    pub attribute: Prf,
    /// Spatial relations.
    pub relation: Prf,
    /// Phrases with boxes.
    pub grounding: Prf,
    /// Words that were read.
    pub text: TextScore,
    /// Share of mentions whose shape is nowhere in the picture.
    pub chair_i: f64,
    /// Share of captions with such a mention.
    pub chair_s: f64,
    /// Files of the truth without a caption; they count as missed.
    #[serde(skip)]
    pub without_caption: usize,
}

/// Why records could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// A truth line is not the contract's JSON.
    #[error("truth line {line}: {source}")]
    Truth {
        /// Counted from 1.
        line: usize,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// A caption line is not a caption record.
    #[error("captions line {line}: {source}")]
    Caption {
        /// Counted from 1.
        line: usize,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// Two truth lines name one file.
    #[error("truth line {line}: {file} is already there")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// The file's name.
        file: String,
    },
    /// A record's URL ends in a name that no truth line has.
    #[error("captions line {line}: no truth for {file:?} (from {url:?})")]
    UnknownFile {
        /// Counted from 1.
        line: usize,
        /// The last segment of the URL.
        file: String,
        /// The whole URL.
        url: String,
    },
}

/// Scores `captions` against `truth`, both texts of one JSON object a line; empty lines are
/// passed over. Of several records for a file the last counts; a file without one counts as
/// missed.
///
/// # Errors
/// Lines that cannot be read, and records of files the truth does not know, each with its line.
pub fn score(truth: &str, captions: &str) -> Result<Report, ScoreError> {
    let mut scenes: BTreeMap<String, (Scene, Option<CaptionRecord>)> = BTreeMap::new();
    for (line, json) in lines(truth) {
        let scene: Scene =
            serde_json::from_str(json).map_err(|source| ScoreError::Truth { line, source })?;
        let file = scene.file.clone();
        if scenes.insert(file.clone(), (scene, None)).is_some() {
            return Err(ScoreError::Twice { line, file });
        }
    }
    for (line, json) in lines(captions) {
        let record: CaptionRecord =
            serde_json::from_str(json).map_err(|source| ScoreError::Caption { line, source })?;
        let file = record.file().to_owned();
        let Some((_, place)) = scenes.get_mut(&file) else {
            return Err(ScoreError::UnknownFile {
                line,
                file,
                url: record.url,
            });
        };
        *place = Some(record);
    }
    let mut total = Tally::default();
    for (scene, record) in scenes.values() {
        total.add(&measure(scene, record.as_ref()));
    }
    let missed = |(_, record): &&(Scene, Option<CaptionRecord>)| record.is_none();
    Ok(Report {
        without_caption: scenes.values().filter(missed).count(),
        ..Report::from(&total)
    })
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, l)| !l.trim().is_empty())
}

impl From<&Counts> for Prf {
    fn from(counts: &Counts) -> Self {
        let Counts {
            right,
            given,
            found,
            expected,
        } = *counts;
        let of = |part: usize, whole: usize, other: usize| match (whole, other) {
            (0, 0) => 1.0,
            (0, _) => 0.0,
            _ => part as f64 / whole as f64,
        };
        let (precision, recall) = (of(right, given, expected), of(found, expected, given));
        let sum = precision + recall;
        let f1 = if sum > 0.0 {
            2.0 * precision * recall / sum
        } else {
            0.0
        };
        Self {
            precision,
            recall,
            f1,
        }
    }
}

impl From<&Tally> for Report {
    fn from(tally: &Tally) -> Self {
        let of = |(part, whole): (usize, usize), nothing: f64| {
            if whole == 0 {
                nothing
            } else {
                part as f64 / whole as f64
            }
        };
        let unmatched = tally.object.expected > 0 && tally.object.found == 0;
        let none = Prf {
            precision: 0.0,
            recall: 0.0,
            f1: 0.0,
        };
        let edited = if tally.characters.0 > 0 { 1.0 } else { 0.0 };
        Self {
            object: Prf::from(&tally.object),
            attribute: if unmatched {
                none
            } else {
                Prf::from(&tally.attribute)
            },
            relation: Prf::from(&tally.relation),
            grounding: Prf::from(&tally.grounding),
            text: TextScore {
                cer: of(tally.characters, edited),
                word_recall: of(tally.words, 1.0),
            },
            chair_i: of(tally.hallucinated, 0.0),
            chair_s: of(tally.captions, 0.0),
            without_caption: 0,
        }
    }
}

impl Report {
    /// The scores for a table: a name, then precision, recall and F1.
    pub fn prf_rows(&self) -> [(&'static str, Prf); 4] {
        [
            ("object", self.object),
            ("attribute", self.attribute),
            ("relation", self.relation),
            ("grounding", self.grounding),
        ]
    }

    /// The scores that are one number: a name and the value.
    pub fn single_rows(&self) -> [(&'static str, f64); 4] {
        [
            ("characters of text misread (CER)", self.text.cer),
            ("words of text read", self.text.word_recall),
            ("mentions of what is not there (CHAIRi)", self.chair_i),
            ("captions with such a mention (CHAIRs)", self.chair_s),
        ]
    }
}

#[cfg(test)]
mod tests;
