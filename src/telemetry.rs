//! Log lines, spans and metrics, set up once at the start of the process.
//!
//! - Logs go to stderr, for people or as JSON. ractor's own spans and events are left out: every
//!   actor runs inside one, which says nothing about a record.
//! - Spans are made by the chain with explicit parents and leave over OTLP where the
//!   environment names an endpoint (`OTEL_*`); see [`traces`].
//! - Metrics are rendered by [`crate::health`] as a Prometheus page.

mod collector;
pub mod figures;
mod help;
mod lines;
pub mod traces;
mod visible;

use std::{
    io::IsTerminal,
    sync::{Arc, OnceLock},
};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub use collector::{Collector, Export, Unreachable};
pub use figures::Figures;
pub use lines::beside;
pub use traces::Traces;
pub use visible::{visible, visible_json, visible_lines};

/// Bounds of the latency histograms, in seconds: 1 ms to 2 min, about 2.3 × apart.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
/// Bounds of the batch sizes.
const BATCH: [f64; 10] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0];

/// What cannot be set up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TelemetryError {
    /// A variable of OpenTelemetry asks for what is not there.
    #[error("{variable} is {value:?}; accepted: {accepted}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        accepted: &'static str,
    },
    /// A variable of OpenTelemetry names a file that cannot be used.
    #[error("{variable} names {path:?}, which cannot be used: {why}; it wants a PEM file")]
    File {
        /// Its name.
        variable: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The OTLP exporter refused its settings.
    #[error("OTLP export: {0}")]
    Exporter(String),
    /// The metrics recorder refused its settings.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// For people; coloured on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to stderr. A second call changes nothing.
///
/// # Errors
/// A filter that cannot be read.
pub fn start_logs(lines: Lines, filter: &str) -> Result<(), TelemetryError> {
    let targets: Targets = filter.parse().map_err(|_| TelemetryError::Variable {
        variable: "log.filter",
        value: filter.to_owned(),
        accepted: "levels by target, for example \"info\"",
    })?;
    let targets = targets.with_target("ractor", LevelFilter::OFF);
    let layer = fmt::layer().with_writer(|| lines::Stderr);
    let layer = match lines {
        Lines::Json => layer.json().flatten_event(true).boxed(),
        Lines::Human => layer
            .with_ansi(colours(&std::io::stderr()))
            .compact()
            .with_target(false)
            .fmt_fields(visible::fields())
            .boxed(),
    };
    // The filter stands before the only layer, not on it: a filter per layer now and then loses
    // the line after one that it refused. Only a second call in one process fails; the first stays
    // in force.
    let _ = tracing_subscriber::registry()
        .with(layer)
        .with(targets)
        .try_init();
    Ok(())
}

/// Whether a stream takes colours: a terminal, unless `NO_COLOR` says otherwise.
pub fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The process's metrics: the page that is scraped, and the same as figures.
#[derive(Clone)]
pub struct Metrics {
    /// Renders the page.
    pub page: PrometheusHandle,
    /// For tables and live lines.
    pub figures: Arc<Figures>,
}

/// The process's metrics recorder, installed by the first call.
///
/// # Errors
/// Another recorder is installed already.
pub fn start_metrics() -> Result<Metrics, TelemetryError> {
    static METRICS: OnceLock<Result<Metrics, TelemetryError>> = OnceLock::new();
    METRICS.get_or_init(install).clone()
}

fn install() -> Result<Metrics, TelemetryError> {
    let fault = |error: &dyn std::fmt::Display| TelemetryError::Metrics(error.to_string());
    let page = recorder().map_err(|error| fault(&error))?.build_recorder();
    let metrics = Metrics {
        page: page.handle(),
        figures: Arc::default(),
    };
    let both = figures::Both {
        page,
        figures: Arc::clone(&metrics.figures),
    };
    metrics::set_global_recorder(both).map_err(|error| fault(&error))?;
    help::describe();
    Ok(metrics)
}

fn recorder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("vila2_batch_size".to_owned()), &BATCH)
}

#[cfg(test)]
mod tests {
    use metrics::{Key, Level, Metadata, Recorder};

    use super::*;

    #[test]
    fn latencies_and_batches_are_histograms_with_buckets() {
        let recorder = recorder().expect("buckets").build_recorder();
        let metadata = Metadata::new("test", Level::INFO, None);
        for name in ["vila2_stage_work_seconds", "vila2_batch_size"] {
            recorder
                .register_histogram(&Key::from_name(name), &metadata)
                .record(3.0);
        }
        let page = recorder.handle().render();
        assert!(
            page.contains("vila2_stage_work_seconds_bucket{le=\"5\"} 1"),
            "{page}"
        );
        assert!(
            page.contains("vila2_batch_size_bucket{le=\"3\"} 1"),
            "{page}"
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        assert!(start_logs(Lines::Human, "vila2=loud").is_err());
    }
}
