//! One picture with its marks, clauses and waterfall, ready for the template.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use vila2_actors::{
    annotation::{EnrichedCaption, Verdict},
    stage::in_path_order,
};

/// What the template needs of one record. Coordinates are pixels of the original picture, which
/// is the frame of the drawing too.
#[derive(Debug, Serialize)]
pub struct Card {
    url: String,
    file: String,
    source: Option<String>,
    width: u32,
    height: u32,
    caption: String,
    original: Option<String>,
    degraded: String,
    marked: String,
    boxes: Vec<Mark>,
    quads: Vec<Outline>,
    clauses: Vec<ClauseView>,
    waterfall: Vec<Part>,
    total: String,
    work: String,
    words: String,
    answers: Vec<Said>,
}

/// What a specialist of the kind `answer` said.
#[derive(Debug, Serialize)]
struct Said {
    specialist: String,
    question: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct Mark {
    id: String,
    phrase: String,
    x: f32,
    y: f32,
    width: f32,
    height: f32,
    hue: usize,
}

#[derive(Debug, Serialize)]
struct Outline {
    id: String,
    text: String,
    points: String,
}

#[derive(Debug, Serialize)]
struct ClauseView {
    text: String,
    verdict: &'static str,
    evidence: String,
    explained: String,
}

/// A stretch of the waterfall, in percent of the image's whole time.
#[derive(Debug, Serialize)]
struct Part {
    stage: String,
    kind: &'static str,
    left: f64,
    width: f64,
    label: String,
}

/// Builds the card. `picture` finds the picture, as a `data:` URI, by the URL's last segment.
pub fn card(record: &EnrichedCaption, picture: impl FnOnce(&str) -> Option<String>) -> Card {
    let file = record.url.rsplit('/').next().unwrap_or_default().to_owned();
    let total = record.timings_ms.get("total").copied().unwrap_or_default();
    let stages = record
        .timings_ms
        .iter()
        .filter(|(stage, _)| *stage != "total");
    let work: f64 = stages.map(|(_, spent)| spent).sum();
    Card {
        source: picture(&file),
        width: record.image.width,
        height: record.image.height,
        caption: record.caption.text.clone(),
        original: record.original_caption.clone(),
        degraded: record
            .degraded
            .iter()
            .map(|missing| format!("{} ({})", missing.stage, missing.reason))
            .collect::<Vec<_>>()
            .join(", "),
        marked: record.marks.join(", "),
        boxes: marks(record),
        quads: outlines(record),
        clauses: clauses(record),
        waterfall: waterfall(record, total),
        total: format!("{total:.0}"),
        work: format!("{work:.0}"),
        words: format!("{} {file} {}", record.enriched, record.marks.join(" ")).to_lowercase(),
        answers: (record.answers.iter())
            .map(|one| Said {
                specialist: one.specialist.clone(),
                question: one.question.clone(),
                text: one.text.clone(),
            })
            .collect(),
        url: record.url.clone(),
        file,
    }
}

/// A picture as a `data:` URI.
pub fn embedded(bytes: &[u8], format: &str) -> String {
    format!("data:image/{format};base64,{}", STANDARD.encode(bytes))
}

fn marks(record: &EnrichedCaption) -> Vec<Mark> {
    let mark = |(nth, grounding): (usize, &vila2_actors::annotation::Grounding)| {
        let [x1, y1, x2, y2] = grounding.bounding_box.0;
        Mark {
            id: grounding.id.clone(),
            phrase: grounding.phrase.clone(),
            x: x1,
            y: y1,
            width: (x2 - x1).max(0.0),
            height: (y2 - y1).max(0.0),
            // Steps of the golden angle keep neighbours apart.
            hue: (200 + nth * 137) % 360,
        }
    };
    record.grounding.iter().enumerate().map(mark).collect()
}

fn outlines(record: &EnrichedCaption) -> Vec<Outline> {
    let outline = |line: &vila2_actors::annotation::TextLine| Outline {
        id: line.id.clone(),
        text: line.text.clone(),
        points: line.quad.0.map(|[x, y]| format!("{x:.1},{y:.1}")).join(" "),
    };
    record.text.iter().map(outline).collect()
}

fn clauses(record: &EnrichedCaption) -> Vec<ClauseView> {
    let explain = |id: &String| {
        let grounding = record
            .grounding
            .iter()
            .find(|grounding| &grounding.id == id);
        let line = record.text.iter().find(|line| &line.id == id);
        match (grounding, line) {
            (Some(grounding), _) => format!("{id} (box of {})", grounding.phrase),
            (_, Some(line)) => format!("{id} (text, score {:.2})", line.score),
            _ => id.clone(),
        }
    };
    let view = |clause: &vila2_actors::annotation::Clause| ClauseView {
        text: clause.text.clone(),
        verdict: match clause.verdict {
            Verdict::Grounded => "grounded",
            Verdict::Read => "read",
            Verdict::Inferred => "inferred",
            Verdict::Unverified => "unverified",
        },
        evidence: clause.evidence.join(" "),
        explained: clause
            .evidence
            .iter()
            .map(explain)
            .collect::<Vec<_>>()
            .join(", "),
    };
    record.clauses.iter().map(view).collect()
}

/// The chain is linear: each stage begins to wait where the one before it ended.
fn waterfall(record: &EnrichedCaption, total: f64) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0.0;
    let names = record.queue_ms.keys().chain(record.timings_ms.keys());
    let names = names.map(String::as_str).filter(|name| *name != "total");
    for stage in in_path_order(names) {
        for (kind, times) in [("queue", &record.queue_ms), ("work", &record.timings_ms)] {
            let Some(&spent) = times.get(stage) else {
                continue;
            };
            let percent = |ms: f64| if total > 0.0 { ms / total * 100.0 } else { 0.0 };
            let what = if kind == "queue" { "waiting" } else { "work" };
            parts.push(Part {
                stage: stage.to_owned(),
                kind,
                left: percent(at),
                width: percent(spent),
                label: format!("{spent:.1} ms of {what}"),
            });
            at += spent;
        }
    }
    parts
}
