//! What is to be captioned, by whom, and which of it: the same words in every command that captions.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use clap::Args;

use super::{Common, Failure, listing::Listing, output, progress};
use crate::{
    config::{Config, Kind, Layers},
    inputs::{self, Inputs, Sample},
};

/// Pictures, and what the command line says about the chain in its own words.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Pictures, URLs, folders of pictures, lists (.txt, .jsonl, .csv, .tsv; `-` is stdin), Parquet
    /// files, WebDataset tars
    ///
    /// A line of a list is a URL or a path; relative paths begin at the list's folder. A folder
    /// stands for the pictures in it and in its folders; one without pictures for its .tar files,
    /// else its .parquet files.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<OsString>,
    /// What the captioner is asked; may be repeated, one is chosen per image
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// The captioner: a folder, or one of [models] of the configuration
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<String>,
    /// Leave these specialists out: ground, relate, read_text, or one of [[specialists]]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    without: Vec<String>,
    #[command(flatten)]
    listing: Listing,
}

impl Asked {
    /// Looks at the inputs.
    pub(super) fn open(&self) -> Result<Arc<Inputs>, Failure> {
        open(&self.inputs, &self.listing)
    }

    /// The configuration, under what the command line says in its own words.
    pub(super) fn settings(&self, common: &Common) -> Result<(Config, Layers), Failure> {
        let mut sets = Vec::new();
        if !self.prompt.is_empty() {
            let prompts: toml::Value = self.prompt.clone().into();
            sets.push(format!("stages.caption.prompts={prompts}"));
        }
        if let Some(model) = &self.model {
            sets.extend(chosen_model(common, model)?);
        }
        for name in &self.without {
            let (config, _) = Config::load(&common.sources())?;
            let known: Vec<_> = (config.stages.specialists.iter())
                .map(|one| one.name.as_str())
                .collect();
            if !known.contains(&name.as_str()) {
                let accepted = known.join(", ");
                return Err(Failure::Usage(format!(
                    "--without {name}: no such specialist; accepted: {accepted}"
                )));
            }
            sets.push(format!("stages.{name}.mode=\"off\""));
        }
        common.load_whole_with(sets, "warn")
    }
}

/// The settings that make a model the captioner. Where the same model grounds, by a question that
/// it was trained on, its successor is not asked that.
fn chosen_model(common: &Common, model: &str) -> Result<Vec<String>, Failure> {
    let (config, _) = Config::load(&common.sources())?;
    let mut sets = Vec::new();
    let name = if config.models.contains_key(model) {
        model.to_owned()
    } else {
        let folder = PathBuf::from(model);
        if !folder.is_dir() {
            let known: Vec<_> = config.models.keys().map(String::as_str).collect();
            return Err(Failure::Usage(format!(
                "--model {model}: neither a folder nor one of the configured models ({})",
                known.join(", ")
            )));
        }
        let path = std::path::absolute(&folder)?;
        let last = path.file_name().unwrap_or_default().to_string_lossy();
        let name: String = last
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let name = if config.models.contains_key(&name) {
            format!("{name}-named")
        } else {
            name
        };
        let path: toml::Value = path.to_string_lossy().into_owned().into();
        sets.push(format!("models.{name}.path={path}"));
        name
    };
    let stages = &config.stages;
    let grounds = stages.asked().filter(|one| one.kind == Kind::Ground);
    for one in grounds.filter(|one| one.model == stages.caption.model && one.model != name) {
        sets.push(format!("{}=\"off\"", one.key("mode")));
    }
    sets.push(format!("stages.caption.model=\"{name}\""));
    Ok(sets)
}

/// Looks at inputs.
pub(super) fn open(inputs: &[OsString], listing: &Listing) -> Result<Arc<Inputs>, Failure> {
    let looking = progress::spinner("looking at the inputs");
    let inputs = inputs::open(inputs, &listing.columns(), listing.format());
    looking.finish_and_clear();
    let inputs = inputs.map_err(faults)?;
    if inputs.count() == Some(0) {
        return Err(Failure::Usage(nothing_in(&inputs)));
    }
    Ok(Arc::new(inputs))
}

/// Lists without a line.
fn nothing_in(inputs: &Inputs) -> String {
    let names: Vec<_> = (inputs.known().into_iter())
        .map(|known| output::visible(&known.name).into_owned())
        .collect();
    format!(
        "nothing to caption: there is no line or row in {}",
        names.join(", ")
    )
}

/// A part of the inputs, chosen by a seed; also how many there are in all.
pub(super) fn sample(inputs: &Inputs, size: u64, seed: u64) -> Result<(u64, Sample), Failure> {
    if size == 0 {
        return Err(Failure::Usage("--sample: at least 1".to_owned()));
    }
    let Some(count) = inputs.count() else {
        return Err(Failure::Usage(
            "--sample: how many inputs come from stdin or a pipe is not known; save them to a file \
             and name that"
                .to_owned(),
        ));
    };
    Ok((count, Sample::choose(count, size, seed)))
}

/// Inputs that cannot be used: the command line names them.
fn faults(faults: Vec<inputs::Fault>) -> Failure {
    let lines: Vec<_> = faults
        .iter()
        .map(|fault| output::visible(&fault.to_string()).into_owned())
        .collect();
    Failure::Usage(lines.join("\n  "))
}
