//! `vila2 models list|inspect|check|pull`.

mod check;
mod inspect;
mod photographs;
mod pull;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::{Common, Failure, interruptible, output};
use crate::{
    app::model_settings,
    config::Config,
    models::{ModelSettings, describe::Overview, overview},
    places::no_folder,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The configured models: where, what, how large, which stages use them; and what there is for
    /// photographs
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What is inside: graphs with their tensors, cache, tokenizer, prompt, rules
    Inspect {
        /// A name of the configuration, or a folder
        #[arg(value_name = "NAME|DIR")]
        model: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Load models, check them, send a drawn picture through and take the time
    Check {
        /// Names of the configuration, or folders; none: every model in use
        #[arg(value_name = "NAME|DIR")]
        models: Vec<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch a model folder from a hub (HF_ENDPOINT, HF_TOKEN, HF_HOME are heeded)
    Pull(pull::Arguments),
}

pub(super) fn run(common: &Common, command: Command) -> Result<(), Failure> {
    let (config, _) = common.load()?;
    match command {
        Command::List { json } => interruptible(move || list(&config, json)),
        Command::Inspect { model, json } => {
            interruptible(move || inspect::run(&config, &model, json))
        }
        Command::Check { models, json } => interruptible(move || check::run(&config, models, json)),
        Command::Pull(arguments) => pull::run(arguments),
    }
}

/// The settings of a configured model, or of a folder that is none.
fn settings(config: &Config, model: &str) -> Result<ModelSettings, Failure> {
    if config.models.contains_key(model) {
        let settings = model_settings(config, model);
        return if settings.endpoint.is_some() || settings.path.is_dir() {
            Ok(settings)
        } else {
            Err(Failure::Usage(format!(
                "models.{model}.{}",
                missing(&settings.path)
            )))
        };
    }
    if Path::new(model).is_dir() {
        let name = Path::new(model)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        return Ok(ModelSettings {
            library: config.runtime.onnxruntime.clone(),
            threads: (config.runtime.threads > 0).then_some(config.runtime.threads),
            max_running: config.limits.sequences,
            ..ModelSettings::new(name, PathBuf::from(model))
        });
    }
    let names: Vec<_> = config.models.keys().map(String::as_str).collect();
    Err(Failure::Usage(format!(
        "{model} is no folder, and no model of the configuration; accepted: {}, or a folder",
        names.join(", ")
    )))
}

fn missing(path: &Path) -> String {
    format!(
        "path: {}; set it, or fetch one with `vila2 models pull`",
        no_folder(path)
    )
}

fn list(config: &Config, json: bool) -> Result<(), Failure> {
    let mut table = output::table([
        "model",
        "path or endpoint",
        "type",
        "revision",
        "size",
        "providers",
        "stages",
    ]);
    table.set_width(output::width());
    let mut rows = Vec::new();
    for (name, model) in &config.models {
        let set = model_settings(config, name);
        let path = place(&set);
        let Overview {
            kind,
            revision,
            bytes,
            faults,
        } = overview(&set);
        let stages: Vec<_> = config.stages.of_model(name).collect();
        table.add_row([
            name.clone(),
            path.clone(),
            kind.clone(),
            revision.clone().unwrap_or_else(|| "–".to_owned()),
            if set.endpoint.is_some() {
                "–".to_owned()
            } else {
                size(bytes)
            },
            model.providers.join(", "),
            stages.join(", "),
        ]);
        if set.endpoint.is_none() && !set.path.is_dir() {
            output::note(&format!("models.{name}.{}", missing(&set.path)));
        } else {
            for fault in &faults {
                output::note(&format!("models.{name}: {path}: {fault}"));
            }
        }
        rows.push(json!({
            "name": name, "path": set.endpoint.is_none().then_some(&path),
            "endpoint": set.endpoint.as_ref().map(|endpoint| endpoint.shown()),
            "model": set.endpoint.as_ref().map(|endpoint| &endpoint.model), "type": kind, "revision": revision, "bytes": bytes,
            "providers": model.providers, "variant": model.variant, "stages": stages,
            "faults": faults,
        }));
    }
    if json {
        output::json(&rows)
    } else {
        output::line(&table.to_string())?;
        output::line(&photographs::listed())
    }
}

/// Where a model is, for people; users and passwords of URLs left out.
fn place(settings: &ModelSettings) -> String {
    match &settings.endpoint {
        Some(endpoint) => format!("{} at {}", endpoint.model, endpoint.shown()),
        None => settings.path.display().to_string(),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
