//! What stands in a model folder and cannot be used: every command that meets it says what and where.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{fs, os::unix::fs::symlink, path::Path};

use support::program::{refused, run};

/// A copy of the shipped model's folder, made of links, but for the files named.
fn scenes_without(missing: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a file of the folder");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenes");
    fs::create_dir(folder.path().join("onnx")).expect("a file of the folder");
    for inside in ["", "onnx"] {
        for entry in fs::read_dir(shipped.join(inside)).expect("a file of the folder") {
            let entry = entry.expect("a file of the folder");
            let name = Path::new(inside).join(entry.file_name());
            if entry.path().is_file()
                && !missing.contains(&name.to_str().expect("a file of the folder"))
            {
                symlink(entry.path(), folder.path().join(name)).expect("a file of the folder");
            }
        }
    }
    folder
}

#[test]
fn every_file_that_a_model_folder_lacks_is_told() {
    let folder = scenes_without(&["onnx/vision_encoder.onnx", "tokenizer.json"]);
    let path = folder.path().display().to_string();
    let ran = run(&["run", "--set", &format!("models.scenes.path={path}")]);
    refused(
        &ran,
        2,
        &[
            "2 faults in the configuration",
            &format!(
                "models.scenes.path: {path}/tokenizer.json: missing; accepted: a whole folder"
            ),
            &format!(
                "models.scenes.path: {path}/onnx/vision_encoder.onnx: missing, and so are the variants \
                 fp16, int8"
            ),
            "`vila2 models pull` fetches one",
            "(--set models.scenes.path)",
        ],
    );
}

#[test]
fn a_variant_that_is_not_there_is_told_by_its_file() {
    let ran = run(&["run", "--set", "models.scenes.variant=q4"]);
    refused(
        &ran,
        2,
        &[
            "models/scenes/onnx/embed_tokens_q4.onnx: missing; of embed_tokens there are: fp32",
            "models.scenes.path",
        ],
    );
}

#[test]
fn a_model_of_an_unknown_type_is_told_with_the_known_ones() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.json"),
        r#"{"model_type": "bert"}"#,
    )
    .unwrap();
    let path = folder.path().display().to_string();
    let ran = run(&["run", "--set", &format!("models.scenes.path={path}")]);
    refused(
        &ran,
        2,
        &[
            &format!("models.scenes.path: {path}/config.json: no adapter reads a `bert`"),
            "`model_type` is one of smolvlm, idefics3",
        ],
    );
}

#[test]
fn a_graph_that_is_no_graph_is_told_before_anything_is_read() {
    let folder = scenes_without(&["onnx/embed_tokens.onnx"]);
    fs::write(folder.path().join("onnx/embed_tokens.onnx"), "no graph").unwrap();
    let path = folder.path().display().to_string();
    let path_set = format!("models.scenes.path={path}");
    let ran = run(&["run", "--set", &path_set, "--set", "http.listen=off"]);
    refused(
        &ran,
        2,
        &[
            &format!(
                "models.scenes.path: {path}/onnx/embed_tokens.onnx: no ONNX graph; fetch it again"
            ),
            "`vila2 models pull` fetches one",
            "(--set models.scenes.path)",
        ],
    );
}

#[test]
fn what_stands_in_place_of_a_models_file_is_named_by_every_command_that_meets_it() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
        oid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c1550b5a0002f74190d6caea8\n\
        size 541234567\n";
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenes");
    let encoder = "onnx/vision_encoder.onnx";
    let half = fs::read(shipped.join(encoder)).unwrap();
    let size = half.len();
    let half = half[..size / 2].to_vec();
    let cut = format!("cut off: {} bytes of at least ", half.len());
    let pointer = "a Git LFS pointer in place of the file of 541234567 bytes; run `git lfs pull`";
    for (file, bytes, words) in [
        (encoder, POINTER.as_bytes().to_vec(), pointer),
        ("tokenizer.json", POINTER.as_bytes().to_vec(), pointer),
        (
            "config.json",
            b"<!doctype html><title>Sign in</title>".to_vec(),
            "an HTML page",
        ),
        (encoder, half, &*cut),
    ] {
        let folder = scenes_without(&[file]);
        fs::write(folder.path().join(file), bytes).unwrap();
        let path = folder.path().display().to_string();
        let set = format!("models.scenes.path={path}");
        let start = run(&["run", "--set", &set, "--set", "http.listen=off"]);
        refused(
            &start,
            2,
            &[
                &format!("models.scenes.path: {path}"),
                &format!("{file}: {words}"),
                "`vila2 models pull`",
            ],
        );
        for command in [
            &["models", "inspect", &path][..],
            &["models", "check", &path],
            &[
                "doctor",
                "--json",
                "--set",
                &set,
                "--set",
                "kafka.brokers=127.0.0.1:1",
            ],
        ] {
            let ran = run(command);
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.code, 1, "{command:?}: {all}");
            assert!(
                all.contains(&format!("{file}: {words}")),
                "{command:?}: {all}"
            );
        }
    }
}

#[test]
fn graphs_that_pp_ocr_lacks_are_told_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x_det_infer.onnx"), "no graph").unwrap();
    let path = folder.path().display().to_string();
    let ran = run(&["run", "--set", &format!("models.ppocr.path={path}")]);
    let lacks = |word: &str| {
        format!(
            "models.ppocr.path: {path} holds 0 graphs named *_{word}_*.onnx, and the reader wants \
             exactly one; `make runtime` brings PP-OCR's three graphs"
        )
    };
    refused(
        &ran,
        2,
        &[
            "2 faults in the configuration",
            &lacks("cls"),
            &lacks("rec"),
        ],
    );
}
