//! One column of a row group, as JSON values.

use parquet::{
    basic::ConvertedType,
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{AsBytes, DataType},
    errors::ParquetError,
    file::reader::RowGroupReader,
    record::Field,
    schema::types::ColumnDescPtr,
};
use serde_json::{Number, Value};

/// A value, or why it is none.
pub(super) type Cell = Result<Value, String>;

/// A column that is being read, without lists.
pub(super) struct Column {
    reader: ColumnReader,
    descriptor: ColumnDescPtr,
}

impl Column {
    pub(super) fn new(group: &dyn RowGroupReader, place: usize) -> Result<Self, ParquetError> {
        Ok(Self {
            reader: group.get_column_reader(place)?,
            descriptor: group.metadata().column(place).column_descr_ptr(),
        })
    }

    /// The next `rows` cells.
    pub(super) fn read(&mut self, rows: usize) -> Result<Vec<Cell>, ParquetError> {
        let descriptor = &self.descriptor;
        let deep = descriptor.max_def_level();
        match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => {
                cells(reader, rows, deep, |value| Ok(value.into()))
            }
            ColumnReader::Int32ColumnReader(reader) => cells(reader, rows, deep, |value| {
                Ok(whole(descriptor, i64::from(value), || {
                    Field::convert_int32(descriptor, value)
                }))
            }),
            ColumnReader::Int64ColumnReader(reader) => cells(reader, rows, deep, |value| {
                Ok(whole(descriptor, value, || {
                    Field::convert_int64(descriptor, value)
                }))
            }),
            ColumnReader::Int96ColumnReader(reader) => cells(reader, rows, deep, |value| {
                let field = Field::convert_int96(descriptor, value);
                Ok(field.to_string().into())
            }),
            ColumnReader::FloatColumnReader(reader) => {
                cells(reader, rows, deep, |value| Ok(float(f64::from(value))))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                cells(reader, rows, deep, |value| Ok(float(value)))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                cells(reader, rows, deep, |value| text(value.as_bytes()))
            }
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                cells(reader, rows, deep, |value| text(value.as_bytes()))
            }
        }
    }
}

fn cells<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    deep: i16,
    cell: impl Fn(T::T) -> Cell,
) -> Result<Vec<Cell>, ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let defined = (deep > 0).then_some(&mut levels);
        let (records, _, _) = reader.read_records(rows - read, defined, None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::EOF(format!(
                "the column ends {} rows early",
                rows - read
            )));
        }
        read += records;
    }
    let mut values = values.into_iter();
    if deep == 0 {
        return Ok(values.map(cell).collect());
    }
    let found = levels.into_iter().map(|level| {
        if level < deep {
            return Ok(Value::Null);
        }
        values.next().map_or(Ok(Value::Null), &cell)
    });
    Ok(found.collect())
}

/// Whole numbers as numbers; dates, times and decimals in words.
fn whole(descriptor: &ColumnDescPtr, value: i64, field: impl FnOnce() -> Field) -> Value {
    match descriptor.converted_type() {
        ConvertedType::UINT_64 => value.cast_unsigned().into(),
        ConvertedType::UINT_32 => (value as u32).into(),
        ConvertedType::DATE
        | ConvertedType::DECIMAL
        | ConvertedType::TIME_MILLIS
        | ConvertedType::TIME_MICROS
        | ConvertedType::TIMESTAMP_MILLIS
        | ConvertedType::TIMESTAMP_MICROS => field().to_string().into(),
        _ => value.into(),
    }
}

/// NaN and infinities are null: JSON has none.
fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn text(bytes: &[u8]) -> Cell {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(format!("no UTF-8 ({error})")),
    }
}
