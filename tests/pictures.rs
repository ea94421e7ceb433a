//! Pictures of people through the whole program: what is read, what is refused, and in how much
//! memory.

use std::{path::Path, process::Command};

use serde_json::Value;
use vila2::decode::FileDecoder;
use vila2_actors::ports::Decoder as _;

fn pictures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures"))
}

/// `vila2 caption --json`: the records, and what stands on stderr.
fn captioned(files: &[&str], settings: &[&str]) -> (Vec<Value>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vila2"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars() {
        if name.starts_with("VILA2_") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command.args(["caption", "--json"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.args(files.iter().map(|file| pictures().join(file)));
    let output = command.output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let records = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    (records.collect(), told)
}

fn texts(record: &Value) -> Vec<&str> {
    let lines = record["text"].as_array().expect("a list");
    lines
        .iter()
        .filter_map(|line| line["text"].as_str())
        .collect()
}

#[test]
fn a_black_and_a_white_logo_on_clear_are_both_read() {
    let files = ["reports/clear_black.png", "clear_white.png"];
    let (records, told) = captioned(&files, &[]);
    assert_eq!(records.len(), 2, "{told}");
    for record in &records {
        assert_eq!(texts(record), ["logo text"], "{record}");
    }
    let (records, told) = captioned(&files, &["decode.background=stored"]);
    assert_eq!(records.len(), 2, "{told}");
    for record in &records {
        assert!(texts(record).is_empty(), "one colour all over: {record}");
    }
}

#[test]
fn reported_pictures_are_captioned_upright_or_refused_by_name() {
    let (records, told) = captioned(
        &[
            "reports/j_exif_long.jpg",
            "reports/p_exif_raw_profile.png",
            "reports/w_flag_without_exif.webp",
            "reports/g_canvas_zero.gif",
            "reports/b_rle8_no_end.bmp",
            "reports/g_1x1.gif",
            "reports/p_cgbi.png",
            "reports/r_json.jpg",
        ],
        &["stages.ground.mode=off", "stages.relate.mode=off"],
    );
    let sizes: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record["image"]["width"].clone(),
                record["image"]["height"].clone(),
            )
        })
        .collect();
    let expected = [(160, 208), (160, 208), (208, 160), (100, 80), (208, 160)];
    assert_eq!(sizes, expected.map(|(w, h)| (w.into(), h.into())), "{told}");
    for line in [
        "g_1x1.gif: too_small: ",
        "p_cgbi.png: unsupported_format: ",
        "r_json.jpg: unsupported_format: ",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
}

/// The most of this process's memory that was ever resident, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse::<u64>().ok())
        .expect("kB")
        * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_packed_profile_of_128_mib_raises_resident_memory_by_less_than_20_mb() {
    let body = std::fs::read(pictures().join("reports/p_icc_bomb.png")).expect("committed");
    let before = peak();
    let decoder = FileDecoder::default();
    let claimed = decoder.header(&body).expect("good").decoded_bytes;
    decoder.decode(body.into()).expect("good");
    let risen = peak() - before;
    assert!(risen < 20_000_000, "{risen} bytes");
    assert!(claimed < 20_000_000, "{claimed} bytes claimed");
}
