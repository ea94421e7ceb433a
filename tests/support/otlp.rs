//! A receiver of spans made from OpenTelemetry's own protocol package: OTLP over gRPC on one port
//! and over HTTP with protobuf on another.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span as ProtoSpan, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use tokio::{net::TcpListener, task::JoinHandle};

/// A span as a collector sees it; ids in hex.
#[derive(Debug, Clone)]
pub struct Span {
    pub name: String,
    pub trace_id: String,
    pub id: String,
    pub parent: String,
    pub state: String,
    pub kind: SpanKind,
    pub start: u64,
    pub end: u64,
    pub failed: bool,
    /// Trace id and span id of what it is linked to.
    pub links: Vec<(String, String)>,
    pub attributes: BTreeMap<String, String>,
    /// The attributes of the process it came from.
    pub resource: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

/// A running receiver; it ends when dropped.
pub struct Receiver {
    /// Where gRPC is spoken.
    pub grpc: SocketAddr,
    /// Where HTTP is spoken, under `/v1/traces`.
    pub http: SocketAddr,
    kept: Kept,
    tasks: [JoinHandle<()>; 2],
}

impl Receiver {
    pub async fn start() -> Self {
        let kept = Kept::default();
        let listen = || async { TcpListener::bind(("127.0.0.1", 0)).await.expect("a port") };
        let (grpc, http) = (listen().await, listen().await);
        let addresses = [&grpc, &http].map(|one| one.local_addr().expect("an address"));
        let app = Router::new()
            .route("/v1/traces", post(over_http))
            .with_state(kept.clone());
        let tasks = [
            tokio::spawn(serve_grpc(grpc, kept.clone())),
            tokio::spawn(async move { axum::serve(http, app).await.expect("served") }),
        ];
        Self {
            grpc: addresses[0],
            http: addresses[1],
            kept,
            tasks,
        }
    }

    /// What has come so far.
    pub fn spans(&self) -> Vec<Span> {
        (self.kept.0.lock().unwrap_or_else(PoisonError::into_inner)).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn serve_grpc(listener: TcpListener, kept: Kept) {
    let service = TowerToHyperService::new(TraceServiceServer::new(kept));
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            let connection = http2::Builder::new(TokioExecutor::new());
            // A client that leaves is no fault.
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.keep(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn over_http(State(kept): State<Kept>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    kept.keep(request);
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

impl Kept {
    fn keep(&self, request: ExportTraceServiceRequest) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for spans in request.resource_spans {
            let resource = attributes(&spans.resource.unwrap_or_default().attributes);
            let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| read(&span, &resource)));
        }
    }
}

fn read(span: &ProtoSpan, resource: &BTreeMap<String, String>) -> Span {
    let links = span.links.iter();
    Span {
        name: span.name.clone(),
        trace_id: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state.clone(),
        kind: span.kind(),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        failed: (span.status.as_ref()).is_some_and(|status| status.code() == SpanStatus::Error),
        links: links
            .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
            .collect(),
        attributes: attributes(&span.attributes),
        resource: resource.clone(),
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    (pairs.iter())
        .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
        .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::ArrayValue(array)) => {
            let items: Vec<_> = array.values.iter().map(|item| text(Some(item))).collect();
            items.join(",")
        }
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
