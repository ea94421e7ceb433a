#![allow(clippy::unwrap_used)] // a test ends where it must not go on
//! `vila2 caption` on lists, tables, tars and stdin: every input once, whatever stops it.

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use support::{
    captions::{Out, agree, caption, caption_of, command, draw, signal, text},
    program::{finished, refused, run},
    web::Web,
};
use tokio::runtime::Runtime;

/// A web of drawn pictures, beside the test.
struct Site {
    web: Web,
    allow: String,
    _runtime: Runtime,
}

impl Site {
    fn start(seed: u64, count: u64) -> Self {
        let runtime = Runtime::new().unwrap();
        let web = runtime.block_on(Web::start(seed, count));
        let allow = format!("fetch.allow_addresses=[\"{}\"]", web.address());
        Self {
            web,
            allow,
            _runtime: runtime,
        }
    }

    /// The options that let the program fetch from here.
    fn allowed(&self) -> [&str; 2] {
        ["--set", &self.allow]
    }
}

fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, more].concat()
}

#[test]
fn a_list_that_is_killed_and_interrupted_gets_one_answer_for_every_line() {
    let site = Site::start(31, 60);
    let home = tempfile::tempdir().unwrap();
    let pictures = site.web.urls();
    // 300 lines: every third is dead, the others are 60 pictures under 200 names.
    let urls: Vec<_> = (0..300_usize)
        .map(|line| match line % 3 {
            2 => site.web.url(&format!("gone-{line}.png")),
            _ => format!("{}?line={line}", pictures[line / 3 * 2 % 60 + line % 3]),
        })
        .collect();
    let list = home.path().join("urls.txt");
    fs::write(&list, urls.join("\n")).unwrap();
    let out = Out(home.path().join("out"));
    let arguments = [
        text(&list),
        "--out",
        text(&out.0),
        "--set",
        "limits.records=12",
    ];
    let arguments = with(&arguments, &site.allowed());
    let killed = signal(out.started(&arguments, 60), "KILL");
    assert_eq!(killed, None);
    let interrupted = signal(out.started(&arguments, 50), "INT");
    assert_eq!(interrupted, Some(130));
    let [read, ..] = out_counts(&out);
    assert!(
        (110..300).contains(&read),
        "{read} answers after the interruption"
    );
    let ran = caption(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said = format!("goes on: {read} inputs answered before");
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    assert_eq!(out.counts(), [300, 200, 100, 140, 0]);
    let rows = out.by_url();
    let dead = out.dead();
    let is_dead = |url: &&String| url.contains("gone");
    assert!(
        urls.iter()
            .filter(is_dead)
            .all(|url| dead[url] == "fetch_status")
    );
    for url in urls.iter().filter(|url| !is_dead(url)) {
        let expected = support::captions::id_of(url);
        assert_eq!(rows[url]["id"], expected, "{url}");
    }
    assert_eq!((rows.len(), dead.len()), (200, 100));
    agree(rows.into_values());
    // Once more: nothing is left to do, and nothing changes.
    let state = fs::read(out.0.join("state.json")).unwrap();
    let ran = caption(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with("300 read: 200 captions (140 pictures seen before)"),
        "{}",
        ran.stdout
    );
    assert_eq!(out.counts(), [300, 200, 100, 140, 0]);
    let [before, after] = [state, fs::read(out.0.join("state.json")).unwrap()].map(|state| {
        let mut state: Value = serde_json::from_slice(&state).unwrap();
        state["journal"] = json!(0);
        state["totals"]["seconds"] = json!(0);
        state
    });
    assert_eq!(before, after);
}

/// Counts of a run that was stopped: the page is not made yet.
fn out_counts(out: &Out) -> [u64; 1] {
    let summary = fs::read(out.0.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    [summary["read"].as_u64().unwrap()]
}

/// Writes a tar of files.
fn tar(path: &Path, members: &[(String, Vec<u8>)]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn pictures_in_tars_get_rows_with_what_their_samples_say() {
    let home = tempfile::tempdir().unwrap();
    let names = ["0", "1", "2", "3", "4"];
    draw(home.path(), &names, 32);
    let picture = |name: &str| fs::read(home.path().join(format!("{name}.png"))).unwrap();
    let (one, two) = (home.path().join("one.tar"), home.path().join("two.tar"));
    let about = json!({ "url": "https://example.org/0.png", "id": 70, "caption": "a thing" });
    tar(
        &one,
        &[
            ("s/0.png".into(), picture("0")),
            ("s/0.json".into(), about.to_string().into_bytes()),
            ("s/1.png".into(), picture("1")),
            ("s/1.txt".into(), b"some words".to_vec()),
            ("s/2.png".into(), picture("2")),
            ("s/words.txt".into(), b"no picture".to_vec()),
        ],
    );
    tar(
        &two,
        &[
            ("3.png".into(), picture("3")),
            ("4.png".into(), picture("4")[..200].to_vec()),
            ("twin.png".into(), picture("3")),
            ("bad.jpg".into(), b"no picture".to_vec()),
        ],
    );
    let out = Out(home.path().join("out"));
    let ran = caption(&[text(&one), text(&two), "--out", text(&out.0)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts(), [7, 5, 2, 1, 1]);
    let rows = out.by_url();
    let in_tar = |tar: &Path, key: &str| format!("{}#{key}", tar.display());
    let zero = &rows["https://example.org/0.png"];
    assert_eq!(
        (&zero["id"], &zero["original_caption"]),
        (&json!("70"), &json!("a thing"))
    );
    let row = &rows[&in_tar(&one, "s/1")];
    assert_eq!(
        (&row["id"], &row["original_caption"]),
        (&json!("s/1"), &json!("some words"))
    );
    assert_eq!(rows[&in_tar(&one, "s/2")]["original_caption"], Value::Null);
    assert_eq!(rows[&in_tar(&two, "twin")]["id"], "twin");
    assert_eq!(
        rows[&in_tar(&two, "twin")]["enriched"],
        rows[&in_tar(&two, "3")]["enriched"]
    );
    let dead = out.dead();
    assert_eq!(dead[&in_tar(&two, "4")], "truncated_image");
    assert_eq!(dead[&in_tar(&two, "bad")], "unsupported_format");
    // The same is printed, in order.
    let ran = caption(&[text(&one), text(&two), "--json"]);
    assert_eq!(ran.code, 1);
    let printed: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<_> = printed
        .iter()
        .map(|record| record["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["70", "s/1", "s/2", "3", "twin"]);
    for record in &printed {
        assert_eq!(
            record["enriched"],
            rows[record["url"].as_str().unwrap()]["enriched"]
        );
    }
    assert!(
        ran.stderr.contains("2 of 7 images failed"),
        "{}",
        ran.stderr
    );
}

/// A Parquet file of these URLs, in a column `url`.
fn table(path: &Path, urls: &[String]) {
    let mut writer = vila2::records::RecordWriter::create(path).unwrap();
    for url in urls {
        let row = json!({ "id": format!("row of {url}"), "url": url, "enriched": "old words" });
        writer.push(row.to_string().as_bytes()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_table_whose_links_are_mostly_dead_is_healed_by_asking_again() {
    let site = Site::start(33, 8);
    let home = tempfile::tempdir().unwrap();
    let mut urls: Vec<_> = (0..392)
        .map(|n| site.web.url(&format!("gone-{n}.png")))
        .collect();
    for (at, url) in site.web.urls().into_iter().enumerate() {
        urls.insert(at * 50, url);
    }
    let folder = home.path().join("tables");
    fs::create_dir(&folder).unwrap();
    table(&folder.join("a.parquet"), &urls[..150]);
    table(&folder.join("b.parquet"), &urls[150..]);
    let out = Out(home.path().join("out"));
    let columns = ["--id-column", "id", "--caption-column", "enriched"];
    let arguments = with(&[text(&folder), "--out", text(&out.0)], &site.allowed());
    let arguments = with(&arguments, &columns);
    site.web.set_there(false);
    let ran = caption(&arguments);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("nothing was captioned: all 400 inputs failed, the first: "),
        "{}",
        ran.stderr
    );
    assert_eq!(out.counts(), [400, 0, 400, 0, 0]);
    // The same command has nothing to do; asked for what failed, it finds the server healed.
    site.web.set_there(true);
    assert_eq!(caption(&arguments).code, 1);
    let ran = caption(&with(&arguments, &["--again", "failed", "--json"]));
    assert_eq!(
        ran.code, 0,
        "dead letters alone are no failure: {}",
        ran.stderr
    );
    let counts: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(counts["captions"], 8);
    assert_eq!(out.counts(), [400, 8, 392, 0, 0]);
    for (url, row) in out.by_url() {
        assert_eq!(row["id"], format!("row of {url}"));
        assert_eq!(row["original_caption"], "old words");
    }
    // Asked again, the captions stay as they are.
    let rows = out.by_url();
    assert_eq!(caption(&with(&arguments, &["--again", "failed"])).code, 0);
    assert_eq!(out.counts(), [400, 8, 392, 0, 0]);
    assert_eq!(out.by_url(), rows);
    // Everything, under another prompt.
    let ran = caption(&with(
        &arguments,
        &["--again", "all", "--prompt", "Describe this image."],
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts(), [400, 8, 392, 0, 0]);
    for row in out.rows() {
        let models: Value = row["models"].clone();
        assert_eq!(models["caption"]["prompt"], "Describe this image.");
    }
}

#[test]
fn stdin_is_a_list_that_cannot_be_gone_on_with() {
    let home = tempfile::tempdir().unwrap();
    draw(home.path(), &["a b", "c"], 34);
    let [one, two] = ["a b", "c"].map(|name| home.path().join(format!("{name}.png")));
    let list = format!(
        "{}\n\n{}\n{}/none.png\n",
        one.display(),
        json!({"url": text(&two), "id": "two"}),
        home.path().display()
    );
    let ran = caption_of(&list, &["-"]);
    assert_eq!(ran.code, 1);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stdout);
    assert!(lines[0].starts_with(&format!("{}: ", one.display())));
    assert!(lines[1].starts_with(&format!("{}: ", two.display())));
    assert!(
        ran.stderr.contains("none.png: fetch_failed: ")
            && ran.stderr.contains("1 of 3 images failed")
    );
    let out = Out(home.path().join("out"));
    let arguments = ["-", "--out", text(&out.0)];
    let ran = caption_of(&list, &arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts(), [3, 2, 1, 0, 0]);
    assert_eq!(
        out.dead().into_values().collect::<Vec<_>>(),
        ["fetch_failed"]
    );
    let ids: BTreeSet<_> = out
        .rows()
        .into_iter()
        .map(|row| row["id"].to_string())
        .collect();
    assert!(ids.contains("\"two\""));
    let ran = caption_of(&list, &arguments);
    refused(&ran, 2, &["- can be read once only", "save it to a file"]);
    let ran = caption_of("", &["-", "--out", text(&home.path().join("none"))]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .contains("nothing was captioned: there was no input"),
        "{}",
        ran.stderr
    );
}

#[test]
fn twins_are_answered_once_and_fail_together_unless_they_are_asked_otherwise() {
    let home = tempfile::tempdir().unwrap();
    draw(home.path(), &["a", "b"], 35);
    let picture = fs::read(home.path().join("b.png")).unwrap();
    for name in ["cut-0", "cut-1", "cut-2"] {
        fs::write(
            home.path().join(format!("{name}.png")),
            &picture[..picture.len() / 2],
        )
        .unwrap();
    }
    let mut lines = Vec::new();
    for number in 0..4 {
        fs::copy(
            home.path().join("a.png"),
            home.path().join(format!("a{number}.png")),
        )
        .unwrap();
        lines.push(json!({ "url": format!("a{number}.png"), "meta": { "n": number } }));
    }
    let prompt = json!({ "prompt": "Describe this image." });
    for name in ["a", "b"] {
        lines.push(json!({ "url": format!("{name}.png"), "options": prompt }));
    }
    fs::copy(home.path().join("a.png"), home.path().join("a4.png")).unwrap();
    lines.push(json!({ "url": "a4.png", "options": prompt, "id": "last" }));
    lines.extend((0..3).map(|number| json!({ "url": format!("cut-{number}.png") })));
    let list = home.path().join("list.jsonl");
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    fs::write(&list, lines.join("\n")).unwrap();
    let out = Out(home.path().join("out"));
    let ran = caption(&[text(&list), "--out", text(&out.0)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // Of a without prompt four rows, three of them repeated; with the prompt two, one repeated.
    assert_eq!(out.counts(), [10, 7, 3, 4, 0]);
    assert!(
        out.dead()
            .values()
            .all(|reason| reason == "truncated_image")
    );
    for row in out.rows() {
        let url = row["url"].as_str().unwrap();
        let name = url.rsplit('/').next().unwrap().trim_end_matches(".png");
        let asked = &row["models"]["caption"]["prompt"];
        let is_asked = ["a", "b", "a4"].contains(&name);
        assert_eq!(asked == "Describe this image.", is_asked, "{name}: {asked}");
        match name {
            "a4" => assert_eq!(row["id"], "last"),
            "a" | "b" => assert_eq!(row["meta"], Value::Null),
            _ => assert_eq!(row["meta"]["n"].to_string(), name[1..]),
        }
    }
}

#[test]
fn answers_are_printed_in_the_order_of_the_inputs() {
    let home = tempfile::tempdir().unwrap();
    draw(home.path(), &["c", "a", "sub/b"], 36);
    let [a, b, c] = ["a", "sub/b", "c"].map(|name| home.path().join(format!("{name}.png")));
    let ran = caption(&[text(&c), "no/such.png", text(&a), text(&b)]);
    assert_eq!(ran.code, 1);
    let heads: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(heads, [text(&c), text(&a), text(&b)]);
    assert!(
        ran.stderr.contains("no/such.png: fetch_failed: ")
            && ran.stderr.contains("1 of 4 images failed")
    );
    // A folder is its pictures by name.
    let ran = caption(&[text(home.path())]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let heads: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(heads, [text(&a), text(&c), text(&b)]);
    // One picture alone: nothing but its text. A sample: so many.
    let alone = caption(&[text(&a)]);
    assert_eq!(
        ran.stdout.lines().next().unwrap(),
        format!("{}: {}", a.display(), alone.stdout.trim_end())
    );
    let ran = caption(&[text(home.path()), "--sample", "2", "--json"]);
    assert_eq!(
        (ran.code, ran.stdout.lines().count()),
        (0, 2),
        "{}",
        ran.stderr
    );
    for line in ran.stdout.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["schema"], "vila2.caption/1");
    }
}

#[test]
fn a_sample_into_a_folder_is_so_many_rows() {
    let home = tempfile::tempdir().unwrap();
    draw(
        &home.path().join("p"),
        &["0", "1", "2", "3", "4", "5", "6", "7"],
        37,
    );
    let out = Out(home.path().join("out"));
    let pictures = home.path().join("p");
    let arguments = [text(&pictures), "--out", text(&out.0), "--sample", "3"];
    let ran = caption(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts(), [3, 3, 0, 0, 0]);
    assert_eq!(caption(&arguments).code, 0);
    let ran = caption(&with(&arguments, &["--seed", "1"]));
    refused(
        &ran,
        2,
        &["a sample of 3 (seed 0) there, a sample of 3 (seed 1) now"],
    );
    let ran = caption_of("a.png", &["-", "--sample", "3"]);
    refused(&ran, 2, &["--sample", "save them to a file"]);
    refused(
        &caption(&[text(&pictures), "--sample", "0"]),
        2,
        &["--sample: at least 1"],
    );
}

#[test]
fn another_model_is_a_folder_or_a_name() {
    let home = tempfile::tempdir().unwrap();
    draw(home.path(), &["a"], 38);
    let picture = home.path().join("a.png");
    let by_name = run(&["caption", text(&picture), "--model", "scenes"]);
    assert_eq!(by_name.code, 0, "{}", by_name.stderr);
    let by_folder = finished({
        let mut command = command(&[text(&picture), "--json", "--model", "models/scenes"]);
        command.arg("--set").arg("fetch.retries=0");
        command
    });
    assert_eq!(by_folder.code, 0, "{}", by_folder.stderr);
    let record: Value = serde_json::from_str(&by_folder.stdout).unwrap();
    assert_eq!(record["models"]["caption"]["model"], "scenes-named");
    let ran = caption(&[text(&picture), "--model", "nowhere"]);
    refused(
        &ran,
        2,
        &[
            "--model nowhere: neither a folder nor one of the configured models",
            "scenes",
        ],
    );
}
