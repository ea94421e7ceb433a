//! `vila2 doctor` from outside: every finding, its level, what to do, and that nothing is changed.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{process::Command, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use serde_json::Value;
use support::{
    apache_kafka::ApacheKafka,
    program::{Ran, run, vila2},
    relay,
};
use vila2::kafka::{Embedded, Topics};

/// Tests run side by side: none may find the page's port taken by another.
const ANY_PORT: &str = "http.listen=127.0.0.1:0";

fn doctor(brokers: &str, more: &[&str]) -> Ran {
    let brokers = format!("kafka.brokers={brokers}");
    let mut arguments = vec!["doctor", "--json", "--set", &brokers, "--set", ANY_PORT];
    arguments.extend(more);
    run(&arguments)
}

/// The findings about `subject`, as (level, found, advice).
fn about(ran: &Ran, subject: &str) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&ran.stdout).expect(&ran.stderr);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["subject"] == subject)
        .map(|f| (text(f, "level"), text(f, "found"), text(f, "advice")))
        .collect()
}

/// The only finding about `subject`.
fn one(ran: &Ran, subject: &str) -> (String, String, String) {
    let mut found = about(ran, subject);
    assert_eq!(found.len(), 1, "{subject}: {found:?}\n{}", ran.stdout);
    found.remove(0)
}

fn topics_of(brokers: &str) -> Vec<String> {
    let client: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    let metadata = client.inner().fetch_metadata(None, Duration::from_secs(10));
    let metadata = metadata.unwrap();
    let mut names: Vec<_> = metadata
        .topics()
        .iter()
        .map(|t| t.name().to_owned())
        .collect();
    // The broker keeps offsets in topics of its own.
    names.retain(|name| !name.starts_with("__"));
    names.sort();
    names
}

#[test]
fn a_sound_installation_has_no_faults_and_exits_0() {
    let broker = Embedded::start().unwrap();
    broker.create_topics(&Topics::default(), 3).unwrap();
    let ran = doctor(broker.brokers(), &[]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stderr, ran.stdout);
    let (level, found, _) = one(&ran, "ONNX Runtime");
    assert_eq!(level, "ok");
    assert!(found.contains("libonnxruntime.so"), "{found}");
    assert!(found.contains("version 1.31.1, built with: cpu"), "{found}");
    for (name, kind) in [("models.scenes", "smolvlm"), ("models.ppocr", "pp-ocr")] {
        let (level, found, _) = one(&ran, name);
        assert_eq!(level, "ok", "{found}");
        assert!(
            found.contains(kind) && found.contains("loads in"),
            "{found}"
        );
    }
    let (level, found, _) = one(&ran, "broker");
    assert_eq!(level, "ok");
    assert!(found.contains("answers: 1 broker ("), "{found}");
    for name in ["images", "captions", "images.dead"] {
        // The embedded broker does not tell its configuration.
        let (level, found, advice) = one(&ran, &format!("topic `{name}`"));
        assert_eq!(level, "warning", "{found}");
        assert!(found.starts_with("3 partitions, 1 replica; "), "{found}");
        assert!(advice.contains("DESCRIBE_CONFIGS"), "{advice}");
    }
    let (level, found, _) = one(&ran, "group `vila2`");
    assert_eq!(
        (level.as_str(), found.contains("has read nothing yet")),
        ("ok", true),
        "{found}"
    );
    let (level, found, _) = one(&ran, "addresses that may be fetched from");
    assert_eq!(level, "ok");
    assert!(found.starts_with("public ones only"), "{found}");
}

#[test]
fn missing_topics_are_faults_and_are_not_created() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("captions", 1).unwrap();
    let before = topics_of(broker.brokers());
    let ran = doctor(broker.brokers(), &[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    for name in ["images", "images.dead"] {
        let (level, found, advice) = one(&ran, &format!("topic `{name}`"));
        assert_eq!(level, "fault");
        assert!(found.contains("is not there at 127.0.0.1:"), "{found}");
        assert!(advice.contains("vila2 topics create"), "{advice}");
        assert!(advice.contains("kafka.topics"), "{advice}");
    }
    assert_eq!(one(&ran, "topic `captions`").0, "warning");
    assert_eq!(topics_of(broker.brokers()), before, "nothing was created");
}

#[test]
fn without_a_broker_the_rest_is_looked_at_all_the_same() {
    let ran = doctor(
        "127.0.0.1:1",
        &[
            "--set",
            "runtime.onnxruntime=/nowhere/libonnxruntime.so",
            "--set",
            "models.scenes.path=/nowhere/scenes",
            "--set",
            "fetch.allow_addresses=[\"127.0.0.0/8\", \"10.1.2.3:80\"]",
            "--set",
            "fetch.file_roots=[\"models\"]",
        ],
    );
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.starts_with("error: 3 faults, 4 warnings"),
        "{}",
        ran.stderr
    );
    let (level, found, advice) = one(&ran, "broker");
    assert_eq!(level, "fault");
    assert!(
        found.contains("no Kafka broker answers at 127.0.0.1:1"),
        "{found}"
    );
    assert!(found.contains("Connection refused"), "{found}");
    assert!(advice.contains("kafka.brokers"), "{advice}");
    let (level, found, advice) = one(&ran, "ONNX Runtime");
    assert_eq!(level, "fault");
    assert!(
        found.contains("/nowhere/libonnxruntime.so, which is no file"),
        "{found}"
    );
    assert!(advice.contains("`make runtime`"), "{advice}");
    let (level, found, advice) = one(&ran, "models.scenes");
    assert_eq!(level, "fault");
    assert_eq!(found, "/nowhere/scenes is no folder");
    assert!(advice.contains("models.scenes.path"), "{advice}");
    let (level, found, _) = one(&ran, "models.ppocr");
    assert_eq!(level, "warning");
    assert!(found.contains("for want of ONNX Runtime"), "{found}");
    let allowed = about(&ran, "addresses that may be fetched from");
    assert_eq!(allowed.len(), 2);
    assert!(
        allowed[0]
            .1
            .contains("127.0.0.0/8 (this machine; every port)"),
        "{allowed:?}"
    );
    assert!(
        allowed[1]
            .1
            .contains("10.1.2.3:80 (the private network; port 80 only)")
    );
    assert!(allowed.iter().all(|(level, _, advice)| {
        level == "warning" && advice.contains("fetch.allow_addresses")
    }));
    let (level, found, _) = one(&ran, "files that may be fetched");
    assert_eq!(level, "warning");
    assert!(found.contains("everything under models: "), "{found}");
}

#[test]
fn a_folder_that_lacks_files_is_told_with_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("config.json"),
        r#"{"model_type": "smolvlm"}"#,
    )
    .unwrap();
    let scenes = format!("models.scenes.path={}", folder.path().display());
    let ppocr = format!("models.ppocr.path={}", folder.path().display());
    let ran = doctor("127.0.0.1:1", &["--set", &scenes, "--set", &ppocr]);
    assert_eq!(ran.code, 1);
    let (level, found, advice) = one(&ran, "models.scenes");
    assert_eq!(level, "fault");
    for file in [
        "tokenizer.json",
        "onnx/vision_encoder.onnx",
        "onnx/decoder_model_merged.onnx",
    ] {
        assert!(found.contains(file), "{found}");
    }
    assert!(advice.contains("vila2 models pull"), "{advice}");
    let (_, found, advice) = one(&ran, "models.ppocr");
    for graph in ["_det_", "_cls_", "_rec_"] {
        assert!(found.contains(graph), "{found}");
    }
    assert!(advice.contains("`make runtime`"), "{advice}");
}

#[test]
fn a_provider_that_the_library_lacks_is_a_warning_with_the_cpu_behind_it_and_a_fault_without() {
    let ran = doctor(
        "127.0.0.1:1",
        &["--set", "models.scenes.providers=[\"cuda\", \"cpu\"]"],
    );
    let (level, found, advice) = one(&ran, "provider `cuda` of models.scenes");
    assert_eq!(level, "warning");
    assert!(
        found.contains("built without it; the model runs on the next"),
        "{found}"
    );
    assert!(advice.contains("models.scenes.providers"), "{advice}");
    assert_eq!(one(&ran, "models.scenes").0, "ok");
    let ran = doctor(
        "127.0.0.1:1",
        &["--set", "models.scenes.providers=[\"tensorrt\"]"],
    );
    assert_eq!(one(&ran, "provider `tensorrt` of models.scenes").0, "fault");
    let (level, found, _) = one(&ran, "models.scenes");
    assert_eq!(level, "fault");
    assert!(found.contains("tensorrt: "), "{found}");
}

#[test]
fn too_few_open_files_are_told_with_the_number_that_is_needed() {
    let program = env!("CARGO_BIN_EXE_vila2");
    let ran: Ran = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ulimit -n 400; exec {program} doctor --json --set kafka.brokers=127.0.0.1:1"
        ))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
        .into();
    let (level, found, advice) = one(&ran, "open files");
    assert_eq!(level, "fault");
    assert!(found.starts_with("only 400; 256 pictures"), "{found}");
    assert!(advice.contains("ulimit -n 1024"), "{advice}");
}

#[test]
fn a_person_gets_a_table_and_a_bad_configuration_exits_2() {
    let ran = run(&[
        "doctor",
        "--set",
        "kafka.brokers=127.0.0.1:1",
        "--set",
        ANY_PORT,
    ]);
    assert_eq!(ran.code, 1);
    for part in ["looked at", "ONNX Runtime", "fault", "broker", "→ "] {
        assert!(
            ran.stdout.contains(part),
            "{part} is not in\n{}",
            ran.stdout
        );
    }
    assert!(
        ran.stderr
            .contains("1 fault, no warnings; what to do stands beside each"),
        "{}",
        ran.stderr
    );
    let ran = run(&[
        "doctor",
        "--set",
        "kafka.options.no.such=1",
        "--set",
        "fetch.allow_addresses=x",
    ]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.stdout, "");
    let ran = vila2(&["doctor"])
        .env("VILA2_LIMITS__RECORDS", "0")
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2));
}

#[test]
fn apache_kafka_tells_retention_message_size_and_the_groups_place() {
    let kafka = ApacheKafka::start();
    let brokers = kafka.brokers();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .create()
        .unwrap();
    let topic = |name| NewTopic::new(name, 2, TopicReplication::Fixed(1));
    let topics = [
        topic("images").set("retention.ms", "60000"),
        topic("captions").set("max.message.bytes", "20000"),
        topic("images.dead").set("cleanup.policy", "compact"),
    ];
    let made = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(admin.create_topics(&topics, &AdminOptions::new()))
        .unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    relay::eventually("the topics are there", || topics_of(&brokers).len() >= 3);
    let before = topics_of(&brokers);

    let ran = doctor(&brokers, &[]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    let (level, found, advice) = one(&ran, "topic `images`");
    assert_eq!(level, "fault");
    assert!(
        found.contains("deleted after 60 s, and one may be under way for 10 min"),
        "{found}"
    );
    assert!(advice.contains("retention.ms"), "{advice}");
    let (level, found, advice) = one(&ran, "topic `captions`");
    assert_eq!(level, "warning");
    assert!(found.contains("output_too_large"), "{found}");
    assert!(advice.contains("max.message.bytes"), "{advice}");
    let (level, found, _) = one(&ran, "topic `images.dead`");
    assert_eq!(level, "warning");
    assert!(found.contains("compacted"), "{found}");
    let (level, found, _) = one(&ran, "group `vila2`");
    assert_eq!(level, "ok");
    assert!(found.contains("has read nothing yet"), "{found}");

    let own = ["images", "captions", "dead"].map(|t| format!("kafka.topics.{t}=sound.{t}"));
    kafka.create_topics(&["sound.images", "sound.captions", "sound.dead"], 3);
    let sets: Vec<&str> = own.iter().flat_map(|set| ["--set", set]).collect();
    let ran = doctor(&brokers, &sets);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    let (level, found, _) = one(&ran, "topic `sound.images`");
    assert_eq!(level, "ok");
    let said = "3 partitions, 1 replica; keeps records for 7 days, takes records of 1.00 MiB";
    assert_eq!(found, said);
    let after: Vec<_> = topics_of(&brokers);
    let after: Vec<_> = after
        .iter()
        .filter(|name| !name.starts_with("sound."))
        .collect();
    assert_eq!(
        after,
        before.iter().collect::<Vec<_>>(),
        "nothing was created"
    );
}
