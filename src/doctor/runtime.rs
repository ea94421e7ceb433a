//! ONNX Runtime: which file, which version, which execution providers.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::{
    app::model_settings,
    config::Config,
    models::{Provider, Runtime, SessionSettings, describe::graph_files, try_provider},
};

const SUBJECT: &str = "ONNX Runtime";

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    if !config.runs_models() {
        let found = "not needed: every model in use is behind an endpoint";
        return vec![Finding::ok(SUBJECT, found)];
    }
    let library = config.runtime.onnxruntime.as_deref();
    let runtime = match Runtime::get(library) {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::told(SUBJECT, &error.to_string())],
    };
    let built_in: Vec<&str> = Provider::ALL
        .into_iter()
        .filter(|provider| provider.is_built_in(library).unwrap_or(false))
        .map(Provider::as_str)
        .collect();
    let found = format!(
        "{}, version {}, built with: {}",
        runtime.library().display(),
        runtime.version(),
        built_in.join(", ")
    );
    let mut findings = vec![Finding::ok(SUBJECT, found)];
    let here = |name: &&str| !config.is_endpoint(name);
    for name in config.models_in_use().into_iter().filter(here) {
        findings.extend(providers(config, name));
    }
    findings
}

/// The providers of one model that are not the CPU.
fn providers(config: &Config, name: &str) -> Vec<Finding> {
    let settings = model_settings(config, name);
    let session = settings.plain_session();
    let falls_back = session.providers.contains(&Provider::Cpu);
    session
        .providers
        .iter()
        .filter(|provider| **provider != Provider::Cpu)
        .map(|provider| {
            let subject = format!("provider `{provider}` of models.{name}");
            match tried(*provider, &session, &settings.path) {
                Ok(()) => Finding::ok(subject, "takes a graph"),
                Err(problem) if falls_back => Finding::warning(
                    subject,
                    format!("{problem}; the model runs on the next of its providers"),
                    remedy(*provider, name),
                ),
                Err(problem) => Finding::fault(subject, problem, remedy(*provider, name)),
            }
        })
        .collect()
}

fn remedy(provider: Provider, name: &str) -> String {
    format!(
        "install the GPU build of ONNX Runtime with its provider libraries beside it and the driver \
         (runtime.onnxruntime names it), or take \"{provider}\" out of models.{name}.providers"
    )
}

/// Tries a provider on the smallest graph of a folder.
fn tried(provider: Provider, session: &SessionSettings, folder: &Path) -> Result<(), String> {
    match provider.is_built_in(session.library.as_deref()) {
        Ok(true) => {}
        Ok(false) => return Err("the library was built without it".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let size = |path: &PathBuf| path.metadata().map_or(u64::MAX, |found| found.len());
    let smallest = graph_files(folder).into_iter().min_by_key(size);
    let graph = smallest.ok_or("there is no graph to try it on")?;
    try_provider(&graph, session, provider).map_err(|error| error.to_string())
}
