//! Headers between Kafka's form and ours.
//!
//! rdkafka's accessors panic on header *names* that are not UTF-8, which anyone who may write to
//! the topic can send; such records are read as if they had no headers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use rdkafka::message::{Header, Headers, OwnedHeaders};

/// The trace context of a record: from `traceparent` and `tracestate`, empty where they are
/// missing or malformed. Of several headers with one name the last counts.
#[must_use]
pub fn parent<H: Headers>(headers: Option<&H>) -> Context {
    let mut found = TraceHeaders::default();
    let Some(headers) = headers else {
        return Context::new();
    };
    let read = catch_unwind(AssertUnwindSafe(|| {
        for header in headers.iter() {
            let Some(Ok(value)) = header.value.map(str::from_utf8) else {
                continue;
            };
            match header.key {
                TRACEPARENT => found.traceparent = Some(value.to_owned()),
                TRACESTATE => found.tracestate = Some(value.to_owned()),
                _ => {}
            }
        }
    }));
    if read.is_err() {
        return Context::new();
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &found)
}

/// Every header as text; values that are not UTF-8 are read lossily, null values as empty.
#[must_use]
pub fn texts<H: Headers>(headers: Option<&H>) -> Vec<(String, String)> {
    let Some(headers) = headers else {
        return Vec::new();
    };
    catch_unwind(AssertUnwindSafe(|| {
        headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                (header.key.to_owned(), value.into_owned())
            })
            .collect()
    }))
    .unwrap_or_default()
}

/// Headers of an outgoing record, in order.
#[must_use]
pub fn headers<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> OwnedHeaders {
    pairs.iter().fold(
        OwnedHeaders::new_with_capacity(pairs.len()),
        |headers, (key, value)| {
            headers.insert(Header {
                key: key.as_ref(),
                value: Some(value.as_ref()),
            })
        },
    )
}

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

#[derive(Default)]
struct TraceHeaders {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl Extractor for TraceHeaders {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.traceparent.as_deref(),
            TRACESTATE => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_becomes_the_remote_parent() {
        let context = parent(Some(&headers(&[
            ("traceparent", GOOD),
            ("tracestate", "a=1"),
        ])));
        let span = context.span().span_context().clone();
        assert_eq!(
            span.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(span.span_id().to_string(), "00f067aa0ba902b7");
        assert!(span.is_remote() && span.is_sampled());
        assert_eq!(span.trace_state().get("a"), Some("1"));
    }

    #[test]
    fn a_malformed_or_missing_traceparent_is_an_empty_context() {
        for bad in [
            "",
            "00-xyz",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "🦀",
        ] {
            let context = parent(Some(&headers(&[("traceparent", bad)])));
            assert!(!context.span().span_context().is_valid(), "{bad}");
        }
        assert!(
            !parent::<OwnedHeaders>(None)
                .span()
                .span_context()
                .is_valid()
        );
    }

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(
            pairs in proptest::collection::vec(("[a-z0-9-]{1,20}", ".{0,40}"), 0..12)
        ) {
            prop_assert_eq!(texts(Some(&headers(&pairs))), pairs);
        }

        #[test]
        fn no_header_value_breaks_the_reader(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let headers = OwnedHeaders::new().insert(Header { key: "traceparent", value: Some(&value) });
            let _ = parent(Some(&headers));
            prop_assert_eq!(texts(Some(&headers)).len(), 1);
        }
    }
}
