//! Rules on captions through the shipped program with the shipped model: what becomes of captions
//! that trip one, in the topics, on the page of metrics, in the closing table and on the command line.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{
    page::{self, Series},
    program::{Ran, Running, finished, refused, run, vila2},
    relay,
    web::Web,
};
use vila2::{
    demo::record_json,
    kafka::{
        Embedded, KafkaSettings,
        read::{self, Reader, Received, Start},
    },
};

const PICTURES: u64 = 24;

/// A broker in this process with one request for each of so many pictures.
struct Bench {
    settings: KafkaSettings,
    web: Web,
    _broker: Embedded,
    _runtime: tokio::runtime::Runtime,
}

fn bench() -> Bench {
    let broker = Embedded::start().unwrap();
    let settings = KafkaSettings::new(broker.brokers());
    broker.create_topics(&settings.topics, 2).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let web = runtime.block_on(Web::start(21, PICTURES));
    relay::publish_urls(&settings, &web.urls());
    Bench {
        settings,
        web,
        _broker: broker,
        _runtime: runtime,
    }
}

impl Bench {
    /// The program on this broker with rules, the captioner alone.
    fn command(&self, rules: &[&str], command: &[&str]) -> std::process::Command {
        let brokers = format!("kafka.brokers='{}'", self.settings.brokers);
        let allowed = format!("fetch.allow_addresses=['{}']", self.web.address());
        let ours = [
            &brokers,
            &allowed,
            "http.listen='127.0.0.1:0'",
            "stages.ground.mode=off",
            "stages.read_text.mode=off",
        ];
        let sets = ours.iter().chain(rules);
        let mut all: Vec<&str> = sets.flat_map(|set| ["--set", *set]).collect();
        all.extend(command);
        vila2(&all)
    }

    /// Everything in a topic.
    fn records(&self, topic: &str) -> Vec<Received> {
        let bounds = read::bounds(&self.settings, topic).unwrap();
        let count: i64 = bounds.values().map(|(first, end)| end - first).sum();
        let reader = Reader::new(&self.settings, topic, Start::Beginning).unwrap();
        let mut records = Vec::new();
        let read = reader.read(Some(count as usize), Duration::from_secs(30), |record| {
            records.push(record);
            true
        });
        assert_eq!(read.unwrap() as i64, count);
        records
    }

    fn captions(&self) -> Vec<Value> {
        let records = self.records(&self.settings.topics.captions);
        let value = |record: &Received| {
            let record: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            assert_valid("caption.schema.json", &record);
            record
        };
        records.iter().map(value).collect()
    }
}

/// Holds a message against the strict copy of the contract's schema, and against the published one.
fn assert_valid(schema: &str, message: &Value) {
    for folder in ["tests/schemas", "config/schemas"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(folder)
            .join(schema);
        let text = std::fs::read_to_string(path).unwrap();
        let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(message)
            .map(|e| e.to_string())
            .collect();
        assert!(faults.is_empty(), "{folder}: {faults:?} in {message}");
    }
}

fn holds_red(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric())
        .any(|word| word == "red")
}

#[test]
fn a_rejected_caption_is_a_dead_letter_and_its_rule_is_counted_on_the_page() {
    let bench = bench();
    let rules = [
        r"rules.phrases.no_red.regex='\bred\b'",
        "rules.phrases.no_red.action=reject",
    ];
    let mut service = Running::start(bench.command(&rules, &["run"]));
    let line = service.says("metrics and probes on http://");
    let address = line.split("http://").nth(1).unwrap().trim().to_owned();
    let deadline = Instant::now() + Duration::from_secs(120);
    let series = loop {
        let (_, body) = page::get(&address, "/metrics");
        let series = Series::parse(&body);
        let settled: f64 = ["published", "dead_lettered"]
            .iter()
            .filter_map(|outcome| series.value("vila2_records_total", &[("outcome", outcome)]))
            .sum();
        if settled == PICTURES as f64 {
            break series;
        }
        assert!(Instant::now() < deadline, "{body}\n{}", service.log());
        std::thread::park_timeout(Duration::from_millis(50));
    };
    assert_eq!(service.terminate(), Some(0));

    let captions = bench.captions();
    for record in &captions {
        let text = record["caption"]["text"].as_str().unwrap();
        assert!(!holds_red(text), "{text}");
        assert_eq!(record.get("marks"), None);
    }
    let dead = bench.records(&bench.settings.topics.dead);
    for letter in &dead {
        assert_valid("dead_letter.schema.json", &record_json(letter));
        assert_eq!(letter.header("vila2-reason"), Some("rule"));
        assert_eq!(letter.header("vila2-stage"), Some("caption"));
        let detail = letter.header("vila2-detail").unwrap();
        assert!(detail.starts_with("no_red: \"red\" in \""), "{detail}");
    }
    assert_eq!((captions.len() + dead.len()) as u64, PICTURES);
    assert!(captions.len() > 2 && dead.len() > 2, "a test of both");

    let count = |name, labels: &[_]| series.value(name, labels);
    let rejected = [("rule", "no_red"), ("action", "reject")];
    assert_eq!(
        count("vila2_rules_total", &rejected),
        Some(dead.len() as f64)
    );
    let letters = count("vila2_dead_letters_total", &[("reason", "rule")]);
    assert_eq!(letters, Some(dead.len() as f64));
    let marked = [("rule", "repetition"), ("action", "mark")];
    assert_eq!(count("vila2_rules_total", &marked), Some(0.0));
    assert!(series.described("vila2_rules_total"));
}

#[test]
fn a_caption_asked_for_again_ends_marked_and_the_closing_table_counts_every_try() {
    let bench = bench();
    let rules = [
        "rules.too_short=retry",
        "rules.min_words=1000",
        r"rules.phrases.no_red.regex='\bred\b'",
        "rules.phrases.no_red.action=mark",
    ];
    let ran = finished(bench.command(&rules, &["run", "--until-end", "--json"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let closing: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(closing["captions"], PICTURES);
    let captions = bench.captions();
    let (mut red, mut prompts) = (0, std::collections::BTreeSet::new());
    for record in &captions {
        let text = record["caption"]["text"].as_str().unwrap();
        let marks = if holds_red(text) {
            red += 1;
            json!(["too_short", "no_red"])
        } else {
            json!(["too_short"])
        };
        assert_eq!(record["marks"], marks, "{text}");
        prompts.insert(record["models"]["caption"]["prompt"].to_string());
    }
    assert_eq!(prompts.len(), 3, "{prompts:?}");
    let counted = json!({
        "no_red": {"mark": red},
        "too_short": {"mark": PICTURES, "retry": 2 * PICTURES},
    });
    assert_eq!(closing["rules"], counted);
    // A record counts once, however often its caption was asked for.
    assert_eq!(closing["stages"]["caption"]["count"], PICTURES);
}

#[test]
fn the_closing_table_shows_rules_to_a_person() {
    let bench = bench();
    let rules = ["rules.too_long=mark", "rules.max_words=1"];
    let ran = finished(bench.command(&rules, &["run", "--until-end"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let row = ran.stdout.lines().find(|line| line.contains("too_long"));
    let cells: Vec<_> = row.unwrap_or(&ran.stdout).split_whitespace().collect();
    assert_eq!(cells, ["│", "too_long", "┆", "mark", "┆", "24", "│"]);
}

fn caption(rules: &[&str]) -> Ran {
    let picture = "tests/goldens/smolvlm/images/scene-4242-000040.webp";
    let off = ["stages.ground.mode=off", "stages.read_text.mode=off"];
    let mut all: Vec<&str> = (off.iter().chain(rules))
        .flat_map(|set| ["--set", *set])
        .collect();
    all.extend(["caption", picture, "--json"]);
    run(&all)
}

#[test]
fn a_caption_on_the_command_line_says_which_rule_it_tripped() {
    let rules = ["rules.too_long=reject", "rules.max_words=1"];
    let parts = [
        "scene-4242-000040.webp: rule: too_long: ",
        "words, more than 1",
    ];
    refused(&caption(&rules), 1, &parts);
    let ran = caption(&["rules.too_long=mark", "rules.max_words=1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let record: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(record["marks"], json!(["too_long"]));
    let ran = run(&["--set", "rules.phrases.x.regex='('", "config", "check"]);
    let parts = [
        "rules.phrases.x.regex",
        "unclosed group",
        "--set rules.phrases.x.regex",
    ];
    refused(&ran, 2, &parts);
}
