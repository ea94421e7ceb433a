//! What is written: the record `vila2.caption/1` and the dead letter, with their headers
//! (CONTRACTS.md).

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use opentelemetry::Context;

use crate::{
    annotation::{EnrichedCaption, Status},
    delivery::Delivery,
    fingerprint::Fingerprint,
    message::{Finished, Rejected},
    ports::{Destination, Outgoing},
    record::RecordId,
    telemetry::{trace_headers, without_user},
};

/// The schema of the output record.
pub const SCHEMA: &str = "vila2.caption/1";

/// Longest `vila2-detail`, in characters.
const DETAIL: usize = 500;

/// The write of a caption. `timings_ms.total` ends here.
pub(crate) fn caption(
    delivery: &Delivery,
    finished: Finished,
    fingerprint: &Fingerprint,
    context: &Context,
) -> Outgoing {
    let Finished { draft, merged } = finished;
    let source = delivery.record().id.clone();
    let id = draft.request.id.clone();
    let record = EnrichedCaption {
        schema: SCHEMA.to_owned(),
        id: draft.request.id,
        url: without_user(draft.request.url),
        round: draft.request.round,
        meta: draft.request.meta,
        image: draft.facts,
        original_caption: draft.request.original_caption,
        caption: draft.caption,
        grounding: draft.grounding,
        text: draft.text,
        spatial: draft.spatial,
        answers: draft.answers,
        clauses: merged.clauses,
        marks: draft.marks,
        enriched: merged.enriched,
        models: draft.models,
        status: if draft.degraded.is_empty() {
            Status::Complete
        } else {
            Status::Degraded
        },
        degraded: draft.degraded,
        timings_ms: delivery.timings_ms(),
        queue_ms: delivery.queue_ms(),
    };
    let value = serde_json::to_vec(&record).expect("bug: a record is always JSON");
    let mut headers = vec![("content-type", String::from("application/json"))];
    trace(&mut headers, &source, context);
    headers.push(("vila2-id", id.clone()));
    headers.push(("vila2-source", source.to_string()));
    headers.push(("vila2-dedup", fingerprint.to_string()));
    Outgoing {
        destination: Destination::Captions,
        key: Some(Bytes::from(id)),
        value: Some(Bytes::from(value)),
        headers,
        source,
        epoch: delivery.epoch(),
    }
}

/// The write of a caption whose text another record has.
pub(crate) fn repeat(delivery: &Delivery, id: String) -> Outgoing {
    let source = delivery.record().id.clone();
    Outgoing {
        destination: Destination::Captions,
        key: Some(Bytes::from(id.clone())),
        value: None,
        headers: vec![("vila2-id", id), ("vila2-source", source.to_string())],
        source,
        epoch: delivery.epoch(),
    }
}

/// The write of a dead letter: the original bytes, and why.
pub(crate) fn dead_letter(delivery: &Delivery, rejected: &Rejected, context: &Context) -> Outgoing {
    let record = delivery.record();
    let mut headers = vec![
        ("vila2-stage", rejected.stage.as_str().to_owned()),
        ("vila2-reason", rejected.reason.as_str().to_owned()),
        ("vila2-detail", detail(rejected)),
        ("vila2-attempts", rejected.attempts.to_string()),
        ("vila2-source", record.id.to_string()),
    ];
    if let Some(id) = &rejected.id {
        headers.push(("vila2-id", id.clone()));
    }
    trace(&mut headers, &record.id, context);
    Outgoing {
        destination: Destination::Dead,
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
        source: record.id.clone(),
        epoch: delivery.epoch(),
    }
}

/// One line, never empty, of bounded length.
pub(crate) fn detail(rejected: &Rejected) -> String {
    let one_line = (rejected.detail.chars()).map(|c| if c.is_control() { ' ' } else { c });
    let detail: String = one_line.take(DETAIL).collect();
    if detail.trim().is_empty() {
        return rejected.reason.as_str().to_owned();
    }
    detail
}

fn trace(headers: &mut Vec<(&'static str, String)>, source: &RecordId, context: &Context) {
    let mut seed = DefaultHasher::new();
    source.hash(&mut seed);
    let (parent, state) = trace_headers(context, seed.finish());
    headers.push(("traceparent", parent));
    if let Some(state) = state {
        headers.push(("tracestate", state));
    }
}
