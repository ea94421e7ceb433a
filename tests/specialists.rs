//! Specialists of one's own beside the built-in three, with the shipped program and model: out of a
//! configuration file into the record.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::fs;

use serde_json::Value;
use support::{
    completions::{Completions, MODEL, Reply},
    program::{refused, run},
};

const TABLES: &str = r#"
[[specialists]]
name = "detail"
kind = "answer"
model = "scenes"
prompts = ["Describe this image in detail."]
max_tokens = 12

[[specialists]]
name = "locations"
kind = "answer"
model = "scenes"
prompts = ["Describe this image with the location of each object."]

[[specialists]]
name = "boxes"
kind = "ground"
model = "scenes"
prompts = ["Describe this image with the location of each object."]
"#;

#[test]
fn two_that_answer_and_one_that_grounds_stand_beside_the_built_in_three() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let drawn = [
        "scenes",
        "generate",
        "--count=3",
        "--seed=11",
        "--out",
        &path("drawn"),
    ];
    assert_eq!(run(&drawn).code, 0);
    fs::write(path("vila2.toml"), TABLES).unwrap();
    let (config, images) = (path("vila2.toml"), path("drawn/images"));
    let ran = run(&["--config", &config, "caption", "--json", &images]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut schema: Value =
        serde_json::from_str(&fs::read_to_string("tests/schemas/caption.schema.json").unwrap())
            .unwrap();
    let stages = schema.pointer_mut("/$defs/stage/enum").unwrap();
    let own = ["detail", "locations", "boxes"].map(Value::from);
    stages.as_array_mut().unwrap().extend(own);
    let schema = jsonschema::validator_for(&schema).unwrap();
    let records: Vec<Value> = (ran.stdout.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 3);
    for record in records {
        assert!(schema.is_valid(&record), "{record}");
        let answers = record["answers"].as_array().unwrap();
        let names: Vec<_> = answers
            .iter()
            .map(|one| one["specialist"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["detail", "locations"]);
        assert_eq!(
            (&answers[0]["tokens"], &answers[0]["finish"]),
            (&12.into(), &"length".into())
        );
        assert!(
            answers[1]["text"].as_str().unwrap().contains('['),
            "{answers:?}"
        );
        // The same question once more: the same boxes under ids of their own.
        let boxes = record["grounding"].as_array().unwrap();
        let half = boxes.len() / 2;
        assert!(half > 0 && boxes.len() == 2 * half, "{boxes:?}");
        for (at, (one, again)) in boxes.iter().zip(&boxes[half..]).enumerate() {
            assert_eq!(one["id"], format!("g{at}"));
            assert_eq!(again["id"], format!("g{}", half + at));
            assert_eq!(one["box"], again["box"]);
        }
        for stage in ["detail", "locations", "boxes", "relate", "read_text"] {
            assert!(record["timings_ms"][stage].is_number(), "{stage}: {record}");
        }
    }
    // The names are known wherever a specialist is named.
    let one = format!("{images}/scene-11-000000.jpg");
    let one = fs::read_dir(&images).unwrap().next().map_or(one, |entry| {
        entry.unwrap().path().to_str().unwrap().to_owned()
    });
    let less = [
        "--config",
        &config,
        "caption",
        "--json",
        "--without",
        "detail,boxes",
        &one,
    ];
    let ran = run(&less);
    let record: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(record["answers"].as_array().unwrap().len(), 1);
    let ran = run(&["caption", "--without", "detail", &one]);
    refused(&ran, 2, &["--without detail", "ground, relate, read_text"]);
}

#[test]
fn a_server_relates_what_the_shipped_model_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let drawn = [
        "scenes",
        "generate",
        "--count=6",
        "--seed=12",
        "--out",
        &path("drawn"),
    ];
    assert_eq!(run(&drawn).code, 0);
    // It says of the first two things what no box can show, and of a third what is not there.
    let server = Completions::start(|question| {
        let asked = question.body["messages"][0]["content"][1]["text"].clone();
        let asked = asked.as_str().unwrap_or_default();
        match asked.strip_prefix("How do these stand: ") {
            Some(names) => {
                let mut names = names.trim_end_matches('?').split(", ");
                let (one, other) = (names.next().unwrap(), names.next().unwrap());
                Reply::Text(format!(
                    "{one} is behind {other}, I think. The unicorn is above {one}."
                ))
            }
            None => Reply::Size,
        }
    });
    let tables = format!(
        "[models.far]\nendpoint = \"{}\"\nmodel = \"{MODEL}\"\n[stages.relate]\nmodel = \"far\"\n\
         prompt = \"How do these stand: {{things}}?\"\nmode = \"required\"\n",
        server.url()
    );
    fs::write(path("vila2.toml"), tables).unwrap();
    let (config, images) = (path("vila2.toml"), path("drawn/images"));
    let ran = run(&["--config", &config, "caption", "--json", &images]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let records: Vec<Value> = (ran.stdout.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 6);
    let mut related = 0;
    for record in &records {
        let things = record["grounding"].as_array().unwrap();
        let spatial = record["spatial"].as_array().unwrap();
        if things.len() < 2 {
            assert_eq!(spatial.len(), 0, "one thing alone");
            continue;
        }
        related += 1;
        let [one] = &spatial[..] else {
            panic!("{spatial:?}");
        };
        assert_eq!(
            (&one["subject"], &one["relation"], &one["object"]),
            (&"g0".into(), &"behind".into(), &"g1".into())
        );
        assert_eq!(one["score"], 0.5, "the server gives no probabilities");
        let clauses = record["clauses"].as_array().unwrap().iter();
        let inferred: Vec<_> = clauses
            .filter(|clause| clause["verdict"] == "inferred")
            .collect();
        let words = inferred[0]["text"].as_str().unwrap();
        assert!(
            inferred.len() == 1 && words.contains(" is behind the "),
            "{words}"
        );
        assert_eq!(record["models"]["relate"]["model"], "far");
    }
    assert!(related > 2, "{related} pictures with two things");
    assert_eq!(server.questions().len(), related, "one question each");
}
