//! `preview` and `compare` from outside, with the shipped model on drawn pictures.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

use std::{fs, path::Path};

use serde_json::{Value, json};

mod support;
use support::program::{Ran, refused, run};

/// Drawn pictures, one file that is none, and a list of all with what came with them.
fn inputs(folder: &Path, count: usize) -> String {
    let out = folder.join("scenes");
    let drawn = run(&[
        "scenes",
        "generate",
        "--out",
        text(&out),
        "--count",
        &count.to_string(),
        "--seed",
        "11",
    ]);
    assert_eq!(drawn.code, 0, "{}", drawn.stderr);
    let mut files: Vec<_> = fs::read_dir(out.join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    fs::write(folder.join("broken.png"), "no picture").unwrap();
    files.push(folder.join("broken.png"));
    let lines: Vec<_> = (files.iter())
        .map(|file| json!({"url": file, "caption": "<b>came</b> & \"with\""}).to_string())
        .collect();
    let list = folder.join("list.jsonl");
    fs::write(&list, lines.join("\n")).unwrap();
    text(&list).to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json_of(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_preview_leaves_a_page_with_shares_and_a_forecast() {
    let folder = tempfile::tempdir().unwrap();
    let list = inputs(folder.path(), 13);
    let out = folder.path().join("preview");
    let arguments = |more: &[&str]| -> Ran {
        let mut all = vec![
            "preview",
            &list,
            "--sample",
            "12",
            "--seed",
            "2",
            "--out",
            text(&out),
            "--price-per-hour",
            "4.91",
        ];
        all.extend(more);
        run(&all)
    };
    let figures = json_of(&arguments(&["--json"]));
    assert_eq!(figures["schema"], "vila2.preview/1");
    assert_eq!(
        (&figures["inputs"], &figures["sample"]),
        (&json!(14), &json!(12))
    );
    let (shares, forecast) = (&figures["shares"], &figures["forecast"]);
    let captions = shares["truncated"]["of"].as_u64().unwrap();
    let dead = shares["dead"]["hits"].as_u64().unwrap();
    assert_eq!(captions + dead, 12);
    assert_eq!(shares["dead"]["of"], 12);
    for share in ["truncated", "repeated", "refused", "unverified"] {
        let share = &shares[share]["share"];
        let [low, value, high] = ["low", "value", "high"].map(|end| share[end].as_f64().unwrap());
        assert!(
            0.0 <= low && low <= value && value <= high && high <= 1.0,
            "{share}"
        );
    }
    let end = |figure: &str, end: &str| forecast[figure][end].as_f64().unwrap();
    let sample_hours = forecast["sample_seconds"].as_f64().unwrap() / 3600.0;
    assert!(end("hours", "low") >= sample_hours && end("hours", "high") >= end("hours", "low"));
    assert!((end("price", "value") - 4.91 * end("hours", "value")).abs() < 1e-9);
    assert!((end("captions", "value") + end("dead", "value") - 14.0).abs() < 1e-9);
    assert!(end("bytes_fetched", "low") > 1000.0 && end("bytes_written", "low") > 1000.0);

    let html = fs::read_to_string(out.join("report.html")).unwrap();
    for part in [
        "12 of 14 inputs, drawn at random (seed 2)",
        "Forecast for the whole input",
        "95 % interval",
        "captions without evidence",
        "Captions of which every clause is `unverified`",
        "came with",
        "&lt;b&gt;came&lt;&#x2f;b&gt; &amp; &quot;with&quot;",
        "data:image/jpeg;base64,",
    ] {
        assert!(html.contains(part), "the page lacks {part}");
    }
    assert!(
        !html.contains("<b>came</b>"),
        "text of the world is escaped"
    );
    assert!(out.join("preview.json").is_file() && out.join("dead.jsonl").is_file());

    // Once more into the same folder, for people: the same sample, in words.
    let told = arguments(&[]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    for part in [
        "the whole input",
        "price",
        "dead letters",
        "truncated captions",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    let again: Value =
        serde_json::from_slice(&fs::read(out.join("preview.json")).unwrap()).unwrap();
    assert_eq!(again["shares"], figures["shares"], "a seed, a sample");
    assert_eq!(
        again["forecast"]["bytes_fetched"],
        forecast["bytes_fetched"]
    );
}

#[test]
fn a_preview_refuses_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let list = inputs(folder.path(), 1);
    let out = folder.path().join("captions");
    let captioned = run(&[
        "caption",
        &list,
        "--out",
        text(&out),
        "--without",
        "read_text",
    ]);
    assert_eq!(captioned.code, 0, "{}", captioned.stderr);
    let ran = run(&["preview", &list, "--out", text(&out)]);
    refused(
        &ran,
        2,
        &["captions", "a trial would remove", "name another folder"],
    );
    assert!(
        out.join("captions-00000.parquet").is_file(),
        "nothing was removed"
    );
    let ran = run(&["preview", "-", "--out", text(&out)]);
    refused(&ran, 2, &["--sample", "save them to a file"]);
    let ran = run(&["preview", &list, "--sample", "0"]);
    refused(&ran, 2, &["--sample", "at least 1"]);
    let ran = run(&["preview", &list, "--price-per-hour", "4,91"]);
    refused(&ran, 2, &["--price-per-hour", "without a currency"]);
    let broken = folder.path().join("broken.png");
    let ran = run(&[
        "preview",
        text(&broken),
        "--out",
        text(&folder.path().join("p")),
    ]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing was captioned") && ran.stderr.contains("dead.jsonl"));
}

/// Two configurations that say different things, as files.
fn configurations(folder: &Path) -> [String; 2] {
    let file = |name: &str, prompt: &str, more: &str| {
        let path = folder.join(name);
        let config = format!("[stages.caption]\nprompts = [{prompt:?}]\n{more}");
        fs::write(&path, config).unwrap();
        text(&path).to_owned()
    };
    [
        file("a.toml", "Describe the image.", ""),
        file("b.toml", "<i>Name</i> what you see.", "max_tokens = 8\n"),
    ]
}

#[test]
fn a_comparison_sets_two_texts_side_by_side_and_counts_votes() {
    let folder = tempfile::tempdir().unwrap();
    let list = inputs(folder.path(), 6);
    let [a, b] = configurations(folder.path());
    let out = folder.path().join("compare");
    let figures = json_of(&run(&[
        "compare",
        &a,
        &b,
        &list,
        "--out",
        text(&out),
        "--json",
    ]));
    let comparison = &figures["comparison"];
    assert_eq!(comparison["both"], 6);
    for side in ["dead_a", "dead_b"] {
        assert_eq!(
            (&comparison[side]["hits"], &comparison[side]["of"]),
            (&json!(1), &json!(7))
        );
    }
    let words = &comparison["words"];
    let [one, other, difference] = [&words["a"], &words["b"], &words["difference"]["value"]]
        .map(|number| number.as_f64().unwrap());
    assert!(
        one > 0.0 && (other - one - difference).abs() < 1e-9,
        "{words}"
    );
    assert!(difference < 0.0, "eight tokens are fewer words: {words}");
    assert!(
        words["difference"]["high"].as_f64().unwrap() < 0.0,
        "{words}"
    );

    let html = fs::read_to_string(out.join("report.html")).unwrap();
    let pair = figures["pair"].as_str().unwrap();
    for part in [
        pair,
        "<mark>",
        "data:image/jpeg;base64,",
        "Save the votes",
        "createObjectURL",
    ] {
        assert!(html.contains(part), "the page lacks {part}");
    }
    assert_eq!(html.matches("<article class=\"pair\"").count(), 6);
    let sides = |left: &str| html.matches(&format!("data-left=\"{left}\"")).count();
    assert_eq!(sides("a") + sides("b"), 6);

    let votes = folder.path().join("votes.jsonl");
    let cast = |pair: &str| {
        let lines: Vec<_> = ["b", "b", "a", "tie", "b", "b"]
            .into_iter()
            .enumerate()
            .map(|(at, winner)| {
                json!({"schema": "vila2.votes/1", "pair": pair, "ordinal": at, "id": "x",
                    "winner": winner})
                .to_string()
            })
            .collect();
        fs::write(&votes, lines.join("\n")).unwrap();
    };
    cast(pair);
    let counted = |a: &str, b: &str, more: &[&str]| {
        let mut all = vec!["compare", a, b, "--votes", text(&votes)];
        all.extend(more);
        run(&all)
    };
    let tally = json_of(&counted(&a, &b, &["--json"]));
    assert_eq!([&tally["a"], &tally["b"], &tally["ties"]], [1, 4, 1]);
    assert!((tally["sign_test"].as_f64().unwrap() - 0.375).abs() < 1e-12);
    let told = counted(&a, &b, &[]);
    assert!(told.stdout.contains("A 1, B 4, ties 1") && told.stdout.contains("p = 0.375"));
    refused(
        &counted(&b, &a, &[]),
        2,
        &["votes.jsonl: line 1", "the other way round"],
    );
    cast("0000000000000000");
    let ran = counted(&a, &b, &[]);
    refused(
        &ran,
        2,
        &["votes.jsonl: line 1", "another pair", pair, "unchanged"],
    );
}

#[test]
fn faults_of_a_comparison_name_the_configuration_they_are_in() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    fs::write(&b, "[stages.caption]\nmax_tokens = 'many'\n").unwrap();
    let ran = run(&["compare", &a, &b, "x.png"]);
    refused(&ran, 2, &["B, ", "b.toml", "stages.caption.max_tokens"]);
    assert!(!ran.stderr.contains("A, "), "{}", ran.stderr);
    fs::write(&a, "[stages.caption]\nmodel = 'nobody'\n").unwrap();
    let ran = run(&["compare", &a, &b, "x.png"]);
    refused(
        &ran,
        2,
        &[
            "A, ",
            "a.toml",
            "nobody",
            "B, ",
            "stages.caption.max_tokens",
        ],
    );
    let ran = run(&["compare", &a, "/nowhere/b.toml", "x.png"]);
    refused(&ran, 2, &["B, /nowhere/b.toml"]);
    let ran = run(&["compare", &a, &b]);
    refused(&ran, 2, &["INPUT"]);
    let ran = run(&["--config", &a, "compare", &a, &b, "x.png"]);
    refused(&ran, 2, &["--config", "--set"]);
}
