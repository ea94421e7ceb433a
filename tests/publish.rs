//! `vila2 publish` against the broker inside the process.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;
use support::relay;
use vila2::{
    app::publishing::{Job, Note, Published},
    kafka::{Embedded, KafkaSettings, read},
    requests::{Columns, Input, open, resume::Resume},
};

fn broker() -> (Embedded, KafkaSettings) {
    let broker = Embedded::start().unwrap();
    let settings = relay::settings(broker.brokers(), "vila2");
    broker.create_topics(&settings.topics, 3).unwrap();
    (broker, settings)
}

fn publish(settings: &KafkaSettings, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vila2"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("publish")
        .args(arguments)
        .args(["--set", &format!("kafka.brokers='{}'", settings.brokers)])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> (Value, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    (serde_json::from_slice(&output.stdout).unwrap(), text)
}

/// How often each value is in the input topic.
fn values(settings: &KafkaSettings) -> BTreeMap<String, usize> {
    let topic = &settings.topics.images;
    let bounds = read::bounds(settings, topic).unwrap();
    let mut values = BTreeMap::new();
    read::read_to_end(settings, topic, &bounds, |record| {
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        *values.entry(value).or_default() += 1;
        true
    })
    .unwrap();
    values
}

fn lines(folder: &Path, count: usize) -> Vec<Input> {
    let path = folder.join("lines.txt");
    let text: String = (0..count)
        .map(|n| format!("http://images/{n}.png\n"))
        .collect();
    fs::write(&path, text).unwrap();
    open(&[path], &Columns::default()).unwrap()
}

fn run(settings: &KafkaSettings, inputs: &[Input], state: &Path, stop_at: u64) -> Published {
    let stop = AtomicBool::new(false);
    let job = Job {
        settings,
        inputs,
        resume: Some(Resume::open(state, &settings.topics.images, inputs).unwrap()),
        limit: None,
        stop: &stop,
    };
    job.run(&mut |note| {
        if matches!(note, Note::Progress(rows) if rows >= stop_at) {
            stop.store(true, Ordering::Relaxed);
        }
    })
    .unwrap()
}

#[test]
fn a_stopped_run_goes_on_where_it_was_and_nothing_is_sent_twice() {
    let (_broker, settings) = broker();
    let folder = tempfile::tempdir().unwrap();
    let (inputs, state) = (lines(folder.path(), 40_000), folder.path().join("state"));
    let first = run(&settings, &inputs, &state, 5_000);
    assert!(
        first.stopped && (5_000..40_000).contains(&first.confirmed),
        "{first:?}"
    );
    let second = run(&settings, &inputs, &state, u64::MAX);
    assert_eq!(
        (second.stopped, second.confirmed),
        (false, 40_000 - first.confirmed)
    );
    let third = run(&settings, &inputs, &state, u64::MAX);
    assert_eq!((third.confirmed, third.finished_before), (0, 1));
    let values = values(&settings);
    assert_eq!(values.len(), 40_000);
    assert!(values.values().all(|count| *count == 1));
}

#[test]
fn after_a_crash_nothing_is_missing_and_only_what_was_open_comes_twice() {
    let (_broker, settings) = broker();
    let folder = tempfile::tempdir().unwrap();
    let (inputs, state) = (lines(folder.path(), 9_000), folder.path().join("state"));
    let noted = run(&settings, &inputs, &state, 3_000).confirmed;
    let old = fs::read(&state).unwrap();
    run(&settings, &inputs, &state, 6_000);
    // A crash is a resume file from before.
    fs::write(&state, old).unwrap();
    run(&settings, &inputs, &state, u64::MAX);
    let values = values(&settings);
    assert_eq!(values.len(), 9_000, "nothing is missing");
    let once = values.values().filter(|count| **count == 1).count() as u64;
    assert!(once >= noted, "what was noted is not sent again");
}

#[test]
fn text_is_published_with_counts_as_json_and_a_limit() {
    let (_broker, settings) = broker();
    let folder = tempfile::tempdir().unwrap();
    lines(folder.path(), 10);
    let file = folder.path().join("lines.txt");
    let state = folder.path().join("state");
    let (file, state) = (file.to_str().unwrap(), state.to_str().unwrap());
    let (counts, _) = said(&publish(
        &settings,
        &[file, "--limit", "4", "--resume", state, "--json"],
    ));
    assert_eq!(
        (&counts["published"], &counts["topic"]),
        (&4.into(), &"images".into())
    );
    let (counts, _) = said(&publish(&settings, &[file, "--resume", state, "--json"]));
    assert_eq!(counts["published"], 6);
    assert_eq!(values(&settings).len(), 10);
}

#[test]
fn a_line_too_large_for_the_broker_is_a_bad_row_and_the_rest_goes() {
    let (_broker, settings) = broker();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.txt");
    let large = "x".repeat(2_000_000);
    fs::write(&path, format!("http://a\nhttp://{large}\nhttp://b\n")).unwrap();
    let (counts, text) = said(&publish(&settings, &[path.to_str().unwrap(), "--json"]));
    assert_eq!(
        (&counts["published"], &counts["bad_rows"]),
        (&2.into(), &1.into())
    );
    assert!(text.contains("lines.txt: line 2: a record of"), "{text}");
    assert_eq!(values(&settings).len(), 2);
}

#[test]
fn a_missing_column_or_file_fails_before_anything_is_sent() {
    let (_broker, settings) = broker();
    let folder = tempfile::tempdir().unwrap();
    lines(folder.path(), 3);
    let file = folder.path().join("lines.txt");
    let output = publish(
        &settings,
        &[file.to_str().unwrap(), "/nowhere/urls.parquet"],
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("/nowhere/urls.parquet: No such file"),
        "{text}"
    );
    let bounds = read::bounds(&settings, &settings.topics.images).unwrap();
    assert!(bounds.values().all(|(_, end)| *end == 0));
}
