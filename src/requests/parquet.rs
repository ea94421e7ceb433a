//! Rows of a Parquet file, by the columns that make a request; other columns are never read.

use std::{fs::File, path::Path};

use parquet::{
    basic::Compression,
    errors::ParquetError,
    file::{
        reader::{FileReader as _, SerializedFileReader},
        serialized_reader::ReadOptionsBuilder,
    },
    schema::types::SchemaDescriptor,
};
use serde_json::{Map, Value};

use super::{Columns, Fault, Item, Position};
use column::{Cell, Column};

mod column;

/// Rows taken from the columns at a time.
const BATCH: usize = 1024;

/// The columns of one file by their place in it.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    url: usize,
    id: Option<usize>,
    caption: Option<usize>,
    meta: Vec<(String, usize)>,
}

/// Finds the columns; returns how many rows there are.
pub(super) fn look(name: &str, file: File, columns: &Columns) -> Result<(Mapping, u64), Fault> {
    let reader = reader(name, file)?;
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let mapping = Mapping::find(schema, columns).map_err(|problem| Fault::new(name, problem))?;
    for group in metadata.row_groups() {
        for place in mapping.places() {
            let column = group.column(place);
            if let Compression::BROTLI(_) | Compression::LZO = column.compression() {
                let (path, codec) = (column.column_path().string(), column.compression());
                return Err(Fault::new(
                    name,
                    format!(
                        "column `{path}` is compressed with {codec}, which is not read here; \
                         write it again with zstd, snappy, gzip or lz4"
                    ),
                ));
            }
        }
    }
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    Ok((mapping, rows))
}

fn reader(name: &str, file: File) -> Result<SerializedFileReader<File>, Fault> {
    let options = ReadOptionsBuilder::new().build();
    SerializedFileReader::new_with_options(file, options)
        .map_err(|error| Fault::new(name, format!("no Parquet file that can be read: {error}")))
}

impl Mapping {
    fn find(schema: &SchemaDescriptor, columns: &Columns) -> Result<Self, String> {
        let mut problems = Vec::new();
        let mut place = |wanted: &str, any_case: bool, what: &str| {
            let found = (0..schema.num_columns()).find(|&at| {
                let path = schema.column(at).path().string();
                path == wanted || any_case && path.eq_ignore_ascii_case(wanted)
            });
            match found {
                None => problems.push(format!("no column `{wanted}` for the {what}")),
                Some(at) if schema.column(at).max_rep_level() > 0 => {
                    problems.push(format!("column `{wanted}` for the {what} is a list"));
                }
                Some(_) => {}
            }
            found
        };
        let url = place(
            columns.url.as_deref().unwrap_or("url"),
            columns.url.is_none(),
            "URL (--url-column)",
        );
        let id = (columns.id.as_deref()).and_then(|name| place(name, false, "id (--id-column)"));
        let caption = (columns.caption.as_deref())
            .and_then(|name| place(name, false, "caption (--caption-column)"));
        let meta = (columns.meta.iter())
            .filter_map(|name| Some((name.clone(), place(name, false, "meta (--meta-column)")?)))
            .collect();
        match url {
            Some(url) if problems.is_empty() => Ok(Self {
                url,
                id,
                caption,
                meta,
            }),
            _ => {
                let there: Vec<_> = schema
                    .columns()
                    .iter()
                    .filter(|column| column.max_rep_level() == 0)
                    .map(|column| format!("`{}`", column.path().string()))
                    .collect();
                let problems = problems.join("; ");
                Err(format!("{problems}; its columns are {}", there.join(", ")))
            }
        }
    }

    /// In the order in which [`Rows`] reads them.
    fn places(&self) -> impl Iterator<Item = usize> + '_ {
        [Some(self.url), self.id, self.caption]
            .into_iter()
            .flatten()
            .chain(self.meta.iter().map(|(_, place)| *place))
    }
}

/// The rows of a file.
pub(super) struct Rows {
    reader: SerializedFileReader<File>,
    mapping: Mapping,
    /// Row groups that were begun.
    groups: usize,
    columns: Vec<Column>,
    /// Rows of the present group that are not in `batch` yet.
    left: u64,
    /// One column after the other, last row first.
    batch: Vec<Vec<Cell>>,
    position: u64,
}

impl Rows {
    pub(super) fn open(
        name: &str,
        path: &Path,
        mapping: &Mapping,
        from: Position,
    ) -> Result<Self, Fault> {
        let file = File::open(path).map_err(|error| Fault::new(name, error))?;
        let mut rows = Self {
            reader: reader(name, file)?,
            mapping: mapping.clone(),
            groups: 0,
            columns: Vec::new(),
            left: 0,
            batch: Vec::new(),
            position: 0,
        };
        rows.pass_over(from.at);
        Ok(rows)
    }

    /// Passes over rows, whole groups without reading them.
    fn pass_over(&mut self, rows: u64) {
        let groups = self.reader.metadata().row_groups();
        let mut over = 0;
        for group in groups {
            let count = u64::try_from(group.num_rows()).unwrap_or(0);
            if over + count > rows {
                break;
            }
            over += count;
            self.groups += 1;
        }
        self.position = over;
        // The few that are left of a group that was begun are read and dropped.
        while self.position < rows && self.next().is_some() {}
    }

    /// Fills the batch from the present group, else from the next one; `Ok(false)`: there is none.
    fn fill(&mut self) -> Result<bool, ParquetError> {
        while self.left == 0 {
            if self.groups == self.reader.num_row_groups() {
                return Ok(false);
            }
            let group = self.reader.get_row_group(self.groups)?;
            self.groups += 1;
            self.left = u64::try_from(group.metadata().num_rows()).unwrap_or(0);
            self.columns.clear();
            for place in self.mapping.places() {
                self.columns.push(Column::new(&*group, place)?);
            }
        }
        let rows = BATCH.min(usize::try_from(self.left).unwrap_or(BATCH));
        self.batch.clear();
        for column in &mut self.columns {
            let mut cells = column.read(rows)?;
            cells.reverse();
            self.batch.push(cells);
        }
        self.left -= rows as u64;
        Ok(true)
    }

    /// The next row's request; `None`: the batch is used up, or there is none yet.
    fn row(&mut self) -> Option<Result<Vec<u8>, String>> {
        if self.batch.is_empty() {
            return None;
        }
        let mut cells = Vec::with_capacity(self.batch.len());
        for column in &mut self.batch {
            cells.push(column.pop()?);
        }
        Some(request(&self.mapping, cells))
    }

    /// Gives the rest of the present row group up.
    fn give_up(&mut self, error: &ParquetError) -> Item {
        let begun: u64 = (self.reader.metadata().row_groups()[..self.groups].iter())
            .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
            .sum();
        let first = self.position + 1;
        self.position = begun.max(first);
        self.left = 0;
        self.batch.clear();
        Item {
            first,
            after: Position {
                at: self.position,
                number: self.position,
            },
            content: Err(format!("cannot be read: {error}")),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Item, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(content) = self.row() {
                self.position += 1;
                let after = Position {
                    at: self.position,
                    number: self.position,
                };
                let first = self.position;
                return Some(Ok(Item {
                    first,
                    after,
                    content,
                }));
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Ok(self.give_up(&error))),
            }
        }
    }
}

/// The value of a request: a bare URL where nothing else is mapped, else JSON.
fn request(mapping: &Mapping, cells: Vec<Cell>) -> Result<Vec<u8>, String> {
    let mut cells = cells.into_iter();
    let mut next = || cells.next().unwrap_or(Ok(Value::Null));
    let url = match text(next().map_err(|fault| format!("URL: {fault}"))?) {
        Some(url) if !url.trim().is_empty() => url.trim().to_owned(),
        _ => return Err("no URL".to_owned()),
    };
    let mut object = Map::new();
    if mapping.id.is_some()
        && let Some(id) = text(next().map_err(|fault| format!("id: {fault}"))?)
        && !id.is_empty()
    {
        object.insert("id".to_owned(), id.into());
    }
    if mapping.caption.is_some()
        && let Some(caption) = text(next().map_err(|fault| format!("caption: {fault}"))?)
    {
        object.insert("caption".to_owned(), caption.into());
    }
    if !mapping.meta.is_empty() {
        let mut meta = Map::new();
        for (name, _) in &mapping.meta {
            let value = next().map_err(|fault| format!("`{name}`: {fault}"))?;
            meta.insert(name.clone(), value);
        }
        object.insert("meta".to_owned(), meta.into());
    }
    // What begins like JSON would be read as JSON.
    if object.is_empty() && !url.starts_with('{') {
        return Ok(url.into_bytes());
    }
    object.shift_insert(0, "url".to_owned(), url.into());
    Ok(Value::from(object).to_string().into_bytes())
}

/// A cell as text; numbers are written out.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}
