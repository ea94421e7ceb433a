//! The first photograph: what a person is told whose model knows drawn scenes only.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    hub::{Hub, Store},
    program::{Ran, finished, refused, run, vila2},
};
use vila2::scenes::generate::{Format, Formats, Generator};

/// Part of the warning.
const DRAWN_ONLY: &str = "knows drawn scenes only";
const PUBLISHED: [&str; 5] = [
    "HuggingFaceTB/SmolVLM-256M-Instruct",
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
    "HuggingFaceTB/SmolVLM-500M-Instruct",
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
    "HuggingFaceTB/SmolVLM-Instruct",
];

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenes")
}

/// A drawn scene, as it was written.
fn drawn(folder: &Path, format: Format) -> String {
    let generator = Generator::new(5, Formats::Only(format)).unwrap();
    let scene = generator.encode(0).unwrap();
    let file = folder.join(&scene.composition.scene.file);
    fs::write(&file, scene.bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A picture that another program wrote.
fn foreign(folder: &Path, name: &str) -> String {
    let generator = Generator::new(6, Formats::default()).unwrap();
    let file = folder.join(name);
    generator.compose(0).draw().save(&file).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The chain without what is not asked here.
fn caption(arguments: &[&str]) -> Ran {
    let mut all = vec!["--set", "stages.read_text.mode=off", "caption"];
    all.extend(arguments);
    run(&all)
}

/// The lines of stderr that warn.
fn warnings(ran: &Ran) -> Vec<&str> {
    let lines = ran.stderr.lines();
    lines.filter(|line| line.contains(DRAWN_ONLY)).collect()
}

/// What stands between back quotes, and begins so.
fn command(line: &str, begin: &str) -> Vec<String> {
    let mut quoted = line.split('`').skip(1).step_by(2);
    let found = quoted.find(|quoted| quoted.starts_with(begin));
    let words = found.unwrap_or_else(|| panic!("no `{begin}` in {line}"));
    words.split(' ').skip(1).map(str::to_owned).collect()
}

#[test]
fn drawn_scenes_of_every_format_are_captioned_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let files = [Format::Jpeg, Format::Png, Format::WebP].map(|f| drawn(folder.path(), f));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let ran = caption(&files);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout.lines().count(), 3, "{}", ran.stdout);
}

#[test]
fn other_pictures_are_captioned_and_warned_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        drawn(folder.path(), Format::Jpeg),
        foreign(folder.path(), "a.png"),
        foreign(folder.path(), "b.jpg"),
        foreign(folder.path(), "c.webp"),
    ];
    let mut arguments = vec!["--json"];
    arguments.extend(files.iter().map(String::as_str));
    let ran = caption(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 4);
    for line in ran.stdout.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["status"], "complete");
    }
    let said = warnings(&ran);
    assert_eq!(
        (said.len(), ran.stderr.lines().count()),
        (1, 1),
        "{}",
        ran.stderr
    );
    assert!(said[0].contains("models.scenes "), "{}", said[0]);
    let pull = command(said[0], "vila2 models pull");
    assert_eq!(pull[1..], ["pull", PUBLISHED[2], "--out", "smolvlm"]);
    let caption = command(said[0], "vila2 --set");
    let sets = [
        "--set",
        "models.scenes.path=smolvlm",
        "--set",
        "stages.ground.mode=off",
    ];
    assert_eq!(caption, [&sets[..], &["caption", "PICTURE"]].concat());
}

#[test]
fn what_is_no_picture_is_not_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.png");
    fs::write(&text, "no picture").unwrap();
    let ran = caption(&[text.to_str().unwrap(), "no/such/file.png"]);
    assert_eq!(ran.code, 1);
    assert!(warnings(&ran).is_empty(), "{}", ran.stderr);
}

#[test]
fn the_card_tells_what_a_model_knows_and_the_path_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let picture = foreign(folder.path(), "a.png");
    let copy = folder.path().join("copy");
    fs::create_dir_all(copy.join("onnx")).unwrap();
    for inside in ["", "onnx"] {
        for entry in fs::read_dir(shipped().join(inside)).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() {
                fs::copy(entry.path(), copy.join(inside).join(entry.file_name())).unwrap();
            }
        }
    }
    let path = format!("models.eyes.path={}", copy.display());
    let by_copy = |also: &[&str]| {
        let mut all = vec!["--set", &path, "--set", "stages.caption.model=eyes"];
        all.extend(also);
        all.push(&picture);
        caption(&all)
    };
    // A copy under another name; ground is asked of the shipped one.
    let said = by_copy(&[]);
    assert_eq!(warnings(&said).len(), 1, "{}", said.stderr);
    assert!(warnings(&said)[0].contains("--set models.eyes.path=smolvlm --set stages.ground"));
    let said = by_copy(&["--set", "stages.ground.mode=off"]);
    assert!(warnings(&said)[0].contains("--set models.eyes.path=smolvlm caption"));

    let card = fs::read_to_string(copy.join("README.md")).unwrap();
    fs::write(copy.join("README.md"), card.replace("- drawn-scenes\n", "")).unwrap();
    let boxes = by_copy(&[]);
    let said = warnings(&boxes);
    assert_eq!(said.len(), 1, "{}", boxes.stderr);
    assert!(
        said[0].contains("models.scenes, which stages.ground asks"),
        "{}",
        said[0]
    );
    assert!(
        said[0].contains("`--set stages.ground.mode=off`"),
        "{}",
        said[0]
    );
    let silent = by_copy(&["--set", "stages.ground.mode=off"]);
    assert_eq!((silent.code, silent.stderr.as_str()), (0, ""));
}

#[test]
fn the_two_commands_of_the_warning_bring_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let picture = foreign(folder.path(), "a.png");
    let said = caption(&[&picture]);
    let line = warnings(&said)[0].to_owned();
    let hub = Hub::start(&shipped(), Store::Good, &[]);
    let in_folder = |arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = vila2(&arguments);
        command
            .current_dir(folder.path())
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HOME", folder.path());
        finished(command)
    };
    let mut pull = command(&line, "vila2 models pull");
    // The hub in small has one repository.
    pull[2] = "test/scenes".to_owned();
    let pulled = in_folder(&pull);
    assert_eq!(pulled.code, 0, "{}", pulled.stderr);
    assert!(folder.path().join("smolvlm/config.json").is_file());

    let mut caption = command(&line, "vila2 --set");
    *caption.last_mut().unwrap() = picture;
    caption.push("--json".to_owned());
    let captioned = in_folder(&caption);
    assert_eq!(captioned.code, 0, "{}", captioned.stderr);
    let record: Value = serde_json::from_str(&captioned.stdout).unwrap();
    assert_eq!(record["grounding"], serde_json::json!([]));
    assert_eq!(
        record["models"]["caption"]["revision"]
            .as_str()
            .unwrap()
            .len(),
        12
    );
    assert!(record["models"].get("ground").is_none(), "{record}");
    hub.stop();
}

#[test]
fn models_list_names_what_there_is_for_photographs() {
    let ran = run(&["models", "list"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for name in PUBLISHED {
        let row = ran.stdout.lines().find(|line| line.contains(name));
        let row = row.unwrap_or_else(|| panic!("{name} is not in\n{}", ran.stdout));
        assert!(
            row.contains("Apache-2.0") && row.contains("about "),
            "{row}"
        );
    }
    let row = ran
        .stdout
        .lines()
        .find(|line| line.contains(PUBLISHED[2]))
        .unwrap();
    let cells: Vec<_> = row.split(['│', '┆']).map(str::trim).collect();
    assert_eq!(cells[2..5], ["508 M", "2.0 GB", "about 5 GB"], "{row}");
    assert!(
        ran.stdout
            .contains(&format!("`vila2 models pull {}`", PUBLISHED[2]))
    );
    // Programs get what is configured.
    let json: Value = serde_json::from_str(&run(&["models", "list", "--json"]).stdout).unwrap();
    let names: Vec<_> = (json.as_array().unwrap().iter())
        .map(|m| &m["name"])
        .collect();
    assert_eq!(names, ["ppocr", "scenes"]);
}

#[test]
fn models_pull_names_it_where_no_repository_or_none_that_is_there_is_named() {
    refused(&run(&["models", "pull"]), 2, &PUBLISHED);
    refused(&run(&["models", "pull", "smol vlm"]), 2, &PUBLISHED);
    let hub = Hub::start(&shipped(), Store::Good, &[]);
    let home = tempfile::tempdir().unwrap();
    // The second is not for strangers; a hub says the same of what is not there.
    for name in ["test/nothing", "test/private"] {
        let mut command = vila2(&["models", "pull", name]);
        command
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HOME", home.path());
        let ran = finished(command);
        refused(&ran, 1, &PUBLISHED);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
    hub.stop();
}
