//! Every message about a bad configuration: what is wrong, where, what to do, the exit code, and
//! nothing on stdout.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{fs, path::Path, process::Command};

use support::program::{Ran, refused, run, vila2};

const FAULTS: &str = "faults in the configuration:";

#[test]
fn unknown_keys_and_wrong_types_are_told_with_what_is_accepted_and_where_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vila2.toml");
    fs::write(&file, "[kafka]\ngroop = 'x'\n[limits]\nrecords = 'many'\n").unwrap();
    let file = file.display().to_string();
    let ran = vila2(&["run", "--config", &file, "--set", "decode.max_side=1"])
        .env("VILA2_STAGES__GROUND__MODE", "maybe")
        .output()
        .unwrap()
        .into();
    refused(&ran, 2, &[]);
    assert_eq!(
        ran.stderr,
        format!(
            "error: 4 {FAULTS}\n  \
             kafka.groop: is not a key; accepted: brokers, group, options, topics (file {file})\n  \
             decode.max_side: 1 is out of bounds; accepted: a whole number from 16 to 65535 \
             (--set decode.max_side)\n  \
             stages.ground.mode: \"maybe\" is not known; accepted: \"required\", \"optional\", \"off\" \
             (environment VILA2_STAGES__GROUND__MODE)\n  \
             limits.records: is a text; accepted: a whole number from 1 to 1000000 (file {file})\n"
        )
    );
}

#[test]
fn faults_of_the_text_and_of_what_it_names_are_told_together() {
    let sets = [
        "kafka.groop=x",
        "limits.records=many",
        "models.scenes.path=/nowhere/scenes",
        "models.ppocr.variant=FP 64",
        "runtime.onnxruntime=/nowhere/libonnxruntime.so",
        "kafka.options.linger=1",
        "fetch.allow_addresses=[1]",
    ];
    let arguments = sets.iter().flat_map(|set| ["--set", set]);
    for command in [&["run"][..], &["config", "check"], &["doctor"]] {
        let arguments: Vec<_> = command.iter().copied().chain(arguments.clone()).collect();
        let ran = run(&arguments);
        refused(&ran, 2, &[&format!("error: {} {FAULTS}", sets.len())]);
        for set in sets {
            let key = set.split('=').next().unwrap();
            assert_eq!(
                ran.stderr.matches(&format!("\n  {key}: ")).count(),
                1,
                "{key} in\n{}",
                ran.stderr
            );
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_its_name() {
    let ran = run(&["config", "check", "--config", "/nowhere/vila2.toml"]);
    refused(
        &ran,
        2,
        &[
            "cannot be read: No such file",
            "(file /nowhere/vila2.toml)",
            "`vila2 config show`",
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.toml");
    fs::write(&file, "[kafka\n").unwrap();
    let ran = run(&["run", "--config", file.to_str().unwrap()]);
    refused(
        &ran,
        2,
        &["is not TOML: ", "line 1", "broken.toml)", "a TOML file"],
    );
}

#[test]
fn options_that_librdkafka_refuses_are_told_by_name_and_secrets_are_not_repeated() {
    let ran = run(&[
        "run",
        "--set",
        "kafka.options.linger.ms=soon",
        "--set",
        "kafka.options.sasl.pasword=hunter2",
        "--set",
        "kafka.options.acks=0",
        "--set",
        "kafka.options.security.protocol=tls",
    ]);
    refused(
        &ran,
        2,
        &[
            "4 faults in the configuration",
            "kafka.options.linger.ms: Invalid value for configuration property",
            "(--set kafka.options.linger.ms)",
            "kafka.options.sasl.pasword: No such configuration property",
            "kafka.options.acks: not to be set here: always all",
            "kafka.options.security.protocol: Invalid value",
            "one of plaintext, ssl, sasl_plaintext, sasl_ssl",
            "a property of librdkafka (its CONFIGURATION.md lists them)",
        ],
    );
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[test]
fn missing_folders_and_a_missing_runtime_are_told_together() {
    let ran = run(&[
        "run",
        "--set",
        "models.scenes.path=/nowhere/scenes",
        "--set",
        "models.ppocr.path=/nowhere/ppocr",
        "--set",
        "runtime.onnxruntime=/nowhere/libonnxruntime.so",
        "--set",
        "kafka.options.no.such=1",
    ]);
    refused(
        &ran,
        2,
        &[
            "4 faults in the configuration",
            "kafka.options.no.such: ",
            "runtime.onnxruntime: names /nowhere/libonnxruntime.so, which is no file; set it to the \
             path of libonnxruntime.so.1.31.1, or remove it to use the one that `make runtime` brings",
            "models.scenes.path: /nowhere/scenes is no folder; accepted: a folder as the Hugging Face \
             hub lays it out, or PP-OCR's (`make runtime`) (--set models.scenes.path)",
            "models.ppocr.path: /nowhere/ppocr is no folder",
        ],
    );
}

#[test]
fn a_program_far_from_any_runtime_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("vila2");
    fs::copy(env!("CARGO_BIN_EXE_vila2"), &program).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenes = format!(
        "models.scenes.path={}",
        root.join("models/scenes").display()
    );
    let ran: Ran = Command::new(&program)
        .args([
            "caption",
            "x.png",
            "--set",
            &scenes,
            "--set",
            "stages.read_text.mode=off",
        ])
        .current_dir(folder.path())
        .env_remove("ORT_DYLIB_PATH")
        .output()
        .unwrap()
        .into();
    // The picture is missing too, which is said first; the runtime is not needed for that.
    assert!(ran.stderr.contains("x.png"), "{}", ran.stderr);
    fs::copy(
        root.join("tests/goldens/decode/expected/17x9.jpg.png"),
        folder.path().join("x.png"),
    )
    .unwrap();
    let ran: Ran = Command::new(&program)
        .args([
            "caption",
            "x.png",
            "--set",
            &scenes,
            "--set",
            "stages.read_text.mode=off",
        ])
        .current_dir(folder.path())
        .env_remove("ORT_DYLIB_PATH")
        .output()
        .unwrap()
        .into();
    let beside = folder
        .path()
        .join("libonnxruntime.so.1.31.1")
        .display()
        .to_string();
    refused(
        &ran,
        2,
        &[
            "runtime.onnxruntime: no ONNX Runtime library found; looked for target/runtime/",
            &beside,
            "run `make runtime` in the source tree, install onnxruntime by pip beside the program, or \
             set runtime.onnxruntime or ORT_DYLIB_PATH to the path of libonnxruntime.so.1.31.1",
        ],
    );
}

#[test]
fn a_file_that_is_no_runtime_is_told_by_its_name() {
    let ran = run(&["run", "--set", "runtime.onnxruntime=README.md"]);
    refused(
        &ran,
        2,
        &[
            "runtime.onnxruntime: ",
            "README.md cannot be used as ONNX Runtime: ",
            "`make runtime`",
            "(--set runtime.onnxruntime)",
        ],
    );
    let ran = vila2(&["run"])
        .env("ORT_DYLIB_PATH", "/nowhere/ort.so")
        .output()
        .unwrap()
        .into();
    refused(
        &ran,
        2,
        &[
            "ORT_DYLIB_PATH names /nowhere/ort.so, which is no file",
            "`make runtime`",
        ],
    );
}

#[test]
fn providers_without_the_cpu_are_mandatory() {
    let ran = run(&[
        "run",
        "--set",
        "models.scenes.providers=[\"cuda\"]",
        "--set",
        "http.listen=off",
    ]);
    refused(
        &ran,
        2,
        &[
            "models.scenes.path: models/scenes/onnx/",
            ".onnx cannot be opened: cuda: ",
            "models check",
        ],
    );
    let ran = run(&["run", "--set", "models.scenes.providers=[\"gpu\"]"]);
    refused(
        &ran,
        2,
        &["models.scenes.providers: \"gpu\" is not known; accepted: a list of \"cpu\", \"cuda\""],
    );
}

#[test]
fn a_stage_whose_model_is_not_configured_is_told_with_the_names_there_are() {
    let ran = run(&["run", "--set", "stages.caption.model=eyes"]);
    refused(
        &ran,
        2,
        &["stages.caption.model: \"eyes\" is not in [models]; accepted: ppocr, scenes (--set"],
    );
}

#[test]
fn addresses_that_are_none_are_told() {
    let ran = run(&["run", "--set", "fetch.allow_addresses=localhost"]);
    refused(
        &ran,
        2,
        &[
            "fetch.allow_addresses: \"localhost\" is neither network nor address; accepted: a list of networks",
        ],
    );
    let ran = run(&["run", "--set", "http.listen=everywhere"]);
    refused(
        &ran,
        2,
        &[
            "http.listen: \"everywhere\" is no address to listen on; accepted: an address with its port",
        ],
    );
}

#[test]
fn an_address_that_is_taken_is_told_before_the_group_is_joined() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ran = run(&["run", "--set", &format!("http.listen={address}")]);
    refused(
        &ran,
        2,
        &[
            &format!("http.listen: cannot listen on {address}: Address already in use"),
            "set it to a free port of this machine, or to \"off\"",
        ],
    );
}

#[test]
fn guarantees_that_are_not_built_are_refused_with_what_to_do_instead() {
    let ran = run(&["run", "--set", "delivery.mode=exactly_once"]);
    refused(
        &ran,
        2,
        &[
            "delivery.mode: \"exactly_once\" is not available in this version: use \"at_least_once\"",
        ],
    );
}

#[test]
fn limits_of_image_bytes_that_cannot_do_are_refused_with_the_figures_and_what_to_do() {
    let below = ["limits.image_bytes=2097152", "fetch.max_bytes=2097153"];
    let ran = run(&["run", "--set", below[0], "--set", below[1]]);
    let said = "limits.image_bytes: 2097152 is below fetch.max_bytes = 2097153";
    refused(&ran, 2, &[said, "a lower fetch.max_bytes"]);

    // As large as the largest file, and still nothing beside what the models prepare.
    let filled = ["limits.image_bytes=2097152", "fetch.max_bytes=2097152"];
    // Off: this fault is found after the page's port was opened.
    let off = "http.listen=off";
    let ran = run(&["run", "--set", filled[0], "--set", filled[1], "--set", off]);
    let said = "limits.image_bytes: 2097152 bytes are too few: of pictures that are being prepared \
                models hold up to ";
    refused(
        &ran,
        2,
        &[said, "model `scenes` ", "set it to ", " or more"],
    );
}
