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
    app::feeding::{Job, Note, Published},
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

fn list(name: &str) -> String {
    format!("{}/tests/lists/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn lists_of_every_kind_become_the_same_records() {
    let (_broker, settings) = broker();
    let folder = tempfile::tempdir().unwrap();
    let written = [
        ("a.csv", "url,caption\r\nhttp://h/csv,\"red, round\"\r\n"),
        ("a.tsv", "url\tcaption\nhttp://h/tsv\tred\n"),
        (
            "a.json",
            "[\"http://h/json\", {\"url\": \"http://h/object\", \"caption\": null}]",
        ),
        (
            "a.txt",
            "http://h/x,y\rhttp://h/text\rhttp://h/words here\r",
        ),
    ]
    .map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let handed = [
        "cr_only.txt",
        "utf16.txt",
        "url_tab_caption.tsv",
        "list_url.parquet",
    ]
    .map(list);
    let mut arguments: Vec<&str> = written.iter().chain(&handed).map(String::as_str).collect();
    arguments.push("--json");
    let (counts, text) = said(&publish(&settings, &arguments));
    assert_eq!(
        (&counts["published"], &counts["bad_rows"]),
        (&16.into(), &1.into()),
        "{text}"
    );
    assert!(
        text.contains("a.txt: line 3: a blank is in the line"),
        "{text}"
    );
    let values = values(&settings);
    let page = "http://127.0.0.1:8917/p_plain.png";
    for value in [
        r#"{"url":"http://h/csv","caption":"red, round"}"#,
        r#"{"url":"http://h/tsv","caption":"red"}"#,
        "http://h/json",
        r#"{"url": "http://h/object", "caption": null}"#,
        "http://h/x,y",
        "http://h/text",
        &format!("{page}?cr1"),
        &format!("{page}?cr2"),
        &format!("{page}?u16a"),
        &format!("{page}?u16b"),
        &format!(r#"{{"url":"{page}","caption":"a red ball on grey"}}"#),
        &format!("{page}?r4"),
    ] {
        assert_eq!(values.get(value), Some(&1), "{value} is not in {values:?}");
    }
}

#[test]
fn columns_of_every_logical_type_are_published_exactly() {
    let (_broker, settings) = broker();
    let file = list("uuid_decimal.parquet");
    let (counts, _) = said(&publish(
        &settings,
        &[
            &file,
            "--id-column",
            "uid",
            "--meta-column",
            "price",
            "--meta-column",
            "f16",
            "--json",
        ],
    ));
    assert_eq!(
        (&counts["published"], &counts["bad_rows"]),
        (&200.into(), &0.into())
    );
    let first = r#"{"url":"http://127.0.0.1:8917/p_plain.png?u0","id":"cd613e30-d8f1-6adf-91b7-584a2265b1f5","meta":{"price":1.25,"f16":0.90673828125}}"#;
    assert_eq!(values(&settings).get(first), Some(&1));
}

#[test]
fn a_file_of_which_every_row_is_bad_fails_with_the_counts_and_the_others_go_out() {
    let (_broker, settings) = broker();
    let folder = tempfile::tempdir().unwrap();
    lines(folder.path(), 3);
    let good = folder.path().join("lines.txt");
    let (good, bad) = (good.to_str().unwrap(), list("all_bad.parquet"));
    let state = folder.path().join("state");
    let arguments = [good, &bad, "--json", "--resume", state.to_str().unwrap()];
    // Nor is it done the second time.
    for published in [3, 0] {
        let output = publish(&settings, &arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("every row was bad") && text.contains("all_bad.parquet"),
            "{text}"
        );
        let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&counts["published"], &counts["bad_rows"]),
            (&published.into(), &3.into())
        );
    }
    assert_eq!(values(&settings).len(), 3);
}

#[test]
fn a_table_from_a_pipe_and_a_file_whose_name_is_no_utf_8_are_published() {
    use std::os::unix::ffi::OsStrExt as _;

    let (_broker, settings) = broker();
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    fs::write(&table, "link\ttext\nhttp://h/1\tone\n").unwrap();
    let odd = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"caf\xe9.txt"));
    fs::write(&odd, "http://h/2\n").unwrap();
    let run = |stdin: Stdio, arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vila2"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("publish")
            .args(arguments)
            .args([
                "--json",
                "--set",
                &format!("kafka.brokers='{}'", settings.brokers),
            ])
            .stdin(stdin)
            .output()
            .unwrap();
        said(&output)
    };
    let columns = [
        "-",
        "--format",
        "tsv",
        "--url-column",
        "link",
        "--caption-column",
        "text",
    ];
    let (counts, _) = run(
        fs::File::open(&table).unwrap().into(),
        &columns.map(AsRef::as_ref),
    );
    assert_eq!(counts["published"], 1);
    let (counts, _) = run(Stdio::null(), &[odd.as_os_str()]);
    assert_eq!(counts["published"], 1);
    let values = values(&settings);
    for value in [r#"{"url":"http://h/1","caption":"one"}"#, "http://h/2"] {
        assert_eq!(values.get(value), Some(&1), "{values:?}");
    }
}
