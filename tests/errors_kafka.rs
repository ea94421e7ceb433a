//! Messages about brokers: not there, TLS refused, topics missing.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use support::{
    impostor,
    program::{Ran, run, vila2},
    relay::eventually,
};
use vila2::kafka::{Embedded, Topics};

/// `publish` and `tail` against a broker that cannot be used.
fn refused(brokers: &str, options: &[&str], parts: &[&str]) {
    let brokers = format!("kafka.brokers={brokers}");
    for command in [&["publish", "/dev/null"][..], &["tail", "--idle-ms", "100"]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--set", &brokers]);
        arguments.extend(options.iter().flat_map(|option| ["--set", option]));
        let ran = run(&arguments);
        told(&ran, parts);
    }
}

fn told(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "results only on stdout");
    for part in parts {
        assert!(
            ran.stderr.contains(part),
            "{part:?} is not in\n{}",
            ran.stderr
        );
    }
}

/// A service that runs until it is dropped.
struct Service {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(sets: &[&str]) -> Self {
        let mut arguments = vec!["run", "--set", "http.listen=127.0.0.1:0"];
        arguments.extend(["--set", "stages.read_text.mode=off"]);
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        let mut process = vila2(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::default();
        let into: Arc<Mutex<Vec<String>>> = Arc::clone(&lines);
        let stderr = BufReader::new(process.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        Self { process, lines }
    }

    /// The lines that hold all of these words.
    fn said(&self, words: &[&str]) -> usize {
        let lines = self.lines.lock().unwrap();
        let holds = |line: &&String| words.iter().all(|word| line.contains(word));
        lines.iter().filter(holds).count()
    }

    fn waits_for(&self, what: &str, words: &[&str], times: usize) {
        eventually(&format!("{what}: {words:?}"), || self.said(words) >= times);
    }

    /// Status and text of `/readyz`.
    fn ready(&self) -> (u16, String) {
        let lines = self.lines.lock().unwrap();
        let found = lines.iter().find_map(|line| line.split_once("probes on "));
        let address = found.unwrap().1.to_owned();
        drop(lines);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let answer = reqwest::get(format!("{address}/readyz")).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    /// SIGTERM; the exit code and what is on stdout.
    fn terminate(&mut self) -> (Option<i32>, String) {
        assert!(
            self.process.try_wait().unwrap().is_none(),
            "it goes on trying"
        );
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let status = self.process.wait().unwrap();
        let mut out = String::new();
        let mut stdout = self.process.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut stdout, &mut out).unwrap();
        (status.code(), out)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_broker_that_is_not_there_is_told_with_its_address() {
    refused(
        "127.0.0.1:1",
        &[],
        &[
            "error: no Kafka broker answers at 127.0.0.1:1: ",
            "Connection refused; ",
            "nothing listens there: start the broker, or set kafka.brokers to its host:port",
        ],
    );
    refused(
        "no-such-host.invalid:9092",
        &[],
        &[
            "no-such-host.invalid:9092",
            "Failed to resolve",
            "check its spelling in kafka.brokers",
        ],
    );
}

#[test]
fn tls_towards_a_plaintext_listener_is_told_with_the_key_to_change() {
    let broker = Embedded::start().unwrap();
    broker.create_topics(&Topics::default(), 1).unwrap();
    refused(
        broker.brokers(),
        &["kafka.options.security.protocol=ssl"],
        &[
            "error: no Kafka broker answers at ",
            "the listener does not speak TLS: set kafka.options \"security.protocol\" to \"plaintext\"",
        ],
    );
}

#[test]
fn plaintext_towards_a_tls_listener_is_told_with_the_key_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let port = impostor::listen("localhost", &folder.path().join("ca.pem"));
    refused(
        &format!("localhost:{port}"),
        &[],
        &[
            &format!("no Kafka broker answers at localhost:{port}: "),
            "the listener seems to speak TLS: set kafka.options \"security.protocol\" to \"ssl\"",
        ],
    );
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_with_the_key_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let port = impostor::listen("elsewhere.example", &ca);
    let ssl = "kafka.options.security.protocol=ssl";
    let parts = [
        "certificate verify failed",
        "set kafka.options \"ssl.ca.location\" to the PEM file of the authority that signed it",
        "use the name in the certificate in kafka.brokers",
    ];
    refused(&format!("localhost:{port}"), &[ssl], &parts);
    // Trusted, and made out to another name.
    let trusted = format!("kafka.options.ssl.ca.location={}", ca.display());
    refused(&format!("localhost:{port}"), &[ssl, &trusted], &parts);
}

#[test]
fn missing_topics_are_told_with_the_command_that_makes_them() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("captions", 1).unwrap();
    let brokers = format!("kafka.brokers={}", broker.brokers());
    let there = format!("is not there at {}", broker.brokers());
    let ran = run(&["publish", "/dev/null", "--set", &brokers]);
    told(
        &ran,
        &[
            "topic `images`",
            &there,
            "(kafka.topics.images); create it (vila2 topics create)",
        ],
    );
    let ran = run(&[
        "tail",
        "--topic",
        "dead",
        "--idle-ms",
        "1",
        "--set",
        &brokers,
    ]);
    told(
        &ran,
        &[
            "topic `images.dead`",
            &there,
            "(kafka.topics.dead)",
            "name another in kafka.topics",
        ],
    );
    let ran = run(&[
        "run",
        "--until-end",
        "--set",
        &brokers,
        "--set",
        "http.listen=off",
    ]);
    told(&ran, &["error: topic `images`", &there, "create it"]);
}

#[test]
fn a_service_without_a_broker_says_so_again_and_again_and_is_not_ready() {
    let mut service = Service::start(&["kafka.brokers=127.0.0.1:1"]);
    let words = [
        "no Kafka broker answers at 127.0.0.1:1 since",
        "trying on: ",
        "Connection refused",
        "start the broker, or set kafka.brokers",
    ];
    service.waits_for("the service says so", &words, 2);
    let (status, text) = service.ready();
    assert_eq!(status, 503);
    assert!(
        text.contains("the consumer has no connection to 127.0.0.1:1: "),
        "{text}"
    );
    assert!(text.contains("Connection refused"), "{text}");
    assert_eq!(service.terminate(), (Some(0), String::new()));
}

#[test]
fn a_service_whose_tls_is_refused_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let port = impostor::listen("localhost", &folder.path().join("ca.pem"));
    let brokers = format!("kafka.brokers=localhost:{port}");
    let mut service = Service::start(&[&brokers, "kafka.options.security.protocol=ssl"]);
    let words = [
        "no Kafka broker answers",
        "certificate verify failed",
        "\"ssl.ca.location\"",
    ];
    service.waits_for("the service says why", &words, 1);
    assert_eq!(service.ready().0, 503);
    assert_eq!(service.terminate(), (Some(0), String::new()));
}

#[test]
fn a_service_waits_for_topics_that_are_missing_and_is_ready_once_they_are_there() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("captions", 1).unwrap();
    let brokers = format!("kafka.brokers={}", broker.brokers());
    let mut service = Service::start(&[&brokers]);
    for topic in ["images", "images.dead"] {
        let named = format!("topic `{topic}` is not there at ");
        let words = [
            named.as_str(),
            "create it (vila2 topics create)",
            "waiting for it",
        ];
        service.waits_for("the service names it", &words, 1);
    }
    let (status, text) = service.ready();
    assert_eq!(status, 503);
    assert!(text.contains("topic `images` is not there"), "{text}");
    broker.create_topic("images", 1).unwrap();
    broker.create_topic("images.dead", 1).unwrap();
    eventually("the service is ready", || service.ready().0 == 200);
    assert_eq!(service.terminate(), (Some(0), String::new()));
}
