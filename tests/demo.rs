//! The demo from outside: everything it leaves, and the spans it sends.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, routing::post};
use serde_json::Value;

const STAGES: [&str; 7] = [
    "fetch",
    "decode",
    "caption",
    "ground",
    "relate",
    "read_text",
    "merge",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The strict copy: a member that nobody announced is noticed.
fn schema(name: &str) -> jsonschema::Validator {
    let path = root().join("tests/schemas").join(name);
    let schema = serde_json::from_str(&std::fs::read_to_string(path).expect("a schema"));
    jsonschema::validator_for(&schema.expect("JSON")).expect("a valid schema")
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path)
        .expect("a file of the demo")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// An OTLP receiver on loopback that keeps what it is sent.
struct Collector {
    endpoint: String,
    bodies: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    async fn start() -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        let keep = async move |body: Bytes| kept.lock().expect("a lock").extend_from_slice(&body);
        let router = Router::new().route("/v1/traces", post(keep));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, bodies }
    }

    /// Whether a span (or an attribute) of this name was received: protobuf keeps text as it is.
    fn received(&self, name: &str) -> bool {
        let bodies = self.bodies.lock().expect("a lock");
        bodies
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_answers_every_request_once_and_leaves_what_the_contract_lists() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_owned();
    let endpoint = collector.endpoint.clone();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_vila2"))
            .args(["demo", "--count", "8", "--seed", "5", "--json", "--out"])
            .arg(&out)
            .current_dir(root())
            .stdin(Stdio::null())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .output()
            .expect("the program runs")
    })
    .await
    .expect("the demo ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    // Its own pictures are what the shipped model knows.
    assert!(!stderr.contains("drawn scenes only"), "{stderr}");

    let captions = lines(&folder.path().join("captions.jsonl"));
    let validator = schema("caption.schema.json");
    for record in &captions {
        let faults: Vec<_> = validator
            .iter_errors(record)
            .map(|e| e.to_string())
            .collect();
        assert!(faults.is_empty(), "{faults:?} in {record}");
        assert_eq!(record["status"], "complete", "{record}");
        for stage in STAGES {
            assert!(
                record["timings_ms"][stage].is_number(),
                "no {stage} in {record}"
            );
        }
    }
    let truth = lines(&folder.path().join("truth.jsonl"));
    let drawn: BTreeSet<_> = truth.iter().map(|scene| scene["file"].as_str()).collect();
    let captioned: BTreeSet<_> = captions
        .iter()
        .map(|record| {
            record["url"]
                .as_str()
                .and_then(|url| url.rsplit('/').next())
        })
        .collect();
    assert_eq!((captions.len(), captioned), (8, drawn));

    let validator = schema("dead_letter.schema.json");
    let dead = lines(&folder.path().join("dead.jsonl"));
    let mut reasons = BTreeMap::new();
    for letter in &dead {
        let faults: Vec<_> = validator
            .iter_errors(letter)
            .map(|e| e.to_string())
            .collect();
        assert!(faults.is_empty(), "{faults:?} in {letter}");
        let reason = letter["headers"]["vila2-reason"]
            .as_str()
            .expect("a reason");
        *reasons.entry(reason).or_insert(0) += 1;
    }
    assert!(dead.len() >= 8 && reasons.len() >= 8, "{reasons:?}");

    let summary: Value = serde_json::from_slice(&output.stdout).expect("the summary on stdout");
    let text = std::fs::read_to_string(folder.path().join("summary.json")).expect("a summary");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file, summary);
    assert_eq!((&file["images"], &file["captions"]), (&8.into(), &8.into()));
    assert_eq!(file["dead_letters"], dead.len());
    assert!(file["images_per_second"].as_f64() > Some(0.0), "{file}");
    assert!(file["caption_batch_mean"].as_f64() >= Some(1.0), "{file}");
    for stage in STAGES {
        assert_eq!(file["stages"][stage]["count"], 8, "{file}");
    }
    assert!(file["score"]["object"]["recall"].is_number(), "{file}");
    let report = std::fs::read_to_string(folder.path().join("report.html")).expect("a report");
    assert!(report.contains("<html"));

    for span in ["receive images", "send captions"].iter().chain(&STAGES) {
        assert!(collector.received(span), "no span `{span}` was received");
    }
    assert!(collector.received("service.name") && collector.received("vila2"));
}

#[test]
fn a_count_that_the_broker_in_the_process_would_forget_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_vila2"))
        .args(["demo", "--count", "1000000", "--out"])
        .arg(folder.path())
        .current_dir(root())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("use fewer"), "{stderr}");
    assert!(
        !folder.path().join("images").exists(),
        "nothing is drawn in vain"
    );
}
