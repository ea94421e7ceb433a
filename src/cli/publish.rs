//! `vila2 publish`: URLs or requests, one a line, to the input topic.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::json;

use super::{Common, Failure, interruptible, output, progress};
use crate::{app::kafka_settings, kafka::publish::publish_lines};

/// How long the last confirmations may take.
const CONFIRM: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One URL or JSON request a line; `-` is stdin
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The count as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let (config, _) = common.load()?;
    let settings = kafka_settings(&config);
    interruptible(move || {
        let topic = settings.topics.images.clone();
        let (input, count) = open(&arguments.file)?;
        let bar = match count {
            Some(count) => progress::bar(count, "publishing"),
            None => progress::spinner("publishing"),
        };
        let published = publish_lines(&settings, &topic, input, CONFIRM, |progress| {
            bar.set_position(progress.confirmed);
        });
        bar.finish_and_clear();
        let published = published?;
        if arguments.json {
            output::json(&json!({ "topic": topic, "published": published.confirmed }))
        } else {
            output::line(&format!("{} records in {topic}", published.confirmed))
        }
    })
}

/// The input, and how many records it holds where that can be known.
fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let unreadable = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Ok((Box::new(BufReader::new(file)), None));
    }
    let mut count = 0;
    for line in BufReader::new(file.by_ref()).split(b'\n') {
        count += u64::from(!line.map_err(unreadable)?.trim_ascii().is_empty());
    }
    file.rewind().map_err(unreadable)?;
    Ok((Box::new(BufReader::new(file)), Some(count)))
}
