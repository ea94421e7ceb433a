//! Generation against transformers on the CPU: tokens/s over the same weights, pictures, limits and
//! threads, in paired, alternating runs.
//!
//! ```text
//! python trainer/random_folder.py small target/models/small --weights
//! cargo bench --profile release --bench transformers -- --model target/models/small --python python
//! ```
//!
//! The Python needs what `trainer/requirements-family.txt` names. It gets prompts as ids and pictures
//! as tiles, so that nothing but its `generate` is timed; ours makes its own tiles within its time.
//! transformers answers static batches of each size, one after the other; ours keeps as many
//! sequences running. Answers have 8 to 128 tokens, many short and few long, and both sides must
//! write the same numbers of them, or there is no comparison.

/// Of what `support/mod.rs` has, what this needs.
mod support {
    pub mod adapter;
    pub mod spread;
    pub mod workload;
}

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use clap::Parser;
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use support::{
    adapter::Adapter,
    spread::spread,
    workload::{self, Workload, decoded},
};
use vila2::models::{ModelSettings, SmolVlmFolder};
use vila2_actors::image::Image;

#[derive(Debug, Parser)]
struct Arguments {
    /// Model folder that holds both the graphs and model.safetensors
    #[arg(long)]
    model: PathBuf,
    /// A Python with torch and transformers
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Folder of JPEG and PNG files; else pictures are drawn
    #[arg(long)]
    pictures: Option<PathBuf>,
    /// Pictures of one run
    #[arg(long, default_value_t = 64)]
    images: usize,
    /// Rounds in which each contender runs once
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Sequences that run at the same time, of both
    #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
    sequences: Vec<usize>,
    /// Threads of both
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Most tokens of an answer; 1 shows what pictures and prompts cost before anything is written
    #[arg(long, default_value_t = 128)]
    longest: u32,
    /// The question
    #[arg(long, default_value = "Describe this image in detail.")]
    prompt: String,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// What came of one number of sequences.
struct Measured {
    sequences: usize,
    /// Of all answers.
    tokens: usize,
    /// Seconds of ours and of the other, round by round.
    pairs: Vec<(f64, f64)>,
}

/// The other side: a process that answers batch sizes.
struct Transformers {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Transformers {
    fn start(arguments: &Arguments, work: &Path) -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/support/generate.py");
        let mut process = Command::new(&arguments.python)
            .arg(script)
            .arg(&arguments.model)
            .arg(work)
            .arg(arguments.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", arguments.python.display()))?;
        let asks = process.stdin.take().context("its stdin")?;
        let answers = BufReader::new(process.stdout.take().context("its stdout")?);
        Ok(Self {
            process,
            asks,
            answers,
        })
    }

    /// Seconds, and the length of each answer.
    fn run(&mut self, batch: usize) -> anyhow::Result<(f64, Vec<usize>)> {
        writeln!(self.asks, "{batch}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).context("transformers did not answer")?;
        let seconds = said["seconds"].as_f64().context("its seconds")?;
        Ok((seconds, serde_json::from_value(said["lengths"].clone())?))
    }
}

impl Drop for Transformers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::parse();
    arguments.model = arguments.model.canonicalize()?;
    let pictures = match &arguments.pictures {
        Some(folder) => workload::files(folder, arguments.images)?,
        None => workload::pictures(arguments.images, 1),
    };
    let mut workload = Workload {
        model: arguments.model.clone(),
        prompt: arguments.prompt.as_str().into(),
        sequences: 1,
        threads: Some(arguments.threads),
        pictures,
    };
    for picture in &mut workload.pictures {
        picture.max_tokens = picture.max_tokens.min(arguments.longest);
    }
    let images: Vec<Arc<Image>> = workload.pictures.iter().map(|p| decoded(&p.file)).collect();
    let work = tempfile::tempdir()?;
    hand_over(&workload, &images, work.path())?;
    let mut transformers = Transformers::start(&arguments, work.path())?;
    let mut rows = Vec::new();
    for &sequences in &arguments.sequences {
        workload.sequences = sequences;
        let mut ours = Adapter::new(&workload, false);
        let (mut pairs, mut tokens) = (Vec::new(), 0);
        // The first round warms up and is not counted.
        for round in 0..=arguments.pairs {
            let mut own = || {
                let began = Instant::now();
                let lengths = ours.run(&workload, &images);
                (began.elapsed().as_secs_f64(), lengths)
            };
            let (own, theirs) = if round % 2 == 0 {
                (own(), transformers.run(sequences)?)
            } else {
                let theirs = transformers.run(sequences)?;
                (own(), theirs)
            };
            anyhow::ensure!(own.1 == theirs.1, "the answers have different lengths");
            tokens = own.1.iter().sum();
            if round > 0 {
                pairs.push((own.0, theirs.0));
            }
        }
        rows.push(Measured {
            sequences,
            tokens,
            pairs,
        });
    }
    print(&arguments, &rows);
    Ok(())
}

/// Writes prompts, limits and tiles for the other side.
fn hand_over(workload: &Workload, images: &[Arc<Image>], to: &Path) -> anyhow::Result<()> {
    let folder = SmolVlmFolder::open(&ModelSettings::new("other", &workload.model))?;
    let (mut ids, mut pixels, mut side) = (Vec::new(), Vec::new(), 0);
    for image in images {
        ids.push(folder.ids(image, &workload.prompt)?.to_vec());
        let tiles = folder.tiles(image);
        anyhow::ensure!(tiles.count == 1, "a picture of several tiles");
        side = ((tiles.pixels.len() / 3) as f64).sqrt() as usize;
        pixels.extend(tiles.pixels.iter().flat_map(|value| value.to_ne_bytes()));
    }
    let limits: Vec<u32> = workload.pictures.iter().map(|p| p.max_tokens).collect();
    let about = json!({"ids": ids, "limits": limits, "side": side});
    fs::write(to.join("work.json"), about.to_string())?;
    fs::write(to.join("pixels.f32"), pixels)?;
    Ok(())
}

#[allow(clippy::print_stdout)]
fn print(arguments: &Arguments, rows: &[Measured]) {
    println!(
        "{}: {} images, {} threads, {} rounds; median (least to most)",
        arguments.model.display(),
        arguments.images,
        arguments.threads,
        arguments.pairs
    );
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header([
        "sequences",
        "tokens",
        "ours, tokens/s",
        "transformers, tokens/s",
        "ours ÷ transformers",
    ]);
    for Measured {
        sequences,
        tokens,
        pairs,
    } in rows
    {
        let rate = |seconds: f64| *tokens as f64 / seconds;
        let of = |value: &dyn Fn(&(f64, f64)) -> f64| spread(pairs.iter().map(value).collect());
        table.add_row([
            sequences.to_string(),
            tokens.to_string(),
            of(&|pair| rate(pair.0)),
            of(&|pair| rate(pair.1)),
            of(&|pair| pair.1 / pair.0),
        ]);
    }
    println!("{table}");
}
