//! `vila2 caption`: the same chain in process, to the terminal or into a folder.

mod folder;
mod print;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{
    Common, Failure,
    asked::{self, Asked},
    output,
};
use crate::app::sidecar::Sidecars;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: Asked,
    /// Write captions as Parquet, dead letters and a page into this folder; the same command goes
    /// on where it stopped
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// With --out: ask once more for what failed, or begin anew
    #[arg(long, value_enum, requires = "out")]
    again: Option<Again>,
    /// Take so many of the inputs, chosen by --seed
    #[arg(long, value_name = "N")]
    sample: Option<u64>,
    /// Chooses the sample
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write the text beside each picture that is a file, as NAME.txt; files of others stay
    #[arg(long)]
    txt: bool,
    /// One output record a line; with --out: the counts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Again {
    /// The inputs that are dead letters
    Failed,
    /// Everything
    All,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let (config, layers) = arguments.asked.settings(common)?;
    let inputs = arguments.asked.open()?;
    let sample = match arguments.sample {
        Some(size) => Some(asked::sample(&inputs, size, arguments.seed)?.1),
        None => None,
    };
    match &arguments.out {
        Some(out) => folder::run(&config, &layers, arguments, inputs, sample, out),
        None => print::run(&config, &layers, arguments, inputs, sample),
    }
}

/// Says that texts were not written because of files that are not ours.
fn kept_texts(sidecars: Option<&Sidecars>) -> Option<String> {
    let (count, first) = sidecars?.kept()?;
    let texts = output::plural(count, "text");
    Some(format!(
        "--txt: {texts} not written, because a file is there that vila2 did not write, {} the first: \
         move it away and give the same command again, or leave --txt out",
        first.display()
    ))
}
