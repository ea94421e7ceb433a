//! Rows of a Parquet file, by the columns that make a request; other columns are never read.

use std::{fs::File, path::Path};

use parquet::{
    basic::Compression,
    errors::ParquetError,
    file::{
        reader::{FileReader as _, SerializedFileReader},
        serialized_reader::ReadOptionsBuilder,
    },
    schema::types::Type,
};

use super::{Columns, Fault, Item, Position, columns::find, compose::Parts};
use cell::Cell;
use column::Column;
use scalar::Scalar;
use shape::{Kind, Shape};

mod cell;
mod column;
mod scalar;
mod shape;

/// Rows taken from the columns at a time.
const BATCH: usize = 1024;

/// The columns of one file.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    url: Shape,
    id: Option<Shape>,
    caption: Option<Shape>,
    meta: Vec<(String, Shape)>,
}

/// Finds the columns; returns how many rows there are.
pub(super) fn look(name: &str, file: File, columns: &Columns) -> Result<(Mapping, u64), Fault> {
    let reader = reader(name, file)?;
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let mapping = Mapping::find(schema.root_schema(), columns)
        .map_err(|problem| Fault::new(name, problem))?;
    for group in metadata.row_groups() {
        for place in mapping.shapes().flat_map(Shape::leaves) {
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
    if let (Some(id), Some(shape)) = (&columns.id, &mapping.id)
        && shape.scalar().is_some_and(Scalar::is_float)
    {
        whole(&reader, shape).map_err(|problem| {
            let text = format!(
                "column `{id}` for the id (--id-column) is a float, and {problem}; an id is text \
                 or a whole number: write the column as such"
            );
            Fault::new(name, text)
        })?;
    }
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    Ok((mapping, rows))
}

/// Looks whether a column of floats holds nothing but whole numbers: those of a column of integers
/// that had gaps, as pandas writes it. A part that cannot be read is said when its turn comes.
fn whole(reader: &SerializedFileReader<File>, shape: &Shape) -> Result<(), String> {
    let mut row = 0_u64;
    for index in 0..reader.num_row_groups() {
        let Ok(group) = reader.get_row_group(index) else {
            continue;
        };
        let mut left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let after = row + left as u64;
        let mut column = Column::new(&*group, shape).ok();
        while left > 0 {
            let rows = BATCH.min(left);
            let Some(Ok(cells)) = column.as_mut().map(|column| column.read(rows)) else {
                break;
            };
            for cell in cells {
                row += 1;
                (cell.name()).map_err(|problem| format!("in row {row} {problem}"))?;
            }
            left -= rows;
        }
        row = after;
    }
    Ok(())
}

fn reader(name: &str, file: File) -> Result<SerializedFileReader<File>, Fault> {
    let options = ReadOptionsBuilder::new().build();
    SerializedFileReader::new_with_options(file, options)
        .map_err(|error| Fault::new(name, format!("no Parquet file that can be read: {error}")))
}

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Url,
    Id,
    Caption,
    Meta,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Url => "URL (--url-column)",
            Self::Id => "id (--id-column)",
            Self::Caption => "caption (--caption-column)",
            Self::Meta => "meta (--meta-column)",
        }
    }

    /// Why a shape cannot be it.
    fn refuses(self, shape: &Shape) -> Option<&'static str> {
        if shape.foreign().is_some() {
            return Some("which cannot be read here: leave it out, or write it as a string");
        }
        let is_text = |scalar: Option<Scalar>| scalar.is_some_and(Scalar::is_text);
        match self {
            Self::Meta => None,
            Self::Url if is_text(shape.scalar()) || is_text(shape.list_of()) => None,
            Self::Url => Some("and a URL is a string, or a list of one"),
            Self::Caption if is_text(shape.scalar()) => None,
            Self::Caption => Some("and a caption is a string: --meta-column passes it on as it is"),
            Self::Id => match shape.scalar() {
                None | Some(Scalar::Bool | Scalar::Null | Scalar::Interval) => {
                    Some("and an id is a string or a number")
                }
                Some(_) => None,
            },
        }
    }
}

impl Mapping {
    fn find(root: &Type, columns: &Columns) -> Result<Self, String> {
        let there = shape::columns(root);
        let mut problems = Vec::new();
        let mut place = |wanted: &str, any_case: bool, role: Role| {
            let names = there.iter().map(|(name, _)| name.as_str());
            let (name, shape) = match find(names, wanted, any_case, role.name()) {
                Ok(at) => &there[at],
                Err(problem) => {
                    problems.push(problem);
                    return None;
                }
            };
            if let Some(why) = role.refuses(shape) {
                let foreign = shape.foreign().map(|what| format!(" with {what}"));
                let foreign = foreign.filter(|_| !matches!(shape.kind, Kind::Foreign(_)));
                let role = role.name();
                let foreign = foreign.unwrap_or_default();
                problems.push(format!(
                    "column `{name}` for the {role} is of the type {shape}{foreign}, {why}"
                ));
            }
            Some(shape.clone())
        };
        let url = columns.url.as_deref().unwrap_or("url");
        let url = place(url, columns.url.is_none(), Role::Url);
        let id = (columns.id.as_deref()).and_then(|name| place(name, false, Role::Id));
        let caption =
            (columns.caption.as_deref()).and_then(|name| place(name, false, Role::Caption));
        let meta = (columns.meta.iter())
            .filter_map(|name| Some((name.clone(), place(name, false, Role::Meta)?)))
            .collect();
        match url {
            Some(url) if problems.is_empty() => Ok(Self {
                url,
                id,
                caption,
                meta,
            }),
            _ => {
                let there: Vec<_> = (there.iter())
                    .filter(|(_, shape)| !matches!(shape.kind, Kind::Struct(_)))
                    .map(|(name, _)| format!("`{name}`"))
                    .collect();
                let problems = problems.join("; ");
                Err(format!("{problems}; its columns are {}", there.join(", ")))
            }
        }
    }

    /// In the order in which [`Rows`] reads them.
    fn shapes(&self) -> impl Iterator<Item = &Shape> + '_ {
        [Some(&self.url), self.id.as_ref(), self.caption.as_ref()]
            .into_iter()
            .flatten()
            .chain(self.meta.iter().map(|(_, shape)| shape))
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
            for shape in self.mapping.shapes() {
                self.columns.push(Column::new(&*group, shape)?);
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
    let mut next = || cells.next().unwrap_or(Cell::Null);
    let url = next().text().map_err(|fault| format!("URL: {fault}"))?;
    let url = url.as_deref().map(str::trim).filter(|url| !url.is_empty());
    let mut parts = Parts {
        url: url.ok_or("no URL")?.to_owned(),
        ..Parts::default()
    };
    if mapping.id.is_some() {
        let id = next().name().map_err(|fault| format!("id: {fault}"))?;
        parts.id = id.filter(|id| !id.is_empty());
    }
    if mapping.caption.is_some() {
        parts.caption = next().text().map_err(|fault| format!("caption: {fault}"))?;
    }
    for (name, _) in &mapping.meta {
        let value = next()
            .json()
            .map_err(|fault| format!("`{name}`: {fault}"))?;
        parts.meta.push((name, value));
    }
    Ok(parts.request())
}
