//! `vila2 topics`: makes what is missing, and nothing else.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Common, Failure, interruptible, output, progress};
use crate::{app::kafka_settings, kafka::create::create};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make those of the three topics that are missing; those that are there stay as they are
    ///
    /// Three copies where there are three brokers (then two have to confirm a write), kept for 7
    /// days, dead letters for 30.
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Partitions of each: the most processes that can share the work; more can be added later,
    /// none taken away
    #[arg(long, value_name = "N", default_value_t = 12,
          value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// What is there now, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, command: Command) -> Result<(), Failure> {
    let Command::Create(Create { partitions, json }) = command;
    let (config, _) = common.load()?;
    let settings = kafka_settings(&config);
    interruptible(move || {
        let spinner = progress::spinner("looking for the topics");
        let made = create(&settings, partitions);
        spinner.finish_and_clear();
        let made = made?;
        if json {
            let topics: Vec<_> = (made.iter())
                .map(|made| {
                    json!({
                        "topic": made.topic,
                        "created": made.created,
                        "partitions": made.partitions,
                        "replicas": made.copies,
                    })
                })
                .collect();
            return output::json(&json!({ "topics": topics }));
        }
        for made in made {
            let done = if made.created { "created" } else { "was there" };
            output::line(&format!(
                "{}: {done}, {}, {}",
                made.topic,
                output::plural(made.partitions as u64, "partition"),
                output::plural(made.copies as u64, "replica")
            ))?;
        }
        Ok(())
    })
}
