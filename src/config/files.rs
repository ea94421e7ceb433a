//! Where files are looked for: models, the ONNX Runtime library.

use std::path::{Path, PathBuf};

use super::{Config, Fault, Faults, GEOMETRY, Layers};

/// Finds a configured path. An absolute path stays; a relative one is looked for in the working
/// directory, then in every folder above the program, nearest first. What is found nowhere stays
/// relative to the working directory.
#[must_use]
pub fn locate(path: &Path) -> PathBuf {
    if path.is_absolute() || path.as_os_str().is_empty() || path.exists() {
        return path.to_owned();
    }
    folders_above_program()
        .map(|folder| folder.join(path))
        .find(|candidate| candidate.exists())
        .unwrap_or_else(|| path.to_owned())
}

/// Finds the ONNX Runtime library: as configured, else `ORT_DYLIB_PATH` (given by the caller),
/// else `target/runtime`, else beside the program.
///
/// # Errors
/// The places that were looked at.
pub fn onnxruntime_library(
    configured: Option<&Path>,
    variable: Option<&Path>,
) -> Result<PathBuf, String> {
    for (place, named) in [
        ("runtime.onnxruntime", configured),
        ("ORT_DYLIB_PATH", variable),
    ] {
        if let Some(path) = named {
            return if path.is_file() {
                Ok(path.to_owned())
            } else {
                Err(format!(
                    "{place} names {}, which is no file",
                    path.display()
                ))
            };
        }
    }
    let installed = locate(Path::new("target/runtime/onnxruntime/capi"));
    let beside = folders_above_program().next();
    [Some(installed), beside]
        .into_iter()
        .flatten()
        .find_map(|folder| library_in(&folder))
        .ok_or_else(|| {
            "no ONNX Runtime library in target/runtime (`make runtime` puts it there) nor beside \
             the program"
                .to_owned()
        })
}

fn folders_above_program() -> impl Iterator<Item = PathBuf> {
    std::env::current_exe()
        .ok()
        .into_iter()
        .flat_map(|program| {
            program
                .ancestors()
                .skip(1)
                .map(Path::to_owned)
                .collect::<Vec<_>>()
        })
}

fn library_in(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(is_library)
        })
        .collect();
    found.sort();
    found.pop()
}

fn is_library(name: &str) -> bool {
    name.starts_with("libonnxruntime.so")
        || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
        || name == "onnxruntime.dll"
}

impl Config {
    /// Finds the files the configuration needs: every model folder in use, and ONNX Runtime.
    /// Returns the path of the library.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn check_files(&self, layers: &Layers) -> Result<PathBuf, Faults> {
        let mut faults = Vec::new();
        for name in self.models_in_use() {
            debug_assert_ne!(name, GEOMETRY);
            let key = format!("models.{name}.path");
            let Some(model) = self.models.get(name) else {
                continue;
            };
            if !model.path.is_dir() {
                faults.push(Fault {
                    problem: format!("{} is no folder", model.path.display()),
                    accepted: "a folder as the Hugging Face hub lays it out, or PP-OCR's \
                               (`make runtime`)"
                        .to_owned(),
                    origin: layers.origin(&key),
                    key,
                });
            }
        }
        let variable = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
        match onnxruntime_library(self.runtime.onnxruntime.as_deref(), variable.as_deref()) {
            Ok(library) if faults.is_empty() => Ok(library),
            Ok(_) => Err(Faults(faults)),
            Err(problem) => {
                faults.push(Fault {
                    key: "runtime.onnxruntime".to_owned(),
                    problem,
                    accepted: "the path of libonnxruntime".to_owned(),
                    origin: layers.origin("runtime.onnxruntime"),
                });
                Err(Faults(faults))
            }
        }
    }
}
