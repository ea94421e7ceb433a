//! WebDataset as img2dataset writes it: `00000.tar` with `K.jpg K.txt K.json`, `00000.parquet`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Error, Reason, Sample, Sink, files::NewTar, shards::Shards};
use crate::records::table::{Cell, Column, Kind, TableWriter};

/// The columns of the table beside a tar: those of img2dataset, then ours.
const COLUMNS: [Column; 14] = [
    Column::new("url", Kind::Text),
    Column::new("caption", Kind::Text),
    Column::new("key", Kind::Text),
    Column::new("status", Kind::Text),
    Column::new("error_message", Kind::Text),
    Column::new("width", Kind::Whole),
    Column::new("height", Kind::Whole),
    Column::new("original_width", Kind::Whole),
    Column::new("original_height", Kind::Whole),
    Column::new("exif", Kind::Text),
    Column::new("sha256", Kind::Text),
    Column::new("id", Kind::Text),
    Column::new("round", Kind::Whole),
    Column::new("original_caption", Kind::Text),
];

/// The writer.
pub(super) struct Webdataset {
    out: PathBuf,
    shards: Shards,
    open: Option<(NewTar, TableWriter)>,
}

impl Webdataset {
    pub(super) fn new(out: &Path, shards: Shards) -> Self {
        Self {
            out: out.to_owned(),
            shards,
            open: None,
        }
    }
}

impl Sink for Webdataset {
    fn add(&mut self, sample: &Sample<'_>) -> Result<Result<(), Reason>, Error> {
        let (tar, table) = match &mut self.open {
            Some(open) => open,
            none => {
                let name = self.shards.name()?;
                let tar = NewTar::create(&self.out.join(format!("{name}.tar")))?;
                let table = self.out.join(format!("{name}.parquet"));
                none.insert((tar, TableWriter::create(&table, &COLUMNS, None)?))
            }
        };
        let key = self.shards.key();
        let members = members(sample, &key);
        if let Some(picture) = sample.picture {
            tar.put(&format!("{key}.jpg"), picture)?;
        }
        tar.put(&format!("{key}.txt"), sample.composed.text.as_bytes())?;
        tar.put(&format!("{key}.json"), members.to_string().as_bytes())?;
        let cells = COLUMNS.iter().map(|column| match &members[column.name] {
            Value::Number(number) => Cell::Whole(number.as_i64().unwrap_or_default()),
            text => Cell::Text(text.as_str().unwrap_or_default()),
        });
        table.push(cells)?;
        self.shards.add();
        Ok(Ok(()))
    }

    fn end_shard(&mut self) -> Result<(), Error> {
        if let Some((tar, table)) = self.open.take() {
            table.finish()?;
            tar.finish()?;
            self.shards.end(None)?;
        }
        Ok(())
    }

    fn shards(&self) -> &Shards {
        &self.shards
    }
}

/// The json of a sample. Every member is there in every sample, of the same type, and never null;
/// what is nested is text: loaders infer types from the first samples.
pub(super) fn members(sample: &Sample<'_>, key: &str) -> Value {
    let Sample {
        record, composed, ..
    } = sample;
    let (width, height) = (record.image.width, record.image.height);
    let mut members = json!({
        "url": record.url,
        "caption": composed.text,
        "key": key,
        "status": "success",
        "error_message": "",
        "width": width,
        "height": height,
        "original_width": width,
        "original_height": height,
        "exif": "{}",
        "sha256": record.image.sha256,
        "id": record.id,
        "round": record.round,
        "format": record.image.format,
        "original_caption": record.original().unwrap_or_default(),
        "record_status": record.status,
        "meta": record.meta.as_ref().map_or("null", |meta| meta.get()),
    });
    if let Some(members) = members.as_object_mut() {
        for name in [
            "grounding",
            "text",
            "spatial",
            "answers",
            "clauses",
            "disputed",
        ] {
            members.insert(named(name).to_owned(), record.member(name).into());
        }
        members.insert("conversations".to_owned(), conversations(sample, "").into());
    }
    members
}

/// The member `text` of a record holds what was read: many loaders take a field of this name for
/// the caption.
fn named(member: &str) -> &str {
    if member == "text" {
        "text_lines"
    } else {
        member
    }
}

/// The turns as LLaVA has them, JSON; `image` stands before the first question.
pub(super) fn conversations(sample: &Sample<'_>, image: &str) -> String {
    let said = turns(sample, image).into_iter().map(|(by, text)| {
        let mut turn = Map::new();
        turn.insert("from".to_owned(), by.into());
        turn.insert("value".to_owned(), text.into());
        Value::Object(turn)
    });
    Value::Array(said.collect()).to_string()
}

/// Who speaks, and what.
pub(super) fn turns(sample: &Sample<'_>, image: &str) -> Vec<(&'static str, String)> {
    let turns = sample.composed.turns.iter().enumerate();
    let turns = turns.flat_map(|(number, turn)| {
        let image = if number == 0 { image } else { "" };
        [
            ("human", format!("{image}{}", plain(&turn.question))),
            ("gpt", plain(&turn.answer)),
        ]
    });
    turns.collect()
}

/// Without the tokens that loaders count as pictures and films.
fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for (token, word) in [
        ("<image>", "image"),
        ("<video>", "video"),
        ("<audio>", "audio"),
    ] {
        text = text.replace(token, word);
    }
    text
}
