//! How lists are written, for every command that takes them.

use clap::{Args, ValueEnum};

use crate::requests::{self, Columns};

#[derive(Debug, Args)]
pub(super) struct Listing {
    /// How all lists are written [default: by the ending .csv, .tsv, .json or .parquet, else text]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Tables: the column of the URL [default: `url`, else `URL`, …]; without a header line
    /// columns are numbers
    #[arg(long, value_name = "COLUMN")]
    url_column: Option<String>,
    /// Tables: the column of the id [default: none, the id is the URL's hash]
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// Tables: the column of the original caption [default: of CSV and TSV `caption`, where there
    /// is one]
    #[arg(long, value_name = "COLUMN")]
    caption_column: Option<String>,
    /// Tables: a column to pass through in `meta`; may be repeated
    #[arg(long, value_name = "COLUMN")]
    meta_column: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A URL or a JSON object a line
    Text,
    /// The same
    Jsonl,
    /// A JSON array of objects or URLs
    Json,
    /// A table with commas
    Csv,
    /// A table with tabs
    Tsv,
    /// Parquet
    Parquet,
}

impl Listing {
    pub(super) fn columns(&self) -> Columns {
        Columns {
            url: self.url_column.clone(),
            id: self.id_column.clone(),
            caption: self.caption_column.clone(),
            meta: self.meta_column.clone(),
        }
    }

    pub(super) fn format(&self) -> Option<requests::Format> {
        self.format.map(|format| match format {
            Format::Text | Format::Jsonl => requests::Format::Lines,
            Format::Json => requests::Format::Array,
            Format::Csv => requests::Format::Csv,
            Format::Tsv => requests::Format::Tsv,
            Format::Parquet => requests::Format::Parquet,
        })
    }
}
