//! The columns of a row group, put together to one cell a row.
//!
//! # Source
//! Melnik et al., "Dremel: Interactive Analysis of Web-Scale Datasets" (2010), section 4.

use std::vec;

use parquet::{
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{AsBytes as _, DataType},
    errors::ParquetError,
    file::reader::RowGroupReader,
};

use super::{
    cell::Cell,
    scalar::Scalar,
    shape::{Kind, Repeated, Shape},
};

/// A column that is being read.
pub(super) struct Column {
    shape: Shape,
    leaves: Vec<Leaf>,
}

impl Column {
    pub(super) fn new(group: &dyn RowGroupReader, shape: &Shape) -> Result<Self, ParquetError> {
        let leaves = (leaves(shape).into_iter())
            .map(|(place, scalar)| {
                let column = group.metadata().column(place).column_descr_ptr();
                Ok(Leaf {
                    place,
                    scalar,
                    reader: group.get_column_reader(place)?,
                    deepest: (column.max_def_level(), column.max_rep_level()),
                    levels: Vec::new(),
                    at: 0,
                    values: Vec::new().into_iter(),
                })
            })
            .collect::<Result<_, ParquetError>>()?;
        Ok(Self {
            shape: shape.clone(),
            leaves,
        })
    }

    /// The next `rows` cells.
    pub(super) fn read(&mut self, rows: usize) -> Result<Vec<Cell>, ParquetError> {
        for leaf in &mut self.leaves {
            leaf.fill(rows)?;
        }
        (0..rows)
            .map(|_| cell(&self.shape, &mut self.leaves))
            .collect()
    }
}

/// The columns of values with their places and meanings.
fn leaves(shape: &Shape) -> Vec<(usize, Scalar)> {
    match &shape.kind {
        Kind::Foreign(_) => Vec::new(),
        Kind::Leaf(place, scalar) => vec![(*place, *scalar)],
        Kind::Struct(members) => members
            .iter()
            .flat_map(|(_, member)| leaves(member))
            .collect(),
        Kind::List(of) | Kind::Map(of) => {
            let mut all = leaves(&of.item);
            all.extend(of.value.iter().flat_map(leaves));
            all
        }
    }
}

/// One column of values: some of them, and the levels that say where they belong.
struct Leaf {
    place: usize,
    scalar: Scalar,
    reader: ColumnReader,
    /// The deepest levels of definition and repetition.
    deepest: (i16, i16),
    /// Definition and repetition, as far as they were read.
    levels: Vec<(i16, i16)>,
    at: usize,
    values: vec::IntoIter<Cell>,
}

impl Leaf {
    /// Reads the values of the next `rows` rows.
    fn fill(&mut self, rows: usize) -> Result<(), ParquetError> {
        let scalar = self.scalar;
        let (levels, values) = match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => {
                read(reader, rows, self.deepest, |value| Cell::Bool(*value))
            }
            ColumnReader::Int32ColumnReader(reader) => read(reader, rows, self.deepest, |value| {
                scalar.whole(i64::from(*value))
            }),
            ColumnReader::Int64ColumnReader(reader) => {
                read(reader, rows, self.deepest, |value| scalar.whole(*value))
            }
            ColumnReader::Int96ColumnReader(reader) => {
                read(reader, rows, self.deepest, Scalar::int96)
            }
            ColumnReader::FloatColumnReader(reader) => read(reader, rows, self.deepest, |value| {
                Cell::Float(f64::from(*value))
            }),
            ColumnReader::DoubleColumnReader(reader) => {
                read(reader, rows, self.deepest, |value| Cell::Float(*value))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                read(reader, rows, self.deepest, |value| {
                    scalar.bytes(value.as_bytes())
                })
            }
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                read(reader, rows, self.deepest, |value| {
                    scalar.bytes(value.as_bytes())
                })
            }
        }?;
        (self.levels, self.values, self.at) = (levels, values.into_iter(), 0);
        Ok(())
    }

    fn peek(&self) -> Option<(i16, i16)> {
        self.levels.get(self.at).copied()
    }

    /// Goes one further; the value, where there is one.
    fn take(&mut self) -> Result<Cell, ParquetError> {
        let (defined, _) = self.peek().ok_or_else(disagree)?;
        self.at += 1;
        if defined < self.deepest.0 {
            return Ok(Cell::Null);
        }
        self.values.next().ok_or_else(disagree)
    }
}

/// Levels and values.
type Stretch = (Vec<(i16, i16)>, Vec<Cell>);

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    (deep, repeated): (i16, i16),
    cell: impl Fn(&T::T) -> Cell,
) -> Result<Stretch, ParquetError> {
    let (mut values, mut defined, mut again) = (Vec::new(), Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let (records, _, _) = reader.read_records(
            rows - read,
            (deep > 0).then_some(&mut defined),
            (repeated > 0).then_some(&mut again),
            &mut values,
        )?;
        if records == 0 {
            return Err(ParquetError::EOF(format!(
                "the column ends {} rows early",
                rows - read
            )));
        }
        read += records;
    }
    if deep == 0 {
        defined = vec![0; values.len()];
    }
    if repeated == 0 {
        again = vec![0; defined.len()];
    }
    let levels = defined.into_iter().zip(again).collect();
    Ok((levels, values.iter().map(cell).collect()))
}

fn disagree() -> ParquetError {
    ParquetError::General("the columns of a row do not fit each other".to_owned())
}

/// The next cell of a shape.
fn cell(shape: &Shape, leaves: &mut [Leaf]) -> Result<Cell, ParquetError> {
    if let Kind::Leaf(place, _) = &shape.kind {
        return leaf(*place, leaves)?.take();
    }
    let Some(first) = shape.leaves().first().copied() else {
        return Ok(Cell::Null);
    };
    let (defined, _) = leaf(first, leaves)?.peek().ok_or_else(disagree)?;
    if defined < shape.defined {
        pass(shape, leaves)?;
        return Ok(Cell::Null);
    }
    match &shape.kind {
        Kind::Leaf(..) | Kind::Foreign(_) => Ok(Cell::Null),
        Kind::Struct(members) => {
            let members = (members.iter())
                .map(|(name, member)| Ok((name.clone(), cell(member, leaves)?)))
                .collect::<Result<_, ParquetError>>()?;
            Ok(Cell::Struct(members))
        }
        Kind::List(of) => {
            let mut items = Vec::new();
            each(shape, of, first, leaves, |leaves| {
                items.push(cell(&of.item, leaves)?);
                Ok(())
            })?;
            Ok(Cell::List(items))
        }
        Kind::Map(of) => {
            let mut entries = Vec::new();
            each(shape, of, first, leaves, |leaves| {
                let key = cell(&of.item, leaves)?;
                let value = match &of.value {
                    Some(value) => cell(value, leaves)?,
                    None => Cell::Null,
                };
                entries.push((key, value));
                Ok(())
            })?;
            Ok(Cell::Map(entries))
        }
    }
}

/// Calls `item` as often as there are items.
fn each(
    shape: &Shape,
    of: &Repeated,
    first: usize,
    leaves: &mut [Leaf],
    mut item: impl FnMut(&mut [Leaf]) -> Result<(), ParquetError>,
) -> Result<(), ParquetError> {
    let (defined, _) = leaf(first, leaves)?.peek().ok_or_else(disagree)?;
    if defined < of.some {
        return pass(shape, leaves);
    }
    loop {
        item(leaves)?;
        let next = leaf(first, leaves)?.peek();
        if next.is_none_or(|(_, level)| level < of.level) {
            return Ok(());
        }
    }
}

/// Passes over what is not there: it has one place in each column.
fn pass(shape: &Shape, leaves: &mut [Leaf]) -> Result<(), ParquetError> {
    for place in shape.leaves() {
        leaf(place, leaves)?.take()?;
    }
    Ok(())
}

fn leaf(place: usize, leaves: &mut [Leaf]) -> Result<&mut Leaf, ParquetError> {
    let found = leaves.iter_mut().find(|leaf| leaf.place == place);
    found.ok_or_else(disagree)
}
