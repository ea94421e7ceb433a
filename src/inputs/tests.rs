mod changed;
mod tars;

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::*;
use tars::tar;

fn named(paths: &[&Path]) -> Vec<OsString> {
    paths
        .iter()
        .map(|path| path.as_os_str().to_owned())
        .collect()
}

fn opened(paths: &[&Path]) -> Inputs {
    open(&named(paths), &Columns::default(), None).unwrap()
}

/// What is said of inputs that cannot be used.
fn refused(paths: &[&Path]) -> String {
    let faults = open(&named(paths), &Columns::default(), None).unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    faults.join("\n")
}

fn entries(inputs: &Inputs, from: Place) -> Vec<(Entry, Place)> {
    inputs.read(from).map(Result::unwrap).collect()
}

/// All entries, after looking whether reading goes on behind each of them with the next one.
fn all(inputs: &Inputs) -> Vec<Entry> {
    let all = entries(inputs, Place::default());
    for (number, (_, place)) in all.iter().enumerate() {
        let rest = entries(inputs, *place);
        assert_eq!(rest, all[number + 1..], "behind entry {number}");
        let text = serde_json::to_string(place).unwrap();
        assert_eq!(serde_json::from_str::<Place>(&text).unwrap(), *place);
    }
    assert!(inputs.count().is_none_or(|count| count == all.len() as u64));
    all.into_iter().map(|(entry, _)| entry).collect()
}

fn ask(entry: &Entry) -> &Ask {
    entry.content.as_ref().unwrap()
}

fn request(entry: &Entry) -> Value {
    serde_json::from_slice(&ask(entry).request).unwrap()
}

/// The `url` that is asked for, of JSON or bare.
fn url(entry: &Entry) -> String {
    let text = std::str::from_utf8(&ask(entry).request).unwrap();
    match serde_json::from_str::<Value>(text) {
        Ok(request) => request["url"].as_str().unwrap().to_owned(),
        Err(_) => text.to_owned(),
    }
}

fn detail(entry: &Entry) -> &str {
    &entry.content.as_ref().unwrap_err().detail
}

/// The path behind a `file:` URL.
fn path_of(url: &str) -> PathBuf {
    url::Url::parse(url).unwrap().to_file_path().unwrap()
}

#[test]
fn a_folder_gives_its_pictures_in_order_with_whatever_name() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("pictures");
    let deep = root.join("b #1/c?%20");
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir_all(root.join(".vila2/gallery")).unwrap();
    fs::create_dir_all(root.join("empty.png")).unwrap();
    let odd = OsStr::from_bytes(b"z \xff\n.JPeG");
    let pictures = [
        root.join("a b.png"),
        deep.join("50%.webp"),
        deep.join("x?y#z.gif"),
        root.join("c\nd.tif"),
        root.join("dangling.bmp"),
        root.join(odd),
    ];
    for path in &pictures {
        if path.ends_with("dangling.bmp") {
            symlink("nowhere", path).unwrap();
        } else {
            fs::write(path, "x").unwrap();
        }
    }
    for other in [
        "notes.txt",
        "b #1/list.csv",
        "noending",
        ".vila2/gallery/1.png",
    ] {
        fs::write(root.join(other), "x").unwrap();
    }
    symlink("..", deep.join("up")).unwrap(); // a loop
    let inputs = opened(&[&root]);
    assert_eq!((inputs.count(), inputs.skipped()), (Some(6), 3));
    assert!(!inputs.is_named_singly());
    let all = all(&inputs);
    let real = root.canonicalize().unwrap();
    for (entry, path) in all.iter().zip(&pictures) {
        let expected = real.join(path.strip_prefix(&root).unwrap());
        assert_eq!(path_of(&url(entry)), expected);
        assert_eq!(ask(entry).path.as_deref(), Some(expected.as_path()));
    }
    assert!(all[5].name.ends_with("z \\xff\n.JPeG"), "{}", all[5].name);
}

#[test]
fn a_folder_is_another_one_where_a_picture_changed() {
    let home = tempfile::tempdir().unwrap();
    let picture = home.path().join("a.png");
    let known = || opened(&[home.path()]).known();
    fs::write(&picture, "one").unwrap();
    let first = known();
    fs::write(home.path().join("notes.txt"), "beside").unwrap();
    assert_eq!(known(), first, "what is no picture does not matter");
    fs::write(&picture, "one").unwrap();
    assert_eq!(known(), first, "written anew with the same bytes");
    fs::write(&picture, "other").unwrap();
    let second = known();
    assert_ne!(second, first);
    assert!(second[0].has_entries_of(&first[0]));
    fs::rename(&picture, home.path().join("b.png")).unwrap();
    assert!(!known()[0].has_entries_of(&second[0]));
}

#[test]
fn a_folder_without_pictures_stands_for_its_tars_or_tables_and_else_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    fs::write(path.join("notes.txt"), "x").unwrap();
    let problem = refused(&[path]);
    assert!(
        problem.contains("a folder without pictures: none of its 1 files"),
        "{problem}"
    );
    table(&path.join("b.parquet"), 3, 2);
    let inputs = opened(&[path]);
    assert_eq!(inputs.count(), Some(2));
    tar(&path.join("a.tar"), &[("one.png", "1")]);
    let inputs = opened(&[path]);
    assert_eq!(inputs.count(), Some(1));
    assert!(inputs.known()[0].name.ends_with("a.tar"));
}

#[test]
fn what_is_named_twice_is_refused_under_any_name() {
    let home = tempfile::tempdir().unwrap();
    let (folder, link) = (home.path().join("one"), home.path().join("two"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.png"), "x").unwrap();
    symlink(&folder, &link).unwrap();
    assert!(refused(&[&folder, &folder]).contains("named twice"));
    let problem = refused(&[&folder, &link]);
    assert!(
        problem.contains("two: is ") && problem.contains("named, too"),
        "{problem}"
    );
    let (list, other) = (home.path().join("a.txt"), home.path().join("b.txt"));
    fs::write(&list, "http://h/1\n").unwrap();
    symlink(&list, &other).unwrap();
    assert!(refused(&[&list, &other]).contains("named, too"));
    // Pictures may be: each is an input of its own.
    let picture = folder.join("a.png");
    assert_eq!(all(&opened(&[&picture, &picture])).len(), 2);
}

#[test]
fn pictures_and_urls_named_singly_are_what_they_are() {
    let home = tempfile::tempdir().unwrap();
    let odd = home.path().join(OsStr::from_bytes(b"\xe9 #1"));
    fs::write(&odd, "x").unwrap();
    let web = Path::new("https://example.org/a b.png?x=1#y");
    let missing = home.path().join("missing.png");
    let inputs = opened(&[&odd, web, &missing]);
    assert!(inputs.is_named_singly());
    let all = all(&inputs);
    assert_eq!(path_of(&url(&all[0])), odd.canonicalize().unwrap());
    assert_eq!(url(&all[1]), "https://example.org/a%20b.png?x=1#y");
    assert_eq!(all[1].name, web.to_str().unwrap());
    assert!(detail(&all[2]).contains("No such file"), "{:?}", all[2]);
    // A format is that of lists: a picture among them stays one.
    let (picture, list) = (home.path().join("a.png"), home.path().join("urls.dat"));
    fs::write(&picture, "x").unwrap();
    fs::write(&list, "url\nhttp://h/1\n").unwrap();
    let format = Some(requests::Format::Csv);
    let inputs = open(&named(&[&picture, &list]), &Columns::default(), format).unwrap();
    assert_eq!(entries(&inputs, Place::default()).len(), 2);
}

#[test]
fn a_line_is_a_url_or_a_path_from_the_list_on() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("sub")).unwrap();
    let picture = home.path().join("sub/a b.png");
    fs::write(&picture, "x").unwrap();
    let list = home.path().join("list.jsonl");
    let lines = [
        "http://h/1.jpg",
        "",
        "sub/a b.png",
        picture.to_str().unwrap(),
        r#"{"url": "sub/a b.png", "id": "x", "meta": {"n": 1.50000000000000000001}}"#,
        r#"{"url": "http://h/2.jpg", "caption": "two"}"#,
        "data:image/png;base64,AAAA",
        "http://h/with blank.jpg",
        "sub/missing.png",
        r#""http://h/quoted.jpg""#,
        r#"{"no": "url"}"#,
    ];
    fs::write(&list, lines.join("\r\n")).unwrap();
    let inputs = opened(&[&list]);
    assert_eq!(inputs.count(), Some(10));
    let all = all(&inputs);
    let file = url::Url::from_file_path(&picture).unwrap().to_string();
    assert_eq!(&*ask(&all[0]).request, b"http://h/1.jpg");
    for entry in &all[1..4] {
        assert_eq!(url(entry), file);
    }
    assert_eq!(ask(&all[1]).path.as_deref(), Some(picture.as_path()));
    let json = String::from_utf8(ask(&all[3]).request.to_vec()).unwrap();
    assert!(
        json.contains("1.50000000000000000001"),
        "digits stay: {json}"
    );
    assert_eq!(request(&all[3])["id"], "x");
    assert_eq!(&*ask(&all[4]).request, lines[5].as_bytes());
    assert_eq!(&*ask(&all[5]).request, lines[6].as_bytes());
    assert!(detail(&all[6]).contains("a blank is in the line"));
    assert!(
        url(&all[7]).ends_with("sub/missing.png"),
        "the chain says it is not there"
    );
    assert_eq!(&*ask(&all[8]).request, b"http://h/quoted.jpg");
    assert_eq!(all[9].name, format!("{}: line 11", list.display()));
}

/// A file of rows with a column `url`, in row groups of 1,024.
fn table(path: &Path, first: u32, rows: u32) {
    let mut writer = crate::records::RecordWriter::create(path).unwrap();
    for number in first..first + rows {
        let record = json!({ "id": number.to_string(), "url": format!("http://h/{number}.jpg") });
        writer.push(record.to_string().as_bytes()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn every_row_that_cannot_be_read_is_an_entry_and_reading_goes_on_inside_of_them() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("rows.parquet");
    table(&path, 0, 1500);
    let mut bytes = fs::read(&path).unwrap();
    let whole = entries(&opened(&[&path]), Place::default());
    assert_eq!(whole.len(), 1500);
    // The beginning, not the footer that says how many rows there are.
    let quarter = bytes.len() / 4;
    bytes[4..quarter].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let inputs = opened(&[&path]);
    let read = entries(&inputs, Place::default());
    assert_eq!(read.len(), 1500, "one each");
    let bad = read
        .iter()
        .filter(|(entry, _)| entry.content.is_err())
        .count();
    assert!(bad >= 4, "{bad} rows that cannot be read");
    for (number, (entry, _)) in read.iter().enumerate() {
        match &entry.content {
            Ok(_) => assert_eq!(url(entry), format!("http://h/{number}.jpg")),
            Err(_) => assert!(entry.name.ends_with(&format!(": row {}", number + 1))),
        }
    }
    let places = [0, 1, bad / 2, bad - 2, bad - 1, bad, 1100, 1499];
    for number in places.into_iter().filter(|number| *number < 1500) {
        let rest = entries(&inputs, read[number].1);
        assert_eq!(rest, read[number + 1..], "behind row {number}");
    }
}

#[test]
fn lists_without_a_line_count_as_nothing() {
    let home = tempfile::tempdir().unwrap();
    for name in ["a.txt", "a.jsonl", "a.csv", "a.tsv"] {
        let path = home.path().join(name);
        fs::write(
            &path,
            if name.ends_with("sv") {
                "url\n"
            } else {
                "\n \n"
            },
        )
        .unwrap();
        let inputs = opened(&[&path]);
        assert_eq!(inputs.count(), Some(0), "{name}");
        assert_eq!(all(&inputs), []);
    }
    let path = home.path().join("a.parquet");
    table(&path, 0, 0);
    assert_eq!(opened(&[&path]).count(), Some(0));
}

#[test]
fn several_inputs_are_read_one_after_the_other() {
    let home = tempfile::tempdir().unwrap();
    let (folder, list) = (home.path().join("p"), home.path().join("l.txt"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.png"), "x").unwrap();
    fs::write(folder.join("b.png"), "x").unwrap();
    fs::write(&list, "http://h/1\nhttp://h/2\n").unwrap();
    let web = Path::new("http://h/3");
    let all = all(&opened(&[&list, web, &folder]));
    let urls: Vec<_> = all
        .iter()
        .map(|entry| url(entry).rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(urls, ["1", "2", "3", "a.png", "b.png"]);
}

#[test]
fn a_sample_is_that_of_its_seed() {
    for (count, size) in [(0, 5), (3, 5), (5, 5), (1000, 10), (1000, 999)] {
        let sample = Sample::choose(count, size, 1);
        assert_eq!(sample.len(), size.min(count));
        assert!(
            (0..count + 10)
                .filter(|ordinal| sample.has(*ordinal))
                .all(|n| n < count)
        );
        assert_eq!(sample, Sample::choose(count, size, 1));
    }
    assert_ne!(Sample::choose(1000, 10, 1), Sample::choose(1000, 10, 2));
    // Every one as likely as every other: 100 of 1,000, a thousand times.
    let mut drawn = [0_u32; 1000];
    for seed in 0..1000 {
        let sample = Sample::choose(1000, 100, seed);
        (0..1000)
            .filter(|n| sample.has(*n))
            .for_each(|n| drawn[n as usize] += 1);
    }
    assert!(
        drawn.iter().all(|times| (50..150).contains(times)),
        "{drawn:?}"
    );
}
