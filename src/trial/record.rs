//! What is needed of an output record, read so that members nobody knew yet change nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use vila2_actors::stage::in_path_order;

/// An output record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its URL.
    pub url: String,
    /// The captioner's text.
    pub caption: String,
    /// The merged text.
    pub enriched: String,
    /// The text the picture came with.
    pub original: Option<String>,
    /// `stop`, `length` or `repeat`.
    pub finish: String,
    /// Clauses that nothing but the captioner supports.
    pub unverified: usize,
    /// Clauses.
    pub clauses: usize,
    /// Statements that something contradicts; `None`: nobody looked.
    pub disputed: Option<usize>,
    /// Milliseconds from received to written.
    pub total_ms: f64,
    /// What the stages did, in the order of the chain.
    pub steps: Vec<Step>,
    /// Bytes of it as JSON.
    pub bytes: usize,
}

/// What a stage did for a record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The stage.
    pub stage: String,
    /// The model that answered.
    pub model: Option<String>,
    /// Milliseconds of waiting for it.
    pub queue_ms: f64,
    /// Milliseconds of its work.
    pub work_ms: f64,
}

impl Step {
    /// What does the work: the model, else the stage itself.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.model.as_deref().unwrap_or(&self.stage)
    }
}

#[derive(Deserialize)]
struct Raw {
    id: String,
    url: String,
    original_caption: Option<String>,
    caption: RawCaption,
    #[serde(default)]
    clauses: Vec<RawClause>,
    disputed: Option<Vec<Value>>,
    enriched: String,
    #[serde(default)]
    models: BTreeMap<String, RawModel>,
    #[serde(default)]
    timings_ms: BTreeMap<String, f64>,
    #[serde(default)]
    queue_ms: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct RawCaption {
    text: String,
    finish: String,
}

#[derive(Deserialize)]
struct RawClause {
    verdict: String,
}

#[derive(Deserialize)]
struct RawModel {
    model: String,
}

impl Record {
    /// Reads one.
    ///
    /// # Errors
    /// It is no record.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(json)?;
        let model = |stage: &str| raw.models.get(stage).map(|facts| facts.model.clone());
        let stages = raw.timings_ms.keys().map(String::as_str);
        let steps = in_path_order(stages.filter(|stage| *stage != "total"))
            .into_iter()
            .map(|stage| Step {
                stage: stage.to_owned(),
                model: model(stage),
                queue_ms: raw.queue_ms.get(stage).copied().unwrap_or_default(),
                work_ms: raw.timings_ms[stage],
            })
            .collect();
        let unverified = |clause: &&RawClause| clause.verdict == "unverified";
        Ok(Self {
            unverified: raw.clauses.iter().filter(unverified).count(),
            clauses: raw.clauses.len(),
            id: raw.id,
            url: raw.url,
            caption: raw.caption.text,
            enriched: raw.enriched,
            original: raw.original_caption,
            finish: raw.caption.finish,
            disputed: raw.disputed.map(|disputed| disputed.len()),
            total_ms: raw.timings_ms.get("total").copied().unwrap_or_default(),
            steps,
            bytes: json.len(),
        })
    }

    /// Words of the merged text.
    #[must_use]
    pub fn words(&self) -> usize {
        self.enriched.split_whitespace().count()
    }

    /// Clauses that something beside the captioner supports.
    #[must_use]
    pub fn supported(&self) -> usize {
        self.clauses - self.unverified
    }

    /// Whether its caption ended for want of tokens.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.finish == "length"
    }

    /// Whether its caption was cut because it began to repeat itself.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        self.finish == "repeat"
    }

    /// Whether its caption begins as a refusal.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        is_refusal(&self.caption)
    }

    /// Whether nothing of it is supported.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        self.supported() == 0
    }

    /// Its times to the last bit: two records with the same are one answer.
    pub(super) fn clocked(&self) -> Vec<u64> {
        let times = self
            .steps
            .iter()
            .flat_map(|step| [step.queue_ms, step.work_ms]);
        times.chain([self.total_ms]).map(f64::to_bits).collect()
    }
}

/// Whether a captioner's text is a refusal to caption: it begins as one.
#[must_use]
pub fn is_refusal(text: &str) -> bool {
    const OPENINGS: [&str; 16] = [
        "sorry",
        "i'm sorry",
        "i am sorry",
        "i apologize",
        "i apologise",
        "my apologies",
        "i cannot",
        "i can't",
        "i can not",
        "i could not",
        "i couldn't",
        "i'm unable",
        "i am unable",
        "i'm not able",
        "i am not able",
        "as an ai",
    ];
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric());
    let opening: String = (text.chars().take(40))
        .map(|c| {
            if matches!(c, '\u{2019}' | '\u{2bc}') {
                '\''
            } else {
                c
            }
        })
        .flat_map(char::to_lowercase)
        .collect();
    OPENINGS.iter().any(|known| {
        let rest = opening.strip_prefix(known);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '\''))
    })
}
