//! Plain tables for trainers: text, whole numbers, pictures, conversations. No value is null.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{
    ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray,
    builder::{ArrayBuilder, ListBuilder, StringBuilder, StructBuilder},
};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::{Error, GROUP};

/// Bytes of pictures and texts of a row group, about: what a reader unpacks for one row.
const GROUP_BYTES: usize = 32 << 20;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// 64 bits.
    Whole,
    /// A struct of `bytes` and `path`.
    Image,
    /// A list of structs of `from` and `value`.
    Turns,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

impl Column {
    /// Names one.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind }
    }
}

/// A value; its kind is that of its column.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number.
    Whole(i64),
    /// A picture's file.
    Image {
        /// Its bytes.
        bytes: &'a [u8],
        /// The name it goes by.
        path: &'a str,
    },
    /// Who speaks, and what.
    Turns(&'a [(&'static str, String)]),
}

/// Values of the rows that are not written yet.
#[derive(Debug)]
enum Pending {
    Text(Vec<String>),
    Whole(Vec<i64>),
    Image(Vec<Vec<u8>>, Vec<String>),
    Turns(Vec<Vec<(&'static str, String)>>),
}

/// Writes a table. It has its name only when it is whole.
pub struct TableWriter {
    path: PathBuf,
    beside: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    pending: Vec<Pending>,
    rows: usize,
    bytes: usize,
}

impl TableWriter {
    /// Begins a table; `note` is a key and value of the schema's metadata.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(
        path: &Path,
        columns: &[Column],
        note: Option<(&str, &str)>,
    ) -> Result<Self, Error> {
        let mut beside = path.to_owned().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let fields: Vec<_> = columns.iter().map(field).collect();
        let note = note.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let metadata: HashMap<_, _> = note.into_iter().collect();
        let schema: SchemaRef = Arc::new(Schema::new_with_metadata(fields, metadata));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("vila2 ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::of(path, error))?;
        }
        let file = File::create(&beside).map_err(|error| Error::of(path, error))?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|error| Error::of(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            beside,
            schema,
            writer,
            pending: columns.iter().map(|column| nothing(column.kind)).collect(),
            rows: 0,
            bytes: 0,
        })
    }

    /// Adds a row: a cell for each column.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn push<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> Result<(), Error> {
        for (pending, cell) in self.pending.iter_mut().zip(cells) {
            match (pending, cell) {
                (Pending::Text(values), Cell::Text(value)) => {
                    self.bytes += value.len();
                    values.push(value.to_owned());
                }
                (Pending::Whole(values), Cell::Whole(value)) => values.push(value),
                (Pending::Image(all, paths), Cell::Image { bytes, path }) => {
                    self.bytes += bytes.len();
                    all.push(bytes.to_vec());
                    paths.push(path.to_owned());
                }
                (Pending::Turns(all), Cell::Turns(turns)) => {
                    self.bytes += turns.iter().map(|(_, text)| text.len()).sum::<usize>();
                    all.push(turns.to_vec());
                }
                (_, cell) => {
                    return Err(Error::of(&self.path, format!("bug: no place for {cell:?}")));
                }
            }
        }
        self.rows += 1;
        if self.rows >= GROUP || self.bytes >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// It cannot be written; nothing is left under its name.
    pub fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        let file = (self.writer.into_inner()).map_err(|error| Error::of(&self.path, error))?;
        (file.sync_all())
            .and_then(|()| fs::rename(&self.beside, &self.path))
            .and_then(|()| match self.path.parent() {
                Some(folder) => File::open(folder)?.sync_all(),
                None => Ok(()),
            })
            .map_err(|error| Error::of(&self.path, error))
    }

    /// Writes what is pending as a row group.
    fn flush(&mut self) -> Result<(), Error> {
        if self.rows == 0 {
            return Ok(());
        }
        let arrays: Vec<_> = self.pending.iter_mut().map(array).collect();
        (self.rows, self.bytes) = (0, 0);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::of(&self.path, error))?;
        (self.writer.write(&batch))
            .and_then(|()| self.writer.flush())
            .map_err(|error| Error::of(&self.path, error))
    }
}

fn nothing(kind: Kind) -> Pending {
    match kind {
        Kind::Text => Pending::Text(Vec::new()),
        Kind::Whole => Pending::Whole(Vec::new()),
        Kind::Image => Pending::Image(Vec::new(), Vec::new()),
        Kind::Turns => Pending::Turns(Vec::new()),
    }
}

fn image_fields() -> Fields {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    Fields::from(vec![
        field("bytes", DataType::Binary),
        field("path", DataType::Utf8),
    ])
}

fn turn_fields() -> Fields {
    let field = |name: &str| Field::new(name, DataType::Utf8, true);
    Fields::from(vec![field("from"), field("value")])
}

fn turn() -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(turn_fields()), true))
}

fn field(column: &Column) -> Field {
    let kind = match column.kind {
        Kind::Text => DataType::Utf8,
        Kind::Whole => DataType::Int64,
        Kind::Image => DataType::Struct(image_fields()),
        Kind::Turns => DataType::List(turn()),
    };
    Field::new(column.name, kind, true)
}

/// Takes the values out.
fn array(pending: &mut Pending) -> ArrayRef {
    match pending {
        Pending::Text(values) => Arc::new(StringArray::from_iter_values(values.drain(..))),
        Pending::Whole(values) => Arc::new(Int64Array::from(std::mem::take(values))),
        Pending::Image(all, paths) => {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(BinaryArray::from_iter_values(all.drain(..))),
                Arc::new(StringArray::from_iter_values(paths.drain(..))),
            ];
            Arc::new(StructArray::new(image_fields(), columns, None))
        }
        Pending::Turns(all) => {
            let texts = || Box::new(StringBuilder::new()) as Box<dyn ArrayBuilder>;
            let turns = StructBuilder::new(turn_fields(), vec![texts(), texts()]);
            let mut lists = ListBuilder::new(turns).with_field(turn());
            for turns in all.drain(..) {
                let list = lists.values();
                for (by, text) in &turns {
                    for (at, value) in [*by, text].into_iter().enumerate() {
                        let texts = list.field_builder::<StringBuilder>(at);
                        texts.expect("bug: both are texts").append_value(value);
                    }
                    list.append(true);
                }
                lists.append(true);
            }
            Arc::new(lists.finish())
        }
    }
}

/// The rows of a table as JSON, and its schema's metadata.
#[cfg(test)]
#[allow(clippy::type_complexity)] // rows and the metadata of the schema, for tests
pub(crate) fn read(path: &Path) -> Result<(Vec<Vec<u8>>, HashMap<String, String>), Error> {
    let builder = super::open(path).map_err(|error| Error::of(path, error))?;
    let note = builder.schema().metadata().iter();
    let note = note
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut rows = Vec::new();
    for batch in builder.build().map_err(|error| Error::of(path, error))? {
        let lines = batch.and_then(|batch| super::lines(&batch));
        rows.extend(lines.map_err(|error| Error::of(path, error))?);
    }
    Ok((rows, note))
}
