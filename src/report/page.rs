//! The page as a whole: summary, tables, cards, dead letters.

use std::collections::BTreeMap;

use minijinja::{Environment, context};
use serde::Serialize;
use serde_json::Value;
use vila2_actors::{annotation::EnrichedCaption, stage::in_path_order};

use super::{card::Card, preview::Preview};

/// One card, for a context with `card`. Without inline styles, which a strict
/// Content-Security-Policy forbids.
pub(super) const CARD: &str = include_str!("card.html");
/// Connects the clauses of a card with the marks in its picture.
pub(super) const CARD_SCRIPT: &str = include_str!("card.js");
/// The look of cards, tables and tiles.
pub(super) const STYLE: &str = include_str!("page.css");

#[derive(Serialize)]
struct Named {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Latency {
    stage: String,
    count: u64,
    p50: String,
    p95: String,
    p99: String,
    p50_share: f64,
    p95_share: f64,
}

#[derive(Serialize)]
struct ScoreRow {
    name: &'static str,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    text: String,
    share: f64,
}

#[derive(Serialize)]
struct DeadLetter {
    reason: String,
    stage: String,
    detail: String,
    value: String,
    attempts: String,
}

#[derive(Serialize)]
struct Model {
    stage: String,
    model: String,
    revision: String,
}

/// Renders the page.
///
/// # Errors
/// When the template does not fit the data: a bug.
pub fn render(
    summary: &Value,
    captions: &[EnrichedCaption],
    cards: Vec<Card>,
    dead: &[Value],
    preview: Option<&Preview>,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.add_template("page.html", include_str!("page.html"))?;
    environment.add_template("card.html", CARD)?;
    environment.add_template("preview.html", include_str!("preview.html"))?;
    let latency = latency(&summary["stages"]);
    environment.get_template("page.html")?.render(context! {
        style => STYLE,
        script => format!("{CARD_SCRIPT}{}", include_str!("page.js")),
        tiles => tiles(summary),
        has_total => latency.iter().any(|row| row.stage == "total"),
        latency,
        score => score(&summary["score"]),
        score_facts => score_facts(&summary["score"]),
        stages => in_path_order(captions.iter().flat_map(|one| one.queue_ms.keys()).map(String::as_str)),
        models => models(captions),
        has_stages => dead.iter().any(|letter| letter["headers"]["vila2-stage"].is_string()),
        dead => dead.iter().map(dead_letter).collect::<Vec<_>>(),
        dead_count => summary["dead"].as_u64().unwrap_or(dead.len() as u64),
        count => summary["captions"].as_u64().unwrap_or(captions.len() as u64),
        cards,
        preview,
    })
}

fn tiles(summary: &Value) -> Vec<Named> {
    let whole = |key: &str| summary[key].as_u64().map(|count| count.to_string());
    let rate = |key: &str| summary[key].as_f64().map(|rate| format!("{rate:.1}"));
    [
        ("images published", whole("images")),
        ("inputs read", whole("read")),
        ("captions", whole("captions")),
        ("dead letters", whole("dead_letters").or(whole("dead"))),
        ("pictures seen before", whole("duplicates")),
        ("files passed over", whole("skipped")),
        ("images per second", rate("images_per_second")),
        ("questions answered at a time", rate("caption_batch_mean")),
        ("joined while others ran", whole("joined_running_batch")),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        Some(Named {
            name,
            value: value?,
        })
    })
    .collect()
}

fn latency(stages: &Value) -> Vec<Latency> {
    let Some(stages) = stages.as_object() else {
        return Vec::new();
    };
    let ms = |row: &Value, key: &str| row[key].as_f64().unwrap_or_default();
    let longest = stages
        .iter()
        .filter(|(stage, _)| *stage != "total")
        .map(|(_, row)| ms(row, "p95_ms"))
        .fold(f64::MIN_POSITIVE, f64::max);
    in_path_order(stages.keys().map(String::as_str))
        .into_iter()
        .map(|stage| (stage, &stages[stage]))
        .map(|(stage, row)| Latency {
            stage: stage.to_owned(),
            count: row["count"].as_u64().unwrap_or_default(),
            p50: format!("{:.1}", ms(row, "p50_ms")),
            p95: format!("{:.1}", ms(row, "p95_ms")),
            p99: format!("{:.1}", ms(row, "p99_ms")),
            p50_share: (ms(row, "p50_ms") / longest * 100.0).min(100.0),
            p95_share: (ms(row, "p95_ms") / longest * 100.0).min(100.0),
        })
        .collect()
}

fn score(score: &Value) -> Vec<ScoreRow> {
    let cell = |value: &Value| {
        let value = value.as_f64().unwrap_or_default();
        Cell {
            text: format!("{value:.2}"),
            share: value * 100.0,
        }
    };
    [
        ("objects", "object"),
        ("attributes", "attribute"),
        ("relations", "relation"),
        ("boxes", "grounding"),
    ]
    .into_iter()
    .filter(|(_, key)| score[key].is_object())
    .map(|(name, key)| ScoreRow {
        name,
        cells: ["precision", "recall", "f1"]
            .map(|part| cell(&score[key][part]))
            .into(),
    })
    .collect()
}

fn score_facts(score: &Value) -> Vec<Named> {
    [
        ("words read", &score["text"]["word_recall"]),
        ("character errors", &score["text"]["cer"]),
        ("hallucinated mentions", &score["chair_i"]),
        ("captions with one", &score["chair_s"]),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        Some(Named {
            name,
            value: format!("{:.1} %", value.as_f64()? * 100.0),
        })
    })
    .collect()
}

fn dead_letter(letter: &Value) -> DeadLetter {
    let header = |name: &str| {
        letter["headers"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    DeadLetter {
        reason: header("vila2-reason"),
        stage: header("vila2-stage"),
        detail: header("vila2-detail"),
        attempts: header("vila2-attempts"),
        value: letter["value"].as_str().unwrap_or("(empty)").to_owned(),
    }
}

/// Each model once, with the stages it answered.
fn models(captions: &[EnrichedCaption]) -> Vec<Model> {
    let mut stages: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (stage, facts) in captions.iter().flat_map(|record| &record.models) {
        let known = stages.entry((&facts.model, &facts.revision)).or_default();
        if !known.contains(&stage.as_str()) {
            known.push(stage);
        }
    }
    stages
        .into_iter()
        .map(|((model, revision), mut stages)| {
            stages = in_path_order(stages);
            let (model, revision) = (model.to_owned(), revision.to_owned());
            Model {
                stage: stages.join(", "),
                model,
                revision,
            }
        })
        .collect()
}
