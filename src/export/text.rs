//! Which text of a record is trained on.

use sha2::{Digest as _, Sha256};

use super::{
    Reason,
    record::{Grounding, Record},
};

/// What `original+caption` is unless another template is given.
pub const TEMPLATE: &str = "{original} {caption}";

/// The choice.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// The merged text.
    Enriched,
    /// The captioner's.
    Caption,
    /// What the picture came with.
    Original,
    /// Both, by a template with `{original}` and `{caption}`.
    OriginalCaption(String),
    /// Questions and answers: the original, then what each specialist found.
    Qa,
    /// The original with this probability, else the merged text.
    Mix(f64),
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What a person asks.
    pub question: String,
    /// What the model is to say.
    pub answer: String,
}

/// The text of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// As one text.
    pub text: String,
    /// As a conversation, never empty.
    pub turns: Vec<Turn>,
    /// Whether an original was asked for, and there is none.
    pub without_original: bool,
    /// Clauses of the merged text that are not in it, because of their verdicts.
    pub clauses_left_out: usize,
}

const BRIEF: [&str; 4] = [
    "Describe the image briefly.",
    "Give a short caption of this image.",
    "What does the image show, in a few words?",
    "Write a short description of the image.",
];
const DETAIL: [&str; 4] = [
    "Describe the image in detail.",
    "What can be seen in this image?",
    "Write a detailed description of the image.",
    "Explain what the image shows.",
];
const GROUND: [&str; 3] = [
    "Name the things in the image with their boxes as [x1, y1, x2, y2], from 0 to 1.",
    "Where are the things in the image? Give boxes as [x1, y1, x2, y2], from 0 to 1.",
    "List every thing you see, each with its box [x1, y1, x2, y2] in parts of width and height.",
];
const RELATE: [&str; 3] = [
    "How do the things in the image stand to each other?",
    "Describe the spatial relations in the image.",
    "Where is each thing in relation to the others?",
];
const READ: [&str; 3] = [
    "What text is in the image?",
    "Read the text in the image.",
    "Which words can be read in this image?",
];

/// A number of a record's own that no order of records changes.
fn hash(record: &Record, purpose: &str) -> u64 {
    let mut hasher = Sha256::new();
    for part in [purpose, &record.id, &record.image.sha256] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(record.round.to_le_bytes());
    let digest = hasher.finalize();
    u64::from_le_bytes(digest[..8].try_into().unwrap_or_default())
}

fn pick(record: &Record, purpose: &str, templates: &[&str]) -> String {
    templates[(hash(record, purpose) % templates.len() as u64) as usize].to_owned()
}

impl Text {
    /// The text of a record; with `verdicts`, the merged text has the clauses of these alone.
    ///
    /// # Errors
    /// Why there is none.
    pub fn compose(
        &self,
        record: &Record,
        verdicts: Option<&[String]>,
    ) -> Result<Composed, Reason> {
        let (enriched, without_verdict) = match verdicts {
            None => (record.enriched.trim().to_owned(), 0),
            Some(verdicts) => of_verdicts(record, verdicts).ok_or(Reason::Verdicts)?,
        };
        let caption = record.caption.text.trim();
        let original = record.original();
        let (text, question, without_original) = match self {
            Self::Enriched => (enriched, &DETAIL, false),
            Self::Caption => (caption.to_owned(), &DETAIL, false),
            Self::Original => (original.unwrap_or_default().to_owned(), &BRIEF, false),
            Self::OriginalCaption(template) => match original {
                _ if caption.is_empty() => (String::new(), &DETAIL, false),
                Some(original) => (fill(template, original, caption), &DETAIL, false),
                None => (caption.to_owned(), &DETAIL, true),
            },
            Self::Mix(probability) => {
                let drawn = (hash(record, "mix") >> 11) as f64 / (1_u64 << 53) as f64;
                match original {
                    Some(original) if drawn < *probability => (original.to_owned(), &BRIEF, false),
                    None if drawn < *probability => (enriched, &DETAIL, true),
                    _ => (enriched, &DETAIL, false),
                }
            }
            Self::Qa => return conversation(record),
        };
        if text.trim().is_empty() {
            return Err(Reason::NoText);
        }
        let is_merged = matches!(self, Self::Enriched | Self::Mix(_)) && question == &DETAIL;
        let turn = Turn {
            question: pick(record, "question", question),
            answer: text.clone(),
        };
        Ok(Composed {
            text,
            turns: vec![turn],
            without_original,
            clauses_left_out: if is_merged { without_verdict } else { 0 },
        })
    }
}

/// Fills a template; what stands in the texts is never filled again.
fn fill(template: &str, original: &str, caption: &str) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let filled = [("{original}", original), ("{caption}", caption)]
            .into_iter()
            .find_map(|(name, value)| Some((rest.strip_prefix(name)?, value)));
        match filled {
            Some((behind, value)) => {
                text.push_str(value);
                rest = behind;
            }
            None => {
                text.push('{');
                rest = &rest[1..];
            }
        }
    }
    text + rest
}

/// The clauses of these verdicts as one text, and how many others there are.
fn of_verdicts(record: &Record, verdicts: &[String]) -> Option<(String, usize)> {
    let clauses: Vec<_> = (record.clauses.iter())
        .filter(|clause| verdicts.contains(&clause.verdict))
        .map(|clause| clause.text.trim())
        .filter(|text| !text.is_empty())
        .collect();
    let others = record.clauses.len() - clauses.len();
    (!clauses.is_empty()).then(|| (clauses.join(" "), others))
}

/// The original (the caption, where there is none), then each specialist, in an order of the
/// record's own.
fn conversation(record: &Record) -> Result<Composed, Reason> {
    let original = record.original();
    let caption = record.caption.text.trim();
    let first = match original {
        Some(original) => Some(Turn {
            question: pick(record, "brief", &BRIEF),
            answer: original.to_owned(),
        }),
        None if caption.is_empty() => None,
        None => Some(Turn {
            question: pick(record, "detail", &DETAIL),
            answer: caption.to_owned(),
        }),
    };
    let mut found: Vec<(u64, Turn)> = Vec::new();
    let mut add = |purpose: String, question: String, answer: String| {
        if !answer.trim().is_empty() {
            let turn = Turn { question, answer };
            found.push((hash(record, &format!("order {purpose}")), turn));
        }
    };
    for (purpose, templates, answer) in [
        ("ground", &GROUND, boxes(record)),
        ("relate", &RELATE, relations(record)),
        ("read_text", &READ, lines(record)),
    ] {
        add(purpose.to_owned(), pick(record, purpose, templates), answer);
    }
    for (number, answer) in record.answers.iter().enumerate() {
        let text = answer.text.trim().to_owned();
        add(format!("answer {number}"), answer.question.clone(), text);
    }
    found.sort_by_key(|(order, _)| *order);
    let turns: Vec<Turn> = (first.into_iter())
        .chain(found.into_iter().map(|(_, turn)| turn))
        .collect();
    if turns.is_empty() {
        return Err(Reason::NoText);
    }
    let text: Vec<_> = (turns.iter().enumerate())
        .map(|(number, turn)| match number {
            0 => turn.answer.clone(),
            _ => format!("{} {}", turn.question, turn.answer),
        })
        .collect();
    Ok(Composed {
        text: text.join("\n"),
        turns,
        without_original: original.is_none(),
        clauses_left_out: 0,
    })
}

fn boxes(record: &Record) -> String {
    let (width, height) = (
        f64::from(record.image.width.max(1)),
        f64::from(record.image.height.max(1)),
    );
    let boxes: Vec<_> = (record.grounding.iter())
        .map(
            |Grounding {
                 phrase,
                 bounding_box: [x1, y1, x2, y2],
                 ..
             }| {
                let [x1, x2] = [x1 / width, x2 / width];
                let [y1, y2] = [y1 / height, y2 / height];
                format!("{phrase} [{x1:.3}, {y1:.3}, {x2:.3}, {y2:.3}]")
            },
        )
        .collect();
    boxes.join("; ")
}

fn relations(record: &Record) -> String {
    let phrase = |id: &str| {
        (record.grounding.iter())
            .find(|grounding| grounding.id == id)
            .map(|grounding| grounding.phrase.trim())
    };
    let sentences: Vec<_> = (record.spatial.iter())
        .filter_map(|one| {
            let (subject, object) = (phrase(&one.subject)?, phrase(&one.object)?);
            let mut subject = subject.chars();
            let first = subject.next()?.to_uppercase();
            let (rest, relation) = (subject.as_str(), &one.relation);
            Some(format!("{first}{rest} is {relation} {object}."))
        })
        .collect();
    sentences.join(" ")
}

/// The lines that the merged text states: the others are too uncertain to be learned.
fn lines(record: &Record) -> String {
    let stated = |id: &String| {
        (record.clauses.iter())
            .any(|clause| clause.verdict == "read" && clause.evidence.contains(id))
    };
    let lines: Vec<_> = (record.text.iter())
        .filter(|line| stated(&line.id))
        .map(|line| format!("\"{}\"", line.text))
        .collect();
    lines.join(", ")
}
