//! Drawn pictures, in a folder and in a tar, captioned into a folder and exported in every format:
//! the counts add up, and the pictures are the source's, byte for byte.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::program::{refused, run};

const COUNT: usize = 12;
const FORMATS: [&str; 5] = ["webdataset", "vila", "llava", "energon", "hf"];

/// Draws pictures; returns their bytes by name.
fn draw(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let out = folder.to_str().unwrap();
    let count = COUNT.to_string();
    let drawn = run(&[
        "scenes", "generate", "--out", out, "--count", &count, "--seed", "7",
    ]);
    assert_eq!(drawn.code, 0, "{}", drawn.stderr);
    (fs::read_dir(folder.join("images")).unwrap())
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn caption(input: &Path, out: &Path, without: &[&str]) {
    let mut arguments = vec![
        "caption",
        input.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    arguments.extend(without);
    let captioned = run(&arguments);
    assert_eq!(captioned.code, 0, "{}", captioned.stderr);
}

/// Exports; returns the counts.
fn export(source: &Path, format: &str, text: &str, out: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["export", source.to_str().unwrap(), "--format", format];
    arguments.extend(["--text", text, "--json", "--out", out.to_str().unwrap()]);
    arguments.extend(more);
    let exported = run(&arguments);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    serde_json::from_str(&exported.stdout).unwrap()
}

/// `read` = `written` + what is left out, and all of the list is in it.
fn adds_up(counts: &Value) {
    let left = counts["left_out"].as_object().unwrap().values();
    let left: u64 = left.map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counts["read"], COUNT);
    assert_eq!(
        counts["written"].as_u64().unwrap() + left,
        COUNT as u64,
        "{counts}"
    );
    assert_eq!(counts["original_list"]["read"], COUNT);
    assert_eq!(counts["original_list"]["dead"], 0);
}

fn members(tar: &Path) -> Vec<(String, Vec<u8>)> {
    let mut tar = tar::Archive::new(fs::File::open(tar).unwrap());
    (tar.entries().unwrap())
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = (walkdir::WalkDir::new(folder).into_iter())
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    files.sort();
    files
}

/// The pictures of an export, in any order; `None` where the format has them in Parquet.
fn pictures(out: &Path, format: &str) -> Option<Vec<Vec<u8>>> {
    let mut found: Vec<_> = match format {
        "hf" => return None,
        "llava" => {
            let images = files(out, "jpg").into_iter();
            images.map(|path| fs::read(path).unwrap()).collect()
        }
        _ => {
            let members = files(out, "tar").into_iter().flat_map(|tar| members(&tar));
            let jpgs = members.filter(|(name, _)| name.ends_with(".jpg"));
            jpgs.map(|(_, bytes)| bytes).collect()
        }
    };
    found.sort();
    Some(found)
}

fn sorted(drawn: &BTreeMap<String, Vec<u8>>) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = drawn.values().cloned().collect();
    all.sort();
    all
}

#[test]
fn a_folder_of_pictures_comes_out_in_every_format() {
    let place = tempfile::tempdir().unwrap();
    let drawn = draw(place.path());
    let source = place.path().join("captions");
    let fast = ["--without", "ground,relate,read_text"];
    caption(&place.path().join("images"), &source, &fast);
    for format in FORMATS {
        let out = place.path().join(format);
        let counts = export(&source, format, "caption", &out, &["--shard-size", "5"]);
        adds_up(&counts);
        assert_eq!(counts["written"], COUNT, "{counts}");
        assert_eq!(counts["coverage"], 1.0);
        if let Some(pictures) = pictures(&out, format) {
            assert_eq!(pictures, sorted(&drawn), "{format}");
        } else {
            assert_eq!(files(&out, "parquet").len(), 3);
        }
        let none = export(&source, format, "caption", &out, &["--shard-size", "5"]);
        assert_eq!(none, counts, "the same once more");
        let occupied = place.path().join("images");
        let ran = run(&[
            "export",
            source.to_str().unwrap(),
            "--format",
            format,
            "--out",
            occupied.to_str().unwrap(),
        ]);
        refused(&ran, 2, &["holds something", "empty or new folder"]);
    }
    // no original: nothing to train on
    let out = place.path().join("nothing");
    let (source, out) = (source.to_str().unwrap(), out.to_str().unwrap());
    let ran = run(&[
        "export", source, "--format", "hf", "--text", "original", "--out", out,
    ]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("no text 12"), "{}", ran.stdout);
}

#[test]
fn a_tar_comes_out_with_all_specialists_by_its_keys_and_urls() {
    let place = tempfile::tempdir().unwrap();
    let drawn = draw(place.path());
    let tar_path = place.path().join("in.tar");
    let mut tar = tar::Builder::new(fs::File::create(&tar_path).unwrap());
    let mut put = |name: String, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    for (number, bytes) in drawn.values().enumerate() {
        put(format!("part/{number:03}.jpg"), bytes);
        put(
            format!("part/{number:03}.txt"),
            format!("alt text {number}").as_bytes(),
        );
        if number % 2 == 0 {
            // a record of such a sample has this URL, which nobody serves
            let json = format!(r#"{{"url": "http://127.0.0.1:1/{number}.jpg"}}"#);
            put(format!("part/{number:03}.json"), json.as_bytes());
        }
    }
    tar.finish().unwrap();
    let source = place.path().join("captions");
    caption(&tar_path, &source, &[]);
    for format in FORMATS {
        for text in ["enriched", "qa", "original+caption", "mix:0.5"] {
            let out = place.path().join(format!("{format} {text}"));
            let counts = export(&source, format, text, &out, &[]);
            adds_up(&counts);
            assert_eq!(counts["written"], COUNT, "{counts}");
            assert_eq!(counts["without_original"], 0);
            if let (Some(mut pictures), true) = (pictures(&out, format), counts["samples"] == COUNT)
            {
                pictures.dedup();
                assert_eq!(pictures, sorted(&drawn), "{format}");
            }
        }
    }
    let out = place.path().join("joined");
    export(&source, "energon", "original", &out, &["--no-images"]);
    let mut texts = members(&out.join("00000.tar"));
    texts.retain(|(name, _)| name.ends_with(".txt"));
    texts.sort();
    let expected: Vec<_> = (0..COUNT)
        .map(|number| {
            (
                format!("part/{number:03}.txt"),
                format!("alt text {number}").into_bytes(),
            )
        })
        .collect();
    assert_eq!(texts, expected);
    let out = place.path().join("certain");
    let counts = export(
        &source,
        "webdataset",
        "enriched",
        &out,
        &["--verdicts", "grounded,read"],
    );
    adds_up(&counts);
    // the file is gone
    fs::rename(&tar_path, place.path().join("away.tar")).unwrap();
    let out = place.path().join("gone");
    let (source, out) = (source.to_str().unwrap(), out.to_str().unwrap());
    let ran = run(&["export", source, "--format", "llava", "--out", out]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("12 left out (picture gone 6, fetch failed 6)"),
        "{}",
        ran.stdout
    );
}
