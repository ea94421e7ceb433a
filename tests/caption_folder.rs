#![allow(clippy::unwrap_used)] // a test ends where it must not go on
//! `vila2 caption` on folders of pictures, texts beside them, and everything that it refuses.

mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use support::{
    captions::{Out, PROMPT, caption, command, draw, text},
    program::{Ran, finished, refused, vila2},
};
use url::Url;

fn url(path: &Path) -> String {
    Url::from_file_path(path).unwrap().into()
}

/// Names of pictures in three depths, with everything that a name can hold.
fn names() -> Vec<String> {
    let mut names: Vec<_> = (0..54)
        .map(|number| match number % 3 {
            0 => format!("{number:02}"),
            1 => format!("one/{number:02}"),
            _ => format!("one/two/{number:02}"),
        })
        .collect();
    let odd = [
        "a b",
        "a#b",
        "one/a?b",
        "one/50%",
        "one/two/line\nend",
        "one/two/ü&<",
    ];
    names.extend(odd.map(str::to_owned));
    names
}

#[test]
fn a_folder_of_folders_gets_a_row_or_a_dead_letter_for_every_picture() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap().join("pictures");
    let names = names();
    draw(
        &root,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
        41,
    );
    fs::write(root.join("one/notes.txt"), "not a picture").unwrap();
    fs::write(root.join("bad.png"), "not a picture").unwrap();
    symlink("nowhere.png", root.join("one/gone.jpg")).unwrap();
    symlink("..", root.join("one/up")).unwrap();
    fs::copy(root.join("00.png"), root.join("one/twin.png")).unwrap();
    // The answers lie inside of the folder: they are no pictures of it.
    let out = Out(root.join("answers"));
    let arguments = [text(&root), "--out", text(&out.0)];
    let ran = caption(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts(), [63, 61, 2, 1, 1]);
    let rows = out.by_url();
    for name in &names {
        let path = root.join(format!("{name}.png"));
        assert!(rows.contains_key(&url(&path)), "{name}");
    }
    assert_eq!(
        rows[&url(&root.join("one/twin.png"))]["enriched"],
        rows[&url(&root.join("00.png"))]["enriched"]
    );
    let dead = out.dead();
    assert_eq!(dead[text(&root.join("bad.png"))], "unsupported_format");
    assert_eq!(dead[text(&root.join("one/gone.jpg"))], "fetch_failed");
    let page = fs::read_to_string(out.0.join("report.html")).unwrap();
    assert!(
        page.contains("data:image/jpeg;base64,") && page.contains(" of 61 enriched captions"),
        "pictures are shown"
    );
    let ran = caption(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts(), [63, 61, 2, 1, 1]);
    let said = "63 read: 61 captions (1 picture seen before), 2 dead letters (fetch_failed 1, \
                unsupported_format 1); 1 file passed over\n";
    assert_eq!(ran.stdout, said);
    let why = "every input was answered by an earlier run; --again failed";
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
    // A picture more is another input.
    draw(&root, &["new"], 42);
    refused(
        &caption(&arguments),
        2,
        &["pictures has changed since", "--again all"],
    );
    let ran = caption(&[text(&root), "--out", text(&out.0), "--again", "all"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(out.counts()[..4], [64, 62, 2, 1]);
}

/// A few pictures, and where their answers go.
struct Few {
    home: tempfile::TempDir,
    pictures: PathBuf,
    out: Out,
}

impl Few {
    fn new(names: &[&str], seed: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let pictures = home.path().join("pictures");
        draw(&pictures, names, seed);
        let out = Out(home.path().join("out"));
        Self {
            home,
            pictures,
            out,
        }
    }

    fn run(&self, more: &[&str]) -> Ran {
        let arguments = [text(&self.pictures), "--out", text(&self.out.0)];
        caption(&[&arguments, more].concat())
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.pictures.join(name)).unwrap()
    }
}

#[test]
fn texts_stand_beside_pictures_and_no_file_of_others_is_written_over() {
    let few = Few::new(&["a", "b", "sub/c.d"], 43);
    fs::write(few.pictures.join("b.txt"), "my own words").unwrap();
    let ran = few.run(&["--txt"]);
    assert_eq!(ran.code, 1, "not all that was asked for was done");
    for part in ["--txt: 1 text not written", "b.txt", "move it away"] {
        assert!(
            ran.stderr.contains(part),
            "{part:?} is not in\n{}",
            ran.stderr
        );
    }
    assert_eq!(few.text("b.txt"), "my own words");
    assert_eq!(few.out.counts()[..3], [3, 3, 0]);
    let rows = few.out.by_url();
    let pictures = few.pictures.canonicalize().unwrap();
    let enriched = |name: &str| {
        let text = rows[&url(&pictures.join(name))]["enriched"]
            .as_str()
            .unwrap();
        format!("{text}\n")
    };
    assert_eq!(few.text("a.txt"), enriched("a.png"));
    assert_eq!(few.text("sub/c.d.txt"), enriched("sub/c.d.png"));
    // Moved away, the same command writes it; and nothing else is left beside the pictures.
    fs::remove_file(few.pictures.join("b.txt")).unwrap();
    let ran = few.run(&["--txt"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(few.text("b.txt"), enriched("b.png"));
    assert_eq!(fs::read_dir(&few.pictures).unwrap().count(), 5);
    // A text of ours follows its caption; one that somebody changed stays.
    fs::write(few.pictures.join("a.txt"), "better words").unwrap();
    let prompt = [
        "--txt",
        "--again",
        "all",
        "--prompt",
        "Describe this image.",
        "--set",
        "stages.caption.max_tokens=3",
    ];
    let ran = few.run(&prompt);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(few.text("a.txt"), "better words");
    assert_ne!(
        few.text("b.txt"),
        enriched("b.png"),
        "three tokens are another text"
    );
}

#[test]
fn printed_texts_stand_beside_pictures_too() {
    let few = Few::new(&["a", "b"], 44);
    let [a, b] = ["a.png", "b.png"].map(|name| few.pictures.join(name));
    fs::write(few.pictures.join("b.txt"), "mine").unwrap();
    for _ in 0..2 {
        let ran = caption(&[text(&a), text(&b), "--txt"]);
        assert_eq!(
            (ran.code, ran.stdout.lines().count()),
            (1, 2),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("--txt: 1 text not written"),
            "{}",
            ran.stderr
        );
        assert_eq!(few.text("b.txt"), "mine");
        let line = ran.stdout.lines().next().unwrap();
        assert_eq!(
            format!("{}: {}", a.display(), few.text("a.txt").trim_end()),
            line
        );
    }
    let ran = caption(&[text(&a), "--txt"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn inputs_that_cannot_be_used_are_said_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let out = path("out");
    let empty = path("empty");
    fs::create_dir(&empty).unwrap();
    let notes = path("notes");
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("a.md"), "x").unwrap();
    let table = path("a.parquet");
    let mut writer = vila2::records::RecordWriter::create(&table).unwrap();
    writer
        .push(
            json!({ "id": "1", "url": "http://h/1" })
                .to_string()
                .as_bytes(),
        )
        .unwrap();
    writer.finish().unwrap();
    let rows = path("none.parquet");
    vila2::records::RecordWriter::create(&rows)
        .unwrap()
        .finish()
        .unwrap();
    let lines = path("none.txt");
    fs::write(&lines, "\n").unwrap();
    let packed = path("a.tar.gz");
    fs::write(&packed, "x").unwrap();
    let missing = path("missing.csv");
    let cases: [(&Path, &[&str], &[&str]); 8] = [
        (
            &empty,
            &[],
            &["empty: a folder without pictures", ".parquet"],
        ),
        (&notes, &[], &["none of its 1 files ends in .jpg"]),
        (
            &table,
            &["--url-column", "link"],
            &["a.parquet: ", "link", "url"],
        ),
        (&rows, &[], &["nothing to caption", "none.parquet"]),
        (&lines, &[], &["nothing to caption", "none.txt"]),
        (&packed, &[], &["a.tar.gz: a packed tar", "unpack it"]),
        (&missing, &[], &["missing.csv: No such file"]),
        (
            &lines,
            &["--url-column", "url"],
            &["none.txt: ", "columns are for tables"],
        ),
    ];
    for (input, more, parts) in cases {
        for arguments in [vec![text(input)], vec![text(input), "--out", text(&out)]] {
            refused(&caption(&[&arguments, more].concat()), 2, parts);
        }
    }
    assert!(
        !out.exists(),
        "nothing is made for inputs that cannot be used"
    );
    refused(
        &caption(&[text(&empty), text(&lines), text(&missing)]),
        2,
        &["empty: ", "missing.csv: "],
    );
    let ran = caption(&[text(&table), "--again", "all"]);
    refused(&ran, 2, &["--out"]);
}

#[test]
fn another_request_into_the_same_folder_is_refused() {
    let few = Few::new(&["a"], 45);
    let ran = few.run(&["--set", "models.scenes.path=/nowhere"]);
    refused(&ran, 2, &["/nowhere"]);
    // Nothing was answered yet: the request may still change.
    let ran = few.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let other = few.home.path().join("other");
    draw(&other, &["b"], 46);
    let ran = caption(&[text(&other), "--out", text(&few.out.0)]);
    refused(
        &ran,
        2,
        &["its inputs are", "name another folder", "--again all"],
    );
    refused(
        &few.run(&["--prompt", "Which?"]),
        2,
        &["stages.caption.prompts is ", "\"Which?\"", "now"],
    );
    let ran = finished({
        let mut command = vila2(&["caption", text(&few.pictures), "--out", text(&few.out.0)]);
        command.args(["--prompt", PROMPT]);
        command
    });
    refused(&ran, 2, &["stages.ground.mode"]);
    assert_eq!(few.out.counts(), [1, 1, 0, 0, 0]);
    // How fast it goes and whom it may fetch from is no other request.
    let ran = few.run(&[
        "--set",
        "fetch.timeout_ms=1000",
        "--set",
        "limits.records=7",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn folders_that_are_not_as_they_were_are_refused_until_all_is_done_again() {
    let few = Few::new(&["a", "b"], 47);
    fs::write(few.home.path().join("file"), "x").unwrap();
    let file = few.home.path().join("file");
    refused(
        &caption(&[text(&few.pictures), "--out", text(&file)]),
        2,
        &["file is a file", "--out takes a folder"],
    );
    let inside = file.join("sub");
    refused(
        &caption(&[text(&few.pictures), "--out", text(&inside)]),
        2,
        &["sub"],
    );
    assert_eq!(few.run(&[]).code, 0);
    let state = few.out.0.join("state.json");
    let text_of_state = fs::read_to_string(&state).unwrap();
    fs::write(&state, &text_of_state[..text_of_state.len() / 2]).unwrap();
    refused(&few.run(&[]), 2, &["state.json", "damaged", "--again all"]);
    fs::write(&state, text_of_state).unwrap();
    fs::remove_file(few.out.0.join("captions-00000.parquet")).unwrap();
    refused(
        &few.run(&[]),
        2,
        &["captions-00000.parquet is missing", "--again all"],
    );
    let lock = fs::File::open(few.out.0.join(".vila2/lock")).unwrap();
    lock.lock().unwrap();
    refused(
        &few.run(&["--again", "all"]),
        2,
        &["another `vila2 caption` is writing there"],
    );
    drop(lock);
    assert_eq!(few.run(&["--again", "all"]).code, 0);
    assert_eq!(few.out.counts(), [2, 2, 0, 0, 0]);
}

#[test]
fn a_full_disk_ends_the_run_and_loses_nothing() {
    let names: Vec<_> = (0..16).map(|number| number.to_string()).collect();
    let few = Few::new(&names.iter().map(String::as_str).collect::<Vec<_>>(), 48);
    // No file may grow beyond 10 KiB: the journal does, in the middle.
    let limited = command(&[text(&few.pictures), "--out", text(&few.out.0)]);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 10; exec \"$@\"", "bash"])
        .arg(limited.get_program())
        .args(limited.get_args())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let ran = finished(shell);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let parts = [
        ".vila2/journal.jsonl: File too large",
        "is kept",
        "free space?",
        "give the same command again",
    ];
    for part in parts {
        assert!(
            ran.stderr.contains(part),
            "{part:?} is not in\n{}",
            ran.stderr
        );
    }
    let journal = fs::read_to_string(few.out.0.join(".vila2/journal.jsonl")).unwrap();
    let whole = journal
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_ok());
    let answers = whole.count() - 1;
    assert!(
        (1..16).contains(&answers),
        "{answers} answers before the disk was full"
    );
    let ran = few.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(few.out.counts(), [16, 16, 0, 0, 0]);
    assert_eq!(few.out.by_url().len(), 16);
}

#[test]
fn an_interruption_that_comes_early_leaves_a_folder_that_goes_on() {
    let names: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    let few = Few::new(&names.iter().map(String::as_str).collect::<Vec<_>>(), 49);
    let arguments = [
        text(&few.pictures),
        "--out",
        text(&few.out.0),
        "--set",
        "limits.records=4",
    ];
    for name in ["KILL", "TERM"] {
        let code = support::captions::signal(few.out.started(&arguments, 1), name);
        assert_eq!(code, (name == "TERM").then_some(130), "{name}");
    }
    let ran = few.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(few.out.counts(), [30, 30, 0, 0, 0]);
    assert_eq!(few.out.by_url().len(), 30);
}

#[test]
fn a_picture_that_was_mended_is_asked_about_again_and_no_other() {
    let few = Few::new(&["a", "b"], 50);
    let whole = fs::read(few.pictures.join("b.png")).unwrap();
    fs::write(few.pictures.join("b.png"), &whole[..200]).unwrap();
    let ran = few.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(few.out.counts()[..3], [2, 1, 1]);
    let before = few.out.by_url();
    fs::write(few.pictures.join("b.png"), whole).unwrap();
    let changed = [
        "a picture in ",
        "has changed since",
        "--again failed goes on with the mended",
    ];
    refused(&few.run(&[]), 2, &changed);
    // One that was copied to and fro has another time, and the folder may be written otherwise.
    let copied = fs::read(few.pictures.join("a.png")).unwrap();
    fs::write(few.pictures.join("a.png"), copied).unwrap();
    let otherwise = format!("{}/./", few.pictures.display());
    let ran = caption(&[&otherwise, "--out", text(&few.out.0), "--again", "failed"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("goes on: 1 input answered before"),
        "{}",
        ran.stderr
    );
    assert_eq!(few.out.counts(), [2, 2, 0, 0, 0]);
    let after = few.out.by_url();
    let [(name, row)] = &before.iter().collect::<Vec<_>>()[..] else {
        panic!("{before:?}");
    };
    assert_eq!(&after[*name], *row, "its answer is the one of before");
}
