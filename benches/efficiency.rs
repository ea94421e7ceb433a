//! E0, pipeline efficiency: the whole chain against a bare loop over the same graphs that keeps the
//! same number of sequences running, in paired, alternating runs in one process.
//!
//! ```text
//! cargo bench --profile release --bench efficiency -- --model models/scenes --pictures tests/goldens/smolvlm/images
//! cargo bench --profile release --bench efficiency -- --model DIR --images 96 --pairs 7 --sequences 8 --threads 2
//! ```
//!
//! Without `--pictures`: drawn pictures of 768 × 512 pixels, answers of 8 to 128 tokens. The answers
//! of every contender must have the same lengths, or there is no comparison.

mod support;

use std::{fs, path::PathBuf, sync::Arc};

use clap::Parser;
use comfy_table::{Table, presets};
use support::{
    adapter::Adapter,
    bare::{Bare, Given},
    chain::Chain,
    clock::{Clock, Taken},
    spread::spread,
    workload::{self, Workload, decoded},
};

#[derive(Debug, Parser)]
struct Arguments {
    /// Model folder
    #[arg(long, default_value = "models/scenes")]
    model: PathBuf,
    /// Folder of JPEG and PNG files; else pictures are drawn
    #[arg(long)]
    pictures: Option<PathBuf>,
    /// Pictures of one run
    #[arg(long, default_value_t = 96)]
    images: usize,
    /// Rounds in which each contender runs once
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Sequences that run at the same time
    #[arg(long, default_value_t = 8)]
    sequences: usize,
    /// Threads of one operator; else one per core
    #[arg(long)]
    threads: Option<usize>,
    /// The question
    #[arg(long, default_value = "Describe this image in detail.")]
    prompt: String,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const NAMES: [&str; 4] = [
    "bare loop over tiles",
    "bare loop over files",
    "adapter over pixels",
    "whole chain",
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let pictures = match &arguments.pictures {
        Some(folder) => workload::files(folder, arguments.images)?,
        None => workload::pictures(arguments.images, 1),
    };
    let workload = Workload {
        model: arguments.model.canonicalize()?,
        prompt: arguments.prompt.as_str().into(),
        sequences: arguments.sequences,
        threads: arguments.threads,
        pictures,
    };
    let folder = tempfile::tempdir()?;
    for (at, picture) in workload.pictures.iter().enumerate() {
        let name = at.to_string();
        fs::write(folder.path().join(name), &picture.file)?;
    }
    let images: Vec<Arc<_>> = workload.pictures.iter().map(|p| decoded(&p.file)).collect();
    let mut bare = Bare::new(&workload, &images);
    let mut adapter = Adapter::new(&workload, true);
    let mut chain = Chain::new(&workload, folder.path())?;

    let mut taken: [Vec<Taken>; 4] = Default::default();
    let mut reference = None;
    // The first round warms up and is not counted.
    for round in 0..=arguments.pairs {
        let mut order: Vec<usize> = (0..NAMES.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for contender in order {
            let clock = Clock::start();
            let lengths = match contender {
                0 => bare.run(Given::Tiles)?,
                1 => bare.run(Given::Files)?,
                2 => adapter.run(&workload, &images),
                _ => chain.run(&workload)?,
            };
            let stretch = clock.taken();
            let reference = reference.get_or_insert_with(|| lengths.clone());
            anyhow::ensure!(
                *reference == lengths,
                "{} answers other lengths than {}",
                NAMES[contender],
                NAMES[0]
            );
            if round > 0 {
                taken[contender].push(stretch);
            }
        }
    }
    drop(chain);
    print(&arguments, &reference.unwrap_or_default(), &taken);
    Ok(())
}

#[allow(clippy::print_stdout)]
fn print(arguments: &Arguments, lengths: &[usize], taken: &[Vec<Taken>; 4]) {
    let tokens: usize = lengths.iter().sum();
    let images = lengths.len() as f64;
    println!(
        "{}: {} images, {tokens} tokens, {} sequences, {} rounds; median (least to most)",
        arguments.model.display(),
        lengths.len(),
        arguments.sequences,
        arguments.pairs
    );
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header([
        "",
        "images/s",
        "tokens/s",
        "CPU-s per image",
        "chain ÷ this",
    ]);
    let wall = |taken: &Taken| taken.wall.as_secs_f64();
    for (name, own) in NAMES.iter().zip(taken) {
        let of = |value: &dyn Fn(&Taken) -> f64| spread(own.iter().map(value).collect());
        let pairs = own.iter().zip(&taken[3]);
        table.add_row([
            (*name).to_owned(),
            of(&|t| images / wall(t)),
            of(&|t| tokens as f64 / wall(t)),
            of(&|t| t.processor / images),
            spread(pairs.map(|(t, chain)| wall(t) / wall(chain)).collect()),
        ]);
    }
    println!("{table}");
}
