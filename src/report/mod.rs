//! The pages a person looks at: one self-contained HTML file made from what a run left behind, and
//! [`live`], the page of a running service.

mod card;
pub mod compare;
pub mod live;
pub mod numbers;
mod page;
pub mod preview;

use std::{
    fs,
    io::{self, BufRead as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use vila2_actors::annotation::EnrichedCaption;

use self::preview::Preview;

/// The page cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the run is missing or cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the run does not hold what it should.
    #[error("{path}, line {line}: {source}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The template and the data do not fit.
    #[error("the report's template failed: {0}")]
    Template(#[from] minijinja::Error),
}

/// Writes `folder/report.html` from `captions.jsonl`, `dead.jsonl`, `summary.json` and `images/` in
/// the same folder, and returns its path.
///
/// # Errors
/// [`ReportError`], naming the file.
pub fn write(folder: &Path) -> Result<PathBuf, ReportError> {
    let summary = read_lines::<Value>(&folder.join("summary.json"), Whole::Yes)?;
    let captions = read_lines::<EnrichedCaption>(&folder.join("captions.jsonl"), Whole::No)?;
    let dead = read_lines::<Value>(&folder.join("dead.jsonl"), Whole::No)?;
    let cards = captions
        .iter()
        .map(|record| {
            card::card(record, |file| {
                let bytes = fs::read(folder.join("images").join(file)).ok()?;
                Some(card::embedded(&bytes, &record.image.format))
            })
        })
        .collect();
    let summary = summary.into_iter().next().unwrap_or_default();
    let html = page::render(&summary, &captions, cards, &dead, None)?;
    let path = folder.join("report.html");
    fs::write(&path, html).map_err(|source| ReportError::File {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Dead letters shown of a folder; the others are only counted.
const DEAD_SHOWN: usize = 200;

/// A record that is shown, with its picture as a `data:` URL.
#[derive(Debug)]
pub struct Shown {
    /// The record.
    pub record: EnrichedCaption,
    /// A copy of the picture, where there is one.
    pub picture: Option<String>,
}

/// Writes `folder/report.html` of what `vila2 caption --out` left there, and returns its path;
/// of a preview with its figures.
///
/// # Errors
/// [`ReportError`], naming the file.
pub fn of_folder(
    folder: &Path,
    summary: &Value,
    shown: Vec<Shown>,
    preview: Option<&Preview>,
) -> Result<PathBuf, ReportError> {
    let dead_path = folder.join("dead.jsonl");
    let file = |path: &Path, source| ReportError::File {
        path: path.to_owned(),
        source,
    };
    let lines = fs::File::open(&dead_path).map_err(|source| file(&dead_path, source))?;
    let mut dead = Vec::new();
    for line in io::BufReader::new(lines).lines().take(DEAD_SHOWN) {
        let line = line.map_err(|source| file(&dead_path, source))?;
        let letter: Value = serde_json::from_str(&line).unwrap_or_default();
        dead.push(json!({
            "value": letter["input"],
            "headers": { "vila2-reason": letter["reason"], "vila2-detail": letter["detail"] },
        }));
    }
    let mut records = Vec::new();
    let mut cards = Vec::new();
    for Shown { record, picture } in shown {
        cards.push(card::card(&record, |_| picture));
        records.push(record);
    }
    let html = page::render(summary, &records, cards, &dead, preview)?;
    let path = folder.join("report.html");
    fs::write(&path, html).map_err(|source| file(&path, source))?;
    Ok(path)
}

/// Whether a file is one JSON value or one a line.
#[derive(Clone, Copy, PartialEq)]
enum Whole {
    Yes,
    No,
}

fn read_lines<T: serde::de::DeserializeOwned>(
    path: &Path,
    whole: Whole,
) -> Result<Vec<T>, ReportError> {
    let text = fs::read_to_string(path).map_err(|source| ReportError::File {
        path: path.to_owned(),
        source,
    })?;
    let parse = |(line, text): (usize, &str)| {
        serde_json::from_str(text).map_err(|source| ReportError::Json {
            path: path.to_owned(),
            line: line + 1,
            source,
        })
    };
    if whole == Whole::Yes {
        return Ok(vec![parse((0, &text))?]);
    }
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(parse)
        .collect()
}

#[cfg(test)]
mod tests;
