//! Crashes between steps, built by hand; what is done again.

mod refused;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::inputs::{Known, Position};

fn request(name: &str) -> Request {
    Request {
        inputs: vec![Known {
            name: name.to_owned(),
            identity: Some("1".to_owned()),
        }],
        settings: BTreeMap::from([("stages.caption.prompts".to_owned(), "[\"a\"]".to_owned())]),
        sample: None,
    }
}

fn open(path: &Path) -> Folder {
    Folder::open(path, request("pictures"), None).unwrap()
}

fn refused(path: &Path, request: Request) -> String {
    match Folder::open(path, request, None) {
        Err(Error::Refused(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

fn answered(ordinal: u64) -> Answered {
    let position = Position {
        at: ordinal + 1,
        number: ordinal + 1,
    };
    Answered {
        ordinal,
        place: Place {
            position,
            ..Place::default()
        },
    }
}

fn record(ordinal: u64) -> Vec<u8> {
    json!({
        "schema": "vila2.caption/1", "id": ordinal.to_string(), "url": format!("http://h/{ordinal}"),
        "round": 0,
        "image": { "sha256": "00", "width": 1, "height": 1, "format": "png", "bytes": 1 },
        "caption": { "text": "a", "tokens": 1, "finish": "stop" },
        "grounding": [], "text": [], "spatial": [], "clauses": [], "enriched": "a",
        "models": {}, "status": "complete", "timings_ms": { "total": 1.5 }, "queue_ms": {},
    })
    .to_string()
    .into_bytes()
}

fn question(ordinal: u64) -> QuestionId {
    QuestionId((u128::from(ordinal) << 64 | 7).to_be_bytes())
}

fn caption(folder: &mut Folder, ordinal: u64) {
    let record = record(ordinal);
    let caption = Caption {
        record: &record,
        question: Some(question(ordinal)),
        repeat: false,
    };
    folder.caption(answered(ordinal), &caption).unwrap();
}

fn dead(folder: &mut Folder, ordinal: u64) {
    let dead = Dead {
        input: &ordinal.to_string(),
        reason: "fetch_status",
        detail: "404 \"not\nfound\"",
    };
    folder.dead(answered(ordinal), &dead).unwrap();
}

/// Answers an entry: what is divisible by 3 with a caption, the others with dead letters.
fn answer(folder: &mut Folder, ordinal: u64) {
    if ordinal.is_multiple_of(3) {
        caption(folder, ordinal);
    } else {
        dead(folder, ordinal);
    }
}

/// Answers whatever of `count` entries is still to be done, from where reading goes on.
fn finish(folder: &mut Folder, count: u64) {
    let wanted = folder.wanted();
    let (place, low) = folder.start();
    assert_eq!(
        place.position.number, low,
        "place and ordinal belong together"
    );
    for ordinal in low..count {
        if wanted(ordinal) {
            answer(folder, ordinal);
        } else {
            folder.pass_over(answered(ordinal));
        }
    }
    folder.save(true).unwrap();
}

/// Ids of the rows, and inputs of the dead letters, as they stand.
fn written(path: &Path, folder: &Folder) -> (Vec<u64>, Vec<u64>) {
    let mut rows = Vec::new();
    for shard in folder.shards() {
        for record in records::read(&shard).unwrap() {
            let record: Value = serde_json::from_slice(&record.unwrap()).unwrap();
            rows.push(record["id"].as_str().unwrap().parse().unwrap());
        }
    }
    let dead = fs::read_to_string(path.join("dead.jsonl")).unwrap();
    let dead = dead.lines().map(|line| {
        let letter: Value = serde_json::from_str(line).unwrap();
        letter["input"].as_str().unwrap().parse().unwrap()
    });
    (rows, dead.collect())
}

/// Every one of `count` entries has its row or its dead letter, once, and the counts say so.
fn complete(path: &Path, folder: &Folder, count: u64) {
    let (mut rows, mut dead) = written(path, folder);
    rows.sort_unstable();
    dead.sort_unstable();
    let is_row = |ordinal: &u64| ordinal.is_multiple_of(3);
    assert_eq!(rows, (0..count).filter(is_row).collect::<Vec<_>>());
    assert_eq!(dead, (0..count).filter(|n| !is_row(n)).collect::<Vec<_>>());
    let totals = folder.totals();
    assert_eq!(totals.captions, rows.len() as u64);
    assert_eq!(totals.dead(), dead.len() as u64);
    let shards = fs::read_dir(path).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("captions-")
    });
    assert_eq!(shards.count(), folder.shards().count(), "no file too many");
    // Each is a file opened anew: of many, some.
    let step = 1 + rows.len() / 50;
    for row in rows.into_iter().step_by(step) {
        let found = folder.seen().lock().unwrap().find(question(row));
        let Some(Found::Answered(spot)) = found else {
            panic!("{row}: {found:?}");
        };
        let record: Value = serde_json::from_slice(&folder.record(spot).unwrap()).unwrap();
        assert_eq!(record["id"], row.to_string(), "{spot:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Folders as they were before and after a journal became files.
struct Turned {
    home: tempfile::TempDir,
}

const SHARD: &str = "captions-00001.parquet";
const JOURNAL: &str = ".vila2/journal.jsonl";

impl Turned {
    /// One file of rows is there; the journal holds the answers of `ordinals`.
    fn new(ordinals: impl Iterator<Item = u64>) -> Self {
        let turned = Self {
            home: tempfile::tempdir().unwrap(),
        };
        let before = turned.path("before");
        let mut folder = open(&before);
        for ordinal in 0..10 {
            answer(&mut folder, ordinal);
        }
        folder.save(false).unwrap();
        for ordinal in ordinals {
            answer(&mut folder, ordinal);
        }
        drop(folder); // as `kill -9` does
        copy(&before, &turned.path("after"));
        open(&turned.path("after"));
        turned
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The state before, with these files of the state after.
    fn between(&self, name: &str, files: &[&str]) -> PathBuf {
        let path = self.path(name);
        copy(&self.path("before"), &path);
        for file in files {
            let after = self.path("after").join(file);
            if after.exists() {
                fs::copy(after, path.join(file)).unwrap();
            }
        }
        path
    }
}

#[test]
fn a_crash_between_any_two_steps_loses_nothing_and_repeats_nothing() {
    let files = [
        SHARD,
        "dead.jsonl",
        ".vila2/dead.bin",
        ".vila2/seen.bin",
        "state.json",
        JOURNAL,
    ];
    // Captions and dead letters; dead letters alone, whose journal makes no file of rows; captions
    // alone; with gaps.
    let journals: [Vec<u64>; 4] = [
        (10..40_u64).collect(),
        (10..40_u64).filter(|n| !n.is_multiple_of(3)).collect(),
        (10..40_u64).filter(|n| n.is_multiple_of(3)).collect(),
        vec![11, 12, 30, 39],
    ];
    for journal in journals {
        let turned = Turned::new(journal.iter().copied());
        for steps in 0..=files.len() {
            let path = turned.between(&steps.to_string(), &files[..steps]);
            let mut folder = open(&path);
            let known = 10 + journal.len() as u64;
            assert_eq!(
                folder.totals().read(),
                known,
                "{steps} steps of {journal:?}"
            );
            finish(&mut folder, 40);
            complete(&path, &folder, 40);
            drop(folder);
            let folder = open(&path);
            assert!(folder.is_finished());
            complete(&path, &folder, 40);
        }
    }
}

#[test]
fn files_that_a_crash_left_half_written_are_written_again() {
    let turned = Turned::new(10..40_u64);
    let path = turned.between("half", &[]);
    for (file, half) in [(SHARD, 2), ("dead.jsonl", 3), (".vila2/dead.bin", 5)] {
        let bytes = fs::read(turned.path("after").join(file)).unwrap();
        fs::write(path.join(file), &bytes[..bytes.len() - bytes.len() / half]).unwrap();
    }
    fs::write(path.join(format!("{SHARD}.new")), "PAR1 and no more").unwrap();
    fs::write(path.join(".vila2/state.new"), "{").unwrap();
    let mut folder = open(&path);
    finish(&mut folder, 45);
    complete(&path, &folder, 45);
}

#[test]
fn a_last_line_that_is_not_whole_is_asked_for_again() {
    let turned = Turned::new(10..14);
    let whole = fs::read(turned.path("before").join(JOURNAL)).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    for cut in [last + 1, (last + whole.len()) / 2, whole.len() - 1] {
        let path = turned.between(&cut.to_string(), &[]);
        fs::write(path.join(JOURNAL), &whole[..cut]).unwrap();
        let mut folder = open(&path);
        assert_eq!(folder.totals().read(), 13, "cut at {cut}");
        finish(&mut folder, 20);
        complete(&path, &folder, 20);
    }
    // Killed in the middle of the first line.
    let path = turned.between("head", &[]);
    fs::write(path.join(JOURNAL), &whole[..7]).unwrap();
    let mut folder = open(&path);
    assert_eq!(folder.totals().read(), 10);
    finish(&mut folder, 20);
    complete(&path, &folder, 20);
}

#[test]
fn a_journal_becomes_files_after_so_many_lines() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    let count = 2 * ROWS + 17;
    let mut folder = open(path);
    for ordinal in 0..count {
        answer(&mut folder, ordinal);
    }
    assert_eq!(folder.shards().count(), 2);
    drop(folder);
    let mut folder = open(path);
    assert_eq!(
        folder.start().1,
        2 * ROWS,
        "the lines of the journal are passed over"
    );
    finish(&mut folder, count);
    complete(path, &folder, count);
    let rows = folder.shards().map(|shard| records::count(&shard).unwrap());
    assert_eq!(rows.collect::<Vec<_>>(), [3334, 3333, 6]);
}

#[test]
fn dead_letters_are_taken_back_and_what_was_captioned_stays() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    let mut folder = open(path);
    finish(&mut folder, 30);
    drop(folder);
    let again = |again| Folder::open(path, request("pictures"), again).unwrap();
    let mut folder = again(Some(Again::Failed));
    assert!(!folder.is_finished());
    assert_eq!((folder.totals().captions, folder.totals().dead()), (10, 0));
    let wanted = folder.wanted();
    let asked: Vec<_> = (0..30).filter(|ordinal| wanted(*ordinal)).collect();
    assert_eq!(asked, (0..30).filter(|n| n % 3 != 0).collect::<Vec<_>>());
    // Half of it is healed; then it is killed.
    for ordinal in asked.iter().copied().take(10) {
        caption(&mut folder, ordinal);
    }
    drop(folder);
    // The same command, and the same without the flag, go on.
    for flag in [Some(Again::Failed), None] {
        let folder = again(flag);
        let wanted = folder.wanted();
        let left: Vec<_> = (0..30).filter(|ordinal| wanted(*ordinal)).collect();
        assert_eq!(left, asked[10..]);
        assert_eq!((folder.totals().captions, folder.totals().dead()), (20, 0));
    }
    let mut folder = again(None);
    for ordinal in asked[10..].iter().copied() {
        dead(&mut folder, ordinal);
    }
    folder.save(true).unwrap();
    let (mut rows, dead) = written(path, &folder);
    rows.sort_unstable();
    let expected: Vec<_> = (0..30).filter(|n| !asked[10..].contains(n)).collect();
    assert_eq!(
        (rows.as_slice(), dead.as_slice()),
        (&expected[..], &asked[10..])
    );
    assert_eq!((folder.totals().captions, folder.totals().dead()), (20, 10));
}

#[test]
fn taking_back_survives_a_crash_at_each_step() {
    let turned = Turned::new(10..40_u64);
    let after = turned.path("after");
    finish(&mut open(&after), 40);
    // The dead letters were copied, the state was not written yet.
    let one = turned.path("copied");
    copy(&after, &one);
    fs::copy(one.join(".vila2/dead.bin"), one.join(".vila2/again.bin")).unwrap();
    complete(&one, &open(&one), 40);
    // The state was written, the files are still as long as before.
    let two = turned.path("stated");
    copy(&after, &two);
    drop(Folder::open(&two, request("pictures"), Some(Again::Failed)).unwrap());
    for file in ["dead.jsonl", ".vila2/dead.bin"] {
        fs::copy(after.join(file), two.join(file)).unwrap();
    }
    let mut folder = open(&two);
    assert_eq!(folder.totals().dead(), 0);
    finish(&mut folder, 40);
    complete(&two, &folder, 40);
}

#[test]
fn beginning_again_removes_what_is_ours_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    finish(&mut open(path), 12);
    fs::write(path.join("mine.txt"), "mine").unwrap();
    fs::create_dir_all(path.join(".vila2/gallery")).unwrap();
    fs::write(path.join(".vila2/gallery/3.json"), record(3)).unwrap();
    fs::write(path.join("captions-00009.parquet.new"), "half").unwrap();
    let begin = |path: &Path| Folder::open(path, request("others"), Some(Again::All)).unwrap();
    let mut folder = begin(path);
    assert_eq!(folder.totals().read(), 0);
    assert!(!path.join(".vila2/gallery/3.json").exists());
    assert!(!path.join("captions-00009.parquet.new").exists());
    assert!(path.join("mine.txt").exists());
    finish(&mut folder, 9);
    complete(path, &folder, 9);
    drop(folder);
    // Whatever a crash among the removals leaves can be removed.
    fs::remove_file(path.join("captions-00000.parquet")).unwrap();
    fs::remove_file(path.join(".vila2/dead.bin")).unwrap();
    finish(&mut begin(path), 9);
    // A damaged state is no obstacle.
    fs::write(path.join("state.json"), "{\"schema\":").unwrap();
    let mut folder = begin(path);
    finish(&mut folder, 9);
    complete(path, &folder, 9);
}
