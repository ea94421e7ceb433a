//! The whole path on a real Apache Kafka: URLs in, enriched captions and dead letters out.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use support::{apache_kafka::ApacheKafka, relay, web::Web};
use vila2::kafka::{
    KafkaSettings, Topics, feeder,
    read::{Reader, Received, Start},
};

const IMAGES: usize = 200;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Runs the shipped program with the shipped model until the topic's end is settled.
fn run_until_end(settings: &KafkaSettings, web: &Web) -> Output {
    let root = env!("CARGO_MANIFEST_DIR");
    let set = |key: &str, value: &str| [String::from("--set"), format!("{key}={value}")];
    let Topics {
        images,
        captions,
        dead,
    } = &settings.topics;
    Command::new(env!("CARGO_BIN_EXE_vila2"))
        .current_dir(root)
        .args(["run", "--until-end"])
        .args(set("kafka.brokers", &format!("'{}'", settings.brokers)))
        .args(set("kafka.group", &format!("'{}'", settings.group)))
        .args(set("kafka.topics.images", &format!("'{images}'")))
        .args(set("kafka.topics.captions", &format!("'{captions}'")))
        .args(set("kafka.topics.dead", &format!("'{dead}'")))
        .args(set(
            "fetch.allow_addresses",
            &format!("['{}']", web.address()),
        ))
        .args(set("http.listen", "'off'"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Listens where nobody may come; counts who does.
fn canary() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let visits = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&visits);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, visits)
}

/// Every way to this machine and its network that a URL can be written in, redirects to some of
/// them, and what asks for a picture without HTTP.
fn ways_in(port: u16, web: &Web) -> Vec<(&'static str, Option<String>)> {
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "localhost",
        "localhost.",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "user@127.0.0.1",
        "example.org:80@127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
    ];
    let direct = hosts.map(|host| format!("http://{host}:{port}/x.png"));
    let backslash = format!("http:\\\\127.0.0.1:{port}\\x.png");
    let redirects = [
        "127.0.0.1",
        "localhost",
        "0x7f.1",
        "[::1]",
        "169.254.169.254",
    ]
    .map(|host| web.url(&format!("redirect?to=http://{host}:{port}/")));
    let blocked = direct.into_iter().chain([backslash]).chain(redirects);
    let other = [
        format!("ftp://127.0.0.1:{port}/a.png"),
        format!("gopher://127.0.0.1:{port}/_GET"),
        "file:///etc/hostname".to_owned(),
        "data:image/png;base64,AAAA".to_owned(),
    ];
    (blocked.map(|url| ("blocked_address", Some(url))))
        .chain(other.map(|url| ("unsupported_scheme", Some(url))))
        .collect()
}

/// Bare URLs, requests with an id and a trace, and requests that must be refused.
fn feed(settings: &KafkaSettings, web: &Web, canary: u16) -> Vec<(&'static str, Option<String>)> {
    let mut bad = vec![
        ("fetch_status", Some(web.url("no-such-scene.jpg"))),
        ("bad_request", Some("not a URL".to_owned())),
        ("bad_request", None),
        ("opted_out", Some(web.url("opted-out"))),
    ];
    bad.extend(ways_in(canary, web));
    let mut feeder = feeder::Feeder::new(settings, &settings.topics.images).unwrap();
    for (index, url) in web.urls().iter().enumerate() {
        let key = format!("shard-{index}");
        if index % 4 == 0 {
            let value =
                format!(r#"{{"url": "{url}", "id": "scene-{index}", "meta": {{"n": {index}}}}}"#);
            let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
            let headers = [("traceparent", traceparent.as_str())];
            feeder
                .send(Some(key.as_bytes()), Some(value.as_bytes()), &headers)
                .unwrap();
        } else {
            feeder
                .send(Some(key.as_bytes()), Some(url.as_bytes()), &[])
                .unwrap();
        }
    }
    for (_, value) in &bad {
        let value = value.as_ref().map(String::as_bytes);
        feeder.send(Some(b"bad"), value, &[]).unwrap();
    }
    feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
    bad
}

#[test]
fn two_hundred_images_over_three_partitions_are_captioned_on_apache_kafka() {
    let kafka = ApacheKafka::start();
    let settings = relay::settings(&kafka.brokers(), "vila2");
    let topics = &settings.topics;
    kafka.create_topics(&[&topics.images, &topics.captions, &topics.dead], 3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let web = runtime.block_on(Web::start(7, IMAGES as u64));
    let (canary, visits) = canary();
    let bad = feed(&settings, &web, canary);

    let ended = run_until_end(&settings, &web);
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}\n{log}", ended.status);
    assert!(relay::is_committed(&settings), "{log}");

    let captions = once_per_source(&read(&settings, &topics.captions));
    assert_eq!(captions.len(), IMAGES);
    let schema = schema("caption");
    let mut urls = BTreeSet::new();
    for received in &captions {
        let record: Value = serde_json::from_slice(received.value.as_ref().unwrap()).unwrap();
        assert!(
            schema.is_valid(&record),
            "{:?}",
            schema.validate(&record).err()
        );
        assert_eq!(record["status"], "complete", "{record}");
        let id = record["id"].as_str().unwrap();
        assert_eq!(received.key.as_deref(), Some(id.as_bytes()));
        assert_eq!(received.header("vila2-id"), Some(id));
        assert_eq!(received.header("content-type"), Some("application/json"));
        assert!(received.header("vila2-dedup").is_some());
        if let Some(index) = id.strip_prefix("scene-") {
            assert_eq!(record["meta"]["n"].to_string(), index);
            assert_eq!(received.header("traceparent").unwrap()[3..35], *TRACE);
        }
        urls.insert(record["url"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        urls,
        web.urls().into_iter().collect(),
        "every image has its caption"
    );

    let dead = once_per_source(&read(&settings, &topics.dead));
    let found: BTreeSet<(String, Option<String>)> = dead.iter().map(reason_and_value).collect();
    let expected = bad
        .into_iter()
        .map(|(reason, value)| (reason.to_owned(), value))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(
        visits.load(Ordering::SeqCst),
        0,
        "somebody came to the canary"
    );
}

fn reason_and_value(received: &Received) -> (String, Option<String>) {
    let value = received
        .value
        .as_ref()
        .map(|value| String::from_utf8_lossy(value).into_owned());
    assert_eq!(received.key.as_deref(), Some(&b"bad"[..]));
    (received.header("vila2-reason").unwrap().to_owned(), value)
}

/// Everything in a topic.
fn read(settings: &KafkaSettings, topic: &str) -> Vec<Received> {
    let bounds = vila2::kafka::read::bounds(settings, topic).unwrap();
    let count: i64 = bounds.values().map(|(first, end)| end - first).sum();
    let mut all = Vec::new();
    Reader::new(settings, topic, Start::Beginning)
        .unwrap()
        .read(Some(count as usize), Duration::from_secs(30), |received| {
            all.push(received);
            true
        })
        .unwrap();
    all
}

/// Without the duplicates that at-least-once allows.
fn once_per_source(all: &[Received]) -> Vec<Received> {
    let mut seen = BTreeSet::new();
    let first =
        |received: &&Received| seen.insert(received.header("vila2-source").unwrap().to_owned());
    all.iter().filter(first).cloned().collect()
}

/// The strict copy: a member that nobody announced is noticed.
fn schema(name: &str) -> jsonschema::Validator {
    let path = format!(
        "{}/tests/schemas/{name}.schema.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}
