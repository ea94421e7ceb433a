//! What the stages find, and the output record built from it (CONTRACTS.md, `vila2.caption/1`).
//!
//! All coordinates: floats, pixels of the original upright image, origin top left, x right,
//! y down, x2/y2 exclusive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::ImageFacts;

/// A box `[x1, y1, x2, y2]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoundingBox(pub [f32; 4]);

/// Four corners, clockwise from the text's own top left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quad(pub [[f32; 2]; 4]);

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// A stop token.
    Stop,
    /// The token limit.
    Length,
    /// The text began to repeat itself.
    Repeat,
}

/// The captioner's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Caption {
    /// The text.
    pub text: String,
    /// Generated tokens, stop token excluded.
    pub tokens: u32,
    /// Why it ended.
    pub finish: Finish,
    /// Mean probability of its tokens, 0 to 1; `None` where the captioner gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// A phrase with its box.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grounding {
    /// `g0`, `g1`, …
    pub id: String,
    /// The phrase, for example `a large red circle`.
    pub phrase: String,
    /// Where it is.
    #[serde(rename = "box")]
    pub bounding_box: BoundingBox,
    /// Mean probability of the tokens that name it and its box, 0 to 1; `None` where the specialist
    /// gives none.
    pub score: Option<f32>,
}

/// One line of text that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextLine {
    /// `t0`, `t1`, …
    pub id: String,
    /// The text.
    pub text: String,
    /// Where it stands.
    pub quad: Quad,
    /// Mean character probability, 0 to 1.
    pub score: f32,
}

/// The closed list of relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Relation {
    /// Subject is left of object.
    #[serde(rename = "left of")]
    LeftOf,
    /// Subject is right of object.
    #[serde(rename = "right of")]
    RightOf,
    /// Subject is above object.
    #[serde(rename = "above")]
    Above,
    /// Subject is below object.
    #[serde(rename = "below")]
    Below,
    /// Subject is nearer to the camera and covers part of object.
    #[serde(rename = "in front of")]
    InFrontOf,
    /// Subject is farther from the camera.
    #[serde(rename = "behind")]
    Behind,
    /// Subject lies inside object.
    #[serde(rename = "inside")]
    Inside,
    /// Subject stands on object.
    #[serde(rename = "on")]
    On,
    /// Subject is close to object.
    #[serde(rename = "near")]
    Near,
}

impl Relation {
    /// The words of the contract.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::LeftOf => "left of",
            Self::RightOf => "right of",
            Self::Above => "above",
            Self::Below => "below",
            Self::InFrontOf => "in front of",
            Self::Behind => "behind",
            Self::Inside => "inside",
            Self::On => "on",
            Self::Near => "near",
        }
    }

    /// What the object is to the subject then, where that is in the list.
    #[must_use]
    pub fn converse(self) -> Option<Self> {
        match self {
            Self::LeftOf => Some(Self::RightOf),
            Self::RightOf => Some(Self::LeftOf),
            Self::Above => Some(Self::Below),
            Self::Below => Some(Self::Above),
            Self::InFrontOf => Some(Self::Behind),
            Self::Behind => Some(Self::InFrontOf),
            Self::Near => Some(Self::Near),
            Self::Inside | Self::On => None,
        }
    }
}

/// How two groundings stand to each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpatialRelation {
    /// `s0`, `s1`, …
    pub id: String,
    /// Grounding id.
    pub subject: String,
    /// The relation.
    pub relation: Relation,
    /// Grounding id.
    pub object: String,
    /// 0 to 1.
    pub score: f32,
}

/// What a specialist of the kind `answer` said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// `a0`, `a1`, …
    pub id: String,
    /// The specialist's name.
    pub specialist: String,
    /// The prompt.
    pub question: String,
    /// The text.
    pub text: String,
    /// Generated tokens, stop token excluded.
    pub tokens: u32,
    /// Why it ended.
    pub finish: Finish,
}

/// What is known of the truth of a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A box supports it.
    Grounded,
    /// It was read in the image.
    Read,
    /// It follows from geometry.
    Inferred,
    /// Only the captioner says so.
    Unverified,
}

/// A part of the enriched text with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clause {
    /// The words, a part of `enriched`.
    pub text: String,
    /// How it is known.
    pub verdict: Verdict,
    /// Ids of groundings, text lines and spatial relations.
    pub evidence: Vec<String>,
}

/// Which model answered a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Its name in the configuration.
    pub model: String,
    /// First 12 hex digits of a SHA-256 over graphs, tokenizer, template, processor and generation
    /// settings.
    pub revision: String,
    /// The prompt, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// A specialist that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// Stage name.
    pub stage: String,
    /// What happened.
    pub reason: String,
}

/// `complete`, or `degraded` where an optional specialist failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every stage answered.
    Complete,
    /// See `degraded`.
    Degraded,
}

/// What the merge makes of caption and specialists.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The merged text.
    pub enriched: String,
    /// Its parts, in order.
    pub clauses: Vec<Clause>,
}

/// The output record, schema `vila2.caption/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnrichedCaption {
    /// `vila2.caption/1`.
    pub schema: String,
    /// The request's id.
    pub id: String,
    /// The request's URL.
    pub url: String,
    /// The round.
    pub round: u32,
    /// Passed through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<crate::record::Meta>,
    /// The file and the picture.
    pub image: ImageFacts,
    /// The caption that came with the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_caption: Option<String>,
    /// The captioner's text.
    pub caption: Caption,
    /// Phrases with boxes.
    pub grounding: Vec<Grounding>,
    /// Lines of text.
    pub text: Vec<TextLine>,
    /// Relations.
    pub spatial: Vec<SpatialRelation>,
    /// What specialists of the kind `answer` said.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub answers: Vec<Answered>,
    /// Parts of `enriched` with verdicts.
    pub clauses: Vec<Clause>,
    /// Names of the rules that the caption tripped and that only mark it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub marks: Vec<String>,
    /// The merged text.
    pub enriched: String,
    /// Stage → model.
    pub models: BTreeMap<String, ModelFacts>,
    /// Whether every stage answered.
    pub status: Status,
    /// What is missing, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub degraded: Vec<Degraded>,
    /// Stage → milliseconds of work, and `total`.
    pub timings_ms: BTreeMap<String, f64>,
    /// Stage → milliseconds of waiting.
    pub queue_ms: BTreeMap<String, f64>,
}
