//! The program away from its source tree: unpacked, and in a Python environment.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::program::{Ran, finished, refused, vila2};
use vila2::{
    models::describe::files,
    scenes::generate::{Formats, Generator},
};

const LIBRARY: &str = "libonnxruntime.so.1.31.1";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder outside of the source tree, in which a layout is made.
struct Layout {
    folder: tempfile::TempDir,
}

impl Layout {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        // As the program sees it: links resolved.
        self.folder.path().canonicalize().unwrap().join(path)
    }

    /// Copies a file or folder of the source tree.
    fn copy(&self, from: &str, to: &str) {
        self.copy_from(&root().join(from), to);
    }

    fn copy_from(&self, from: &Path, to: &str) {
        let to = self.path(to);
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, &to).unwrap();
            return;
        }
        for (file, _) in files(from) {
            let target = to.join(file.strip_prefix(from).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(&file, target).unwrap();
        }
    }

    /// The program and all it needs.
    fn whole(program: &str, library: &str, packages: &str, models: &str) -> Self {
        let layout = Self::new();
        layout.copy_from(Path::new(env!("CARGO_BIN_EXE_vila2")), program);
        let runtime = "target/runtime";
        layout.copy(
            &format!("{runtime}/onnxruntime/capi/{LIBRARY}"),
            &format!("{library}/{LIBRARY}"),
        );
        let reader = "rapidocr_onnxruntime/models";
        layout.copy(
            &format!("{runtime}/{reader}"),
            &format!("{packages}/{reader}"),
        );
        layout.copy("models/scenes", &format!("{models}/models/scenes"));
        layout
    }

    /// As `make dist` packs it.
    fn archive() -> Self {
        Self::whole("vila2/vila2", "vila2", "vila2", "vila2")
    }

    /// As pip installs what `make wheel` packs and depends on.
    fn environment() -> Self {
        let packages = "env/lib/python3.11/site-packages";
        let library = format!("{packages}/onnxruntime/capi");
        Self::whole("env/bin/vila2", &library, packages, "env/share/vila2")
    }

    /// Runs a program with the root of the file system as its working directory.
    fn run(program: &Path, arguments: &[&str]) -> Ran {
        let ours = vila2(arguments);
        let mut command = std::process::Command::new(program);
        command.args(ours.get_args()).current_dir("/");
        for (name, value) in ours.get_envs() {
            if value.is_none() {
                command.env_remove(name);
            }
        }
        finished(command)
    }

    /// Asks the program for a caption, for the places of its models, and for what doctor sees.
    fn works(&self, program: &Path, inside: &str) {
        let scene = Generator::new(7, Formats::default())
            .unwrap()
            .encode(0)
            .unwrap();
        let picture = self.path(&scene.composition.scene.file);
        fs::write(&picture, &scene.bytes).unwrap();
        let captioned = Self::run(program, &["caption", "--json", picture.to_str().unwrap()]);
        assert_eq!((captioned.code, captioned.stderr.as_str()), (0, ""));
        let record: Value = serde_json::from_str(&captioned.stdout).unwrap();
        assert_eq!(record["status"], "complete", "{record}");
        let stages = record["models"].as_object().unwrap();
        assert!(stages.contains_key("read_text") && stages.contains_key("caption"));

        let inside = self.path(inside);
        let within = |text: &str| Path::new(text).starts_with(&inside);
        let listed = Self::run(program, &["models", "list", "--json"]);
        let models: Value = serde_json::from_str(&listed.stdout).unwrap();
        for model in models.as_array().unwrap() {
            assert!(within(model["path"].as_str().unwrap()), "{model}");
            assert_eq!(model["faults"], serde_json::json!([]));
        }

        // Without a broker its answer is a fault; the rest is what `run` would load.
        let looked = Self::run(
            program,
            &["doctor", "--json", "--set", "kafka.brokers=127.0.0.1:1"],
        );
        let findings: Value = serde_json::from_str(&looked.stdout).unwrap();
        for subject in ["ONNX Runtime", "models.scenes", "models.ppocr"] {
            let mut all = findings["findings"].as_array().unwrap().iter();
            let finding = all.find(|finding| finding["subject"] == subject);
            let finding = finding.unwrap_or_else(|| panic!("no {subject} in {findings}"));
            assert_eq!(finding["level"], "ok", "{finding}");
            let found = finding["found"].as_str().unwrap();
            assert!(within(found.split([',', ':']).next().unwrap()), "{finding}");
        }
    }
}

#[test]
fn an_unpacked_archive_works_from_anywhere_by_a_link_and_writes_nothing_beside_itself() {
    let layout = Layout::archive();
    let unpacked = layout.path("vila2");
    let there = || -> BTreeSet<_> { files(&unpacked).into_iter().collect() };
    let before = there();
    // Root may write all the same: so what is there is compared, too.
    let read_only = |mode| {
        for folder in [
            "vila2",
            "vila2/models",
            "vila2/models/scenes",
            "vila2/rapidocr_onnxruntime",
        ] {
            fs::set_permissions(layout.path(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    read_only(0o555);
    layout.works(&unpacked.join("vila2"), "vila2");
    fs::create_dir(layout.path("path")).unwrap();
    let link = layout.path("path/vila2");
    symlink("../vila2/vila2", &link).unwrap();
    layout.works(&link, "vila2");
    read_only(0o755);
    assert_eq!(there(), before);
}

#[test]
fn a_python_environment_works_and_so_does_one_with_another_build_of_the_library() {
    let layout = Layout::environment();
    let program = layout.path("env/bin/vila2");
    layout.works(&program, "env");
    // A later version, as onnxruntime-gpu might bring in the same folder.
    let capi = layout.path("env/lib/python3.11/site-packages/onnxruntime/capi");
    fs::rename(capi.join(LIBRARY), capi.join("libonnxruntime.so.1.32.0")).unwrap();
    layout.works(&program, "env");
}

#[test]
fn what_is_nowhere_is_told_with_every_place_searched() {
    let layout = Layout::new();
    layout.copy_from(Path::new(env!("CARGO_BIN_EXE_vila2")), "env/bin/vila2");
    let ran = Layout::run(&layout.path("env/bin/vila2"), &["run"]);
    let places = |all: &[&str]| -> Vec<String> {
        let all = all
            .iter()
            .map(|place| layout.path(place).display().to_string());
        all.collect()
    };
    let tree = format!("target/runtime/onnxruntime/capi/{LIBRARY}");
    let library = places(&[
        &format!("env/bin/{tree}"),
        &format!("env/{tree}"),
        &format!("env/bin/{LIBRARY}"),
        &format!("env/bin/onnxruntime/capi/{LIBRARY}"),
        &format!("env/lib/python3.*/site-packages/onnxruntime/capi/{LIBRARY}"),
    ]);
    let reader = "rapidocr_onnxruntime/models";
    let reader = places(&[
        &format!("env/target/runtime/{reader}"),
        &format!("env/bin/{reader}"),
        &format!("env/lib/python3.*/site-packages/{reader}"),
    ]);
    let scenes = places(&[
        "env/bin/models/scenes",
        "env/models/scenes",
        "env/share/vila2/models/scenes",
    ]);
    let mut parts = vec![
        "models.scenes.path: models/scenes is no folder; looked for models/scenes, ",
        "models.ppocr.path: target/runtime/rapidocr_onnxruntime/models is no folder; looked for ",
    ];
    let all = [library, reader, scenes].concat();
    parts.extend(all.iter().map(String::as_str));
    refused(&ran, 2, &parts);
}

/// The `name==version` of a file of requirements, without its hashes.
fn pinned(file: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let lines = text.lines().filter(|line| line.contains("=="));
    lines
        .map(|line| line.trim_end_matches([' ', '\\']).to_owned())
        .collect()
}

#[test]
fn the_wheel_asks_for_what_is_pinned_and_all_that_is_handed_out_is_one_build() {
    let table = |file: &str| -> toml::Table {
        let text = fs::read_to_string(root().join(file)).unwrap();
        text.parse().unwrap()
    };
    let wheel = table("deploy/pyproject.toml");
    let texts = |value: &toml::Value| -> Vec<String> {
        let values = value.as_array().unwrap().iter();
        values.map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let project = &wheel["project"];
    let dependencies = texts(&project["dependencies"]);
    assert_eq!(dependencies, pinned("config/runtime-requirements.txt"));
    assert_eq!(dependencies[0], "onnxruntime==1.31.1");
    let maturin = texts(&wheel["build-system"]["requires"]);
    assert_eq!(maturin, pinned("deploy/maturin-requirements.txt"));
    assert_eq!(project["requires-python"].as_str(), Some(">=3.6,<3.13"));

    let tool = &wheel["tool"]["maturin"];
    assert_eq!(tool["bindings"].as_str(), Some("bin"));
    assert_eq!(tool["profile"].as_str(), Some("dist"));
    let dist = &table("Cargo.toml")["profile"]["dist"];
    assert_eq!(dist["inherits"].as_str(), Some("release"));
    assert_eq!(dist["codegen-units"].as_integer(), Some(1));
    assert_eq!(dist["strip"].as_bool(), Some(true));
    assert!(["thin", "fat"].contains(&dist["lto"].as_str().unwrap()));
    let image = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    assert!(image.contains("cargo build --profile dist --locked --bin vila2 "));
    assert!(image.contains("install -D target/dist/vila2 /out/bin/vila2"));
}
