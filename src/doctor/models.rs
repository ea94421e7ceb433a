//! Model folders: whole, loaded, self-checked. Servers that have a model: there, and serving it.

use std::time::{Duration, Instant};

use vila2_actors::{annotation::ModelFacts, error::ModelError};

use super::{Finding, bytes};
use crate::{
    app::{model_prompts, model_settings, reader_settings},
    config::{Config, Kind},
    models::{EndpointSettings, LoadError, Runtime, endpoint, open_generator, overview, ppocr},
    places,
};

/// What to do about a folder that is not whole.
const WHOLE: &str = "fetch it again with `vila2 models pull`, or set models.NAME.path to a whole \
                     folder";

/// How long a server may take to say what it serves.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let used = config.models_in_use();
    let reads = |name: &str| {
        let mut readers = config
            .stages
            .asked()
            .filter(|one| one.kind == Kind::ReadText);
        readers.any(|one| one.model == name && (!one.is_prompted() || config.is_endpoint(name)))
    };
    config
        .models
        .iter()
        .map(|(name, model)| {
            let subject = format!("models.{name}");
            if !used.contains(&name.as_str()) {
                return Finding::ok(subject, "no stage uses it; not looked at");
            }
            if reads(name) && model.endpoint.is_some() {
                let found = "stages.read_text asks it, and a server gives texts without places";
                let advice = "set stages.read_text.model to a folder of PP-OCR (`make runtime`), or \
                              stages.read_text.mode to \"off\"";
                return Finding::fault(subject, found, advice);
            }
            if let Some(endpoint) = model_settings(config, name).endpoint {
                return server(name, subject, &endpoint);
            }
            if !model.path.is_dir() {
                let found = places::no_folder(&model.path);
                let advice = format!(
                    "set models.{name}.path; `make runtime` brings PP-OCR, `vila2 models pull` fetches \
                     from a hub"
                );
                return Finding::fault(subject, found, advice);
            }
            if reads(name) {
                reader(config, name, subject)
            } else {
                generator(config, name, subject)
            }
        })
        .collect()
}

/// Asks a server what it serves; no picture, which may cost.
fn server(name: &str, subject: String, endpoint: &EndpointSettings) -> Finding {
    let url = endpoint.shown();
    let model = &endpoint.model;
    match endpoint::look(name, endpoint, PATIENCE.min(endpoint.timeout)) {
        Err(error) => Finding::told(subject, &error),
        Ok(served) if served.names.is_empty() => Finding::warning(
            subject,
            format!("{url} answers, and does not say what it serves"),
            format!("`vila2 models check {name}` asks `{model}` about a drawn picture"),
        ),
        Ok(served) if served.names.contains(model) => {
            let revision = served.revision(endpoint);
            Finding::ok(
                subject,
                format!("{url} serves `{model}`, revision {revision}"),
            )
        }
        // Some know a model by more names than they list.
        Ok(served) => Finding::warning(
            subject,
            format!(
                "{url} does not list `{model}`; it serves {}",
                served.names.join(", ")
            ),
            format!("set models.{name}.model to one of them; `vila2 models check {name}` tries it"),
        ),
    }
}

fn generator(config: &Config, name: &str, subject: String) -> Finding {
    let settings = model_settings(config, name);
    match open_generator(&settings) {
        Ok(folder) => {
            let refused = model_prompts(config, name).find_map(|(key, prompt, max_tokens)| {
                let problem = folder.try_prompt(prompt, max_tokens).err()?;
                let found = format!("{key}: {prompt:?}: {problem}");
                Some((key, found))
            });
            if let Some((key, found)) = refused {
                return Finding::fault(subject, found, format!("change {key}"));
            }
            let load = folder.load();
            let started = Instant::now();
            let loaded = load().map(|model| model.facts());
            let took = format!(
                "{:.1} s and passes its self-check",
                started.elapsed().as_secs_f64()
            );
            done(subject, config, name, loaded, &took)
        }
        Err(LoadError::Runtime(_)) => untried(subject),
        Err(LoadError::Folder { error, .. }) => {
            let faults = error.faults.iter();
            let faults: Vec<_> = faults.map(|f| format!("{}: {}", f.file, f.what)).collect();
            let found = format!("{}: {}", error.path.display(), faults.join("; "));
            Finding::fault(subject, found, WHOLE)
        }
        Err(error @ LoadError::Unsupported { .. }) => {
            let advice = format!("set models.{name}.path to a folder of a known type");
            Finding::fault(subject, error.to_string(), advice)
        }
        Err(error @ LoadError::Option { key, .. }) => {
            let advice = format!("take models.{name}.{key} away");
            Finding::fault(subject, error.to_string(), advice)
        }
    }
}

fn reader(config: &Config, name: &str, subject: String) -> Finding {
    let settings = reader_settings(config, name);
    if let Err(faults) = ppocr::check(&settings.folder) {
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| fault.split("; ").next().unwrap_or(fault))
            .collect();
        let advice = format!(
            "`make runtime` brings PP-OCR; or set models.{name}.path, or stages.read_text.mode to \
             \"off\""
        );
        return Finding::fault(subject, faults.join("; "), advice);
    }
    if Runtime::get(settings.session.library.as_deref()).is_err() {
        return untried(subject);
    }
    let started = Instant::now();
    let loaded = ppocr::load(&settings)().map(|reader| reader.facts());
    let took = format!("{:.1} s", started.elapsed().as_secs_f64());
    done(subject, config, name, loaded, &took)
}

fn untried(subject: String) -> Finding {
    let found = "its files are there; not loaded, for want of ONNX Runtime";
    Finding::warning(subject, found, "mend ONNX Runtime first")
}

fn done(
    subject: String,
    config: &Config,
    name: &str,
    loaded: Result<ModelFacts, ModelError>,
    took: &str,
) -> Finding {
    let model = &config.models[name];
    let path = &model.path;
    match loaded {
        Ok(facts) => {
            let overview = overview(&model_settings(config, name));
            let found = format!(
                "{}: {}, revision {}, {}; loads in {took}",
                path.display(),
                overview.kind,
                facts.revision,
                bytes(overview.bytes),
            );
            Finding::ok(subject, found)
        }
        Err(error) => {
            let advice = format!("`vila2 models inspect {name}` shows its graphs; {WHOLE}");
            Finding::fault(subject, format!("{}: {error}", path.display()), advice)
        }
    }
}
