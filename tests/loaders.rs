//! Exports in every format, read by loaders that are not ours: `tests/loaders/read.py` loads them
//! with PyPI's `webdataset` and `datasets`, and compares every sample with the captions, texts and
//! picture files that the exports were made of.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use support::{
    captions::{Out, text},
    program::{Ran, finished, run},
};
use vila2::export::{Record, Text};

const COUNT: usize = 12;
/// Fewer than all, so that there are several shards, the last one not full.
const SHARD: usize = 5;
const FORMATS: [&str; 5] = ["webdataset", "vila", "llava", "energon", "hf"];
const TEXTS: [(&str, Text); 2] = [("enriched", Text::Enriched), ("qa", Text::Qa)];

fn succeeds(arguments: &[&str]) {
    let ran = run(arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

/// Draws pictures, and writes a list of them with what loaders trip over: ids with dots, slashes and
/// letters beyond ASCII, originals of two lines with quotes, and pictures without one. Returns the
/// scenes by the names of their files.
fn draw(folder: &Path) -> BTreeMap<String, Value> {
    let count = COUNT.to_string();
    succeeds(&[
        "scenes",
        "generate",
        "--out",
        text(folder),
        "--count",
        &count,
        "--seed",
        "7",
    ]);
    let truth = fs::read_to_string(folder.join("truth.jsonl")).unwrap();
    let (mut list, mut scenes) = (String::new(), BTreeMap::new());
    for (number, line) in truth.lines().enumerate() {
        let scene: Value = serde_json::from_str(line).unwrap();
        let file = scene["file"].as_str().unwrap().to_owned();
        let mut request = json!({
            "url": format!("images/{file}"),
            "id": format!("shelf.{number}/größe"),
        });
        if !number.is_multiple_of(3) {
            let original = format!("{}, \"as sold\",\nüber {number} €", scene["caption"]);
            request["caption"] = original.into();
        }
        list.push_str(&format!("{request}\n"));
        scenes.insert(file, scene);
    }
    fs::write(folder.join("list.jsonl"), list).unwrap();
    scenes
}

/// What every sample made of this record must be, as `read.py` wants it.
fn expected(number: usize, row: &Value, scenes: &BTreeMap<String, Value>) -> Value {
    let record = Record::parse(row.to_string().as_bytes()).unwrap();
    let file = PathBuf::from(record.url.strip_prefix("file://").unwrap());
    let scene = &scenes[file.file_name().unwrap().to_str().unwrap()];
    let mut texts = Map::new();
    for (name, choice) in TEXTS {
        let composed = choice.compose(&record, None).unwrap();
        match choice {
            Text::Enriched => assert_eq!(composed.text, row["enriched"]),
            _ => {
                let caption = row["caption"]["text"].as_str().unwrap();
                let first = record.original().unwrap_or(caption);
                assert_eq!(composed.turns[0].answer, first);
            }
        }
        let turns: Vec<_> = (composed.turns.iter())
            .map(|turn| [&turn.question, &turn.answer])
            .collect();
        texts.insert(
            name.to_owned(),
            json!({ "text": composed.text, "turns": turns }),
        );
    }
    let shard = format!("{:05}", number / SHARD);
    json!({
        "number": number,
        "key": format!("{shard}{:04}", number % SHARD),
        "shard": shard,
        "id": record.id,
        "url": record.url,
        "original": record.original(),
        "sha256": format!("{:x}", Sha256::digest(fs::read(&file).unwrap())),
        "width": scene["width"],
        "height": scene["height"],
        "texts": texts,
    })
}

/// Runs `read.py` on these folders.
fn read(place: &Path, rows: &[Value], folders: &[PathBuf]) -> Ran {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("target/loaders");
    assert!(
        packages.join(".complete").exists(),
        "the loaders are missing: run `make loaders` (Python 3 with pip)"
    );
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let expected = place.join("expected.jsonl");
    fs::write(&expected, lines).unwrap();
    // Of its own for each run: `datasets` takes what it finds in its cache for the data.
    let scratch = tempfile::tempdir_in(place).unwrap();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| String::from("python3"));
    let mut command = Command::new(python);
    command
        .arg(root.join("tests/loaders/read.py"))
        .args(["--expected", text(&expected)])
        .args(["--scratch", text(scratch.path())])
        .args(folders)
        .env("PYTHONPATH", &packages)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    finished(command)
}

#[test]
fn every_export_is_read_by_webdataset_and_datasets() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let scenes = draw(place);
    let captions = place.join("captions");
    succeeds(&[
        "caption",
        text(&place.join("list.jsonl")),
        "--out",
        text(&captions),
    ]);
    let mut folders = Vec::new();
    for format in FORMATS {
        for (name, _) in TEXTS {
            let out = place.join(format!("{format}-{name}"));
            succeeds(&[
                "export",
                text(&captions),
                "--format",
                format,
                "--text",
                name,
                "--shard-size",
                &SHARD.to_string(),
                "--out",
                text(&out),
            ]);
            folders.push(out);
        }
    }
    let mut rows: Vec<_> = (Out(captions).rows().iter().enumerate())
        .map(|(number, row)| expected(number, row, &scenes))
        .collect();
    assert_eq!(rows.len(), COUNT);
    let ran = read(place, &rows, &folders);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout.lines().count(), folders.len(), "{}", ran.stdout);

    // A sample that is not what is expected is seen in every format.
    let changed = &mut rows[7]["texts"]["qa"];
    let turns = changed["turns"].as_array_mut().unwrap();
    turns.last_mut().unwrap()[1] = "a text that is in no export".into();
    changed["text"] = "a text that is in no export".into();
    for folder in folders.iter().filter(|folder| text(folder).ends_with("qa")) {
        let ran = read(place, &rows, std::slice::from_ref(folder));
        assert_eq!(ran.code, 1, "{}: {}", folder.display(), ran.stdout);
        assert!(
            ran.stderr.contains("a text that is in no export"),
            "{}",
            ran.stderr
        );
    }
}
