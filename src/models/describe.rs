//! What a model folder is, told without loading it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{FolderError, SmolVlmFolder, hub, ppocr, smolvlm};
use crate::models::ModelSettings;

/// A model folder at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// `config.json: model_type`, or `pp-ocr`; `unknown` where neither can be told.
    pub kind: String,
    /// See [`HubFolder::revision`](super::HubFolder::revision); `None` where there are faults.
    pub revision: Option<String>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Everything that is wrong with it.
    pub faults: Vec<String>,
}

/// What stands for PP-OCR, which has no `config.json`.
pub const PP_OCR: &str = "pp-ocr";

/// Reads a folder, and opens no session. Files are read for the revision once a process.
#[must_use]
pub fn overview(path: &Path, variant: Option<&str>) -> Overview {
    let mut overview = Overview {
        kind: "unknown".to_owned(),
        revision: None,
        bytes: files(path).iter().map(|(_, bytes)| bytes).sum(),
        faults: Vec::new(),
    };
    if is_pp_ocr(path) {
        overview.kind = PP_OCR.to_owned();
        match ppocr::revision(path) {
            Ok(revision) => overview.revision = Some(revision),
            Err(faults) => overview.faults = faults,
        }
        return overview;
    }
    let told = |error: FolderError| {
        let faults = error.faults.iter();
        faults.map(|f| format!("{}: {}", f.file, f.what)).collect()
    };
    match hub::model_type(path) {
        Ok(kind) => overview.kind = kind,
        Err(error) => {
            overview.faults = told(error);
            return overview;
        }
    }
    if !smolvlm::MODEL_TYPES.contains(&overview.kind.as_str()) {
        let known = smolvlm::MODEL_TYPES.join(", ");
        let kind = &overview.kind;
        let fault = format!("config.json: no adapter reads a `{kind}`; accepted: {known}");
        overview.faults = vec![fault];
        return overview;
    }
    let settings = ModelSettings {
        variant: variant.map(str::to_owned),
        ..ModelSettings::new("", path)
    };
    match SmolVlmFolder::open(&settings) {
        Ok(folder) => overview.revision = Some(folder.revision().to_owned()),
        Err(error) => overview.faults = told(error),
    }
    overview
}

/// Whether a folder holds PP-OCR's graphs and no model of the hub.
#[must_use]
pub fn is_pp_ocr(path: &Path) -> bool {
    let graphs = || graph_files(path).into_iter();
    !path.join("config.json").is_file()
        && graphs().any(|graph| {
            let name = graph
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            ["det", "rec", "cls"]
                .iter()
                .any(|word| name.split(['_', '-', '.']).any(|part| part == *word))
        })
}

/// The graph files of a folder and of its `onnx/`, by name.
#[must_use]
pub fn graph_files(path: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut graphs: Vec<_> = inside(path)
        .into_iter()
        .chain(inside(&path.join("onnx")))
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "onnx")
        })
        .collect();
    graphs.sort();
    graphs
}

/// Every file below a folder with its size in bytes, links followed (a folder of the hub's cache
/// is made of them).
#[must_use]
pub fn files(path: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.metadata() {
                Ok(facts) if facts.is_dir() && !entry.path().is_symlink() => folders.push(path),
                Ok(facts) if facts.is_file() => found.push((path, facts.len())),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_is_told_apart_from_pp_ocr() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let scenes = overview(&root.join("models/scenes"), None);
        assert_eq!(scenes.kind, "smolvlm");
        assert_eq!(scenes.revision.map(|r| r.len()), Some(12));
        assert!(scenes.bytes > 1_000_000 && scenes.faults.is_empty());
        let reader = overview(
            &root.join("target/runtime/rapidocr_onnxruntime/models"),
            None,
        );
        assert_eq!(reader.kind, PP_OCR);
        assert!(reader.faults.is_empty(), "{:?}", reader.faults);
    }

    #[test]
    fn a_folder_that_is_nothing_says_what_it_lacks() {
        let folder = tempfile::tempdir().expect("a folder");
        let nothing = overview(folder.path(), None);
        assert_eq!(nothing.kind, "unknown");
        assert_eq!(nothing.faults, ["config.json: missing"]);
    }
}
