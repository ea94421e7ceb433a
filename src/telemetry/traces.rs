//! Spans leave over OTLP, gRPC or HTTP, as the environment says.
//!
//! Without export the span ids are still made and handed on, so that a trace is not broken here.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, global, trace::TracerProvider};
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tokio::runtime::Handle;

use super::{
    TelemetryError,
    collector::{Collector, Export},
};

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

impl Traces {
    /// Sets the global tracer provider and the W3C propagator. Called inside a tokio runtime, on
    /// which the exporter does its sending.
    ///
    /// # Errors
    /// A variable with a value that is not known, or an exporter that cannot be built.
    pub fn start() -> Result<Self, TelemetryError> {
        let export = Export::from_environment()?;
        let exporting = matches!(export, Export::To(_));
        let mut builder = SdkTracerProvider::builder().with_resource(resource());
        if let Export::To(collector) = export {
            builder = builder.with_batch_exporter(OnRuntime {
                exporter: Arc::new(collector.exporter()?),
                collector: Arc::from(collector),
                runtime: Handle::current(),
                said: Mutex::default(),
            });
        }
        let provider = builder.build();
        global::set_text_map_propagator(TraceContextPropagator::new());
        global::set_tracer_provider(provider.clone());
        Ok(Self {
            provider,
            exporting,
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

/// The SDK calls its exporter on a plain thread; the clients of OTLP want a tokio runtime.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<OtlpExporter>,
    collector: Arc<Collector>,
    runtime: Handle,
    /// When it was last mentioned that spans do not arrive.
    said: Mutex<Option<Instant>>,
}

impl OnRuntime {
    /// Whether it is time to mention again that spans do not arrive.
    fn may_say(&self) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if due {
            *said = Some(Instant::now());
        }
        due
    }
}

/// A collector that is away costs spans, never a caption. The exporter's error says little of the
/// reason, so the way there is tried step by step.
async fn complain(collector: &Collector, error: String, spans: usize) {
    let (why, advice) = match collector.reach().await {
        Err(why) => (why.found, why.advice),
        Ok(()) => {
            let variable = collector.variable();
            let advice = format!(
                "check that it runs, {variable}, and OTEL_EXPORTER_OTLP_PROTOCOL (grpc or \
                 http/protobuf)"
            );
            (error, advice)
        }
    };
    tracing::warn!(
        "{spans} spans did not reach the collector at {} ({}) and are lost, captions are not: \
         {why}; {advice}",
        collector.address(),
        collector.variable()
    );
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
        if let Err(error) = &result
            && self.may_say()
        {
            let (collector, error) = (Arc::clone(&self.collector), error.to_string());
            let complaint = async move { complain(&collector, error, spans).await };
            // One that was cut off with the runtime had nobody left to read it.
            let _ = self.runtime.spawn(complaint).await;
        }
        result
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
