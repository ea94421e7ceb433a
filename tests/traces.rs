//! Traces as a stranger's collector gets them: the shipped program, with the shipped models, sends
//! its spans over OTLP to a receiver made from OpenTelemetry's own protocol package.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;
use support::{
    otlp::{Receiver, Span},
    program::{Ran, finished, vila2},
    tls_front,
    web::Web,
};
use tokio::runtime::Runtime;
use vila2::kafka::{
    Embedded, KafkaSettings,
    feeder::Feeder,
    read::{Reader, Received, Start},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PRODUCER: &str = "00f067aa0ba902b7";
const DEAD_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const QUIET_TRACE: &str = "11111111111111111111111111111111";
const STAGES: [&str; 7] = [
    "fetch",
    "decode",
    "caption",
    "ground",
    "relate",
    "read_text",
    "merge",
];

/// A broker inside the test, pictures, and what a producer put into the topic.
struct Stage {
    runtime: Runtime,
    _broker: Embedded,
    settings: KafkaSettings,
    web: Web,
}

impl Stage {
    /// Four pictures, by id: `traced` with the producer's context, `malformed` with a context that
    /// is none, `plain` without, `unsampled` with one that is not recorded; and a URL without a
    /// picture.
    fn set() -> Self {
        let runtime = Runtime::new().unwrap();
        let web = runtime.block_on(Web::start(5, 4));
        let broker = Embedded::start().unwrap();
        let settings = KafkaSettings::new(broker.brokers());
        broker.create_topics(&settings.topics, 2).unwrap();
        let mut feeder = Feeder::new(&settings, &settings.topics.images).unwrap();
        let context = |trace: &str, flags| format!("00-{trace}-{PRODUCER}-{flags}");
        let requests = [
            (
                "traced",
                vec![
                    ("traceparent", context(TRACE, "01")),
                    ("tracestate", "shop=7".into()),
                ],
            ),
            ("malformed", vec![("traceparent", "00-4bf9-zz-01".into())]),
            ("plain", vec![]),
            (
                "unsampled",
                vec![("traceparent", context(QUIET_TRACE, "00"))],
            ),
        ];
        for ((id, headers), url) in requests.iter().zip(web.urls()) {
            let value = format!(r#"{{"url": "{url}", "id": "{id}"}}"#);
            let headers: Vec<_> = headers.iter().map(|(key, text)| (*key, &**text)).collect();
            feeder
                .send(Some(b"shard"), Some(value.as_bytes()), &headers)
                .unwrap();
        }
        let dead = context(DEAD_TRACE, "01");
        let missing = web.url("missing.png");
        let headers = [("traceparent", dead.as_str())];
        feeder
            .send(None, Some(missing.as_bytes()), &headers)
            .unwrap();
        feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
        Self {
            runtime,
            _broker: broker,
            settings,
            web,
        }
    }

    /// Runs the service until all of it is settled; what it logged, one JSON object a line.
    fn run(&self, environment: &[(&str, &str)]) -> Vec<Value> {
        let set = |key: &str, value: &str| [String::from("--set"), format!("{key}={value}")];
        let mut arguments = vec![String::from("run"), String::from("--until-end")];
        arguments.extend(set("kafka.brokers", &self.settings.brokers));
        arguments.extend(set(
            "fetch.allow_addresses",
            &format!("['{}']", self.web.address()),
        ));
        arguments.extend(set("http.listen", "off"));
        arguments.extend(set("log.format", "json"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = vila2(&arguments);
        command.envs(environment.iter().copied());
        let Ran { code, stderr, .. } = finished(command);
        assert_eq!(code, 0, "{stderr}");
        let objects = stderr.lines().filter(|line| line.starts_with('{'));
        objects
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Everything in a topic, by id; dead letters of bare URLs have the URL's hash.
    fn read(&self, topic: &str, count: usize) -> BTreeMap<String, Received> {
        let mut found = BTreeMap::new();
        let reader = Reader::new(&self.settings, topic, Start::Beginning).unwrap();
        let each = |received: Received| {
            found.insert(received.header("vila2-id").unwrap().to_owned(), received);
            true
        };
        reader
            .read(Some(count), Duration::from_secs(30), each)
            .unwrap();
        assert_eq!(found.len(), count);
        found
    }
}

/// Trace id, span id and flags of an outgoing `traceparent`.
fn context(received: &Received) -> (String, String, String) {
    let header = received.header("traceparent").unwrap();
    let parts: Vec<_> = header.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{header}");
    (parts[1].into(), parts[2].into(), parts[3].into())
}

/// Checks everything that one run sent, but for the name of the service.
fn check(stage: &Stage, spans: &[Span], log: &[Value]) {
    let captions = stage.read(&stage.settings.topics.captions, 4);
    let root = one_trace(spans, TRACE, &captions["traced"]);
    assert_eq!(root.parent, PRODUCER, "the producer's span is the parent");
    assert_eq!(captions["traced"].header("tracestate"), Some("shop=7"));
    assert_eq!(root.state, "shop=7");

    let mut traces = BTreeSet::from([TRACE.to_owned()]);
    for id in ["malformed", "plain"] {
        let (trace, ..) = context(&captions[id]);
        let root = one_trace(spans, &trace, &captions[id]);
        assert_eq!(root.parent, "", "{id} starts a trace of its own");
        assert!(traces.insert(trace), "one trace per image");
    }
    let (trace, _, flags) = context(&captions["unsampled"]);
    assert_eq!((trace.as_str(), flags.as_str()), (QUIET_TRACE, "00"));
    assert!(
        spans.iter().all(|span| span.trace_id != QUIET_TRACE),
        "it was not to be recorded"
    );

    batches_are_linked(spans);
    dead_letter(stage, spans, log);
}

/// The seven stages and the write are children of the image's root, which is returned.
fn one_trace(spans: &[Span], trace: &str, caption: &Received) -> Span {
    let mine: Vec<_> = spans.iter().filter(|span| span.trace_id == trace).collect();
    let root = mine
        .iter()
        .find(|span| span.name == "receive images")
        .unwrap();
    let children: BTreeMap<_, _> = (mine.iter())
        .filter(|span| span.parent == root.id)
        .map(|span| (span.name.as_str(), *span))
        .collect();
    let names: BTreeSet<_> = children.keys().copied().collect();
    let expected: BTreeSet<_> = STAGES.into_iter().chain(["send captions"]).collect();
    assert_eq!(names, expected);
    assert_eq!(mine.len(), 9, "nothing else is in the trace");

    let send = children["send captions"];
    let (of, span, flags) = context(caption);
    assert_eq!(
        (of.as_str(), &span, flags.as_str()),
        (trace, &send.id, "01")
    );
    let source = caption.header("vila2-source").unwrap();
    let [topic, partition, offset] = source.split('/').collect::<Vec<_>>()[..] else {
        panic!("{source}");
    };
    holds(
        root,
        SpanKind::Consumer,
        &[
            ("messaging.system", "kafka"),
            ("messaging.operation.type", "receive"),
            ("messaging.operation.name", "receive"),
            ("messaging.destination.name", topic),
            ("messaging.destination.partition.id", partition),
            ("messaging.kafka.offset", offset),
            ("messaging.consumer.group.name", "vila2"),
        ],
    );
    holds(
        send,
        SpanKind::Producer,
        &[
            ("messaging.system", "kafka"),
            ("messaging.operation.type", "send"),
            ("messaging.operation.name", "send"),
            ("messaging.destination.name", "captions"),
            ("vila2.id", caption.header("vila2-id").unwrap()),
        ],
    );
    let record: Value = serde_json::from_slice(caption.value.as_ref().unwrap()).unwrap();
    holds(
        children["caption"],
        SpanKind::Internal,
        &[
            ("gen_ai.operation.name", "generate_content"),
            (
                "gen_ai.request.model",
                record["models"]["caption"]["model"].as_str().unwrap(),
            ),
            (
                "gen_ai.usage.output_tokens",
                &record["caption"]["tokens"].to_string(),
            ),
            (
                "gen_ai.response.finish_reasons",
                record["caption"]["finish"].as_str().unwrap(),
            ),
        ],
    );
    holds(
        children["fetch"],
        SpanKind::Internal,
        &[("url.full", record["url"].as_str().unwrap())],
    );
    for stage in STAGES {
        let span = children[stage];
        assert!(root.start <= span.start && span.start <= span.end && span.end <= root.end);
        assert!(!span.failed, "{span:?}");
        // Waiting and working are told apart, and as in the record.
        let number = |key: &str| span.attributes[key].parse::<f64>().unwrap();
        assert_eq!(
            number("vila2.queue_ms"),
            record["queue_ms"][stage],
            "{stage}"
        );
        assert_eq!(
            number("vila2.work_ms"),
            record["timings_ms"][stage],
            "{stage}"
        );
    }
    (*root).clone()
}

fn holds(span: &Span, kind: SpanKind, attributes: &[(&str, &str)]) {
    assert_eq!(span.kind, kind, "{}", span.name);
    for (key, value) in attributes {
        let found = span.attributes.get(*key).map(String::as_str);
        assert_eq!(found, Some(*value), "{key} of {span:?}");
    }
}

/// Every model ran in batches that are linked to the images in them, and to nothing else.
fn batches_are_linked(spans: &[Span]) {
    let roots: BTreeSet<_> = (spans.iter())
        .filter(|span| span.name == "receive images")
        .map(|span| (span.trace_id.clone(), span.id.clone()))
        .collect();
    let mut members: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
    for batch in spans.iter().filter(|span| span.name == "model batch") {
        assert!(
            roots.iter().all(|(trace, _)| *trace != batch.trace_id),
            "a trace of its own"
        );
        assert_eq!(
            batch.attributes["vila2.batch.size"],
            batch.links.len().to_string()
        );
        let engine = batch.attributes["vila2.engine"].as_str();
        members
            .entry(engine)
            .or_default()
            .extend(batch.links.iter().cloned());
    }
    for engine in ["scenes", "relate", "read_text"] {
        let linked = &members[engine];
        assert!(linked.is_subset(&roots), "{engine}");
        assert_eq!(linked.len(), 3, "{engine}: the images that are recorded");
    }
}

fn dead_letter(stage: &Stage, spans: &[Span], log: &[Value]) {
    let letters = stage.read(&stage.settings.topics.dead, 1);
    let letter = letters.values().next().unwrap();
    let mine: BTreeMap<_, _> = (spans.iter())
        .filter(|span| span.trace_id == DEAD_TRACE)
        .map(|span| (span.name.as_str(), span))
        .collect();
    let names: Vec<_> = mine.keys().copied().collect();
    assert_eq!(names, ["fetch", "receive images", "send dead"]);
    let (trace, span, _) = context(letter);
    assert_eq!((trace.as_str(), &span), (DEAD_TRACE, &mine["send dead"].id));
    assert!(mine["fetch"].failed && mine["receive images"].failed && !mine["send dead"].failed);
    assert_eq!(
        mine["receive images"].attributes["error.type"],
        "fetch_status"
    );
    assert_eq!(
        mine["send dead"].attributes["messaging.destination.name"],
        "images.dead"
    );

    let told = |line: &&Value| {
        line["message"]
            .as_str()
            .unwrap_or("")
            .starts_with("dead letter")
    };
    let line = log.iter().find(told).expect("a log line");
    for (key, value) in [
        ("trace_id", DEAD_TRACE),
        ("source", letter.header("vila2-source").unwrap()),
        ("id", letter.header("vila2-id").unwrap()),
        ("reason", "fetch_status"),
        ("stage", "fetch"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
}

#[test]
fn one_trace_per_image_arrives_over_grpc() {
    let stage = Stage::set();
    let receiver = stage.runtime.block_on(Receiver::start());
    let endpoint = format!("http://{}", receiver.grpc);
    let log = stage.run(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]);
    let spans = receiver.spans();
    check(&stage, &spans, &log);
    for span in &spans {
        assert_eq!(span.resource["service.name"], "vila2");
        assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn one_trace_per_image_arrives_over_http() {
    let stage = Stage::set();
    let receiver = stage.runtime.block_on(Receiver::start());
    let endpoint = format!("http://{}", receiver.http);
    let log = stage.run(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_SERVICE_NAME", "captions-eu"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        ),
    ]);
    let spans = receiver.spans();
    check(&stage, &spans, &log);
    for span in &spans {
        assert_eq!(span.resource["service.name"], "captions-eu");
        assert_eq!(span.resource["deployment.environment.name"], "test");
    }
}

#[test]
fn spans_arrive_over_tls_from_a_collector_whose_authority_is_named() {
    for protocol in ["grpc", "http/protobuf"] {
        let stage = Stage::set();
        let receiver = stage.runtime.block_on(Receiver::start());
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("authority.pem");
        let server = if protocol == "grpc" {
            receiver.grpc
        } else {
            receiver.http
        };
        let front = tls_front::start("localhost", &authority, server);
        let port = stage.runtime.block_on(front);
        let endpoint = format!("https://localhost:{port}");
        let log = stage.run(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            (
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                authority.to_str().unwrap(),
            ),
        ]);
        check(&stage, &receiver.spans(), &log);
    }
}

#[test]
fn a_collector_whose_certificate_is_refused_is_named_and_costs_no_caption() {
    for protocol in ["grpc", "http/protobuf"] {
        let stage = Stage::set();
        let receiver = stage.runtime.block_on(Receiver::start());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unknown.pem");
        let front = tls_front::start("localhost", &file, receiver.grpc);
        let port = stage.runtime.block_on(front);
        let endpoint = format!("https://localhost:{port}");
        let log = stage.run(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        stage.read(&stage.settings.topics.captions, 4);
        assert!(receiver.spans().is_empty());
        let lines: Vec<_> = (log.iter())
            .filter_map(|line| line["message"].as_str())
            .filter(|line| line.contains("the certificate of"))
            .collect();
        // Not once per batch.
        assert_eq!(lines.len(), 1, "{log:?}");
        for part in [
            &*endpoint,
            "\"localhost\"",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
    }
}

#[test]
fn without_its_collector_the_service_works_on_and_says_so() {
    let stage = Stage::set();
    let [closed] = support::apache_kafka::free_ports();
    let endpoint = format!("http://127.0.0.1:{closed}");
    let log = stage.run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let captions = stage.read(&stage.settings.topics.captions, 4);
    assert_eq!(context(&captions["traced"]).0, TRACE);
    let told = |line: &&Value| line["message"].as_str().unwrap_or("").contains("spans");
    let lines: Vec<_> = log.iter().filter(told).collect();
    assert!(!lines.is_empty(), "{log:?}");
    let text = lines[0]["message"].as_str().unwrap();
    assert!(
        text.contains(&endpoint) && text.contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{text}"
    );
}
