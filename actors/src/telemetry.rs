//! Names and handles of what the chain measures (CONTRACTS.md, Observability).
//!
//! Metrics go through the `metrics` facade, spans through the OpenTelemetry API with explicit
//! parents and times. Where nobody records, neither costs more than a look.

mod redact;

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedTracer},
    trace::{
        Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState, Tracer as _,
    },
};

pub use redact::redacted;
pub(crate) use redact::{without_secret, without_user};

use crate::{
    activity::Counts,
    config::Names,
    error::Reason,
    ports::Destination,
    record::Record,
    rules::{Action, Rules},
    stage::{Path, Stage},
};

/// Records that ended, by `outcome` (`published`, `dead_lettered`).
pub const RECORDS: &str = "vila2_records_total";
/// Dead letters, by `reason`.
pub const DEAD_LETTERS: &str = "vila2_dead_letters_total";
/// Specialists that failed without losing the image, by `stage`.
pub const DEGRADED: &str = "vila2_degraded_total";
/// What became of captions that tripped a rule, by `rule` and `action`.
pub const RULES: &str = "vila2_rules_total";
/// Seconds a record waited for a stage.
pub const QUEUE: &str = "vila2_stage_queue_seconds";
/// Seconds a stage worked on a record.
pub const WORK: &str = "vila2_stage_work_seconds";
/// Requests in one run or decode step, by `engine`.
pub const BATCH: &str = "vila2_batch_size";
/// Generated tokens, by `engine`.
pub const TOKENS: &str = "vila2_tokens_total";
/// Records on their way.
pub const IN_FLIGHT: &str = "vila2_in_flight_records";
/// Bytes of bodies and pixels alive.
pub const IMAGE_BYTES: &str = "vila2_image_bytes";
/// Age of the oldest record on its way.
pub const OLDEST: &str = "vila2_oldest_unsettled_seconds";
/// Records behind the end of the input, by `partition`; the source counts them.
pub const LAG: &str = "vila2_consumer_lag_records";
/// Deliveries dropped without an answer: bugs.
pub const ABANDONED: &str = "vila2_abandoned_total";

/// Handles of the chain's metrics, made once.
#[derive(Debug)]
pub(crate) struct Meters {
    /// Queue and work of the timed stages, in path order.
    times: Vec<(Stage, Histogram, Histogram)>,
    published: Counter,
    dead_lettered: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) image_bytes: Gauge,
    pub(crate) oldest: Gauge,
    /// The same for whoever looks at this one chain.
    pub(crate) counts: Arc<Counts>,
}

impl Meters {
    pub(crate) fn new(rules: &Rules, path: &Path) -> Self {
        // Counters exist from the start, so that a rate over them is never undefined.
        for reason in Reason::ALL {
            counter!(DEAD_LETTERS, "reason" => reason.as_str()).increment(0);
        }
        for stage in path
            .stages()
            .iter()
            .filter(|stage| matches!(stage, Stage::Ask(_)))
        {
            counter!(DEGRADED, "stage" => stage.as_str()).increment(0);
        }
        for (rule, action) in rules.actions() {
            ruled(rule, action).increment(0);
        }
        let outcome = |outcome: &'static str| {
            let counter = counter!(RECORDS, "outcome" => outcome);
            counter.increment(0);
            counter
        };
        let abandoned = counter!(ABANDONED);
        abandoned.increment(0);
        Self {
            times: path
                .timed()
                .map(|stage| {
                    let name = stage.as_str();
                    let (queue, work) = (
                        histogram!(QUEUE, "stage" => name),
                        histogram!(WORK, "stage" => name),
                    );
                    (stage, queue, work)
                })
                .collect(),
            published: outcome("published"),
            dead_lettered: outcome("dead_lettered"),
            abandoned,
            in_flight: gauge!(IN_FLIGHT),
            image_bytes: gauge!(IMAGE_BYTES),
            oldest: gauge!(OLDEST),
            counts: Arc::new(Counts::new(path.clone())),
        }
    }

    pub(crate) fn worked(&self, stage: Stage, queue: f64, work: f64) {
        let times = self.times.iter().find(|(timed, ..)| *timed == stage);
        if let Some((_, queues, works)) = times {
            queues.record(queue);
            works.record(work);
        }
    }

    /// Counts a record whose caption was confirmed.
    pub(crate) fn published(&self) {
        self.published.increment(1);
        self.counts.published();
    }

    /// Counts a record whose dead letter was confirmed.
    pub(crate) fn dead_lettered(&self, reason: Reason) {
        self.dead_lettered.increment(1);
        self.counts.dead_lettered(reason);
        counter!(DEAD_LETTERS, "reason" => reason.as_str()).increment(1);
    }

    /// Counts a specialist that failed.
    pub(crate) fn degraded(&self, stage: Stage) {
        counter!(DEGRADED, "stage" => stage.as_str()).increment(1);
        self.counts.degraded(stage);
    }

    /// Counts a caption that tripped a rule, by what became of it.
    pub(crate) fn ruled(&self, rule: &str, action: Action) {
        ruled(rule, action).increment(1);
    }
}

fn ruled(rule: &str, action: Action) -> Counter {
    counter!(RULES, "rule" => rule.to_owned(), "action" => action.as_str())
}

/// One moment on both clocks: spans want wall time, the chain measures with [`Instant`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchor {
    instant: Instant,
    system: SystemTime,
}

impl Anchor {
    pub(crate) fn now() -> Self {
        Self {
            instant: Instant::now(),
            system: SystemTime::now(),
        }
    }

    pub(crate) fn system(&self, at: Instant) -> SystemTime {
        match at.checked_duration_since(self.instant) {
            Some(after) => self.system + after,
            None => self.system - self.instant.duration_since(at),
        }
    }
}

/// Makes spans.
pub(crate) struct Tracing {
    tracer: BoxedTracer,
    anchor: Anchor,
    names: Names,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing").finish_non_exhaustive()
    }
}

impl Tracing {
    pub(crate) fn new(names: Names) -> Self {
        Self {
            tracer: global::tracer("vila2"),
            anchor: Anchor::now(),
            names,
        }
    }

    /// The root span of a record here, in a context of its own.
    pub(crate) fn receive(&self, record: &Record) -> Trace {
        let mut span = (self.tracer.span_builder("receive images"))
            .with_kind(SpanKind::Consumer)
            .with_start_time(self.anchor.system(record.received))
            .start_with_context(&self.tracer, &record.parent);
        let recording = span.is_recording();
        if recording {
            span.set_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.type", "receive"),
                KeyValue::new("messaging.operation.name", "receive"),
                KeyValue::new("messaging.destination.name", record.id.topic.to_string()),
                KeyValue::new(
                    "messaging.consumer.group.name",
                    self.names.group.to_string(),
                ),
                KeyValue::new(
                    "messaging.destination.partition.id",
                    record.id.partition.to_string(),
                ),
                KeyValue::new("messaging.kafka.offset", record.id.offset),
                KeyValue::new("vila2.source", record.id.to_string()),
            ]);
        }
        Trace {
            root: record.parent.with_span(span),
            recording,
        }
    }

    /// A finished child of the record's root span.
    pub(crate) fn stage(
        &self,
        trace: &Trace,
        name: &'static str,
        (started, ended): (Instant, Instant),
        error: Option<&str>,
        attributes: Vec<KeyValue>,
    ) {
        let mut span = (self.tracer.span_builder(name))
            .with_kind(SpanKind::Internal)
            .with_start_time(self.anchor.system(started))
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &trace.root);
        if let Some(error) = error {
            span.set_status(Status::error(error.to_owned()));
        }
        span.end_with_timestamp(self.anchor.system(ended));
    }

    /// The span of a write, started now; it ends on drop or by `end`.
    pub(crate) fn send(
        &self,
        trace: &Trace,
        destination: Destination,
        id: Option<&str>,
    ) -> Context {
        let (name, topic) = match destination {
            Destination::Captions => ("send captions", &self.names.captions),
            Destination::Dead => ("send dead", &self.names.dead),
        };
        let mut attributes = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.destination.name", topic.to_string()),
        ];
        attributes.extend(id.map(|id| KeyValue::new("vila2.id", id.to_owned())));
        let span = (self.tracer.span_builder(name))
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &trace.root);
        trace.root.with_span(span)
    }

    /// A finished span of a model batch, in a trace of its own, linked to its members.
    pub(crate) fn batch<'a>(
        &self,
        engine: &str,
        model: &str,
        (started, ended): (Instant, Instant),
        members: impl Iterator<Item = &'a Trace>,
        steps: u64,
    ) {
        let links: Vec<_> = members
            .filter(|trace| trace.recording)
            .map(|trace| trace.root.span().span_context().clone())
            .map(|context| opentelemetry::trace::Link::new(context, Vec::new(), 0))
            .collect();
        if links.is_empty() {
            return;
        }
        let mut span = (self.tracer.span_builder("model batch"))
            .with_kind(SpanKind::Internal)
            .with_start_time(self.anchor.system(started))
            .with_attributes([
                KeyValue::new("gen_ai.request.model", model.to_owned()),
                KeyValue::new("vila2.engine", engine.to_owned()),
                KeyValue::new("vila2.batch.size", links.len() as i64),
                KeyValue::new("vila2.batch.steps", steps as i64),
            ])
            .with_links(links)
            .start_with_context(&self.tracer, &Context::new());
        span.end_with_timestamp(self.anchor.system(ended));
    }
}

/// The trace of one record.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// Holds the root span.
    pub(crate) root: Context,
    /// Whether anybody records it; where not, no further span is made.
    pub(crate) recording: bool,
}

impl Trace {
    /// Its id, for log lines.
    pub(crate) fn id(&self) -> TraceId {
        self.root.span().span_context().trace_id()
    }
}

/// `traceparent` and `tracestate` of a context. Where nothing traces, an unsampled one is derived
/// from `seed`, so that the output always has a trace id of its own.
pub(crate) fn trace_headers(context: &Context, seed: u64) -> (String, Option<String>) {
    let span = context.span();
    let mut span_context = span.span_context().clone();
    if !span_context.is_valid() {
        span_context = SpanContext::new(
            TraceId::from((u128::from(seed) << 64) | u128::from(seed.rotate_left(32) | 1)),
            SpanId::from(seed | 1),
            TraceFlags::default(),
            false,
            TraceState::default(),
        );
    }
    let parent = format!(
        "00-{}-{}-{:02x}",
        span_context.trace_id(),
        span_context.span_id(),
        span_context.trace_flags().to_u8()
    );
    let state = span_context.trace_state().header();
    (parent, (!state.is_empty()).then_some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_without_a_tracer_is_well_formed_and_unsampled() {
        let (parent, state) = trace_headers(&Context::new(), 0);
        assert_eq!(parent.len(), 55);
        assert!(
            parent.starts_with("00-") && parent.ends_with("-00"),
            "{parent}"
        );
        assert!(!parent.contains(&"0".repeat(32)) && state.is_none());
    }

    #[test]
    fn without_a_tracer_the_producers_context_passes_through() {
        let trace_id = TraceId::from(0xabc_u128);
        let parent = Context::new().with_remote_span_context(SpanContext::new(
            trace_id,
            SpanId::from(7_u64),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        ));
        let (header, _) = trace_headers(&parent, 1);
        assert!(header.contains(&trace_id.to_string()), "{header}");
    }
}
