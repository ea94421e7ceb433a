//! Where configured files are looked for.

use std::path::{Path, PathBuf};

use super::{Config, Fault, Faults, Layers};

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

impl Config {
    /// Finds the folders of the models in use.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn check_folders(&self, layers: &Layers) -> Result<(), Faults> {
        let mut faults = Vec::new();
        for name in self.models_in_use() {
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
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Faults(faults))
        }
    }
}
