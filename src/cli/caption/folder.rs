//! Answers into a folder.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    sync::Arc,
};

use serde_json::Value;

use super::{
    super::{
        Failure,
        filling::{SETTINGS, fill},
        output,
    },
    Again, Arguments, kept_texts,
};
use crate::{
    app::{
        captioning::{self, Job},
        gallery::{Gallery, PICTURES},
        sidecar::Sidecars,
    },
    config::{Config, Layers},
    dataset::{self, Folder, Request},
    inputs::{Inputs, Sample},
    report,
};

pub(super) fn run(
    config: &Config,
    layers: &Layers,
    arguments: &Arguments,
    inputs: Arc<Inputs>,
    sample: Option<Sample>,
    out: &Path,
) -> Result<(), Failure> {
    let request = Request {
        inputs: inputs.known(),
        settings: layers.settings(&SETTINGS),
        sample: arguments.sample.map(|size| (size, arguments.seed)),
    };
    let again = arguments.again.map(|again| match again {
        Again::Failed => dataset::Again::Failed,
        Again::All => dataset::Again::All,
    });
    let mut folder = Folder::open(out, request, again).map_err(failed)?;
    folder.skipped(inputs.skipped());
    let mut sidecars = (arguments.txt).then(|| Sidecars::remembering(folder.texts()));
    if let Some(sidecars) = &mut sidecars {
        sidecars.catch_up(&folder).map_err(failed)?;
    }
    let before = folder.totals().read();
    if folder.is_finished() {
        output::note(
            "every input was answered by an earlier run; --again failed asks once more for the dead \
             letters, --again all begins anew",
        );
    } else {
        if before > 0 {
            output::note(&format!(
                "goes on: {} answered before",
                output::plural(before, "input")
            ));
        }
        (folder, sidecars) = work(config, layers, inputs, sample, folder, sidecars)?;
    }
    close(&folder, arguments)?;
    match kept_texts(sidecars.as_ref()) {
        Some(kept) => Err(Failure::Failed(kept)),
        None => Ok(()),
    }
}

fn work(
    config: &Config,
    layers: &Layers,
    inputs: Arc<Inputs>,
    sample: Option<Sample>,
    folder: Folder,
    sidecars: Option<Sidecars>,
) -> Result<(Folder, Option<Sidecars>), Failure> {
    let shown = match (&sample, inputs.count()) {
        (None, Some(count)) => Sample::choose(count, PICTURES, 0),
        (None, None) => Sample::of(0..PICTURES),
        (Some(sample), _) => sample.first(PICTURES),
    };
    let gallery = Arc::new(Gallery::new(&folder.gallery(), shown)?);
    let count = sample.as_ref().map(Sample::len).or(inputs.count());
    let job = Job {
        inputs,
        folder,
        sample,
        sidecars,
    };
    let ran = fill(config, layers, job, gallery, "captioning", |_, _| {})?;
    match ran.result {
        Ok(()) => Ok((ran.folder, ran.sidecars)),
        Err(error) => Err(stopped(error, &ran.folder, count)),
    }
}

/// What came of it, the page included.
fn close(folder: &Folder, arguments: &Arguments) -> Result<(), Failure> {
    let totals = folder.totals();
    let shown = Gallery::shown(&folder.gallery())?;
    let page = report::of_folder(folder.path(), &totals.summary(), shown, None)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    if arguments.json {
        output::json(&totals.summary())?;
    } else {
        output::line(&counts(folder))?;
        output::note(&format!("look at {}", page.display()));
    }
    if totals.captions > 0 {
        return Ok(());
    }
    let why = match totals.dead() {
        0 => "there was no input".to_owned(),
        1 => "the one input failed".to_owned(),
        dead => format!("all {} inputs failed, the first", output::count(dead)),
    };
    let letters = folder.path().join("dead.jsonl");
    let first = first_of(&letters).unwrap_or_default();
    Err(Failure::Failed(format!(
        "nothing was captioned: {why}{first}; see {}",
        letters.display()
    )))
}

/// The first dead letter: `INPUT: REASON: DETAIL`.
fn first_of(letters: &Path) -> Option<String> {
    let mut line = String::new();
    BufReader::new(File::open(letters).ok()?)
        .read_line(&mut line)
        .ok()?;
    let letter: Value = serde_json::from_str(&line).ok()?;
    let [input, reason, detail] =
        ["input", "reason", "detail"].map(|member| letter[member].as_str().unwrap_or_default());
    let said = format!(": {input}: {reason}: {detail}");
    Some(output::visible(&said).into_owned())
}

/// One line: what was read is captions and dead letters.
fn counts(folder: &Folder) -> String {
    let totals = folder.totals();
    let mut line = format!(
        "{} read: {}",
        output::count(totals.read()),
        output::plural(totals.captions, "caption")
    );
    if totals.duplicates > 0 {
        let repeated = output::plural(totals.duplicates, "picture");
        line.push_str(&format!(" ({repeated} seen before)"));
    }
    line.push_str(&format!(
        ", {}",
        output::plural(totals.dead(), "dead letter")
    ));
    if !totals.reasons.is_empty() {
        let reasons: Vec<_> = (totals.reasons.iter())
            .map(|(reason, count)| format!("{reason} {}", output::count(*count)))
            .collect();
        line.push_str(&format!(" ({})", reasons.join(", ")));
    }
    if totals.skipped > 0 {
        let files = output::plural(totals.skipped, "file");
        line.push_str(&format!("; {files} passed over"));
    }
    line
}

fn failed(error: dataset::Error) -> Failure {
    match error {
        dataset::Error::Refused(problem) => Failure::Usage(problem),
        error => Failure::Failed(error.to_string()),
    }
}

fn stopped(error: captioning::Error, folder: &Folder, count: Option<u64>) -> Failure {
    let of = count.map_or_else(String::new, |count| {
        format!(" of {}", output::plural(count, "input"))
    });
    let goes_on = format!(
        "answered so far{of}: {}\n  give the same command again to go on",
        counts(folder)
    );
    match error {
        captioning::Error::Chain(error) => {
            output::note(&goes_on);
            error.into()
        }
        captioning::Error::Input(fault) => Failure::Failed(format!("{fault}\n  {goes_on}")),
        captioning::Error::Folder(error) => failed(error),
    }
}
