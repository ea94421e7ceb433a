//! Models by the names of the configuration, checked together and loaded by their engines later.

use std::collections::BTreeMap;

use vila2_actors::ports::{Generator, Load, Relater, TextReader};

use super::settings;
use crate::{
    config::{Config, Fault, Faults, GEOMETRY, Layers, Mode},
    models::{self, LoadError},
};

/// How each model is built, on its engine's thread.
pub(super) struct Models {
    pub(super) generators: BTreeMap<String, Load<dyn Generator>>,
    pub(super) text_reader: Option<Load<TextReader>>,
    pub(super) relater: Option<Load<Relater>>,
}

/// Finds ONNX Runtime and reads every model folder in use; no graph is loaded yet.
///
/// # Errors
/// Every fault at once.
pub(super) fn load(config: &Config, layers: &Layers) -> Result<Models, Faults> {
    config.check_folders(layers)?;
    let mut faults = Faults(Vec::new());
    let stages = &config.stages;
    let mut models = Models {
        generators: BTreeMap::new(),
        text_reader: None,
        relater: None,
    };
    let mut names = vec![&stages.caption.model];
    if stages.ground.specialist.mode != Mode::Off
        && stages.ground.specialist.model != stages.caption.model
    {
        names.push(&stages.ground.specialist.model);
    }
    for name in names {
        let loaded = models::load_generator(&settings::model(config, name));
        if let Some(load) = note(&mut faults, layers, name, loaded) {
            models.generators.insert(name.clone(), load);
        }
    }
    if stages.read_text.mode != Mode::Off {
        let reader = settings::reader(config, &stages.read_text.model);
        models.text_reader = Some(models::ppocr::load(&reader));
    }
    if stages.relate.mode != Mode::Off && stages.relate.model == GEOMETRY {
        models.relater = Some(models::geometry::load());
    }
    if faults.0.is_empty() {
        Ok(models)
    } else {
        Err(faults)
    }
}

/// The loaded, or its fault noted. That there is no ONNX Runtime is said once.
fn note<T>(
    faults: &mut Faults,
    layers: &Layers,
    name: &str,
    loaded: Result<T, LoadError>,
) -> Option<T> {
    let error = match loaded {
        Ok(loaded) => return Some(loaded),
        Err(error) => error,
    };
    let key = match error {
        LoadError::Runtime(_) => "runtime.onnxruntime".to_owned(),
        _ => format!("models.{name}"),
    };
    let fault = Fault {
        problem: error.to_string(),
        accepted: String::new(),
        origin: layers.origin(&key),
        key,
    };
    if !faults.0.contains(&fault) {
        faults.0.push(fault);
    }
    None
}
