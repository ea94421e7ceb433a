//! `vila2 export`: captions and their pictures as what trainers read.

use std::{
    path::PathBuf,
    str::FromStr,
    sync::{Arc, atomic::AtomicBool},
};

use clap::{Args, ValueEnum};
use tokio::runtime::Handle;

use super::{Common, Failure, output, progress, stoppable};
use crate::{
    app::{exporting, kafka_settings},
    config::{Config, Layers},
    export::{
        self, Error, LARGEST_SHARD, Note, Report, Request, Source, TEMPLATE, Text,
        topic::{self, Topic},
    },
};

/// Records whose pictures cannot be had are named up to here.
const SHOWN: u64 = 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A folder of `vila2 caption --out`, a file of records (.jsonl), or kafka:captions (the
    /// configured topic; kafka:NAME is any other)
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// What is written
    #[arg(long, value_enum)]
    format: Format,
    /// enriched, caption, original, original+caption, qa (the original, then what each specialist
    /// found), or mix:P (the original with probability P, else the enriched text)
    #[arg(long, value_name = "TEXT", default_value = "enriched")]
    text: Choice,
    /// The folder; the same command into it begins over, of a topic it goes on
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How original+caption is put together, with {original} and {caption}
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,
    /// The enriched text has the clauses of these verdicts alone
    #[arg(long, value_enum, value_delimiter = ',', value_name = "VERDICTS")]
    verdicts: Vec<Verdict>,
    /// Leave degraded records out
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Status>,
    /// Of each id and URL only the newest round
    #[arg(long)]
    newest_round: bool,
    /// Copy no pictures: texts to be joined with the tars the pictures came from (energon), or
    /// texts alone (webdataset, hf)
    #[arg(long)]
    no_images: bool,
    /// Samples of a shard
    #[arg(long, value_name = "N", default_value_t = LARGEST_SHARD,
          value_parser = clap::value_parser!(u64).range(1..=LARGEST_SHARD))]
    shard_size: u64,
    /// Of a topic: who shares its partitions. Processes with the same group share the work, and
    /// the group keeps how far it is; left out, the folder has a group of its own
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The counts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Tars as img2dataset writes them
    Webdataset,
    /// VILA and NVILA: tars, wids-meta.json, recaption/
    Vila,
    /// LLaVA, InternVL, LLaMA-Factory: data.json, images/
    Llava,
    /// Megatron Energon: tars, .nv-meta/
    Energon,
    /// Hugging Face datasets: Parquet with an image column
    Hf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verdict {
    /// A box shows it
    Grounded,
    /// It stands in the picture
    Read,
    /// It follows from boxes
    Inferred,
    /// The captioner says so
    Unverified,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    /// Every stage answered
    Complete,
}

/// A text as it is named.
#[derive(Debug, Clone)]
struct Choice(Text);

impl FromStr for Choice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let text = match name {
            "enriched" => Text::Enriched,
            "caption" => Text::Caption,
            "original" => Text::Original,
            "original+caption" => Text::OriginalCaption(TEMPLATE.to_owned()),
            "qa" => Text::Qa,
            _ => {
                let probability = name.strip_prefix("mix:").and_then(|p| p.parse().ok());
                let probability = probability.filter(|p| (0.0..=1.0).contains(p));
                Text::Mix(probability.ok_or(
                    "accepted: enriched, caption, original, original+caption, qa, mix:P with P from \
                     0 to 1",
                )?)
            }
        };
        Ok(Self(text))
    }
}

impl Arguments {
    fn request(&self) -> Result<Request, Failure> {
        let mut text = self.text.0.clone();
        if let Some(template) = &self.template {
            let Text::OriginalCaption(whole) = &mut text else {
                let problem = "--template goes with --text original+caption";
                return Err(Failure::Usage(problem.to_owned()));
            };
            if !(template.contains("{original}") && template.contains("{caption}")) {
                let problem = "--template: {original} and {caption} must both be in it";
                return Err(Failure::Usage(problem.to_owned()));
            }
            // A shell passes a line end that is typed as \n on as two characters.
            *whole = template.replace("\\n", "\n");
        }
        let verdicts: Vec<_> = (self.verdicts.iter())
            .filter_map(|verdict| Some(verdict.to_possible_value()?.get_name().to_owned()))
            .collect();
        Ok(Request {
            format: match self.format {
                Format::Webdataset => export::Format::Webdataset,
                Format::Vila => export::Format::Vila,
                Format::Llava => export::Format::Llava,
                Format::Energon => export::Format::Energon,
                Format::Hf => export::Format::Hf,
            },
            text,
            verdicts: (!verdicts.is_empty()).then_some(verdicts),
            complete_only: self.status.is_some(),
            newest_round: self.newest_round,
            images: !self.no_images,
            shard_size: self.shard_size,
        })
    }
}

pub(super) fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let (config, layers) = common.load()?;
    let request = arguments.request()?;
    request.check().map_err(failed)?;
    stoppable(move |stop| work(&config, &layers, &arguments, &request, &stop))
}

fn work(
    config: &Config,
    layers: &Layers,
    arguments: &Arguments,
    request: &Request,
    stop: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    let from = From::of(config, arguments)?;
    let count = match &from {
        From::Source(source) => source.count(),
        From::Topic(_) => None,
    };
    let bar = match count {
        Some(count) => progress::bar(count, "exporting"),
        None => progress::counter("exporting"),
    };
    let fetching = exporting::fetching(config, layers, Handle::current())?;
    let mut told = 0;
    let mut tell = |note: Note<'_>| match note {
        Note::Read(records) => bar.set_position(records),
        Note::Group(group) => {
            let text = format!("reading the topic as the group {}", output::visible(group));
            bar.suspend(|| output::note(&text));
        }
        Note::Waiting(text) => bar.suspend(|| output::note(text)),
        Note::LeftOut { id, why } => {
            told += 1;
            let [id, why] = [id, why].map(output::visible);
            match told {
                1..=SHOWN => bar.suspend(|| output::note(&format!("{id}: {why}"))),
                _ if told == SHOWN + 1 => {
                    bar.suspend(|| output::note("further ones are only counted"));
                }
                _ => {}
            }
        }
    };
    let out = &arguments.out;
    let done = match &from {
        From::Source(source) => export::run(source, request, out, fetching, stop, &mut tell),
        From::Topic(topic) => topic::run(topic, request, out, fetching, stop, &mut tell),
    };
    bar.finish_and_clear();
    let report = done.map_err(failed)?;
    if arguments.json {
        output::json(&report)?;
    } else {
        output::line(&counts(&report))?;
    }
    if let (From::Source(source), 0) = (&from, report.read) {
        let is_unfinished = report.original_list.is_some_and(|list| !list.finished);
        let why = if is_unfinished {
            "no answer is in a Parquet file yet: captioning is not finished; give its command again, \
             then this one"
        } else {
            "there is no record"
        };
        let place = source.path().display();
        return Err(Failure::Failed(format!(
            "{place}: nothing to export: {why}"
        )));
    }
    if report.written == 0 && report.read > 0 {
        return Err(Failure::Failed("every record was left out".to_owned()));
    }
    Ok(())
}

/// Where records come from.
enum From {
    Source(Source),
    Topic(Topic),
}

impl From {
    fn of(config: &Config, arguments: &Arguments) -> Result<Self, Failure> {
        let name = arguments
            .source
            .to_str()
            .and_then(|name| name.strip_prefix("kafka:"));
        match (name, &arguments.group) {
            (None, None) => Source::open(&arguments.source)
                .map(Self::Source)
                .map_err(failed),
            (None, Some(_)) => Err(Failure::Usage(
                "--group goes with a topic: kafka:captions".to_owned(),
            )),
            (Some(""), _) => Err(Failure::Usage(
                "kafka: names no topic; kafka:captions is the configured one".to_owned(),
            )),
            (Some(name), group) => {
                let settings = kafka_settings(config);
                let name = match name {
                    "captions" => settings.topics.captions.clone(),
                    name => name.to_owned(),
                };
                Ok(Self::Topic(Topic {
                    settings,
                    name,
                    group: group.clone(),
                }))
            }
        }
    }
}

/// What was read is what was written and what was left out.
fn counts(report: &Report) -> String {
    let mut text = format!(
        "{} read: {} written ({} in {})",
        output::count(report.read),
        output::count(report.written),
        output::plural(report.samples, "sample"),
        output::plural(report.shards, "shard"),
    );
    let left: u64 = report.left_out.values().sum();
    text.push_str(&format!(", {} left out", output::count(left)));
    if left > 0 {
        let reasons: Vec<_> = (report.left_out.iter())
            .map(|(reason, count)| {
                let name = serde_json::to_value(reason).unwrap_or_default();
                let name = name.as_str().unwrap_or_default().replace('_', " ");
                format!("{name} {}", output::count(*count))
            })
            .collect();
        text.push_str(&format!(" ({})", reasons.join(", ")));
    }
    if report.without_original > 0 {
        let without = output::count(report.without_original);
        text.push_str(&format!("; {without} without an original"));
    }
    if report.clauses_left_out > 0 {
        let clauses = output::plural(report.clauses_left_out, "clause");
        text.push_str(&format!(
            "; {clauses} of other verdicts left out of the texts"
        ));
    }
    if let (Some(list), Some(coverage)) = (report.original_list, report.coverage) {
        let so_far = if list.finished {
            ""
        } else {
            "captioning is not finished: "
        };
        text.push_str(&format!(
            "\n{so_far}of {} that `vila2 caption` answered, {:.1} % are in the export; {} dead letters",
            output::plural(list.read, "input"),
            coverage * 100.0,
            output::count(list.dead),
        ));
    }
    text
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Refused(problem) => Failure::Usage(problem),
        Error::Stopped => {
            output::note("the same command begins over; of a topic it goes on");
            Failure::Interrupted
        }
        error => Failure::Failed(error.to_string()),
    }
}
