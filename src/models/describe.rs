//! What a model folder is, told without loading it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    FolderError, ModelSettings, endpoint, hub, ppocr,
    registry::{self, Refused},
};

/// A model folder at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// `config.json: model_type`, `pp-ocr` or `endpoint`; `unknown` where neither can be told.
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

/// What stands for a model behind an endpoint.
pub const ENDPOINT: &str = "endpoint";

/// How long a server may take to say what it serves, where a person waits for a list.
const GLANCE: Duration = Duration::from_secs(5);

/// Reads the folder of a model, and opens no session. Files are read for the revision once. A server
/// that has the model is asked what it serves.
#[must_use]
pub fn overview(settings: &ModelSettings) -> Overview {
    if let Some(endpoint) = &settings.endpoint {
        let served = endpoint::look(&settings.name, endpoint, GLANCE);
        let fault = served.as_ref().err().cloned();
        return Overview {
            kind: ENDPOINT.to_owned(),
            revision: served.ok().map(|served| served.revision(endpoint)),
            bytes: 0,
            faults: fault.into_iter().collect(),
        };
    }
    let path = &settings.path;
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
    if let Ok(kind) = hub::model_type(path) {
        overview.kind = kind;
    }
    match registry::open(settings) {
        Ok(folder) => match folder.revision() {
            Ok(revision) => overview.revision = Some(revision),
            Err(error) => overview.faults = told(&error),
        },
        Err(Refused::Folder(error)) => overview.faults = told(&error),
        Err(Refused::Unsupported(kind)) => {
            let known = registry::accepted();
            let fault = format!("config.json: no adapter reads a `{kind}`; accepted: {known}");
            overview.faults = vec![fault];
        }
    }
    overview
}

fn told(error: &FolderError) -> Vec<String> {
    let faults = error.faults.iter();
    faults.map(|f| format!("{}: {}", f.file, f.what)).collect()
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
        let told = |path: &Path| overview(&ModelSettings::new("", path));
        let scenes = told(&root.join("models/scenes"));
        assert_eq!(scenes.kind, "smolvlm");
        assert_eq!(scenes.revision.map(|r| r.len()), Some(12));
        assert!(scenes.bytes > 1_000_000 && scenes.faults.is_empty());
        let reader = told(&root.join("target/runtime/rapidocr_onnxruntime/models"));
        assert_eq!(reader.kind, PP_OCR);
        assert!(reader.faults.is_empty(), "{:?}", reader.faults);
    }

    #[test]
    fn a_folder_that_is_nothing_says_what_it_lacks() {
        let folder = tempfile::tempdir().expect("a folder");
        let nothing = overview(&ModelSettings::new("", folder.path()));
        assert_eq!(nothing.kind, "unknown");
        assert_eq!(nothing.faults, ["config.json: missing"]);
    }
}
