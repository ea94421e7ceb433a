//! `vila2 topics create` from outside, on Apache Kafka: what is missing is made as `doctor` would
//! have it, and nothing else is touched.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use serde_json::{Value, json};
use support::{
    apache_kafka::ApacheKafka,
    program::{Ran, refused, run},
};

fn create(brokers: &str, more: &[&str]) -> Ran {
    let brokers = format!("kafka.brokers={brokers}");
    let mut arguments = vec!["topics", "create", "--set", &brokers];
    arguments.extend(more);
    run(&arguments)
}

fn topics(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str::<Value>(&ran.stdout).unwrap()["topics"].take()
}

fn topic(name: &str, created: bool, partitions: u32) -> Value {
    json!({ "topic": name, "created": created, "partitions": partitions, "replicas": 1 })
}

#[test]
fn what_is_missing_is_made_as_doctor_would_have_it_and_the_rest_stays() {
    let kafka = ApacheKafka::start();
    let brokers = kafka.brokers();
    kafka.create_topics(&["captions"], 2);

    let made = create(&brokers, &["--partitions", "5", "--json"]);
    let expected = json!([
        topic("images", true, 5),
        topic("captions", false, 2),
        topic("images.dead", true, 5),
    ]);
    assert_eq!(topics(&made), expected);

    let again = create(&brokers, &["--partitions", "9", "--json"]);
    let unchanged = json!([
        topic("images", false, 5),
        topic("captions", false, 2),
        topic("images.dead", false, 5),
    ]);
    assert_eq!(topics(&again), unchanged);

    let at = format!("kafka.brokers={brokers}");
    let free = "http.listen=127.0.0.1:0";
    let doctor = run(&["doctor", "--json", "--set", &at, "--set", free]);
    let report: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let about: Vec<_> = findings
        .filter(|finding| finding["subject"].as_str().unwrap().starts_with("topic "))
        .collect();
    assert_eq!(about.len(), 3, "{report}");
    for finding in about {
        assert_eq!(finding["level"], "ok", "{finding}");
    }

    let own = ["images", "captions", "dead"].map(|of| format!("kafka.topics.{of}=own.{of}"));
    let sets: Vec<&str> = own.iter().flat_map(|own| ["--set", own]).collect();
    let people = create(&brokers, &sets);
    assert_eq!(people.code, 0, "{}", people.stderr);
    let lines: Vec<_> = people.stdout.lines().collect();
    let line = "own.images: created, 12 partitions, 1 replica";
    assert_eq!((lines.len(), lines[0]), (3, line));

    // The broker's own refusal: a replica more than there are brokers is not asked for, too many
    // partitions are.
    let many = [
        "--set",
        "kafka.topics.images=many",
        "--partitions",
        "100000",
    ];
    refused(&create(&brokers, &many), 1, &["topic `many`"]);
}

#[test]
fn wrong_use_says_what_is_wrong() {
    refused(&create("127.0.0.1:1", &[]), 1, &["127.0.0.1:1"]);
    refused(
        &create("127.0.0.1:1", &["--partitions", "0"]),
        2,
        &["--partitions", "1..=100000"],
    );
}
