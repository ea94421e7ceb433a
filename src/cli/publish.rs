//! `vila2 publish`: URLs or requests from files to the input topic.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use clap::Args;
use serde_json::json;

use super::{Common, Failure, listing::Listing, output, progress, stoppable};
use crate::{
    app::{
        feeding::{Error, Job, Note, Published},
        kafka_settings,
    },
    kafka::KafkaSettings,
    requests::{self, Fault, Input, resume::Resume},
};

/// Bad rows said one by one; the others are only counted.
const BAD_SHOWN: u64 = 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Lists of URLs or requests, or folders of Parquet files; `-` is stdin
    ///
    /// Text with one URL or JSON object a line; a JSON array of the same; tables: CSV, TSV,
    /// Parquet. UTF-8 or UTF-16.
    #[arg(default_value = "-", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    listing: Listing,
    /// Keep in this file how far the broker has confirmed, and go on from there
    #[arg(long, value_name = "STATE")]
    resume: Option<PathBuf>,
    /// Publish at most so many records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The counts as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let (config, _) = common.load()?;
    let settings = kafka_settings(&config);
    stoppable(move |stop| work(&settings, &arguments, &stop))
}

fn work(
    settings: &KafkaSettings,
    arguments: &Arguments,
    stop: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    let topic = &settings.topics.images;
    let columns = arguments.listing.columns();
    let looking = progress::spinner("looking at the files");
    let format = arguments.listing.format();
    let inputs = requests::open_as(&arguments.files, &columns, format).map_err(faults);
    looking.finish_and_clear();
    let inputs = inputs?;
    let resume = arguments
        .resume
        .as_deref()
        .map(|path| Resume::open(path, topic, &inputs).map_err(faults))
        .transpose()?;

    let before = resume
        .as_ref()
        .map_or(0, |resume| rows_before(resume, &inputs));
    let total = inputs.iter().map(|input| input.count).sum::<Option<u64>>();
    let bar = match total {
        Some(total) => {
            let most = arguments.limit.map_or(total, |most| before + most);
            progress::bar_after(before, total.min(most), "publishing")
        }
        None => progress::counter("publishing"),
    };
    let started = Instant::now();
    let (mut shown, mut barren) = (0, Vec::new());
    let job = Job {
        settings,
        inputs: &inputs,
        resume,
        limit: arguments.limit,
        stop,
    };
    let published = job.run(&mut |note| match note {
        Note::Progress(rows) => bar.set_position(before + rows),
        Note::Bad {
            name,
            unit,
            first,
            last,
            problem,
        } => {
            shown += 1;
            if shown <= BAD_SHOWN {
                let rows = rows(unit, first, last);
                let [name, problem] = [name, problem].map(output::visible);
                bar.suspend(|| output::note(&format!("{name}: {rows}: {problem}")));
            } else if shown == BAD_SHOWN + 1 {
                bar.suspend(|| output::note("further bad rows are only counted"));
            }
        }
        Note::Barren { name } => barren.push(name.to_owned()),
    });
    bar.finish_and_clear();
    let published = published.map_err(|error| failed(error, arguments.resume.as_deref()))?;
    report(topic, arguments, published, started)?;
    if published.stopped {
        if let Some(path) = &arguments.resume {
            output::note(&format!("the same command goes on from {}", path.display()));
        }
        return Err(Failure::Interrupted);
    }
    if !barren.is_empty() {
        let names = barren.join(", ");
        let text = format!("every row was bad, and nothing was published, of {names}");
        return Err(Failure::Failed(text));
    }
    Ok(())
}

fn report(
    topic: &str,
    arguments: &Arguments,
    published: Published,
    started: Instant,
) -> Result<(), Failure> {
    let seconds = started.elapsed().as_secs_f64();
    let Published { confirmed, bad, .. } = published;
    if arguments.json {
        return output::json(&json!({
            "topic": topic,
            "published": confirmed,
            "bad_rows": bad,
            "files_finished_before": published.finished_before,
            "interrupted": published.stopped,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        }));
    }
    let mut text = format!(
        "{} in {topic} in {} ({}/s)",
        output::plural(confirmed, "record"),
        output::span(seconds),
        output::count((confirmed as f64 / seconds.max(0.001)) as u64),
    );
    if bad > 0 {
        text.push_str(&format!("; {} passed over", output::plural(bad, "bad row")));
    }
    if published.open > 0 {
        let open = output::plural(published.open, "record");
        text.push_str(&format!("; {open} not confirmed in time, maybe written"));
    }
    match published.finished_before {
        0 => {}
        1 => text.push_str("; 1 file was finished before"),
        many => text.push_str(&format!("; {many} files were finished before")),
    }
    output::line(&text)
}

fn rows(unit: &str, first: u64, last: u64) -> String {
    if first == last {
        format!("{unit} {first}")
    } else {
        format!("{unit}s {first} to {last}")
    }
}

/// Rows that an earlier run has behind it.
fn rows_before(resume: &Resume, inputs: &[Input]) -> u64 {
    inputs
        .iter()
        .map(|input| {
            let count = input.count.unwrap_or_default();
            resume
                .position(input)
                .map_or(count, |position| position.number.min(count))
        })
        .sum()
}

fn faults(faults: Vec<Fault>) -> Failure {
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    Failure::Failed(lines.join("\n  "))
}

fn failed(error: Error, resume: Option<&Path>) -> Failure {
    let hint = match resume {
        Some(path) => format!("\n  the same command goes on from {}", path.display()),
        None => String::new(),
    };
    match error {
        Error::Kafka(error) => match Failure::from(error) {
            Failure::Failed(text) => Failure::Failed(text + &hint),
            other => other,
        },
        Error::Input(fault) => Failure::Failed(fault.to_string() + &hint),
    }
}
