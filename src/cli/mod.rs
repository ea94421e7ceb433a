//! The commands, one file each. Results go to stdout, everything else to stderr.
//!
//! Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted.

mod config;
mod output;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, Faults, Layers, LogFormat},
    shutdown::INTERRUPTED,
    telemetry::{self, Lines, TelemetryError},
};

/// Turns image URLs from Kafka into enriched captions.
#[derive(Debug, Parser)]
#[command(name = "vila2", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
struct Common {
    /// A TOML file over the defaults
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting over everything else; may be repeated
    #[arg(long, global = true, value_name = "a.b=value")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration, or show what is in effect
    #[command(subcommand)]
    Config(config::Command),
}

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The configuration, with every fault.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The command line or the environment.
    #[error("{0}")]
    Usage(String),
    /// What was to be done failed.
    #[error("{0}")]
    Failed(String),
    /// A person stopped it.
    #[error("interrupted")]
    Interrupted,
    /// Whoever read stdout went away: `vila2 tail | head` is no failure.
    #[error("nobody reads the output")]
    Closed,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Failed(_) => 1,
            Self::Config(_) | Self::Usage(_) => 2,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

impl From<TelemetryError> for Failure {
    fn from(error: TelemetryError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Runs the command of the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let result = match command {
        Command::Config(command) => config::run(&common, &command),
    };
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    match failure {
        Failure::Closed => {}
        Failure::Interrupted => output::note("interrupted"),
        ref other => output::note(&format!("error: {other}")),
    }
    ExitCode::from(failure.exit_code())
}

impl Common {
    /// The checked configuration and its layers; logs are on from here.
    fn load(&self) -> Result<(Config, Layers), Failure> {
        let sources = Config::sources(self.config.clone(), self.set.clone());
        let (config, layers) = Config::load(&sources)?;
        let lines = match config.log.format {
            LogFormat::Human => Lines::Human,
            LogFormat::Json => Lines::Json,
        };
        telemetry::start_logs(lines, &config.log.filter)?;
        Ok((config, layers))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        assert_eq!(Failure::Failed(String::new()).exit_code(), 1);
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
        assert_eq!(Failure::Config(Faults(Vec::new())).exit_code(), 2);
        assert_eq!(Failure::Interrupted.exit_code(), 130);
        assert_eq!(Failure::Closed.exit_code(), 0);
    }
}
