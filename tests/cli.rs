//! The command line from outside: exit codes, faults, records, as the contract has them.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program in the repository, without settings from the outer environment.
fn vila2(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vila2"));
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("VILA2_") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    vila2(arguments).output().expect("the program runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn schema_text(folder: &str, name: &str) -> Value {
    let path = root().join(folder).join(name);
    let text = std::fs::read_to_string(path).expect("a schema");
    serde_json::from_str(&text).expect("JSON")
}

const PUBLISHED: &str = "config/schemas";
/// Strict copies: a member that nobody announced is noticed.
const STRICT: &str = "tests/schemas";

fn schema(folder: &str, name: &str) -> jsonschema::Validator {
    jsonschema::validator_for(&schema_text(folder, name)).expect("a valid schema")
}

/// Scenes drawn by the program itself.
fn scenes(count: usize) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("UTF-8");
    let count = count.to_string();
    let drawn = run(&[
        "scenes", "generate", "--out", out, "--count", &count, "--seed", "7",
    ]);
    assert_eq!(code(&drawn), 0, "{}", stderr(&drawn));
    let mut files: Vec<_> = std::fs::read_dir(folder.path().join("images"))
        .expect("images")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    (folder, files)
}

#[test]
fn bad_usage_exits_2_and_help_exits_0() {
    assert_eq!(code(&run(&["nonsense"])), 2);
    assert_eq!(code(&run(&[])), 2);
    assert_eq!(code(&run(&["caption"])), 2);
    let help = run(&["--help"]);
    assert_eq!(code(&help), 0);
    for command in [
        "run", "demo", "publish", "tail", "caption", "scenes", "config",
    ] {
        assert!(
            stdout(&help).contains(command),
            "{command} is not in the help"
        );
    }
}

#[test]
fn all_faults_of_a_configuration_are_listed_at_once_with_exit_code_2() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(
        file,
        "[kafka]\ngroop = 'x'\n[delivery]\nmode = 'exactly_once'"
    )
    .expect("written");
    let path = file.path().to_str().expect("UTF-8");
    for command in [&["config", "check"][..], &["run"], &["caption", "x.png"]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--config", path, "--set", "decode.max_pixels=many"]);
        let output = vila2(&arguments)
            .env("VILA2_LIMITS__RECORDS", "-1")
            .output()
            .expect("the program runs");
        let text = stderr(&output);
        assert_eq!(code(&output), 2, "{text}");
        for part in [
            "4 faults",
            "kafka.groop",
            path,
            "delivery.mode",
            "not available",
            "decode.max_pixels",
            "--set decode.max_pixels",
            "limits.records",
            "environment VILA2_LIMITS__RECORDS",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert_eq!(stdout(&output), "", "results only on stdout");
    }
}

#[test]
fn faults_come_as_json_too() {
    let output = run(&["config", "check", "--json", "--set", "fetch.retries=x"]);
    assert_eq!(code(&output), 2);
    let faults: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(faults["faults"][0]["key"], "fetch.retries");
    assert_eq!(faults["faults"][0]["origin"], "--set fetch.retries");
}

#[test]
fn missing_model_folders_and_runtime_are_faults_before_anything_starts() {
    let output = run(&[
        "run",
        "--set",
        "models.scenes.path=/nowhere/scenes",
        "--set",
        "models.ppocr.path=/nowhere/ppocr",
    ]);
    let text = stderr(&output);
    assert_eq!(code(&output), 2, "{text}");
    assert!(
        text.contains("/nowhere/scenes") && text.contains("/nowhere/ppocr"),
        "{text}"
    );

    let output = run(&[
        "run",
        "--set",
        "runtime.onnxruntime=/nowhere/libonnxruntime.so",
    ]);
    let text = stderr(&output);
    assert_eq!(code(&output), 2, "{text}");
    assert!(text.contains("/nowhere/libonnxruntime.so"), "{text}");
}

#[test]
fn the_shipped_configuration_has_no_faults() {
    let output = run(&["config", "check"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let output = run(&["config", "check", "--config", "config/production.toml"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn shown_settings_name_their_origin_and_hide_secrets() {
    let output = vila2(&["config", "show", "--json"])
        .env("VILA2_KAFKA__OPTIONS__SASL__PASSWORD", "hunter2")
        .env("VILA2_KAFKA__GROUP", "mine")
        .output()
        .expect("the program runs");
    let text = stdout(&output);
    assert_eq!(code(&output), 0);
    assert!(!text.contains("hunter2"), "{text}");
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shown["kafka.group"]["value"], "mine");
    assert_eq!(
        shown["kafka.group"]["origin"],
        "environment VILA2_KAFKA__GROUP"
    );
    assert_eq!(shown["kafka.options.sasl.password"]["value"], "[redacted]");
}

#[test]
fn captions_of_files_are_records_of_the_contract() {
    let (_folder, files) = scenes(3);
    let mut arguments = vec!["caption", "--json"];
    arguments.extend(files.iter().map(|file| file.to_str().expect("UTF-8")));
    let output = run(&arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let schemas = [PUBLISHED, STRICT].map(|folder| schema(folder, "caption.schema.json"));
    let lines: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), files.len());
    for (line, file) in lines.iter().zip(&files) {
        let record: Value = serde_json::from_str(line).expect("JSON");
        for schema in &schemas {
            let faults: Vec<_> = schema.iter_errors(&record).map(|e| e.to_string()).collect();
            assert!(faults.is_empty(), "{faults:?} in {line}");
        }
        assert_eq!(record["status"], "complete", "{line}");
        let name = file.file_name().expect("a name").to_str().expect("UTF-8");
        let url = record["url"].as_str().expect("a URL");
        assert!(
            url.ends_with(name),
            "answers come in the order of the arguments"
        );
    }
}

#[test]
fn what_cannot_be_captioned_is_said_on_stderr_after_the_rest_is_done() {
    let (folder, files) = scenes(1);
    let text = folder.path().join("text.png");
    std::fs::write(&text, "no picture").expect("written");
    let text = text.to_str().expect("UTF-8");
    let good = files[0].to_str().expect("UTF-8");
    let output = run(&[
        "caption",
        text,
        "no/such/file.png",
        good,
        "http://10.0.0.1/x.png",
    ]);
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(code(&output), 1, "{err}");
    assert!(
        out.starts_with(good),
        "the enriched text of the good one: {out}"
    );
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(
        err.contains(&format!("{text}: unsupported_format: ")),
        "{err}"
    );
    assert!(err.contains("no/such/file.png: fetch_failed: "), "{err}");
    assert!(
        err.contains("http://10.0.0.1/x.png: blocked_address: "),
        "{err}"
    );
    assert!(err.contains("3 of 4 images failed"), "{err}");
}

#[test]
fn only_the_named_files_can_be_read() {
    let (_folder, files) = scenes(2);
    let named = files[0].to_str().expect("UTF-8");
    let other = format!("file://{}", files[1].to_str().expect("UTF-8"));
    let output = run(&["caption", named, &other]);
    assert_eq!(code(&output), 1);
    let expected = format!("{other}: unsupported_scheme: ");
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
}

#[test]
fn scenes_are_drawn_and_scored_the_same_for_the_same_seed() {
    let (one, _) = scenes(4);
    let (two, _) = scenes(4);
    let truth = |folder: &tempfile::TempDir| {
        std::fs::read_to_string(folder.path().join("truth.jsonl")).expect("truth")
    };
    assert_eq!(truth(&one), truth(&two));
    let path = one.path().join("truth.jsonl");
    let captions = one.path().join("captions.jsonl");
    std::fs::write(&captions, "").expect("written");
    let output = run(&[
        "scenes",
        "score",
        "--json",
        "--truth",
        path.to_str().expect("UTF-8"),
        "--captions",
        captions.to_str().expect("UTF-8"),
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let score: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(score["object"]["recall"], 0.0);
    for key in [
        "attribute",
        "relation",
        "grounding",
        "text",
        "chair_i",
        "chair_s",
    ] {
        assert!(!score[key].is_null(), "no {key} in {score}");
    }
}

#[test]
fn a_broker_that_is_not_there_fails_publish_and_tail_with_1() {
    let nowhere = ["--set", "kafka.brokers=127.0.0.1:1"];
    let mut urls = tempfile::NamedTempFile::new().expect("a file");
    writeln!(urls, "http://example.com/x.jpg").expect("written");
    let path = urls.path().to_str().expect("UTF-8").to_owned();
    for command in [
        &["publish", path.as_str()][..],
        &["tail", "--idle-ms", "100"],
    ] {
        let mut arguments = command.to_vec();
        arguments.extend(nowhere);
        let output = run(&arguments);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        assert!(
            stderr(&output).contains("127.0.0.1:1"),
            "{}",
            stderr(&output)
        );
    }
}

/// Every object of a value, by its JSON pointer.
fn objects(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            all.push(at.to_owned());
            for (name, member) in members {
                objects(member, &format!("{at}/{name}"), all);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(item, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

#[test]
fn the_published_schemas_allow_what_is_added_and_the_strict_copies_do_not() {
    let caption = serde_json::json!({
        "schema": "vila2.caption/1", "id": "a", "url": "http://h/a", "round": 0,
        "image": {"sha256": "0".repeat(64), "width": 1, "height": 1, "format": "png", "bytes": 1},
        "caption": {"text": "a", "tokens": 1, "finish": "stop"},
        "grounding": [{"id": "g0", "phrase": "a", "box": [0, 0, 1, 1], "score": null}],
        "text": [{"id": "t0", "text": "a", "quad": [[0, 0], [1, 0], [1, 1], [0, 1]], "score": 1}],
        "spatial": [{"id": "s0", "subject": "g0", "relation": "on", "object": "g0", "score": 1}],
        "clauses": [{"text": "a", "verdict": "grounded", "evidence": ["g0"]}],
        "enriched": "a", "models": {"caption": {"model": "a", "revision": "0".repeat(12)}},
        "status": "degraded", "degraded": [{"stage": "ground", "reason": "a"}],
        "timings_ms": {"total": 1}, "queue_ms": {"fetch": 0},
    });
    let dead = serde_json::json!({"key": null, "value": "a", "headers": {
        "vila2-stage": "fetch", "vila2-reason": "fetch_failed", "vila2-detail": "a",
        "vila2-attempts": "1", "vila2-source": "images/0/0",
        "traceparent": format!("00-{}-{}-00", "0".repeat(32), "0".repeat(16)),
    }});
    // Headers are whatever a client of Kafka adds: they were never closed.
    for (name, message, open) in [
        ("caption.schema.json", &caption, &[][..]),
        ("dead_letter.schema.json", &dead, &["/headers"][..]),
    ] {
        let (published, strict) = (schema(PUBLISHED, name), schema(STRICT, name));
        assert!(
            strict.is_valid(message) && published.is_valid(message),
            "{name}"
        );
        let mut all = Vec::new();
        objects(message, "", &mut all);
        assert!(all.len() > 1);
        for at in all {
            let mut more = message.clone();
            let object = more.pointer_mut(&at).and_then(Value::as_object_mut);
            // Of stages, what is added is a figure or facts like those of the others.
            let value = match at.as_str() {
                "/models" => message["models"]["caption"].clone(),
                "/timings_ms" | "/queue_ms" => 1.into(),
                _ => "x".into(),
            };
            object
                .expect("an object")
                .insert("added_later".to_owned(), value);
            let faults: Vec<_> = published
                .iter_errors(&more)
                .map(|e| e.to_string())
                .collect();
            assert!(faults.is_empty(), "{name} at {at:?}: {faults:?}");
            assert_eq!(
                strict.is_valid(&more),
                open.contains(&at.as_str()),
                "{name} at {at:?}"
            );
        }
        // What is known stays as it was.
        let mut wrong = message.clone();
        let (pointer, value) = match name {
            "caption.schema.json" => ("/clauses/0/verdict", Value::from("perhaps")),
            _ => ("/headers/vila2-attempts", Value::from("once")),
        };
        *wrong.pointer_mut(pointer).expect("a member") = value;
        assert!(
            !published.is_valid(&wrong) && !strict.is_valid(&wrong),
            "{name}"
        );
    }
    let mut added = caption.clone();
    added["grounding"][0]["id"] = "a0".into();
    let name = "caption.schema.json";
    assert!(schema(PUBLISHED, name).is_valid(&added) && !schema(STRICT, name).is_valid(&added));
    let mut added = dead.clone();
    added["headers"]["vila2-reason"] = "of_tomorrow".into();
    let name = "dead_letter.schema.json";
    assert!(schema(PUBLISHED, name).is_valid(&added) && !schema(STRICT, name).is_valid(&added));
}

/// The names under `properties`, at every depth.
fn members(schema: &Value, at: &str, all: &mut Vec<String>) {
    if let Value::Object(schema) = schema {
        for (name, part) in schema {
            let at = format!("{at}/{name}");
            if at.ends_with("/properties") {
                let names = part.as_object().expect("properties").keys();
                all.extend(names.map(|name| format!("{at}/{name}")));
            }
            members(part, &at, all);
        }
    }
}

#[test]
fn a_strict_copy_names_the_same_members_as_what_is_published() {
    for name in ["caption.schema.json", "dead_letter.schema.json"] {
        let [published, strict] = [PUBLISHED, STRICT].map(|folder| {
            let mut all = Vec::new();
            members(&schema_text(folder, name), "", &mut all);
            all.sort();
            all
        });
        assert_eq!(published, strict, "{name}");
        assert!(published.len() > 5);
    }
}

#[test]
fn requests_with_null_members_and_numbers_as_ids_are_valid() {
    let schema = schema(PUBLISHED, "request.schema.json");
    for (request, valid) in [
        (
            r#"{"url": "http://h/a", "id": 7, "caption": null, "round": null, "options": null}"#,
            true,
        ),
        (
            r#"{"url": "http://h/a", "id": null, "options": {"prompt": null, "max_tokens": null}}"#,
            true,
        ),
        (r#"{"url": "http://h/a", "meta": null}"#, true),
        (r#"{"url": "http://h/a", "id": 1.5}"#, false),
        (r#"{"url": "http://h/a", "id": true}"#, false),
        (r#"{"url": "http://h/a", "caption": 7}"#, false),
        (r#"{"url": "http://h/a\thttp://h/b"}"#, false),
        (r#"{"url": "http://h/a", "capton": "x"}"#, false),
    ] {
        let value: Value = serde_json::from_str(request).expect("JSON");
        assert_eq!(schema.is_valid(&value), valid, "{request}");
        assert_eq!(
            vila2_actors::request::parse(Some(request.as_bytes())).is_ok(),
            valid,
            "the service has it otherwise: {request}"
        );
    }
}
