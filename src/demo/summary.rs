//! `summary.json`.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, ser::SerializeMap};
use vila2_actors::{engine::EngineStats, stage::in_path_order};

use super::outcome::Outcome;
use crate::scenes::score::Report;

/// Figures of one demo.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Images published, without the bad requests.
    pub images: u64,
    /// Captions that came back.
    pub captions: u64,
    /// Dead letters that came back.
    pub dead_letters: u64,
    /// Captions that tripped a rule: rule → `mark` or `reject` → captions; left out where none did.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, BTreeMap<String, u64>>,
    /// Captions by the time from the first request to the last caption.
    pub images_per_second: f64,
    /// Mean number of sequences in a step of the caption engine.
    pub caption_batch_mean: f64,
    /// Requests that joined a batch already running.
    pub joined_running_batch: u64,
    /// Work of each stage, in path order.
    #[serde(serialize_with = "in_order")]
    pub stages: Vec<StageLatency>,
    /// Against the truth.
    pub score: Report,
}

/// The work of one stage over all captions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageLatency {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// How many images.
    pub count: u64,
    /// Half took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 95 % took no longer.
    pub p95_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
}

impl Summary {
    /// Counts, from what came back and what the caption engine says of itself.
    #[must_use]
    pub fn new(
        outcome: &Outcome,
        elapsed: Duration,
        engine: Option<&EngineStats>,
        score: Report,
    ) -> Self {
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for record in outcome.records() {
            for (stage, milliseconds) in &record.timings_ms {
                times.entry(stage).or_default().push(*milliseconds);
            }
        }
        let stages = in_path_order(times.keys().copied())
            .into_iter()
            .filter_map(|name| Some(StageLatency::of(name, times.remove(name)?)))
            .collect();
        let captions = outcome.records().count() as u64;
        Self {
            images: outcome.images(),
            captions,
            dead_letters: outcome.dead_letters().count() as u64,
            rules: outcome.rules(),
            images_per_second: captions as f64 / elapsed.as_secs_f64().max(f64::EPSILON),
            caption_batch_mean: engine.map_or(0.0, |engine| engine.batch_mean),
            joined_running_batch: engine.map_or(0, |engine| engine.joined_running_batch),
            stages,
            score,
        }
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("bug: figures are JSON") + "\n"
    }
}

impl StageLatency {
    fn of(name: &str, mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        // Nearest rank: a value that was measured.
        let percentile = |share: f64| {
            let rank = (share * times.len() as f64).ceil().max(1.0) as usize;
            times.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            name: name.to_owned(),
            count: times.len() as u64,
            p50_ms: percentile(0.50),
            p95_ms: percentile(0.95),
            p99_ms: percentile(0.99),
        }
    }
}

fn in_order<S: serde::Serializer>(
    stages: &[StageLatency],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(stages.len()))?;
    for stage in stages {
        map.serialize_entry(&stage.name, stage)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let times = (1..=200).rev().map(f64::from).collect();
        let stage = StageLatency::of("fetch", times);
        assert_eq!(stage.count, 200);
        assert_eq!(
            (stage.p50_ms, stage.p95_ms, stage.p99_ms),
            (100.0, 190.0, 198.0)
        );
        let one = StageLatency::of("fetch", vec![7.0]);
        assert_eq!((one.p50_ms, one.p99_ms), (7.0, 7.0));
    }
}
