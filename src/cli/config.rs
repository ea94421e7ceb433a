//! `vila2 config check|show`.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{Common, Failure, output};
use crate::{
    app,
    config::{Faults, Origin, shown},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Look for faults in settings, model folders and ONNX Runtime; reaches for nothing outside
    Check {
        /// The faults as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print every setting in effect and where it came from; secrets are redacted
    Show {
        /// As JSON: key → value and origin
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(common: &Common, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check { json } => check(common, *json),
        Command::Show { json } => show(common, *json),
    }
}

fn check(common: &Common, json: bool) -> Result<(), Failure> {
    let found = common.load_whole("warn").and_then(|(config, layers)| {
        app::check(&config, &layers)?;
        Ok(())
    });
    if json && matches!(found, Ok(()) | Err(Failure::Config(_))) {
        let faults = match &found {
            Err(Failure::Config(Faults(faults))) => faults.as_slice(),
            _ => &[],
        };
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| {
                json!({
                    "key": fault.key,
                    "problem": fault.problem,
                    "accepted": fault.accepted,
                    "origin": fault.origin.to_string(),
                })
            })
            .collect();
        output::json(&json!({ "faults": faults }))?;
    } else if found.is_ok() {
        output::line("the configuration has no faults")?;
    }
    found
}

fn show(common: &Common, json: bool) -> Result<(), Failure> {
    let (_, layers) = common.load()?;
    let keys = shown(&layers);
    if json {
        let mut map = Map::new();
        for shown in keys {
            let value = serde_json::to_value(&shown.value)
                .map_err(|error| Failure::Failed(error.to_string()))?;
            map.insert(
                shown.key,
                json!({ "value": value, "origin": shown.origin.to_string() }),
            );
        }
        return output::json(&Value::Object(map));
    }
    for shown in keys {
        let origin = match shown.origin {
            Origin::Default => String::new(),
            origin => format!("  # {origin}"),
        };
        output::line(&format!("{} = {}{origin}", shown.key, shown.value))?;
    }
    Ok(())
}
