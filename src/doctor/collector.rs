//! The collector of spans.

use opentelemetry_sdk::trace::SpanExporter;

use super::Finding;
use crate::telemetry::{Collector, Export};

const SUBJECT: &str = "traces";

/// Reaches it the way the service does, and sends an empty batch: the answer shows that this
/// protocol is spoken there. Without it captions still come, so its faults are warnings; a variable
/// that cannot be used keeps the service from starting.
pub(super) fn examine() -> Finding {
    let collector = match Export::from_environment() {
        Err(error) => return Finding::fault(SUBJECT, error.to_string(), "correct that variable"),
        Ok(Export::Off(why)) => return Finding::ok(SUBJECT, format!("no spans are sent: {why}")),
        Ok(Export::To(collector)) => collector,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(look(&collector)),
        Err(error) => Finding::warning(SUBJECT, format!("cannot look: {error}"), ""),
    }
}

async fn look(collector: &Collector) -> Finding {
    if let Err(why) = collector.reach().await {
        return Finding::warning(SUBJECT, why.found, why.advice);
    }
    let (address, protocol) = (collector.address(), collector.protocol());
    let sent = match collector.exporter() {
        Ok(exporter) => exporter.export(Vec::new()).await,
        Err(error) => return Finding::fault(SUBJECT, error.to_string(), "correct that variable"),
    };
    match sent {
        Ok(()) => Finding::ok(SUBJECT, format!("{address} takes spans over {protocol}")),
        Err(error) => Finding::warning(
            SUBJECT,
            format!("{address} is there, but takes no spans over {protocol}: {error}"),
            "check OTEL_EXPORTER_OTLP_PROTOCOL (grpc, usually on port 4317, or http/protobuf, \
             usually on 4318), the path, and OTEL_EXPORTER_OTLP_HEADERS",
        ),
    }
}
