//! `vila2 doctor` on the collector of spans: whether it takes them, else why and what to do.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::net::TcpListener;

use serde_json::Value;
use support::{
    otlp::Receiver,
    program::{finished, vila2},
    tls_front,
};
use tokio::runtime::Runtime;
use vila2::kafka::{Embedded, Topics};

struct Bench {
    runtime: Runtime,
    broker: Embedded,
    receiver: Receiver,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let broker = Embedded::start().unwrap();
        broker.create_topics(&Topics::default(), 1).unwrap();
        let receiver = runtime.block_on(Receiver::start());
        Self {
            runtime,
            broker,
            receiver,
        }
    }

    /// Level, what was found and the advice, with these variables of OpenTelemetry.
    fn found(&self, variables: &[(&str, &str)]) -> [String; 3] {
        let brokers = format!("kafka.brokers={}", self.broker.brokers());
        let mut command = vila2(&["doctor", "--json", "--set", &brokers]);
        // What is looked at here needs no models.
        command.args([
            "--set",
            "http.listen=off",
            "--set",
            "models.scenes.path=/nowhere",
        ]);
        for (name, value) in variables {
            command.env(format!("OTEL_{name}"), value);
        }
        let ran = finished(command);
        let report: Value = serde_json::from_str(&ran.stdout).expect(&ran.stderr);
        let findings = report["findings"].as_array().unwrap();
        let traces = findings.iter().find(|one| one["subject"] == "traces");
        let traces = traces.expect("a finding about traces");
        ["level", "found", "advice"].map(|key| traces[key].as_str().unwrap().to_owned())
    }
}

#[test]
fn a_collector_that_takes_spans_is_seen_over_both_protocols_with_and_without_tls() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    for (protocol, server) in [
        ("grpc", bench.receiver.grpc),
        ("http/protobuf", bench.receiver.http),
    ] {
        let plain = format!("http://{server}");
        let [level, found, _] = bench.found(&[
            ("EXPORTER_OTLP_ENDPOINT", &plain),
            ("EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        assert_eq!(level, "ok", "{found}");
        assert!(
            found.contains(&plain) && found.contains(protocol),
            "{found}"
        );
        let authority = folder.path().join("authority.pem");
        let front = tls_front::start("localhost", &authority, server);
        let endpoint = format!("https://localhost:{}", bench.runtime.block_on(front));
        let [level, found, _] = bench.found(&[
            ("EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("EXPORTER_OTLP_PROTOCOL", protocol),
            ("EXPORTER_OTLP_CERTIFICATE", authority.to_str().unwrap()),
        ]);
        assert_eq!(level, "ok", "{found}");
    }
    assert!(bench.receiver.spans().is_empty(), "only looked at");
}

#[test]
fn what_keeps_spans_from_a_collector_is_said_with_what_to_do() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let start = |host: &str, name: &str| {
        let file = folder.path().join(name);
        let front = tls_front::start(host, &file, bench.receiver.grpc);
        let port = bench.runtime.block_on(front);
        (format!("https://localhost:{port}"), file)
    };
    let (unknown, _) = start("localhost", "unknown.pem");
    let (elsewhere, authority) = start("elsewhere.example", "elsewhere.pem");
    let authority = authority.to_str().unwrap();
    let plaintext = format!("https://{}", bench.receiver.grpc);
    let grpc_as_http = format!("http://{}", bench.receiver.grpc);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let grpc = ("EXPORTER_OTLP_PROTOCOL", "grpc");
    let at = |endpoint| ("EXPORTER_OTLP_ENDPOINT", endpoint);
    for (variables, in_found, in_advice) in [
        (vec![at(&*unknown), grpc], "certificate", "_CERTIFICATE"),
        (vec![at(&unknown)], "certificate", "_CERTIFICATE"),
        (
            vec![
                at(&elsewhere),
                grpc,
                ("EXPORTER_OTLP_CERTIFICATE", authority),
            ],
            "\"elsewhere.example\"",
            "use a name",
        ),
        (vec![at(&plaintext), grpc], "does not speak TLS", "http://"),
        (
            vec![at(&closed), grpc],
            "cannot connect",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        (
            vec![at("http://none.invalid:4317"), grpc],
            "none.invalid",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        (
            vec![at(&grpc_as_http)],
            "takes no spans",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
    ] {
        let [level, found, advice] = bench.found(&variables);
        assert_eq!(level, "warning", "{found}");
        assert!(found.contains(in_found), "{in_found}: {found}");
        assert!(advice.contains(in_advice), "{in_advice}: {advice}");
    }
}

#[test]
fn without_an_address_no_spans_are_sent_and_a_bad_variable_is_a_fault() {
    let bench = Bench::new();
    let [level, found, _] = bench.found(&[]);
    assert_eq!(level, "ok");
    assert!(
        found.contains("OTEL_EXPORTER_OTLP_ENDPOINT is not set"),
        "{found}"
    );
    let [level, found, _] = bench.found(&[("EXPORTER_OTLP_ENDPOINT", "collector:4318")]);
    assert_eq!(level, "fault");
    assert!(found.contains("http://HOST:PORT"), "{found}");
}
