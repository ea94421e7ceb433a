//! The commands, one file each. Results go to stdout, everything else to stderr.
//!
//! Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted.

mod asked;
mod caption;
mod compare;
mod config;
mod dead;
mod demo;
mod doctor;
mod export;
mod filling;
mod listing;
mod models;
mod output;
mod preview;
mod progress;
mod publish;
mod run;
mod scenes;
mod tail;
mod topics;
mod trial;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::{
    app,
    config::{Config, Faults, Layers, LogFormat, Origin, Sources},
    demo as demo_run, kafka,
    shutdown::{INTERRUPTED, Shutdown},
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
    /// Run the service: images from Kafka, captions to Kafka
    Run(run::Arguments),
    /// Show the whole path on this machine: own pictures, own web server, own broker
    Demo(demo::Arguments),
    /// Put URLs or requests into the input topic
    Publish(publish::Arguments),
    /// Follow the output, the dead letters or the input
    Tail(tail::Arguments),
    /// Look at the dead letters, or give their originals back to the input topic
    #[command(subcommand)]
    Dead(dead::Command),
    /// Make the topics that are missing
    #[command(subcommand)]
    Topics(topics::Command),
    /// Caption pictures in process, without Kafka: to the terminal, or into a folder
    Caption(caption::Arguments),
    /// Caption a sample: how good the texts are, and what the whole input will take
    Preview(preview::Arguments),
    /// Caption the same pictures under two configurations, side by side
    Compare(compare::Arguments),
    /// Write captions and their pictures as what trainers read
    Export(export::Arguments),
    /// Draw pictures with exact truth, and score captions against it
    #[command(subcommand)]
    Scenes(scenes::Command),
    /// Look at everything `run` needs, change nothing, and say what to do
    Doctor(doctor::Arguments),
    /// List, look into, try or fetch models
    #[command(subcommand)]
    Models(models::Command),
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

impl From<kafka::Error> for Failure {
    fn from(error: kafka::Error) -> Self {
        match error {
            // A client that cannot be made names a file or a value of kafka.options.
            kafka::Error::Options(_) | kafka::Error::Client(_) => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<app::Error> for Failure {
    fn from(error: app::Error) -> Self {
        match error {
            app::Error::Config(faults) => Self::Config(faults),
            app::Error::Kafka(error) => error.into(),
            app::Error::Listen { .. } => Self::Usage(error.to_string()),
            app::Error::GaveUp(_) => Self::Failed(error.to_string()),
            app::Error::Interrupted => Self::Interrupted,
        }
    }
}

impl From<demo_run::Error> for Failure {
    fn from(error: demo_run::Error) -> Self {
        match error {
            demo_run::Error::App(error) => error.into(),
            demo_run::Error::Kafka(error) => error.into(),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the command of the process's arguments; returns the exit code.
#[must_use]
pub fn main() -> u8 {
    let Cli { common, command } = Cli::parse();
    let result = match command {
        Command::Run(arguments) => run::run(&common, &arguments),
        Command::Demo(arguments) => demo::run(&common, arguments),
        Command::Publish(arguments) => publish::run(&common, arguments),
        Command::Tail(arguments) => tail::run(&common, arguments),
        Command::Dead(command) => dead::run(&common, command),
        Command::Topics(command) => topics::run(&common, command),
        Command::Caption(arguments) => caption::run(&common, &arguments),
        Command::Preview(arguments) => preview::run(&common, &arguments),
        Command::Compare(arguments) => compare::run(&common, &arguments),
        Command::Export(arguments) => export::run(&common, arguments),
        Command::Scenes(command) => scenes::run(command),
        Command::Doctor(arguments) => doctor::run(&common, &arguments),
        Command::Models(command) => models::run(&common, command),
        Command::Config(command) => config::run(&common, &command),
    };
    let Err(failure) = result else {
        return 0;
    };
    match failure {
        Failure::Closed => {}
        Failure::Interrupted => output::note("interrupted"),
        ref other => output::note(&format!("error: {other}")),
    }
    failure.exit_code()
}

impl Common {
    /// The configuration and its layers; logs are on from here, faults and warnings only unless
    /// asked for: a person wants the result.
    fn load(&self) -> Result<(Config, Layers), Failure> {
        logged(Config::load(&self.sources())?, "warn")
    }

    /// The same where the whole chain is needed: faults of what the configuration names are told
    /// with those of its text. `filter` is the log's unless another is asked for.
    fn load_whole(&self, filter: &str) -> Result<(Config, Layers), Failure> {
        logged(app::load(&self.sources())?, filter)
    }

    /// The same under further settings, which win.
    fn load_whole_with(
        &self,
        sets: Vec<String>,
        filter: &str,
    ) -> Result<(Config, Layers), Failure> {
        let mut sources = self.sources();
        sources.sets.extend(sets);
        logged(app::load(&sources)?, filter)
    }

    fn sources(&self) -> Sources {
        Config::sources(self.config.clone(), self.set.clone())
    }
}

fn logged(
    (config, layers): (Config, Layers),
    default_filter: &str,
) -> Result<(Config, Layers), Failure> {
    let lines = match config.log.format {
        LogFormat::Human => Lines::Human,
        LogFormat::Json => Lines::Json,
    };
    let filter = match layers.origin("log.filter") {
        Origin::Default => default_filter,
        _ => &config.log.filter,
    };
    telemetry::start_logs(lines, filter)?;
    Ok((config, layers))
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
}

/// Runs blocking work that a signal may leave where it is.
fn interruptible(
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut shutdown = Shutdown::listen()?;
        tokio::select! {
            done = tokio::task::spawn_blocking(work) => {
                done.unwrap_or_else(|error| Err(Failure::Failed(error.to_string())))
            }
            _ = shutdown.requested() => Err(Failure::Interrupted),
        }
    });
    runtime.shutdown_background();
    result
}

/// How long work that was asked to stop may take for it.
const STOPPING: Duration = Duration::from_secs(15);

/// Runs blocking work that is told of the first signal and then ends by itself in good order.
fn stoppable(
    work: impl FnOnce(Arc<AtomicBool>) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let runtime = runtime()?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let result = runtime.block_on(async {
        let mut shutdown = Shutdown::listen()?;
        let mut work = tokio::task::spawn_blocking(move || work(told));
        let done = tokio::select! {
            done = &mut work => done,
            _ = shutdown.requested() => {
                stop.store(true, Ordering::Relaxed);
                match tokio::time::timeout(STOPPING, work).await {
                    Ok(done) => done,
                    Err(_) => return Err(Failure::Interrupted),
                }
            }
        };
        done.unwrap_or_else(|error| Err(Failure::Failed(error.to_string())))
    });
    runtime.shutdown_background();
    result
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
