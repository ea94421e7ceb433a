//! Whether configured folders, and the variables that hold keys, are there.

use super::{Config, Endpoint, Fault, Faults, Layers, Secret};
use crate::places;

impl Config {
    /// Finds the folders of the models in use, and the keys of those behind endpoints.
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
            if let Some(endpoint) = &model.endpoint {
                faults.extend(missing_key(name, endpoint, layers));
            } else if !model.path.is_dir() {
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

/// That the variable of a key is not there, or holds what no header can.
fn missing_key(name: &str, endpoint: &Endpoint, layers: &Layers) -> Option<Fault> {
    let variable = endpoint.key_env.as_ref()?;
    let visible = |key: &Secret| key.reveal().chars().all(|c| c.is_ascii_graphic());
    let problem = match &endpoint.key {
        None => format!("the environment has no {variable}, or nothing in it"),
        Some(key) if !visible(key) => {
            format!("what {variable} holds is no key: it has blanks, line ends or other letters")
        }
        Some(_) => return None,
    };
    let key = format!("models.{name}.key_env");
    Some(Fault {
        problem,
        accepted: format!(
            "the name of a variable that holds the server's key; without `key_env`, {} is asked \
             without one",
            endpoint.model
        ),
        origin: layers.origin(&key),
        key,
    })
}
