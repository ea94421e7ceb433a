//! Caption records as rows of Parquet files: what `vila2 caption --out` writes and `vila2 export`
//! reads.
//!
//! One row a record, one column a member (CONTRACTS.md, `vila2.caption/1`). Objects are structs and
//! lists lists of structs. Two things are written otherwise, because few readers know maps:
//! `models`, `timings_ms` and `queue_ms` are lists of structs with the stage in `stage`, and `meta`
//! is JSON text. What is absent in a record is null in its row.

mod columns;
mod row;
pub mod table;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use arrow_array::RecordBatch;
use arrow_json::{LineDelimitedWriter, ReaderBuilder, reader::Decoder};
use arrow_schema::ArrowError;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector},
    },
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

/// Rows turned into columns at a time.
const BATCH: usize = 256;
/// Rows of a row group: what a reader has to unpack for one of them.
const GROUP: usize = 1024;

/// A file of rows cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct Error {
    /// Which.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

impl Error {
    fn of(path: &Path, problem: impl ToString) -> Self {
        Self {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// Writes a file. It has its name only when it is whole.
pub struct RecordWriter {
    path: PathBuf,
    beside: PathBuf,
    writer: ArrowWriter<File>,
    decoder: Decoder,
    rows: u64,
}

impl RecordWriter {
    /// Begins a file, under another name; one that is there is replaced at the end.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let fault = |problem: String| Error::of(path, problem);
        let mut beside = path.to_owned().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let file = File::create(&beside).map_err(|error| fault(error.to_string()))?;
        let schema = columns::schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP))
            .set_created_by(concat!("vila2 ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))
            .map_err(|error| fault(error.to_string()))?;
        let decoder = ReaderBuilder::new(schema)
            .with_batch_size(BATCH)
            .build_decoder()
            .map_err(|error| fault(error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            beside,
            writer,
            decoder,
            rows: 0,
        })
    }

    /// Adds a record, JSON.
    ///
    /// # Errors
    /// It is no record, or cannot be written.
    pub fn push(&mut self, record: &[u8]) -> Result<(), Error> {
        let row = row::of_record(record).map_err(|error| Error::of(&self.path, error))?;
        let mut rest = row.as_slice();
        while !rest.is_empty() {
            let read = (self.decoder.decode(rest)).map_err(|error| Error::of(&self.path, error))?;
            rest = &rest[read..];
            if self.decoder.len() >= BATCH {
                self.flush()?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
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
            .map_err(|error| Error::of(&self.path, error))
    }

    fn flush(&mut self) -> Result<(), Error> {
        let batch = (self.decoder.flush()).map_err(|error| Error::of(&self.path, error))?;
        if let Some(batch) = batch {
            (self.writer.write(&batch)).map_err(|error| Error::of(&self.path, error))?;
        }
        Ok(())
    }
}

/// The records of a file, each as JSON, in the order of its rows.
///
/// # Errors
/// It cannot be opened; an item that is an error ends the reading.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<Vec<u8>, Error>> + use<>, Error> {
    records(path, None)
}

/// The record of one row, from 0 on.
///
/// # Errors
/// It cannot be read, or there are fewer rows.
pub fn row(path: &Path, row: u32) -> Result<Vec<u8>, Error> {
    let selection = vec![RowSelector::skip(row as usize), RowSelector::select(1)];
    let mut found = records(path, Some(selection.into()))?;
    found
        .next()
        .unwrap_or_else(|| Err(Error::of(path, format!("has no row {row}"))))
}

/// How many rows a file has.
///
/// # Errors
/// It cannot be read.
pub fn count(path: &Path) -> Result<u64, Error> {
    let builder = open(path).map_err(|error| Error::of(path, error))?;
    let rows = builder.metadata().file_metadata().num_rows();
    Ok(u64::try_from(rows).unwrap_or(0))
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, ParquetError> {
    ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)
}

fn records(
    path: &Path,
    selection: Option<RowSelection>,
) -> Result<impl Iterator<Item = Result<Vec<u8>, Error>> + use<>, Error> {
    let fault = |error: ParquetError| Error::of(path, error);
    let mut builder = open(path).map_err(fault)?.with_batch_size(BATCH);
    if let Some(selection) = selection {
        builder = builder.with_row_selection(selection);
    }
    let batches = builder.build().map_err(fault)?;
    let path = path.to_owned();
    Ok(batches.flat_map(move |batch| {
        let rows = batch.and_then(|batch| lines(&batch));
        match rows {
            Ok(rows) => rows
                .into_iter()
                .map(|row| row::to_record(&row).map_err(|error| Error::of(&path, error)))
                .collect(),
            Err(error) => vec![Err(Error::of(&path, error))],
        }
    }))
}

/// The rows of a batch as JSON.
fn lines(batch: &RecordBatch) -> Result<Vec<Vec<u8>>, ArrowError> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let text = writer.into_inner();
    Ok((text.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// A file without a record is none of ours, whatever its rows.
///
/// # Errors
/// Its columns are not those of records.
pub fn check(path: &Path) -> Result<(), Error> {
    let builder = open(path).map_err(|error| Error::of(path, error))?;
    let schema = builder.schema();
    let missing: Vec<_> = ["schema", "id", "url", "image", "caption", "enriched"]
        .into_iter()
        .filter(|name| schema.field_with_name(name).is_err())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::of(
        path,
        format!(
            "is no file of caption records: the columns {} are missing; records are what `vila2 \
             caption --out` writes",
            missing.join(", ")
        ),
    ))
}

impl std::fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordWriter")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}
