//! Spans leave over OTLP, gRPC or HTTP, as the environment says.
//!
//! Export is on where `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
//! `OTEL_TRACES_EXPORTER=otlp` is set, and `OTEL_SDK_DISABLED` is not `true`. The protocol is
//! `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`, else `OTEL_EXPORTER_OTLP_PROTOCOL`, else
//! `http/protobuf`. Headers, time-outs, samplers and batch sizes are read by the SDK itself.
//! Without export the span ids are still made and handed on, so that a trace is not broken here.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, global, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tokio::runtime::Handle;

use super::TelemetryError;

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(5);
/// How often it is mentioned that spans do not arrive.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The process's tracer provider.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    exporting: bool,
}

/// What the environment says about spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Export {
    Off,
    Otlp(Protocol),
}

impl Traces {
    /// Sets the global tracer provider and the W3C propagator. Called inside a tokio runtime, on
    /// which the exporter does its sending.
    ///
    /// # Errors
    /// A variable with a value that is not known, or an exporter that cannot be built.
    pub fn start() -> Result<Self, TelemetryError> {
        let export = choose(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        let mut builder = SdkTracerProvider::builder().with_resource(resource());
        if let Export::Otlp(protocol) = export {
            builder = builder.with_batch_exporter(OnRuntime {
                exporter: Arc::new(exporter(protocol)?),
                runtime: Handle::current(),
                said: Mutex::default(),
            });
        }
        let provider = builder.build();
        global::set_text_map_propagator(TraceContextPropagator::new());
        global::set_tracer_provider(provider.clone());
        Ok(Self {
            provider,
            exporting: export != Export::Off,
        })
    }

    /// Whether spans leave the process.
    #[must_use]
    pub fn exporting(&self) -> bool {
        self.exporting
    }

    /// A tracer of this provider.
    #[must_use]
    pub fn tracer(&self) -> opentelemetry_sdk::trace::SdkTracer {
        self.provider.tracer("vila2")
    }

    /// Sends what is left, for at most five seconds. Blocks: call it where that is allowed.
    pub fn stop(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!("the last spans did not leave within {FLUSH:?}: {error}");
        }
    }
}

fn resource() -> Resource {
    let resource = Resource::builder().build();
    let named = resource
        .get(&"service.name".into())
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = Resource::builder().with_attribute(version);
    if named {
        builder.build()
    } else {
        builder.with_service_name("vila2").build()
    }
}

fn choose(variable: impl Fn(&str) -> Option<String>) -> Result<Export, TelemetryError> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Export::Off);
    }
    let endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        Some("none") => return Ok(Export::Off),
        Some("otlp") => {}
        None if endpoint.is_some() => {}
        None => return Ok(Export::Off),
        Some(other) => {
            return Err(TelemetryError::Variable {
                variable: "OTEL_TRACES_EXPORTER",
                value: other.to_owned(),
                accepted: "otlp, none",
            });
        }
    }
    for name in [
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ] {
        match variable(name).as_deref() {
            Some("grpc") => return Ok(Export::Otlp(Protocol::Grpc)),
            Some("http/protobuf") => return Ok(Export::Otlp(Protocol::HttpBinary)),
            Some(other) => {
                return Err(TelemetryError::Variable {
                    variable: name,
                    value: other.to_owned(),
                    accepted: "grpc, http/protobuf",
                });
            }
            None => {}
        }
    }
    Ok(Export::Otlp(Protocol::HttpBinary))
}

fn exporter(protocol: Protocol) -> Result<OtlpExporter, TelemetryError> {
    let built = match protocol {
        Protocol::Grpc => OtlpExporter::builder()
            .with_tonic()
            .with_protocol(protocol)
            .build(),
        _ => OtlpExporter::builder()
            .with_http()
            .with_protocol(protocol)
            .build(),
    };
    built.map_err(|error| TelemetryError::Exporter(error.to_string()))
}

/// The SDK calls its exporter on a plain thread; the clients of OTLP want a tokio runtime.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<OtlpExporter>,
    runtime: Handle,
    /// When it was last mentioned that spans do not arrive.
    said: Mutex<Option<Instant>>,
}

impl OnRuntime {
    /// A collector that is away costs spans, never a caption; it is mentioned once a minute.
    fn complain(&self, error: &OTelSdkError, spans: usize) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            *said = Some(Instant::now());
            let (name, endpoint) = endpoint();
            tracing::warn!(
                "{spans} spans did not reach the collector at {endpoint} and are lost, captions \
                 are not: {error}; check that it runs, {name}, and OTEL_EXPORTER_OTLP_PROTOCOL \
                 (grpc or http/protobuf)"
            );
        }
    }
}

/// Where spans are sent, and the variable that says so.
fn endpoint() -> (&'static str, String) {
    const NAMES: [&str; 2] = [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    (NAMES.into_iter())
        .find_map(|name| set(name).map(|value| (name, value)))
        .unwrap_or_else(|| (NAMES[1], String::from("its default address")))
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (exporter, spans) = (Arc::clone(&self.exporter), batch.len());
        let sending = self
            .runtime
            .spawn(async move { exporter.export(batch).await });
        let result = match sending.await {
            Ok(result) => result,
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        };
        result.inspect_err(|error| self.complain(error, spans))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)]) -> Result<Export, TelemetryError> {
        choose(|name| {
            variables
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_an_endpoint_nothing_is_exported() {
        assert_eq!(chosen(&[]).expect("known"), Export::Off);
    }

    #[test]
    fn an_endpoint_alone_exports_over_http() {
        let export = chosen(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]);
        assert_eq!(export.expect("known"), Export::Otlp(Protocol::HttpBinary));
    }

    #[test]
    fn the_protocol_of_traces_beats_the_general_one() {
        let export = chosen(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ]);
        assert_eq!(export.expect("known"), Export::Otlp(Protocol::Grpc));
    }

    #[test]
    fn a_disabled_sdk_exports_nothing() {
        let export = chosen(&[
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ]);
        assert_eq!(export.expect("known"), Export::Off);
    }

    #[test]
    fn an_unknown_exporter_or_protocol_names_what_is_accepted() {
        let error = chosen(&[("OTEL_TRACES_EXPORTER", "zipkin")]).expect_err("unknown");
        assert!(error.to_string().contains("otlp, none"), "{error}");
        let error = chosen(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ])
        .expect_err("unknown");
        assert!(error.to_string().contains("http/protobuf"), "{error}");
    }
}
