//! `vila2 compare`: two configurations on the same pictures, side by side, and votes on them.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{
    Common, Failure, asked,
    filling::SETTINGS,
    listing::Listing,
    output,
    preview::write_json,
    trial::{SHOWN, Trial, Tried},
};
use crate::{
    app::{self, gallery::Gallery},
    config::{Config, Layers},
    report::compare::{self as page, Lone, Pair, Subject},
    trial::{Sampled, pairs, pairs::Comparison, votes},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The first configuration: a TOML file over the defaults
    #[arg(value_name = "A.toml")]
    a: PathBuf,
    /// The second
    #[arg(value_name = "B.toml")]
    b: PathBuf,
    /// Pictures, URLs, folders of pictures, lists (.txt, .jsonl, .csv, .tsv; `-` is stdin), Parquet
    /// files, WebDataset tars
    #[arg(required_unless_present = "votes", value_name = "INPUT")]
    inputs: Vec<OsString>,
    /// Caption so many of the inputs
    #[arg(long, value_name = "N", default_value_t = 200)]
    sample: u64,
    /// Chooses them, and the sides in the page
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Where the page and both samples go; an earlier comparison there is replaced
    #[arg(long, value_name = "DIR", default_value = "vila2-compare")]
    out: PathBuf,
    /// Count the votes that a page saved, instead of captioning; may be repeated, once a voter
    #[arg(long, value_name = "FILE")]
    votes: Vec<PathBuf>,
    #[command(flatten)]
    listing: Listing,
    /// The figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// A configuration of the two.
struct Side {
    /// How a person calls it: `A, a.toml`.
    name: String,
    config: Config,
    layers: Layers,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(file) = &common.config {
        return Err(Failure::Usage(format!(
            "--config {}: compare is given its two configurations as its first two arguments; leave \
             --config out, or say with --set what both have in common",
            file.display()
        )));
    }
    let [a, b] = sides(common, arguments)?;
    if !arguments.votes.is_empty() {
        return count_votes(arguments, &a, &b);
    }
    if a.settings() == b.settings() {
        output::note("A and B are the same in everything that changes a text");
    }
    let inputs = asked::open(&arguments.inputs, &arguments.listing)?;
    let (count, sample) = asked::sample(&inputs, arguments.sample, arguments.seed)?;
    let seed = arguments.seed;
    let tried = |side: &Side, what: &str, folder: &str| -> Result<Tried, Failure> {
        let trial = Trial {
            config: &side.config,
            layers: &side.layers,
            inputs: &inputs,
            count,
            sample: &sample,
            seed,
            what,
            keeps_pictures: folder == "a",
        };
        let out = arguments.out.join(folder);
        trial.run(&out).map_err(|failure| side.failed(failure))
    };
    let one = tried(&a, "captioning A", "a")?;
    let other = tried(&b, "captioning B", "b")?;
    let comparison = Comparison::of(&one.sampled, &other.sampled, seed);
    let pair = votes::pair(&a.settings(), &b.settings());
    let subject = Subject {
        a: &arguments.a.to_string_lossy(),
        b: &arguments.b.to_string_lossy(),
        pair: &pair,
        sample: (sample.len(), count),
        seed,
        comparison: &comparison,
    };
    let lone = lone(&one.sampled, &other.sampled);
    let path = write(arguments, &subject, &one, &other, &lone)?;
    let figures = json!({
        "schema": "vila2.compare/1",
        "a": subject.a,
        "b": subject.b,
        "pair": pair,
        "inputs": count,
        "sample": sample.len(),
        "seed": seed,
        "comparison": comparison,
        "dead_by_reason": { "a": one.sampled.reasons(), "b": other.sampled.reasons() },
        "captioned_by_one": lone,
    });
    write_json(&arguments.out.join("compare.json"), &figures)?;
    if arguments.json {
        output::json(&figures)?;
    } else {
        tell(&subject)?;
        output::note(&format!("look at {}", path.display()));
    }
    for (side, tried) in [(&a, &one), (&b, &other)] {
        if tried.sampled.captions.is_empty() {
            return Err(Failure::Failed(format!(
                "{}: nothing was captioned: {} failed; see {}",
                side.name,
                output::plural(tried.sampled.dead.len() as u64, "input"),
                tried.folder.path().join("dead.jsonl").display()
            )));
        }
    }
    Ok(())
}

/// Both configurations; the faults of both at once.
fn sides(common: &Common, arguments: &Arguments) -> Result<[Side; 2], Failure> {
    let (mut sides, mut faults) = (Vec::new(), Vec::new());
    for (letter, file) in [("A", &arguments.a), ("B", &arguments.b)] {
        let name = format!("{letter}, {}", file.display());
        let common = Common {
            config: Some(file.clone()),
            set: common.set.clone(),
        };
        let loaded = common.load_whole("warn").and_then(|(config, layers)| {
            app::check(&config, &layers)?;
            Ok((config, layers))
        });
        match loaded {
            Ok((config, layers)) => sides.push(Side {
                name,
                config,
                layers,
            }),
            Err(failure) => faults.push(format!("{name}: {failure}")),
        }
    }
    <[Side; 2]>::try_from(sides).map_err(|_| Failure::Usage(faults.join("\n")))
}

impl Side {
    fn settings(&self) -> std::collections::BTreeMap<String, String> {
        self.layers.settings(&SETTINGS)
    }

    /// A failure under its name.
    fn failed(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Config(faults) => Failure::Usage(format!("{}: {faults}", self.name)),
            Failure::Usage(problem) => Failure::Usage(format!("{}: {problem}", self.name)),
            Failure::Failed(problem) => Failure::Failed(format!("{}: {problem}", self.name)),
            other => other,
        }
    }
}

/// Pictures that one alone captioned, with what became of them under the other.
fn lone(a: &Sampled, b: &Sampled) -> Vec<Lone> {
    let only = |by: &'static str, one: &Sampled, other: &Sampled| -> Vec<Lone> {
        let alone =
            (one.captions.iter()).filter(|(ordinal, _)| !other.captions.contains_key(ordinal));
        alone
            .map(|(ordinal, record)| {
                let letter = other.dead.get(ordinal).cloned().unwrap_or_default();
                Lone {
                    url: record.url.clone(),
                    by,
                    reason: letter.reason,
                    detail: letter.detail,
                }
            })
            .collect()
    };
    let mut lone = only("A", a, b);
    lone.extend(only("B", b, a));
    lone
}

fn write(
    arguments: &Arguments,
    subject: &Subject<'_>,
    one: &Tried,
    other: &Tried,
    lone: &[Lone],
) -> Result<PathBuf, Failure> {
    let both = (one.sampled.captions.iter()).filter_map(|(ordinal, a)| {
        let b = other.sampled.captions.get(ordinal)?;
        Some(Pair {
            ordinal: *ordinal,
            id: a.id.clone(),
            url: a.url.clone(),
            picture: Gallery::picture(&one.folder.gallery(), *ordinal),
            a: a.enriched.clone(),
            b: b.enriched.clone(),
            turned: pairs::is_turned(arguments.seed, *ordinal),
        })
    });
    let html = page::render(subject, both.take(SHOWN as usize).collect(), lone)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let path = arguments.out.join("report.html");
    fs::write(&path, html)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    Ok(path)
}

fn tell(subject: &Subject<'_>) -> Result<(), Failure> {
    let comparison = subject.comparison;
    output::line(&format!(
        "A is {}, B is {}; {} of {} inputs (seed {}), captioned by both: {}, by A alone: {}, by B \
         alone: {}",
        subject.a,
        subject.b,
        output::count(subject.sample.0),
        output::count(subject.sample.1),
        subject.seed,
        output::count(comparison.both),
        output::count(comparison.only_a),
        output::count(comparison.only_b),
    ))?;
    let mut table = output::table(["", "A", "B", "B − A", "95 % interval"]);
    table.set_width(output::width());
    for row in page::rows(comparison) {
        table.add_row([row.name, &row.a, &row.b, &row.difference, &row.interval]);
    }
    output::right_aligned(&mut table, 1);
    output::line(&table.to_string())
}

fn count_votes(arguments: &Arguments, a: &Side, b: &Side) -> Result<(), Failure> {
    let (a, b) = (a.settings(), b.settings());
    let (pair, turned) = (votes::pair(&a, &b), votes::pair(&b, &a));
    let mut all = Vec::new();
    let mut counted: Vec<String> = Vec::new();
    for path in &arguments.votes {
        let text = read(path)?;
        if counted.contains(&text) {
            return Err(Failure::Usage(format!(
                "--votes {}: the same votes as in another of these files; give those of each voter \
                 once",
                path.display()
            )));
        }
        counted.push(text.clone());
        let cast = votes::read(&path.display().to_string(), &text, &pair, &turned)
            .map_err(Failure::Usage)?;
        all.extend(cast);
    }
    let tally = votes::tally(all);
    if arguments.json {
        return output::json(&tally);
    }
    output::line(&page::verdict(&tally))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!(
            "--votes {}: {error}; name a file that the page of `vila2 compare` saved",
            path.display()
        ))
    })
}
