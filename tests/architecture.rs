//! The invariants of the house, held by `cargo metadata` and the sources themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source file without its comments.
struct Source {
    /// Relative to the repository, with forward slashes.
    path: String,
    lines: usize,
    code: String,
}

fn sources(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let relative = path.strip_prefix(root()).expect("a path in the repository");
            Source {
                path: relative.to_string_lossy().replace('\\', "/"),
                lines: text.lines().count(),
                code: text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect::<Vec<_>>()
                    .join("\n"),
            }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Whether `code` holds `word` with no letter, digit or underscore on either side.
fn names(code: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(inside) && !code[at + word.len()..].starts_with(inside)
    })
}

/// Code without what stands between quotes on one line: endings of files are no libraries.
fn without_texts(code: &str) -> String {
    let lines = code.lines().map(|line| {
        let outside: Vec<_> = line.split('"').step_by(2).collect();
        outside.join("\"\"")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The path segments that follow `prefix` (for example `crate::`), braces opened one level.
fn segments_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1_usize;
            let mut start = true;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                if depth == 1 && c == ',' {
                    found.insert(std::mem::take(&mut word));
                    start = true;
                } else if start && (c.is_alphanumeric() || c == '_') {
                    word.push(c);
                } else if !c.is_whitespace() {
                    start = false;
                }
            }
            found.insert(word);
        } else {
            found.insert(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }
    found.remove("");
    found
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

#[test]
fn the_inside_depends_on_nothing_of_the_world() {
    let metadata = metadata();
    let actors = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .find(|package| package["name"] == "vila2-actors")
        .expect("the inside is a package of its own");
    let dependencies: BTreeSet<_> = actors["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter()
        .map(|dependency| dependency["name"].as_str().expect("a name"))
        .collect();
    for forbidden in [
        "vila2", "rdkafka", "ort", "reqwest", "clap", "axum", "image", "toml",
    ] {
        assert!(
            !dependencies.contains(forbidden),
            "vila2-actors depends on {forbidden}"
        );
    }
}

#[test]
fn the_inside_names_no_broker_no_runtime_no_environment_and_no_files() {
    let forbidden = [
        "rdkafka",
        "ort",
        "reqwest",
        "clap",
        "std::env",
        "std::fs",
        "std::net",
        "tokio::fs",
        "tokio::net",
    ];
    for source in sources("actors/src") {
        for word in forbidden {
            assert!(!names(&source.code, word), "{} names {word}", source.path);
        }
    }
}

#[test]
fn a_stage_imports_no_other_stage() {
    let stages = stage_names();
    for source in sources("actors/src/stages") {
        let file = source.path.trim_start_matches("actors/src/stages/");
        let own = file
            .split('/')
            .next()
            .unwrap_or(file)
            .trim_end_matches(".rs");
        if own == "mod" {
            continue;
        }
        let mut imported = segments_after(&source.code, "crate::stages::");
        imported.extend(segments_after(&source.code, "super::"));
        for stage in &stages {
            assert!(
                stage == own || !imported.contains(stage),
                "{} imports the stage {stage}",
                source.path
            );
        }
    }
}

#[test]
fn the_list_of_stages_exists_once() {
    let stages = stage_names();
    assert!(stages.len() >= 6, "{stages:?}");
    for source in sources("actors/src") {
        let listed = segments_after(&source.code, "stages::");
        let listed = stages
            .iter()
            .filter(|stage| listed.contains(*stage))
            .count();
        let is_pipeline = source.path.starts_with("actors/src/pipeline");
        assert!(
            is_pipeline || listed <= 1,
            "{} lists {listed} stages; the list is pipeline.rs",
            source.path
        );
    }
}

/// Modules of `stages` that are actors of the path: those that `pipeline` names.
fn stage_names() -> BTreeSet<String> {
    let named: BTreeSet<String> = sources("actors/src")
        .iter()
        .filter(|source| source.path.starts_with("actors/src/pipeline"))
        .flat_map(|source| segments_after(&source.code, "stages::"))
        .collect();
    fs::read_dir(root().join("actors/src/stages"))
        .expect("the stages")
        .map(|entry| entry.expect("a readable folder").file_name())
        .map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned())
        .filter(|name| named.contains(name))
        .collect()
}

#[test]
fn arrows_between_the_modules_of_the_outside_point_one_way() {
    // What a module may import besides itself. `app` and the commands may import everything.
    let allowed = BTreeMap::from([
        ("places", vec![]),
        ("config", vec!["places"]),
        ("telemetry", vec![]),
        ("health", vec![]),
        ("shutdown", vec![]),
        ("requests", vec![]),
        ("inputs", vec!["fetch", "requests"]),
        ("records", vec![]),
        ("dataset", vec!["inputs", "records"]),
        (
            "export",
            vec!["dataset", "fetch", "inputs", "kafka", "records", "requests"],
        ),
        ("kafka", vec![]),
        ("fetch", vec![]),
        ("decode", vec![]),
        ("models", vec!["places"]),
        ("merge", vec![]),
        ("scenes", vec![]),
        ("stats", vec![]),
        ("trial", vec!["stats"]),
        ("report", vec!["stats", "trial"]),
        (
            "demo",
            vec!["app", "config", "kafka", "report", "scenes", "shutdown"],
        ),
        (
            "doctor",
            vec![
                "app",
                "config",
                "fetch",
                "kafka",
                "models",
                "places",
                "telemetry",
            ],
        ),
    ]);
    for source in sources("src") {
        // A test may set up what its module only meets in the chain.
        if source.path.ends_with("/tests.rs") {
            continue;
        }
        let module = source.path.trim_start_matches("src/");
        let module = module
            .split('/')
            .next()
            .unwrap_or(module)
            .trim_end_matches(".rs");
        let Some(allowed) = allowed.get(module) else {
            assert!(
                ["app", "cli", "lib", "main"].contains(&module),
                "{} belongs to no module with a place in the picture",
                source.path
            );
            continue;
        };
        for imported in segments_after(&source.code, "crate::") {
            let is_module = root().join("src").join(&imported).exists()
                || root().join("src").join(format!("{imported}.rs")).exists();
            assert!(
                !is_module || imported == module || allowed.contains(&imported.as_str()),
                "{} imports crate::{imported}",
                source.path
            );
        }
    }
}

#[test]
fn each_library_of_the_world_is_named_by_one_module_only() {
    let homes = [
        ("rdkafka", ["src/kafka/"].as_slice()),
        ("parquet", &["src/requests/", "src/records/"]),
        ("ort", &["src/models/"]),
        ("tokenizers", &["src/models/"]),
        ("clap", &["src/cli/"]),
        ("comfy_table", &["src/cli/"]),
        ("walkdir", &["src/inputs/", "src/export/tests.rs"]),
    ];
    for source in sources("src") {
        let code = without_texts(&source.code.replace(".parquet", ""));
        for (library, homes) in homes {
            let is_home = homes.iter().any(|home| source.path.starts_with(home));
            assert!(
                is_home || !names(&code, library),
                "{} names {library}, which belongs to {homes:?}",
                source.path
            );
        }
    }
}

#[test]
fn sessions_are_built_in_one_place() {
    let builders: Vec<_> = sources("src")
        .into_iter()
        .filter(|source| source.code.contains("Session::builder"))
        .map(|source| source.path)
        .collect();
    assert_eq!(builders, ["src/models/session.rs"]);
}

#[test]
fn only_the_composition_root_names_kafka_and_models_together() {
    for source in sources("src") {
        let imported = segments_after(&source.code, "crate::");
        let both = imported.contains("kafka") && imported.contains("models");
        assert!(
            !both || source.path.starts_with("src/app"),
            "{} names Kafka and models together",
            source.path
        );
    }
}

#[test]
fn no_file_is_longer_than_500_lines() {
    for folder in ["src", "actors/src", "tests", "actors/tests", "benches"] {
        for source in sources(folder) {
            assert!(
                source.lines <= 500,
                "{}: {} lines",
                source.path,
                source.lines
            );
        }
    }
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (mut in_dependencies, mut commented) = (false, false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if line.starts_with('#') {
            commented = true;
            continue;
        } else if in_dependencies && line.contains('=') {
            let explained = commented || line.contains("workspace = true") || line.contains("path");
            assert!(explained, "no comment above `{line}`");
        }
        commented = false;
    }
}

#[test]
fn the_scanner_sees_imports_in_every_form() {
    let code = "use crate::kafka::Reader;\nuse crate::{\n    config::{Config, Faults},\n    models,\n};\nlet x = crate::fetch::y();";
    let found = segments_after(code, "crate::");
    for module in ["kafka", "config", "models", "fetch"] {
        assert!(found.contains(module), "{module} not in {found:?}");
    }
    assert!(!found.contains("Faults"), "{found:?}");
    assert!(names("use ort::Session;", "ort"));
    assert!(!names("sort(); support::x()", "ort"));
}
