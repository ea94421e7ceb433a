//! `vila2 scenes generate|score`.

use std::{fs, path::PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::{Failure, interruptible, output, progress};
use crate::scenes::{
    generate::{Formats, write_dataset},
    score::{Report, score},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Draw scenes: `images/` and `truth.jsonl`, the same bytes for the same seed
    Generate {
        /// The folder to write to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How many
        #[arg(long, default_value_t = 100)]
        count: u64,
        /// The seed
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// mixed, jpg, png or webp
        #[arg(long, default_value = "mixed")]
        format: Formats,
        /// The count as JSON
        #[arg(long)]
        json: bool,
    },
    /// Score caption records against the truth
    Score {
        /// The truth lines
        #[arg(long, value_name = "FILE")]
        truth: PathBuf,
        /// The caption records, one a line
        #[arg(long, value_name = "FILE")]
        captions: PathBuf,
        /// The scores as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    interruptible(move || match command {
        Command::Generate {
            out,
            count,
            seed,
            format,
            json,
        } => {
            let bar = progress::bar(count, "drawing");
            let written = write_dataset(&out, count, seed, format, &|done| bar.set_position(done));
            bar.finish_and_clear();
            written.map_err(|error| Failure::Failed(error.to_string()))?;
            if json {
                output::json(&json!({ "out": out, "count": count, "seed": seed }))
            } else {
                output::line(&format!("{count} scenes in {}", out.display()))
            }
        }
        Command::Score {
            truth,
            captions,
            json,
        } => {
            let read = |path: &PathBuf| {
                fs::read_to_string(path)
                    .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
            };
            let report = score(&read(&truth)?, &read(&captions)?)
                .map_err(|error| Failure::Failed(error.to_string()))?;
            if report.without_caption > 0 {
                output::note(&format!(
                    "without a caption, counted as missed: {} of {}",
                    output::plural(report.without_caption as u64, "file"),
                    truth.display()
                ));
            }
            if json {
                output::json(&report)
            } else {
                print(&report)
            }
        }
    })
}

/// The score as two tables.
pub(super) fn print(report: &Report) -> Result<(), Failure> {
    let mut table = output::table(["score", "precision", "recall", "F1"]);
    for (name, prf) in report.prf_rows() {
        table.add_row([
            name.to_owned(),
            format!("{:.3}", prf.precision),
            format!("{:.3}", prf.recall),
            format!("{:.3}", prf.f1),
        ]);
    }
    output::line(&table.to_string())?;
    let mut table = output::table(["score", "value"]);
    for (name, value) in report.single_rows() {
        table.add_row([name.to_owned(), format!("{value:.3}")]);
    }
    output::line(&table.to_string())
}
