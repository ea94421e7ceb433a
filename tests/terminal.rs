//! What strangers write into topics, names and pictures does not reach a person's terminal as
//! control characters.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use support::relay;
use vila2::kafka::{Embedded, KafkaSettings, feeder::Feeder};

/// Clears the screen, rings, renames the window, turns the direction of writing.
const EVIL: &str = "http://h/\u{1b}[2J\u{7}\u{1b}]0;x\u{9b}31m\r\u{202e}gpj.exe";
const SHOWN: &str = "http://h/\\u{1b}[2J\\u{7}\\u{1b}]0;x\\u{9b}31m\\r\\u{202e}gpj.exe";

fn vila2(arguments: &[&OsStr]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vila2"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let acts = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}')
    };
    assert!(!text.contains(acts), "{text:?}");
    text
}

fn feed(settings: &KafkaSettings, topic: &str, headers: &[(&str, &str)]) {
    let mut feeder = Feeder::new(settings, topic).unwrap();
    feeder
        .send(Some(b"k"), Some(EVIL.as_bytes()), headers)
        .unwrap();
    feeder.settle(Duration::from_secs(10)).unwrap();
}

#[test]
fn records_and_dead_letters_are_shown_and_not_obeyed() {
    let broker = Embedded::start().unwrap();
    let settings = relay::settings(broker.brokers(), "vila2");
    broker.create_topics(&settings.topics, 1).unwrap();
    let topics = &settings.topics;
    feed(&settings, &topics.images, &[]);
    feed(&settings, &topics.captions, &[]);
    let headers = [
        ("vila2-stage", "intake"),
        ("vila2-reason", "bad_request"),
        ("vila2-detail", EVIL),
        ("vila2-source", "images/0/0"),
    ];
    feed(&settings, &topics.dead, &headers);
    let brokers = format!("kafka.brokers='{}'", settings.brokers);
    let run = |arguments: &[&str]| {
        let all = [arguments, &["--set", &brokers]].concat();
        let output = vila2(&all.iter().map(OsStr::new).collect::<Vec<_>>());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    for topic in ["images", "captions", "dead"] {
        let tail = ["tail", "--topic", topic, "--from-beginning", "--count", "1"];
        let shown = text(&run(&tail));
        assert!(shown.contains(SHOWN), "{topic}: {shown:?}");
    }
    // A table breaks it over lines.
    let list: String = (text(&run(&["dead", "list"])).chars())
        .filter(|c| !c.is_whitespace() && !matches!(c, '│' | '┆'))
        .collect();
    assert!(list.contains("\\u{1b}[2J"), "{list}");
    // For programs nothing is changed.
    let tail = [
        "tail",
        "--topic",
        "dead",
        "--from-beginning",
        "--count",
        "1",
        "--json",
    ];
    let letter: Value = serde_json::from_slice(&run(&tail)).unwrap();
    assert_eq!(
        (&letter["value"], &letter["headers"]["vila2-detail"]),
        (&EVIL.into(), &EVIL.into())
    );
}

#[test]
fn names_of_files_and_rows_of_lists_are_shown_and_not_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a\u{1b}[31m.png");
    let output = vila2(&["caption".as_ref(), file.as_os_str()]);
    let shown = text(&output.stderr);
    assert!(
        shown.contains("a\\u{1b}[31m.png: fetch_failed: "),
        "{shown}"
    );
    let list = folder.path().join("a\u{1b}[31m.parquet");
    std::fs::write(&list, "no parquet").unwrap();
    let output = vila2(&["publish".as_ref(), list.as_os_str()]);
    let shown = text(&output.stderr);
    assert!(
        shown.contains("a\\u{1b}[31m.parquet: no Parquet file"),
        "{shown}"
    );
}

#[test]
fn a_url_that_is_refused_is_shown_and_not_obeyed() {
    let output = vila2(&["caption", "--set", "log.filter=info", EVIL].map(OsStr::new));
    let shown = text(&output.stderr);
    assert!(
        shown.contains("\\u{1b}[2J") && shown.contains("bad_request"),
        "{shown}"
    );
}

/// Two drawn pictures.
fn drawn(folder: &Path) -> [PathBuf; 2] {
    let output = vila2(&[
        "scenes".as_ref(),
        "generate".as_ref(),
        "--count=2".as_ref(),
        "--seed=7".as_ref(),
        "--out".as_ref(),
        folder.as_os_str(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut files: Vec<_> = std::fs::read_dir(folder.join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.try_into().unwrap()
}

#[test]
fn one_name_that_is_no_utf_8_is_captioned_like_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = drawn(folder.path());
    let odd = folder.path().join(OsStr::from_bytes(b"caf\xe9.png"));
    std::fs::copy(&first, &odd).unwrap();
    let output = vila2(&[
        "caption".as_ref(),
        "--json".as_ref(),
        first.as_os_str(),
        odd.as_os_str(),
        second.as_os_str(),
    ]);
    let (captions, faults) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{faults}");
    let records: Vec<Value> = (captions.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 3, "{captions}");
    let url = records[1]["url"].as_str().unwrap();
    assert!(url.ends_with("/caf%E9.png"), "{url}");
    assert_eq!(records[1]["enriched"], records[0]["enriched"]);
}

#[test]
fn one_name_that_is_no_utf_8_fails_alone_where_it_is_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    let [first, _] = drawn(folder.path());
    let odd = folder.path().join(OsStr::from_bytes(b"caf\xe9.png"));
    std::fs::write(&odd, "no picture").unwrap();
    let output = vila2(&["caption".as_ref(), odd.as_os_str(), first.as_os_str()]);
    let (captions, faults) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{faults}");
    assert_eq!(captions.lines().count(), 1, "{captions}");
    for part in ["caf\\xe9.png: ", "1 of 2 images failed"] {
        assert!(faults.contains(part), "{part:?} is not in {faults}");
    }
}
