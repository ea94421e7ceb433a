//! `vila2 tail`: what is in the topics, for people or as JSON lines.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use clap::{Args, ValueEnum};
use vila2_actors::annotation::{EnrichedCaption, Status};

use super::{Common, Failure, interruptible, output};
use crate::{
    app::kafka_settings,
    demo::record_json,
    kafka::read::{Reader, Received, Start},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which topic
    #[arg(long, value_enum, default_value_t = Which::Captions)]
    topic: Which,
    /// From the oldest record, not from now on
    #[arg(long)]
    from_beginning: bool,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Stop when no record came for so long
    #[arg(long, value_name = "M")]
    idle_ms: Option<u64>,
    /// JSON lines: captions as they are, others as key, value and headers
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Captions,
    Dead,
    Images,
}

pub(super) fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let (config, _) = common.load()?;
    let settings = kafka_settings(&config);
    interruptible(move || {
        let topic = match arguments.topic {
            Which::Captions => &settings.topics.captions,
            Which::Dead => &settings.topics.dead,
            Which::Images => &settings.topics.images,
        };
        let start = if arguments.from_beginning {
            Start::Beginning
        } else {
            Start::End
        };
        let reader = Reader::new(&settings, topic, start)?;
        if io::stderr().is_terminal() && !arguments.from_beginning {
            output::note(&format!(
                "waiting for new records in {topic}; --from-beginning shows the old ones"
            ));
        }
        let idle = arguments.idle_ms.map(Duration::from_millis);
        let mut left = arguments.count.unwrap_or(usize::MAX);
        while left > 0 {
            match reader.next(idle.unwrap_or(Duration::from_secs(3600)))? {
                Some(received) => print(&received, &arguments)?,
                None if idle.is_some() => break,
                None => continue,
            }
            left -= 1;
        }
        Ok(())
    })
}

fn print(received: &Received, arguments: &Arguments) -> Result<(), Failure> {
    let value = received.value.as_deref().unwrap_or_default();
    match (arguments.topic, arguments.json) {
        (Which::Captions, true) => output::bytes(value),
        (_, true) => output::bytes(record_json(received).to_string().as_bytes()),
        (Which::Captions, false) => match serde_json::from_slice::<EnrichedCaption>(value) {
            Ok(record) => pretty(&record),
            Err(_) => output::line(&format!("(no caption) {}", shown(value))),
        },
        (Which::Dead, false) => {
            let header = |name| output::visible(received.header(name).unwrap_or("?"));
            let text = format!(
                "  {} in {}: {}\n",
                header("vila2-reason"),
                header("vila2-stage"),
                header("vila2-detail"),
            );
            output::headed(&String::from_utf8_lossy(value), &text)
        }
        (Which::Images, false) => output::line(&shown(value)),
    }
}

/// A stranger's bytes in one line.
fn shown(value: &[u8]) -> String {
    output::visible(&String::from_utf8_lossy(value)).into_owned()
}

fn pretty(record: &EnrichedCaption) -> Result<(), Failure> {
    let total = record.timings_ms.get("total").copied().unwrap_or_default();
    let mut facts = format!(
        "{}×{} {} in {}",
        record.image.width,
        record.image.height,
        record.image.format,
        output::span(total / 1_000.0)
    );
    if record.status == Status::Degraded {
        let missing: Vec<_> = record.degraded.iter().map(|d| d.stage.as_str()).collect();
        facts.push_str(&format!(", without {}", missing.join(", ")));
    }
    if !record.marks.is_empty() {
        facts.push_str(&format!(", marked by {}", record.marks.join(", ")));
    }
    output::headed(&record.url, &format!("  {}\n  {facts}\n", record.enriched))
}
