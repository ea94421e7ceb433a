//! Hugging Face `datasets`: Parquet files with an image column.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{
    Error, Reason, Request, Sample, Sink,
    shards::Shards,
    webdataset::{members, turns},
};
use crate::records::table::{Cell, Column, Kind, TableWriter};

static COLUMNS: [Column; 20] = [
    Column::new("image", Kind::Image),
    Column::new("text", Kind::Text),
    Column::new("id", Kind::Text),
    Column::new("url", Kind::Text),
    Column::new("round", Kind::Whole),
    Column::new("width", Kind::Whole),
    Column::new("height", Kind::Whole),
    Column::new("format", Kind::Text),
    Column::new("sha256", Kind::Text),
    Column::new("original_caption", Kind::Text),
    Column::new("record_status", Kind::Text),
    Column::new("meta", Kind::Text),
    Column::new("conversations", Kind::Turns),
    Column::new("clauses", Kind::Text),
    Column::new("grounding", Kind::Text),
    Column::new("text_lines", Kind::Text),
    Column::new("spatial", Kind::Text),
    Column::new("answers", Kind::Text),
    Column::new("disputed", Kind::Text),
    Column::new("key", Kind::Text),
];

/// The writer.
pub(super) struct Hf {
    out: PathBuf,
    columns: &'static [Column],
    shards: Shards,
    open: Option<TableWriter>,
}

impl Hf {
    pub(super) fn new(out: &Path, request: &Request, shards: Shards) -> Self {
        Self {
            out: out.join("data"),
            columns: if request.images {
                &COLUMNS
            } else {
                &COLUMNS[1..]
            },
            shards,
            open: None,
        }
    }
}

/// What tells `datasets` which column holds pictures.
fn features(columns: &[Column]) -> String {
    let features: Map<_, _> = (columns.iter())
        .map(|column| {
            let feature = match column.kind {
                Kind::Image => json!({ "_type": "Image" }),
                Kind::Text => json!({ "dtype": "string", "_type": "Value" }),
                Kind::Whole => json!({ "dtype": "int64", "_type": "Value" }),
                Kind::Turns => {
                    let text = json!({ "dtype": "string", "_type": "Value" });
                    json!([{ "from": text, "value": text }])
                }
            };
            (column.name.to_owned(), feature)
        })
        .collect();
    json!({ "info": { "features": features } }).to_string()
}

impl Sink for Hf {
    fn add(&mut self, sample: &Sample<'_>) -> Result<Result<(), Reason>, Error> {
        let columns = self.columns;
        let table = match &mut self.open {
            Some(table) => table,
            none => {
                let path = self
                    .out
                    .join(format!("train-{}.parquet", self.shards.name()?));
                let about = features(columns);
                none.insert(TableWriter::create(
                    &path,
                    columns,
                    Some(("huggingface", &about)),
                )?)
            }
        };
        let key = self.shards.key();
        let path = format!("{key}.jpg");
        let mut members = members(sample, &key);
        members["text"] = sample.composed.text.as_str().into();
        let turns = turns(sample, "<image>\n");
        let cells = columns.iter().map(|column| match &members[column.name] {
            _ if column.kind == Kind::Turns => Cell::Turns(&turns),
            Value::Null => Cell::Image {
                bytes: sample.picture.unwrap_or_default(),
                path: &path,
            },
            Value::Number(number) => Cell::Whole(number.as_i64().unwrap_or_default()),
            text => Cell::Text(text.as_str().unwrap_or_default()),
        });
        table.push(cells)?;
        self.shards.add();
        Ok(Ok(()))
    }

    fn end_shard(&mut self) -> Result<(), Error> {
        if let Some(table) = self.open.take() {
            table.finish()?;
            self.shards.end(None)?;
        }
        Ok(())
    }

    fn shards(&self) -> &Shards {
        &self.shards
    }
}
