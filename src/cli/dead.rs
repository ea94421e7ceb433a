//! `vila2 dead`: what could not be captioned and why; and once more, when the cause is mended.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use serde_json::{Map, Value, json};
use vila2_actors::error::Reason;

use super::{Common, Failure, output, progress, stoppable};
use crate::{
    app::kafka_settings,
    kafka::{
        KafkaSettings,
        dead::{
            self, Letters, Scan,
            redrive::{Step, Wanted, redrive},
            scan::positions,
        },
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Count the dead letters by reason, with the newest of each as an example
    List(List),
    /// Give originals back to the input topic, each once; run it when the cause is mended
    ///
    /// How far letters were given back is kept at the broker under the group GROUP-redrive, per
    /// reason. A record that died again after three returns is left alone unless --given-up.
    Redrive(Redrive),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this reason
    #[arg(long, value_parser = reasons())]
    reason: Option<String>,
    /// The counts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Redrive {
    /// Only letters of this reason; the others stay for another time
    #[arg(long, value_parser = reasons())]
    reason: Option<String>,
    /// Say what would be given back, and give nothing back
    #[arg(long)]
    dry_run: bool,
    /// Those that came back too often, instead of the others
    #[arg(long, conflicts_with = "reason")]
    given_up: bool,
    /// The counts as JSON
    #[arg(long)]
    json: bool,
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
}

pub(super) fn run(common: &Common, command: Command) -> Result<(), Failure> {
    let (config, _) = common.load()?;
    let settings = kafka_settings(&config);
    stoppable(move |stop| match command {
        Command::List(arguments) => list(&settings, &arguments, &stop),
        Command::Redrive(arguments) => give_back(&settings, &arguments, &stop),
    })
}

fn list(settings: &KafkaSettings, arguments: &List, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let topic = &settings.topics.dead;
    let bar = progress::counter("reading dead letters");
    let mut at = positions(settings)?;
    let scan = Scan::read(settings, &mut at, |read| {
        bar.set_position(read);
        !stop.load(std::sync::atomic::Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let scan = scan?;
    if stop.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let mut reasons = scan.by_reason(&at);
    if let Some(wanted) = &arguments.reason {
        reasons.retain(|(reason, _)| reason == wanted);
    }
    if arguments.json {
        return output::json(&as_json(settings, &reasons, scan.copies));
    }
    if reasons.is_empty() {
        let of = arguments.reason.as_ref();
        let of = of.map_or_else(String::new, |reason| format!(" of the reason {reason}"));
        return output::line(&format!("no dead letters{of} in {topic}"));
    }
    print(&reasons)?;
    let waiting: u64 = reasons.iter().map(|(_, letters)| letters.waiting).sum();
    let total: u64 = reasons.iter().map(|(_, letters)| letters.total()).sum();
    let mut text = format!("{} in {topic}", output::plural(total, "dead letter"));
    if waiting > 0 {
        text.push_str(&format!(
            "; `vila2 dead redrive` would give {} back to {}",
            output::count(waiting),
            settings.topics.images
        ));
    }
    output::line(&text)
}

fn print(reasons: &[(&'static str, Letters)]) -> Result<(), Failure> {
    let any = |of: fn(&Letters) -> u64| reasons.iter().any(|(_, letters)| of(letters) > 0);
    let (redriven, given_up) = (any(|l| l.redriven), any(|l| l.given_up));
    let kept = any(|l| l.kept);
    let mut header = vec!["reason", "waiting"];
    for (shown, name) in [
        (redriven, "given back"),
        (given_up, "given up"),
        (kept, "no value or other topic"),
    ] {
        if shown {
            header.push(name);
        }
    }
    header.extend(["oldest (UTC)", "newest (UTC)", "the newest"]);
    let mut table = output::table(header);
    for (reason, letters) in reasons {
        let mut row = vec![(*reason).to_owned(), output::count(letters.waiting)];
        for (shown, count) in [
            (redriven, letters.redriven),
            (given_up, letters.given_up),
            (kept, letters.kept),
        ] {
            if shown {
                row.push(output::count(count));
            }
        }
        let at = |ms: Option<i64>| ms.map_or_else(|| "?".to_owned(), output::instant);
        row.push(at(letters.oldest_ms));
        row.push(at(letters.newest_ms));
        let example = &letters.example;
        let (detail, value) = (&example.detail, &example.value);
        row.push([detail, value].map(|text| output::visible(text)).join("\n"));
        table.add_row(row);
    }
    output::line(&table.to_string())
}

fn as_json(settings: &KafkaSettings, reasons: &[(&'static str, Letters)], copies: u64) -> Value {
    let at = |ms: Option<i64>| ms.map(|ms| output::instant(ms).replace(' ', "T") + "Z");
    let reasons: Vec<_> = reasons
        .iter()
        .map(|(reason, letters)| {
            json!({
                "reason": reason,
                "letters": letters.total(),
                "waiting": letters.waiting,
                "redriven": letters.redriven,
                "given_up": letters.given_up,
                "kept": letters.kept,
                "oldest": at(letters.oldest_ms),
                "newest": at(letters.newest_ms),
                "example": {
                    "stage": letters.example.stage,
                    "detail": letters.example.detail,
                    "source": letters.example.source,
                    "value": letters.example.value,
                },
            })
        })
        .collect();
    json!({
        "topic": settings.topics.dead,
        "group": dead::group(&settings.group),
        "copies": copies,
        "reasons": reasons,
    })
}

fn give_back(
    settings: &KafkaSettings,
    arguments: &Redrive,
    stop: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    let images = &settings.topics.images;
    let reason = arguments.reason.as_deref();
    let wanted = Wanted {
        reason: Reason::ALL
            .into_iter()
            .find(|known| Some(known.as_str()) == reason),
        given_up: arguments.given_up,
        dry_run: arguments.dry_run,
    };
    let looking = progress::counter("reading dead letters");
    let giving = progress::bar(0, "giving back");
    let redriven = redrive(settings, wanted, stop, |step| match step {
        Step::Looked(read) => looking.set_position(read),
        Step::Found(count) => {
            looking.finish_and_clear();
            giving.set_length(count);
            giving.reset();
        }
        Step::Given(count) => giving.set_position(count),
    });
    looking.finish_and_clear();
    giving.finish_and_clear();
    let redriven = redriven?;
    if arguments.json {
        output::json(&json!({
            "topic": images,
            "dry_run": arguments.dry_run,
            "redriven": counts(&redriven.by_reason),
            "left": counts(&redriven.left),
            "interrupted": redriven.stopped,
        }))?;
    } else {
        let mut table = output::table([
            "reason",
            if arguments.dry_run {
                "would be given back"
            } else {
                "given back"
            },
            "left",
        ]);
        let mut rows: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (reason, count) in &redriven.by_reason {
            rows.entry(reason).or_default().0 = *count;
        }
        for (reason, count) in &redriven.left {
            rows.entry(reason).or_default().1 = *count;
        }
        for (reason, (given, left)) in &rows {
            table.add_row([
                (*reason).to_owned(),
                output::count(*given),
                output::count(*left),
            ]);
        }
        if !rows.is_empty() {
            output::line(&table.to_string())?;
        }
        let total: u64 = redriven.by_reason.values().sum();
        let what = if total == 1 { "letter" } else { "letters" };
        output::line(&match (total, arguments.dry_run) {
            (0, _) => "nothing to give back".to_owned(),
            (_, true) => format!("{} {what} would go to {images}", output::count(total)),
            (_, false) => format!("{} {what} given back to {images}", output::count(total)),
        })?;
    }
    if redriven.stopped {
        return Err(Failure::Interrupted);
    }
    Ok(())
}

fn counts(counts: &BTreeMap<&'static str, u64>) -> Map<String, Value> {
    counts
        .iter()
        .map(|(reason, count)| ((*reason).to_owned(), json!(count)))
        .collect()
}
