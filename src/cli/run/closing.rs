//! What a run did, at its end.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, ser::SerializeMap};
use vila2_actors::{
    engine::EngineStats,
    stage::Path,
    telemetry::{DEAD_LETTERS, DEGRADED, QUEUE, RECORDS, RULES, TOKENS, WORK},
};

use crate::{
    cli::{Failure, output},
    telemetry::{Figures, figures},
};

/// The closing table.
#[derive(Debug, Serialize)]
pub(super) struct Closing {
    captions: u64,
    dead_lettered: u64,
    dead_letters: BTreeMap<String, u64>,
    degraded: BTreeMap<String, u64>,
    /// Rule → action → captions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rules: BTreeMap<String, BTreeMap<String, u64>>,
    seconds: f64,
    /// Records that ended, captions and dead letters.
    records_per_second: f64,
    /// Captions.
    images_per_second: f64,
    tokens: u64,
    tokens_per_second: f64,
    batch_mean: BTreeMap<String, f64>,
    #[serde(serialize_with = "in_order")]
    stages: Vec<Times>,
}

/// Waiting and work of one stage, in milliseconds.
#[derive(Debug, Serialize)]
struct Times {
    #[serde(skip)]
    stage: &'static str,
    count: u64,
    queue: Percentiles,
    work: Percentiles,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Percentiles {
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

impl Closing {
    /// From the process's metrics.
    pub(super) fn new(
        figures: &Figures,
        engines: &[EngineStats],
        path: &Path,
        took: Duration,
    ) -> Self {
        let seconds = took.as_secs_f64().max(0.001);
        let captions = figures.counter(RECORDS, "published");
        let dead_lettered = figures.counter(RECORDS, "dead_lettered");
        let tokens = figures.counters(TOKENS).values().sum();
        let per_second = |count: u64| rounded(count as f64 / seconds);
        Self {
            captions,
            dead_lettered,
            dead_letters: figures.counters(DEAD_LETTERS),
            degraded: figures.counters(DEGRADED),
            rules: rules(&figures.counters(RULES)),
            seconds: rounded(seconds),
            records_per_second: per_second(captions + dead_lettered),
            images_per_second: per_second(captions),
            tokens,
            tokens_per_second: per_second(tokens),
            batch_mean: engines
                .iter()
                .filter(|engine| engine.batch_mean > 0.0)
                .map(|engine| (engine.name.clone(), rounded(engine.batch_mean)))
                .collect(),
            stages: path
                .timed()
                .filter_map(|stage| Times::of(figures, stage.as_str()))
                .collect(),
        }
    }

    /// For a person.
    pub(super) fn print(&self) -> Result<(), Failure> {
        if !self.stages.is_empty() {
            let mut table = output::table([
                "stage",
                "records",
                "waited p50",
                "p95",
                "p99 ms",
                "worked p50",
                "p95",
                "p99 ms",
            ]);
            for times in &self.stages {
                let mut row = vec![times.stage.to_owned(), output::count(times.count)];
                for part in [times.queue, times.work] {
                    row.extend([part.p50_ms, part.p95_ms, part.p99_ms].map(milliseconds));
                }
                table.add_row(row);
            }
            output::right_aligned(&mut table, 1);
            output::line(&table.to_string())?;
        }
        for (name, counts) in [
            ("dead letters", &self.dead_letters),
            ("without", &self.degraded),
        ] {
            if counts.is_empty() {
                continue;
            }
            let mut table = output::table([name, "records"]);
            let mut counts: Vec<_> = counts.iter().collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (name, count) in counts {
                table.add_row([name.clone(), output::count(*count)]);
            }
            output::right_aligned(&mut table, 1);
            output::line(&table.to_string())?;
        }
        if !self.rules.is_empty() {
            output::line(&output::rules(&self.rules))?;
        }
        output::line(&self.summary())
    }

    /// In one line.
    pub(super) fn summary(&self) -> String {
        let mut text = format!(
            "{} and {} in {}: {:.2} images/s",
            output::plural(self.captions, "caption"),
            output::plural(self.dead_lettered, "dead letter"),
            output::span(self.seconds),
            self.images_per_second,
        );
        if self.tokens > 0 {
            text.push_str(&format!(
                ", {} tokens/s",
                output::count(self.tokens_per_second.round() as u64)
            ));
        }
        for (engine, mean) in &self.batch_mean {
            text.push_str(&format!("; {engine}: {mean:.1} in a batch"));
        }
        text
    }
}

/// By rule and action, of counters by both labels.
fn rules(counts: &BTreeMap<String, u64>) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut rules: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (labels, count) in counts {
        if let Some((rule, action)) = labels.split_once(',') {
            let actions = rules.entry(rule.to_owned()).or_default();
            actions.insert(action.to_owned(), *count);
        }
    }
    rules
}

impl Times {
    fn of(figures: &Figures, stage: &'static str) -> Option<Self> {
        let work = figures.percentiles(WORK, stage)?;
        let queue = figures.percentiles(QUEUE, stage)?;
        Some(Self {
            stage,
            count: work.count,
            queue: queue.into(),
            work: work.into(),
        })
    }
}

impl From<figures::Percentiles> for Percentiles {
    fn from(seconds: figures::Percentiles) -> Self {
        Self {
            p50_ms: rounded(seconds.p50 * 1e3),
            p95_ms: rounded(seconds.p95 * 1e3),
            p99_ms: rounded(seconds.p99 * 1e3),
        }
    }
}

fn in_order<S: serde::Serializer>(times: &[Times], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(times.len()))?;
    for times in times {
        map.serialize_entry(times.stage, times)?;
    }
    map.end()
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// Three digits at most, so that large and small stand in one column.
fn milliseconds(value: f64) -> String {
    if value < 99.95 {
        format!("{value:.1}")
    } else {
        output::count(value.round() as u64)
    }
}
