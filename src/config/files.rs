//! Whether configured folders are there.

use super::{Config, Fault, Faults, Layers};
use crate::places;

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
                    problem: places::no_folder(&model.path),
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
