//! Folders and requests that do not go together.

use super::*;

#[test]
fn another_request_is_refused_with_the_difference_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    finish(&mut open(path), 6);
    let before = fs::read(path.join("state.json")).unwrap();
    let mut settings = request("pictures");
    settings
        .settings
        .insert("stages.caption.prompts".to_owned(), "[\"b\"]".to_owned());
    let mut changed = request("pictures");
    changed.inputs[0].identity = Some("2".to_owned());
    let mut once = request("pictures");
    once.inputs[0].identity = None;
    let mut sample = request("pictures");
    sample.sample = Some((3, 1));
    for (request, parts) in [
        (
            request("others"),
            ["its inputs are pictures, not others", "name another folder"],
        ),
        (
            settings,
            [
                "stages.caption.prompts is [\"a\"] there, [\"b\"] now",
                "--again all",
            ],
        ),
        (changed, ["pictures has changed since", "--again all"]),
        (
            once,
            ["pictures can be read once only", "save it to a file"],
        ),
        (
            sample,
            [
                "everything there, a sample of 3 (seed 1) now",
                "--again all",
            ],
        ),
    ] {
        let problem = refused(path, request);
        for part in parts {
            assert!(problem.contains(part), "{part:?} is not in {problem}");
        }
    }
    assert_eq!(fs::read(path.join("state.json")).unwrap(), before);
    complete(path, &open(path), 6);
}

#[test]
fn where_nothing_was_answered_another_request_may_begin() {
    let home = tempfile::tempdir().unwrap();
    drop(open(home.path()));
    let folder = Folder::open(home.path(), request("others"), None).unwrap();
    drop(folder);
    // One line of the journal is an answer, though the state counts none.
    let mut folder = Folder::open(home.path(), request("others"), None).unwrap();
    answer(&mut folder, 0);
    drop(folder);
    refused(home.path(), request("pictures"));
}

#[test]
fn folders_that_cannot_be_used_are_refused_and_left_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "text").unwrap();
    assert!(refused(&file, request("pictures")).contains("is a file; --out takes a folder"));
    let foreign = home.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("summary.json"), "{}").unwrap();
    assert!(refused(&foreign, request("pictures")).contains("was written by something else"));
    fs::write(foreign.join("state.json"), "{}").unwrap();
    assert!(refused(&foreign, request("pictures")).contains("is not the state of"));
    let all = Folder::open(&foreign, request("pictures"), Some(Again::All));
    assert!(matches!(all, Err(Error::Refused(_))), "it is not ours");
    assert_eq!(
        fs::read_dir(&foreign).unwrap().count(),
        2,
        "nothing was made"
    );
    let ours = home.path().join("ours");
    let first = open(&ours);
    assert!(refused(&ours, request("pictures")).contains("another `vila2 caption` is writing"));
    drop(first);
    finish(&mut open(&ours), 6);
    fs::remove_file(ours.join("captions-00000.parquet")).unwrap();
    let problem = refused(&ours, request("pictures"));
    assert!(
        problem.contains("captions-00000.parquet is missing"),
        "{problem}"
    );
    let shorter = home.path().join("shorter");
    finish(&mut open(&shorter), 6);
    fs::write(shorter.join("dead.jsonl"), "").unwrap();
    let problem = refused(&shorter, request("pictures"));
    assert!(
        problem.contains("dead.jsonl is shorter than when it was written"),
        "{problem}"
    );
}

#[test]
fn a_file_of_rows_that_is_not_as_it_was_written_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("folder");
    finish(&mut open(&path), 6);
    let shard = path.join("captions-00000.parquet");
    let whole = fs::read(&shard).unwrap();
    let longer = [whole.as_slice(), b"PAR1"].concat();
    let length = whole.len();
    for (damaged, part) in [
        (
            &whole[..length / 2],
            format!(" bytes, not {length} as when it was written"),
        ),
        (&[], format!("has 0 bytes, not {length} as")),
        (
            longer.as_slice(),
            format!("has {} bytes, not {length} as", length + 4),
        ),
        (
            &vec![0; length],
            "does not end as a Parquet file does".to_owned(),
        ),
    ] {
        fs::write(&shard, damaged).unwrap();
        let problem = refused(&path, request("pictures"));
        assert!(
            problem.contains(&part) && problem.contains("--again all"),
            "{part:?} is not in {problem}"
        );
    }
    fs::write(&shard, &whole).unwrap();
    complete(&path, &open(&path), 6);
    // A folder of an earlier version does not know the length, and goes on.
    let state = path.join("state.json");
    let mut older: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    older
        .as_object_mut()
        .unwrap()
        .remove("shard_bytes")
        .unwrap();
    fs::write(&state, older.to_string()).unwrap();
    finish(&mut open(&path), 9);
    complete(&path, &open(&path), 9);
    fs::write(&shard, b"PAR1").unwrap();
    drop(open(&path));
    fs::write(path.join("captions-00001.parquet"), b"PAR1").unwrap();
    let problem = refused(&path, request("pictures"));
    assert!(
        problem.contains("captions-00001.parquet has 4 bytes"),
        "{problem}"
    );
}

#[test]
fn the_time_of_a_run_that_was_killed_counts() {
    let home = tempfile::tempdir().unwrap();
    let mut folder = open(home.path());
    folder.since = Instant::now()
        .checked_sub(std::time::Duration::from_secs(100))
        .unwrap();
    answer(&mut folder, 0);
    drop(folder);
    let seconds = open(home.path()).totals().seconds;
    assert!((100.0..150.0).contains(&seconds), "{seconds}");
}
