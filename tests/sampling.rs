//! How tokens are chosen, through the whole chain, with the model that comes along.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::program::run;

fn draw(folder: &Path) -> Vec<PathBuf> {
    let out = folder.to_str().unwrap();
    let drawn = run(&[
        "scenes", "generate", "--out", out, "--count", "4", "--seed", "5",
    ]);
    assert_eq!(drawn.code, 0, "{}", drawn.stderr);
    let files = std::fs::read_dir(folder.join("images")).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The records of the pictures, in their order.
fn caption(pictures: &[PathBuf], sampling: &str) -> Vec<Value> {
    let set = format!("stages.caption.sampling={sampling}");
    let mut arguments = vec!["--set", &set, "caption", "--json"];
    arguments.extend(pictures.iter().map(|path| path.to_str().unwrap()));
    let said = run(&arguments);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let records = said.stdout.lines();
    records
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn texts(records: &[Value]) -> Vec<&str> {
    let texts = records.iter().map(|one| &one["caption"]["text"]);
    texts.map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn a_replay_draws_the_same_text_and_every_record_says_how_sure_the_model_is() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = draw(folder.path());
    let greedy = caption(&pictures, "{}");
    let drawn = caption(&pictures, "{temperature = 1.5}");
    let again = caption(&pictures, "{temperature = 1.5}");
    assert_eq!(texts(&drawn), texts(&again));
    assert_ne!(texts(&drawn), texts(&greedy));
    for record in greedy.iter().chain(&drawn) {
        let score = record["caption"]["score"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&score), "{score}");
        for one in record["grounding"].as_array().unwrap() {
            let score = one["score"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&score), "{one}");
        }
    }
    // What is drawn is on the whole less likely than the likeliest.
    let mean = |records: &[Value]| -> f64 {
        let scores = records.iter().map(|one| &one["caption"]["score"]);
        scores.map(|score| score.as_f64().unwrap()).sum()
    };
    assert!(mean(&drawn) < mean(&greedy));
}

#[test]
fn a_text_ends_before_what_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = draw(folder.path());
    let (whole, cut) = (
        caption(&pictures, "{}"),
        caption(&pictures, "{stop = ['.']}"),
    );
    for ((whole, cut), record) in texts(&whole).into_iter().zip(texts(&cut)).zip(&cut) {
        assert_eq!(Some(cut), whole.split('.').next());
        assert_eq!(record["caption"]["finish"], "stop");
        assert!(record["caption"]["tokens"].as_u64() <= Some(40), "{record}");
    }
}
