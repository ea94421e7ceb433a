//! The page a person looks at: one self-contained HTML file made from what a run left behind.

mod card;
mod page;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;
use vila2_actors::annotation::EnrichedCaption;

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
        .map(|record| card::card(record, &folder.join("images")))
        .collect();
    let summary = summary.into_iter().next().unwrap_or_default();
    let html = page::render(&summary, &captions, cards, &dead)?;
    let path = folder.join("report.html");
    fs::write(&path, html).map_err(|source| ReportError::File {
        path: path.clone(),
        source,
    })?;
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
