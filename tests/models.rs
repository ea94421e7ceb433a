//! `vila2 models` from outside: list, inspect, check, and pull from a hub on loopback.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    hub::{COMMIT, Hub, Store, TOKEN},
    program::{Ran, run, vila2},
};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenes")
}

fn parsed(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_path_is_enough_for_a_new_model() {
    let set = format!("models.mine.path={}", shipped().display());
    let ran = run(&["models", "list", "--json", "--set", &set]);
    let models = parsed(&ran);
    let mine = (models.as_array().unwrap().iter()).find(|model| model["name"] == "mine");
    let mine = mine.unwrap_or_else(|| panic!("{}", ran.stdout));
    assert_eq!(mine["providers"], serde_json::json!(["cpu"]));
    assert_eq!(mine["faults"], serde_json::json!([]));
    let checked = run(&["models", "check", "mine", "--set", &set]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
}

/// `models pull` against a hub, with `HF_HOME` in `home`.
fn pull(hub: &Hub, home: &Path, arguments: &[&str], token: Option<&str>) -> Ran {
    let mut all = vec!["models", "pull", "--json"];
    all.extend(arguments);
    let mut command = vila2(&all);
    command
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_HOME", home);
    if let Some(token) = token {
        command.env("HF_TOKEN", token);
    }
    command.output().unwrap().into()
}

#[test]
fn the_configured_models_are_listed_with_what_they_are() {
    let models = parsed(&run(&["models", "list", "--json"]));
    let scenes = models
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "scenes")
        .unwrap();
    assert_eq!(scenes["type"], "smolvlm");
    assert_eq!(scenes["stages"], serde_json::json!(["caption", "ground"]));
    assert_eq!(scenes["providers"], serde_json::json!(["cpu"]));
    assert_eq!(scenes["revision"].as_str().unwrap().len(), 12);
    let reader = models
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "ppocr")
        .unwrap();
    assert_eq!(reader["type"], "pp-ocr");
    let table = run(&["models", "list"]);
    assert_eq!(table.code, 0);
    for part in ["scenes", "smolvlm", "pp-ocr", "read_text", "MiB"] {
        assert!(
            table.stdout.contains(part),
            "{part} is not in\n{}",
            table.stdout
        );
    }
    let missing = run(&["models", "list", "--set", "models.scenes.path=/nowhere"]);
    assert!(
        missing
            .stderr
            .contains("models.scenes.path: /nowhere is no folder; "),
        "{}",
        missing.stderr
    );
}

/// Folders as others publish them, that no adapter reads: what is in them is told all the same, and no
/// weights are read for it.
#[test]
fn folders_that_nothing_reads_are_looked_into_without_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    fs::create_dir(folder.path().join("onnx")).unwrap();
    // A depth model's whole configuration.
    let config = r#"{"model_type": "depth_anything"}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let decoder = goldens.join("family/onnx/plain/decoder_model_merged.onnx");
    let onnx = folder.path().join("onnx");
    fs::copy(&decoder, onnx.join("model.onnx")).unwrap();
    let half = goldens.join("family/onnx/gqa/decoder_model_merged_fp16.onnx");
    fs::copy(half, onnx.join("model_fp16.onnx")).unwrap();
    for name in [
        "decoder_model_merged.onnx_data",
        "decoder_model_merged.onnx_data_1",
    ] {
        let weights = fs::File::create(onnx.join(name)).unwrap();
        weights.set_len(3 << 30).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let mut inspection = vila2(&["models", "inspect", path, "--json"]);
    inspection.env("XDG_CACHE_HOME", folder.path().join("cache"));
    let found = support::program::finished(inspection);
    assert_eq!(found.code, 0, "{}", found.stderr);
    let found = parsed(&found);
    assert_eq!(
        (&found["type"], &found["revision"]),
        (&"depth_anything".into(), &Value::Null)
    );
    let why = found["adapter"]["none"].as_str().unwrap();
    assert!(
        why.contains("no adapter reads a `depth_anything`; accepted: smolvlm"),
        "{why}"
    );
    let graphs = found["graphs"].as_array().unwrap();
    assert_eq!(graphs.len(), 1);
    assert_eq!(graphs[0]["file"], "onnx/model.onnx");
    assert_eq!(graphs[0]["variants"], serde_json::json!(["fp32", "fp16"]));
    assert_eq!(graphs[0]["external_bytes"], 6_u64 << 30);
    assert_eq!(graphs[0]["outputs"][0]["name"], "logits");
    assert_eq!(found["cache"]["layers"], 2);
    // A digest of the weights would be kept there.
    assert!(!folder.path().join("cache").exists());
    let told = run(&["models", "inspect", path]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    for part in [
        "variants: fp32, fp16",
        "and 6.00 GiB beside it",
        "not read: no adapter reads",
    ] {
        assert!(
            told.stdout.contains(part),
            "{part} is not in\n{}",
            told.stdout
        );
    }
}

#[test]
fn a_model_is_looked_into_by_name_and_by_folder() {
    let inspected = parsed(&run(&["models", "inspect", "scenes", "--json"]));
    assert_eq!(inspected["type"], "smolvlm");
    assert_eq!(inspected["graphs"].as_array().unwrap().len(), 3);
    assert_eq!(inspected["cache"]["layers"], 4);
    assert!(
        inspected["folder"]["prompt"]
            .as_str()
            .unwrap()
            .contains("Describe this image")
    );
    let text = run(&["models", "inspect", "models/scenes"]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    for part in [
        "onnx/vision_encoder.onnx",
        "pixel_values",
        "past_key_values.*",
        "read by the adapter `smolvlm`",
        "cache: 4 layers",
        "tokenizer: ",
        "ends at ",
        "Describe this image in detail.",
    ] {
        assert!(
            text.stdout.contains(part),
            "{part} is not in\n{}",
            text.stdout
        );
    }
    let reader = parsed(&run(&["models", "inspect", "ppocr", "--json"]));
    assert_eq!(
        (
            reader["graphs"].as_array().unwrap().len(),
            &reader["folder"]
        ),
        (3, &Value::Null)
    );
    let nobody = run(&["models", "inspect", "nobody"]);
    assert_eq!((nobody.code, nobody.stdout.as_str()), (2, ""));
    let words = "nobody is no folder, and no model of the configuration; accepted: ppocr, scenes";
    assert!(nobody.stderr.contains(words), "{}", nobody.stderr);
    let empty = tempfile::tempdir().unwrap();
    let broken = run(&["models", "inspect", empty.path().to_str().unwrap()]);
    assert_eq!((broken.code, broken.stdout.as_str()), (1, ""));
    assert!(
        broken
            .stderr
            .contains("config.json: missing; `vila2 models pull` fetches it again"),
        "{}",
        broken.stderr
    );
}

#[test]
fn models_are_tried_with_drawn_pictures_and_tell_their_speed() {
    let ran = run(&["models", "check", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let scenes = lines.iter().find(|line| line["name"] == "scenes").unwrap();
    assert_eq!(scenes["self_check"], "passed");
    assert!(scenes["alone"]["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(scenes["together"]["pictures"], 8);
    assert!(scenes["text"].as_str().unwrap().contains("a "), "{scenes}");
    let reader = lines.iter().find(|line| line["name"] == "ppocr").unwrap();
    assert!(!reader["texts"].as_array().unwrap().is_empty(), "{reader}");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let path = folder.path().to_str().unwrap();
    let failed = run(&["models", "check", path]);
    assert_eq!((failed.code, failed.stdout.as_str()), (1, ""));
    assert!(
        failed.stderr.contains("`model_type` is missing"),
        "{}",
        failed.stderr
    );
    assert!(
        failed
            .stderr
            .contains("1 of 1 models failed; `vila2 models inspect`")
    );
}

#[test]
fn a_folder_is_pulled_into_the_hubs_cache_through_broken_connections() {
    let hub = Hub::start(
        &shipped(),
        Store::Shaky,
        &["onnx/embed_tokens_q4.onnx", "model.bin"],
    );
    let home = tempfile::tempdir().unwrap();
    let pulled = parsed(&pull(&hub, home.path(), &["test/scenes"], None));
    let repository = home.path().join("hub/models--test--scenes");
    let folder = repository.join("snapshots").join(COMMIT);
    assert_eq!(pulled["path"], folder.to_str().unwrap());
    assert_eq!(
        (&pulled["verified"], &pulled["kept"]),
        (&3.into(), &0.into())
    );
    assert_eq!(pulled["faults"], serde_json::json!([]));
    assert_eq!(
        fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    for (name, bytes) in hub.files().iter().filter(|(name, _)| *name != "README.md") {
        let path = folder.join(name);
        assert!(path.is_symlink(), "{name}");
        assert!(fs::read_link(&path).unwrap().starts_with("../"), "{name}");
        assert_eq!(&fs::read(&path).unwrap()[..], &bytes[..], "{name}");
    }
    assert!(!folder.join("README.md").exists());
    let blobs: Vec<_> = fs::read_dir(repository.join("blobs")).unwrap().collect();
    assert_eq!(
        blobs.len(),
        hub.files().len() - 1,
        "nothing is left unfinished"
    );
    // 503, then half a body, then the rest of it.
    let decoder = "onnx/decoder_model_merged.onnx";
    let half = format!("bytes={}-", hub.files()[decoder].len() / 2);
    let ranges: Vec<_> = hub
        .requests()
        .into_iter()
        .filter(|r| r.file == decoder)
        .collect();
    let ranges: Vec<_> = ranges
        .iter()
        .map(|request| request.range.as_deref())
        .collect();
    assert_eq!(ranges, [None, None, Some(half.as_str())]);

    let asked = hub.requests().len();
    let again = parsed(&pull(&hub, home.path(), &["test/scenes"], None));
    assert_eq!(
        (&again["fetched"], &again["kept"]),
        (&0.into(), &pulled["fetched"])
    );
    assert_eq!(
        hub.requests().len(),
        asked,
        "what is there is not fetched again"
    );
    let listed = run(&["models", "inspect", folder.to_str().unwrap(), "--json"]);
    assert_eq!(parsed(&listed)["type"], "smolvlm");
    hub.stop();
}

#[test]
fn an_interrupted_file_of_a_plain_folder_is_gone_on_with() {
    let hub = Hub::start(&shipped(), Store::Good, &[]);
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("eyes");
    let name = "onnx/decoder_model_merged.onnx";
    let whole = hub.files()[name].clone();
    fs::create_dir_all(out.join("onnx")).unwrap();
    fs::write(out.join(format!("{name}.incomplete")), &whole[..1000]).unwrap();
    // Another file of the same size is no reason to keep it.
    let encoder = hub.files()["onnx/vision_encoder.onnx"].len();
    fs::write(out.join("onnx/vision_encoder.onnx"), vec![0; encoder]).unwrap();
    let arguments = ["test/scenes", "--out", out.to_str().unwrap()];
    let pulled = parsed(&pull(&hub, home.path(), &arguments, None));
    assert_eq!(
        (&pulled["verified"], &pulled["kept"]),
        (&3.into(), &0.into())
    );
    assert_eq!(fs::read(out.join(name)).unwrap(), whole);
    assert!(!out.join(name).is_symlink());
    let requests = hub.requests();
    let resumed = requests
        .iter()
        .find(|request| request.file == name)
        .unwrap();
    assert_eq!(resumed.range.as_deref(), Some("bytes=1000-"));
    hub.stop();
}

#[test]
fn damaged_content_is_thrown_away_and_told() {
    let hub = Hub::start(&shipped(), Store::Damaged, &[]);
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("eyes");
    let ran = pull(
        &hub,
        home.path(),
        &["test/scenes", "--out", out.to_str().unwrap()],
        None,
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    for part in [
        "onnx/decoder_model_merged.onnx: its SHA-256 is",
        "the hub says",
        "thrown away",
    ] {
        assert!(
            ran.stderr.contains(part),
            "{part:?} is not in\n{}",
            ran.stderr
        );
    }
    let left: Vec<_> = fs::read_dir(out.join("onnx")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    hub.stop();
}

#[test]
fn a_private_repository_wants_a_token_that_no_other_host_gets_to_see() {
    let hub = Hub::start(&shipped(), Store::Good, &[]);
    let home = tempfile::tempdir().unwrap();
    let ran = pull(&hub, home.path(), &["test/private"], None);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    for part in [
        "401",
        "set HF_TOKEN to a token that may read this repository",
    ] {
        assert!(
            ran.stderr.contains(part),
            "{part:?} is not in\n{}",
            ran.stderr
        );
    }
    let pulled = parsed(&pull(&hub, home.path(), &["test/private"], Some(TOKEN)));
    assert_eq!(pulled["verified"], 3);
    assert!(hub.requests().iter().all(|request| !request.authorized));
    hub.stop();
}

#[test]
fn what_cannot_be_pulled_is_told_with_what_to_do() {
    let hub = Hub::start(&shipped(), Store::Good, &["../../escape.json"]);
    let home = tempfile::tempdir().unwrap();
    for (arguments, code, part) in [
        (
            &["test/nothing"][..],
            1,
            "not found; check the repository's name and revision",
        ),
        (
            &["test/scenes", "--revision", "no"],
            1,
            "revision/no: not found",
        ),
        (
            &["a/b/c"],
            2,
            "`a/b/c` is no repository; accepted: organisation/name",
        ),
        (&["test/scenes", "--all"], 1, "outside of the folder"),
        (
            &["test/scenes", "--variant", "bnb4"],
            1,
            "test/scenes has no graphs of the variant bnb4; it has: fp32; choose one with --variant",
        ),
    ] {
        let ran = pull(&hub, home.path(), arguments, None);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (code, ""),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains(part),
            "{part:?} is not in\n{}",
            ran.stderr
        );
    }
    // A variant that is there for some of the graphs only.
    let partial = tempfile::tempdir().unwrap();
    for (name, bytes) in hub.files() {
        let path = partial.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let embedding = partial.path().join("onnx/embed_tokens.onnx");
    fs::copy(&embedding, embedding.with_file_name("embed_tokens_q4.onnx")).unwrap();
    let some = Hub::start(partial.path(), Store::Good, &[]);
    let ran = pull(
        &some,
        home.path(),
        &["test/scenes", "--variant", "q4"],
        None,
    );
    some.stop();
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("onnx/vision_encoder_q4.onnx: missing"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("try another --variant"),
        "{}",
        ran.stderr
    );
    let ran: Ran = vila2(&["models", "pull", "test/scenes"])
        .env("HF_ENDPOINT", "hub")
        .env("HF_HOME", home.path())
        .output()
        .unwrap()
        .into();
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(
        ran.stderr.contains("HF_ENDPOINT: hub is no address"),
        "{}",
        ran.stderr
    );
    hub.stop();
}
