//! A captioner behind a server that speaks OpenAI's chat completions, through the shipped program.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use support::{
    captions::{Out, draw, text},
    completions::{Completions, MODEL, Reply},
    program::{Ran, finished, refused, run, vila2},
    relay,
    web::Web,
};
use vila2::kafka::{Embedded, feeder, read};

/// What no output may hold.
const KEY: &str = "sk-very-secret-0123456789";
const PASSWORD: &str = "hunter2";

/// `vila2 caption` with the server as its captioner and nothing else, not even ONNX Runtime.
fn caption(server: &Completions, arguments: &[&str]) -> Command {
    let mut command = vila2(&["caption", "--without", "ground,relate,read_text"]);
    command
        .args(server.sets())
        .args(["--set", "runtime.onnxruntime=/nowhere"])
        .args(arguments);
    command
}

fn pictures(folder: &Path, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|number| format!("{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    draw(&folder.join("pictures"), &names, 7);
    folder.join("pictures").display().to_string()
}

fn quiet_about(ran: &Ran, secret: &str) {
    for said in [&ran.stdout, &ran.stderr] {
        assert!(!said.contains(secret), "a secret in\n{said}");
    }
}

#[test]
fn a_server_captions_and_the_record_says_what_it_said() {
    let home = tempfile::tempdir().unwrap();
    let folder = pictures(home.path(), 3);
    let server = Completions::start(|question| match question.number {
        2 => Reply::Unfinished,
        _ => Reply::Size,
    });
    let key = ["--set", "models.far.key_env=FAR_KEY"];
    let mut command = caption(&server, &[&folder, "--json", "--prompt", "What is it?"]);
    let ran = finished({
        command.args(key).env("FAR_KEY", KEY);
        command
    });
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    quiet_about(&ran, KEY);
    let records: Vec<Value> = (ran.stdout.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 3);
    let mut unfinished = 0;
    for record in &records {
        let size = format!("{}x{}", record["image"]["width"], record["image"]["height"]);
        assert_eq!(record["caption"]["text"], size);
        assert_eq!(record["caption"]["tokens"], 5);
        unfinished += usize::from(record["caption"]["finish"] == "length");
        let facts = &record["models"]["caption"];
        assert_eq!(
            (&facts["model"], &facts["prompt"]),
            (&"far".into(), &"What is it?".into())
        );
        assert_eq!(facts["revision"].as_str().unwrap().len(), 12);
    }
    assert_eq!(unfinished, 1);
    for question in server.questions() {
        let body = &question.body;
        assert_eq!(
            question.authorization.as_deref(),
            Some(format!("Bearer {KEY}").as_str())
        );
        assert_eq!(
            (&body["model"], &body["temperature"]),
            (&MODEL.into(), &0.0.into())
        );
        assert_eq!(body["max_tokens"], 160);
        assert!(body["seed"].as_u64().unwrap() <= i32::MAX as u64);
        assert_eq!(body["messages"][0]["content"][1]["text"], "What is it?");
    }

    // What looks at models knows it, and shows no key.
    for (arguments, parts) in [
        (vec!["models", "list"], vec![MODEL, "endpoint", "caption"]),
        (
            vec!["models", "list", "--json"],
            vec![r#""endpoint":"http://127.0.0.1"#],
        ),
        (
            vec!["models", "inspect", "far"],
            vec![MODEL, "it serves tiny-vlm"],
        ),
        (
            vec!["models", "check", "far"],
            vec!["passes its self-check", "tokens/s"],
        ),
        (
            vec!["config", "show"],
            vec!["models.far.key_env = \"FAR_KEY\""],
        ),
        (vec!["config", "check"], vec!["no faults"]),
        (vec!["doctor"], vec!["serves `tiny-vlm`"]),
    ] {
        let mut command = vila2(&arguments);
        command.args(server.sets()).args(key).env("FAR_KEY", KEY);
        let ran = finished(command);
        quiet_about(&ran, KEY);
        // The doctor misses a broker.
        let all = format!(
            "{}{}",
            ran.stdout.replace(": \"http", ":\"http"),
            ran.stderr
        );
        if arguments != ["doctor"] {
            assert_eq!(ran.code, 0, "{arguments:?}: {all}");
        }
        for part in parts {
            assert!(all.contains(part), "{part:?} is not in\n{all}");
        }
    }
}

#[test]
fn a_server_that_is_busy_fails_and_breaks_off_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let folder = pictures(home.path(), 12);
    let server = Completions::start(|question| match question.number {
        0 => Reply::Status(429, "slow down", Some(1)),
        1 => Reply::Status(500, "oops", None),
        2 | 3 => Reply::Cut,
        4 => Reply::Status(503, "loading", None),
        _ => Reply::Size,
    });
    let out = Out(home.path().join("out"));
    let ran = finished(caption(&server, &[&folder, "--out", text(&out.0)]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts(), [12, 12, 0, 0, 0], "{}", ran.stderr);
    assert_eq!(server.questions().len(), 17, "twelve, and five again");
}

#[test]
fn a_server_that_is_killed_in_the_middle_and_comes_back_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let folder = pictures(home.path(), 12);
    let killed = Arc::new(AtomicBool::new(false));
    let mut server = {
        let killed = Arc::clone(&killed);
        Completions::start(move |question| match question.number {
            4..12 if !killed.load(Ordering::SeqCst) => Reply::Hold,
            _ => Reply::Size,
        })
    };
    let out = Out(home.path().join("out"));
    // It is away for longer than a record may be worked on: waiting is no work.
    let limits = ["--set", "limits.record_ms=3000", "--set", "log.filter=info"];
    let mut command = caption(&server, &[&folder, "--out", text(&out.0)]);
    command
        .args(limits)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    server.until(5);
    killed.store(true, Ordering::SeqCst);
    server.kill();
    let mut log = String::new();
    for line in lines.by_ref().map_while(Result::ok) {
        log.push_str(&line);
        log.push('\n');
        if line.contains("cannot be reached") {
            break;
        }
    }
    thread::sleep(Duration::from_secs(4));
    server.come();
    log.extend(lines.map_while(Result::ok).map(|line| line + "\n"));
    assert!(process.wait().unwrap().success(), "{log}");
    assert_eq!(out.counts(), [12, 12, 0, 0, 0], "{log}");
    assert!(
        log.contains("start the server, or mend models.far.endpoint"),
        "{log}"
    );
    assert!(log.contains("answers again"), "{log}");
}

#[test]
fn a_topic_is_captioned_although_the_server_is_killed_twice() {
    let broker = Embedded::start().unwrap();
    let settings = relay::settings(broker.brokers(), "vila2");
    broker.create_topics(&settings.topics, 1).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let web = runtime.block_on(Web::start(11, 24));
    let mut feeder = feeder::Feeder::new(&settings, &settings.topics.images).unwrap();
    for url in web.urls() {
        feeder.send(None, Some(url.as_bytes()), &[]).unwrap();
    }
    feeder.finish(Duration::from_secs(30), |_| {}).unwrap();

    let kills = Arc::new(AtomicUsize::new(0));
    let mut server = {
        let kills = Arc::clone(&kills);
        Completions::start(move |question| {
            // The program's own question is none of them.
            let held = match kills.load(Ordering::SeqCst) {
                0 => (6..99).contains(&question.number),
                1 => (18..99).contains(&question.number),
                _ => false,
            };
            if held { Reply::Hold } else { Reply::Size }
        })
    };
    let mut command = vila2(&["run", "--until-end"]);
    command.args(server.sets()).stdout(Stdio::null());
    for set in [
        format!("kafka.brokers='{}'", settings.brokers),
        format!("fetch.allow_addresses=['{}']", web.address()),
        "stages.ground.mode=off".to_owned(),
        "stages.read_text.mode=off".to_owned(),
        "http.listen=off".to_owned(),
        "runtime.onnxruntime=/nowhere".to_owned(),
    ] {
        command.args(["--set", &set]);
    }
    let mut process = command.spawn().unwrap();
    for held in [7, 19] {
        server.until(held);
        kills.fetch_add(1, Ordering::SeqCst);
        server.kill();
        server.come();
    }
    assert!(process.wait().unwrap().success());
    let count = |topic| -> i64 {
        let bounds = read::bounds(&settings, topic).unwrap();
        bounds.values().map(|(first, end)| end - first).sum()
    };
    assert_eq!(count(&settings.topics.captions), 24);
    assert_eq!(count(&settings.topics.dead), 0);
}

#[test]
fn what_the_server_refuses_is_a_bad_request_and_harms_no_other() {
    let home = tempfile::tempdir().unwrap();
    let folder = pictures(home.path(), 6);
    let server = Completions::start(|question| match question.number {
        2 => Reply::Status(400, "prompt is too long", None),
        _ => Reply::Size,
    });
    let out = Out(home.path().join("out"));
    let ran = finished(caption(&server, &[&folder, "--out", text(&out.0)]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts(), [6, 5, 1, 0, 0]);
    let dead = fs::read_to_string(out.0.join("dead.jsonl")).unwrap();
    assert!(
        dead.contains("bad_request") && dead.contains("prompt is too long"),
        "{dead}"
    );
}

#[test]
fn a_key_that_is_not_taken_and_a_model_that_is_not_there_end_it_at_once() {
    let home = tempfile::tempdir().unwrap();
    let folder = pictures(home.path(), 1);
    for (status, says) in [
        (
            401,
            "give FAR_KEY (models.far.key_env) a key that may use `tiny-vlm`",
        ),
        (404, "mend models.far.model (`tiny-vlm`)"),
        (
            400,
            "set models.far.model (`tiny-vlm`) to one that takes pictures",
        ),
    ] {
        let server = Completions::start(move |_| {
            Reply::Status(status, "no: sk-very-secret-0123456789", None)
        });
        let mut command = caption(&server, &[&folder]);
        command
            .args(["--set", "models.far.key_env=FAR_KEY"])
            .env("FAR_KEY", KEY);
        let ran = finished(command);
        refused(
            &ran,
            2,
            &["models.far.endpoint: http://127.0.0.1", says, "[redacted]"],
        );
        quiet_about(&ran, KEY);
    }
}

#[test]
fn questions_are_with_the_server_together_up_to_the_limit() {
    let home = tempfile::tempdir().unwrap();
    let folder = pictures(home.path(), 8);
    let server = Completions::start(|_| Reply::Together(2));
    let limit = ["--set", "models.far.concurrency=2"];
    let mut command = caption(&server, &[&folder]);
    command.args(limit);
    let ran = finished(command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(server.most(), 2);
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let mut server = Completions::start(|_| Reply::Size);
    server.kill();
    let url = server.url();
    for arguments in [
        &["models", "check", "far"][..],
        &["models", "inspect", "far"],
        &["doctor"],
    ] {
        let mut command = vila2(arguments);
        command.args(server.sets());
        let ran = finished(command);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        // A table breaks its lines.
        let words: String = all.split_whitespace().collect();
        for part in [&url, "start the server", "models.far.endpoint"] {
            let part: String = part.split_whitespace().collect();
            assert!(words.contains(&part), "{part} is not in\n{all}");
        }
    }
    let home = tempfile::tempdir().unwrap();
    let mut command = caption(&server, &[&pictures(home.path(), 1)]);
    command.args(["--set", "models.far.away_ms=500"]);
    refused(
        &finished(command),
        2,
        &["cannot be reached", "for 0.5 s now"],
    );
}

#[test]
fn faults_of_its_settings_are_told_and_secrets_are_not() {
    let set = |sets: &[&str]| -> Vec<String> {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        ["config", "check"]
            .into_iter()
            .chain(sets)
            .map(str::to_owned)
            .collect()
    };
    let check = |sets: &[&str]| {
        let arguments = set(sets);
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let url = "models.far.endpoint=http://localhost:1/v1";
    let model = "models.far.model=m";
    let used = "stages.caption.model=far";
    refused(
        &check(&[url, model, "models.far.path=models/scenes"]),
        2,
        &["1 fault", "models.far.endpoint: comes beside `path`"],
    );
    refused(
        &check(&["models.far.providers=['cpu']"]),
        2,
        &[
            "models.far.path: is missing",
            "or, in place of `path`, `endpoint` and `model`",
        ],
    );
    refused(&check(&[url]), 2, &["models.far.model: is missing"]);
    refused(
        &check(&[url, model, used, "models.far.key_env=NO_SUCH_KEY"]),
        2,
        &["models.far.key_env: the environment has no NO_SUCH_KEY"],
    );
    let in_place = check(&[url, model, &format!("models.far.key_env={KEY}")]);
    refused(
        &in_place,
        2,
        &["models.far.key_env: is no name of a variable"],
    );
    quiet_about(&in_place, KEY);
    let odd = format!("models.far.endpoint=ftp://user:{PASSWORD}@localhost/v1");
    let odd = check(&[&odd, model]);
    refused(
        &odd,
        2,
        &["models.far.endpoint: is no URL of http or https"],
    );
    quiet_about(&odd, PASSWORD);
    refused(
        &check(&[url, model, "stages.read_text.model=far"]),
        2,
        &["stages.read_text.model: \"far\" is behind an endpoint"],
    );

    let with_user = format!("models.far.endpoint=http://user:{PASSWORD}@localhost:1/v1");
    let shown = run(&["config", "show", "--set", &with_user, "--set", model]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    quiet_about(&shown, PASSWORD);
    assert!(
        shown
            .stdout
            .contains("models.far.endpoint = \"http://localhost:1/v1\"")
    );
}

#[test]
fn user_and_password_of_the_url_are_sent_and_kept_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let folder = pictures(home.path(), 2);
    let server = Completions::start(|_| Reply::Size);
    let url = server
        .url()
        .replace("http://", &format!("http://user:{PASSWORD}@"));
    let out = Out(home.path().join("out"));
    let mut command = caption(&server, &[&folder, "--out", text(&out.0)]);
    command.args(["--set", &format!("models.far.endpoint={url}")]);
    let ran = finished(command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    quiet_about(&ran, PASSWORD);
    let sent = server.questions()[0].authorization.clone();
    assert_eq!(sent.as_deref(), Some("Basic dXNlcjpodW50ZXIy"));
    for file in fs::read_dir(&out.0).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let held = String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(PASSWORD);
            assert!(!held, "{}", path.display());
        }
    }
}
