//! Spans and metrics as the outside gets them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use opentelemetry::{
    Context, global,
    trace::{
        SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    },
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};

use crate::{
    record::{Record, RecordId},
    testkit::{Answering, Fetching, Harness, World},
};

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        (self.0.lock().unwrap_or_else(PoisonError::into_inner)).extend(batch);
        Ok(())
    }
}

impl Kept {
    /// Installed once for all tests of this process; other tests' spans are in it too.
    fn installed() -> &'static Self {
        static KEPT: OnceLock<Kept> = OnceLock::new();
        KEPT.get_or_init(|| {
            let kept = Self::default();
            let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone());
            global::set_tracer_provider(provider.build());
            kept
        })
    }

    fn spans(&self) -> Vec<SpanData> {
        (self.0.lock().unwrap_or_else(PoisonError::into_inner)).clone()
    }
}

fn traced(chain: &Harness, offset: i64, trace: u128, value: &'static str) {
    let parent = SpanContext::new(
        TraceId::from(trace),
        SpanId::from(77_u64),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let record = Record {
        id: RecordId {
            topic: Arc::from("images"),
            partition: 0,
            offset,
        },
        key: None,
        value: Some(value.into()),
        parent: Context::new().with_remote_span_context(parent),
        received: Instant::now(),
    };
    let admitted = chain.handle.intake().try_admit(record);
    assert!(admitted.is_ok(), "there is room");
}

fn traceparent(chain: &Harness, offset: i64) -> String {
    (chain.publisher.written().into_iter())
        .find(|one| one.source.offset == offset)
        .and_then(|one| {
            one.headers
                .into_iter()
                .find(|(key, _)| *key == "traceparent")
        })
        .map(|(_, value)| value)
        .expect("a traceparent")
}

#[tokio::test]
async fn one_trace_per_image_from_the_producer_to_the_output() {
    let kept = Kept::installed();
    let chain = World::default().start().await;
    let id = 0x5eed_0000_0000_0001_u128;
    traced(&chain, 0, id, "http://fake/1");
    chain.patiently("settled", chain.handle.idle()).await;
    let header = traceparent(&chain, 0);
    chain.stop().await;

    let spans = kept.spans();
    let mine: Vec<_> = (spans.iter())
        .filter(|span| span.span_context.trace_id() == TraceId::from(id))
        .collect();
    let root = (mine.iter())
        .find(|span| span.name == "receive images")
        .expect("a root span");
    assert_eq!(root.parent_span_id, SpanId::from(77_u64));
    assert_eq!(root.span_kind, SpanKind::Consumer);
    let mut children: Vec<_> = (mine.iter())
        .filter(|span| span.parent_span_id == root.span_context.span_id())
        .map(|span| span.name.as_ref())
        .collect();
    children.sort_unstable();
    let expected = [
        "caption",
        "decode",
        "fetch",
        "ground",
        "merge",
        "read_text",
        "relate",
        "send captions",
    ];
    assert_eq!(children, expected);
    assert_eq!(mine.len(), 9);
    for span in &mine {
        assert!(root.start_time <= span.start_time && span.start_time <= span.end_time);
        assert!(
            span.end_time <= root.end_time,
            "{} ends after its root",
            span.name
        );
    }
    let send = (mine.iter())
        .find(|span| span.name == "send captions")
        .expect("a send span");
    let expected = format!(
        "00-{}-{}-01",
        TraceId::from(id),
        send.span_context.span_id()
    );
    assert_eq!(header, expected);

    let batches: BTreeSet<_> = (spans.iter())
        .filter(|span| span.name == "model batch")
        .filter(|span| {
            span.links
                .iter()
                .any(|link| link.span_context == root.span_context)
        })
        .filter_map(|span| {
            let mut attributes = span.attributes.iter();
            attributes.find(|attribute| attribute.key.as_str() == "vila2.engine")
        })
        .map(|engine| engine.value.to_string())
        .collect();
    let engines = ["captioner", "read_text", "relate"].map(String::from);
    assert_eq!(batches, BTreeSet::from(engines));
}

#[tokio::test]
async fn the_trace_of_a_dead_letter_says_which_stage_failed() {
    let kept = Kept::installed();
    let world = World {
        fetch: Arc::new(|_| Fetching::Panics),
        ..World::default()
    };
    let chain = world.start().await;
    let id = 0x5eed_0000_0000_0002_u128;
    traced(&chain, 0, id, "http://fake/1");
    chain.patiently("settled", chain.handle.idle()).await;
    assert!(traceparent(&chain, 0).contains(&TraceId::from(id).to_string()));
    chain.stop().await;
    let failed: BTreeSet<_> = (kept.spans().into_iter())
        .filter(|span| span.span_context.trace_id() == TraceId::from(id))
        .filter(|span| matches!(span.status, Status::Error { .. }))
        .map(|span| span.name.to_string())
        .collect();
    assert_eq!(failed, ["fetch", "receive images"].map(String::from).into());
}

/// Keeps the names that were asked for.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<BTreeSet<String>>>);

impl Names {
    fn note(&self, key: &Key) {
        let labels = key.labels().map(|label| label.key());
        let labels = labels.collect::<Vec<_>>().join(",");
        (self.0.lock().unwrap_or_else(PoisonError::into_inner))
            .insert(format!("{}{{{labels}}}", key.name()));
    }
}

impl Recorder for Names {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

#[tokio::test]
async fn every_metric_of_the_contract_that_is_the_chains_is_there() {
    let names = Names::default();
    assert!(
        metrics::set_global_recorder(names.clone()).is_ok(),
        "set once"
    );
    let world = World {
        read_text: Arc::new(|_| Answering::Refuses),
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(1);
    chain.run().await;
    chain.handle.observe();
    chain.finish().await;
    let expected = [
        "vila2_abandoned_total{}",
        "vila2_batch_size{engine}",
        "vila2_dead_letters_total{reason}",
        "vila2_degraded_total{stage}",
        "vila2_image_bytes{}",
        "vila2_in_flight_records{}",
        "vila2_oldest_unsettled_seconds{}",
        "vila2_records_total{outcome}",
        "vila2_rules_total{rule,action}",
        "vila2_stage_queue_seconds{stage}",
        "vila2_stage_work_seconds{stage}",
        "vila2_tokens_total{engine}",
    ];
    let names = names
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    assert_eq!(names, expected.map(String::from).into());
}
