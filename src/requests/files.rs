//! From what a person named to inputs: files, folders of Parquet files, stdin.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde::de::IgnoredAny;

use super::{
    Columns, Fault, Format, Input, Kind, array,
    lines::{self, Lines},
    parquet,
    table::{self, Separator},
    text::Text,
};

const STDIN: &str = "-";
/// First and last bytes of a Parquet file.
const PARQUET: &[u8; 4] = b"PAR1";

/// A name as text; bytes that are no UTF-8 are written as `\\xff`.
#[must_use]
pub fn name_of(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// As [`open_as`], by endings of names and beginnings of files.
///
/// # Errors
/// As [`open_as`].
pub fn open(paths: &[PathBuf], columns: &Columns) -> Result<Vec<Input>, Vec<Fault>> {
    open_as(paths, columns, None)
}

/// Looks at every path, in order; a folder stands for its `*.parquet` files by name. A format that
/// is given is that of all of them.
///
/// # Errors
/// Every fault: what cannot be read, a column that is missing (with those there are), a codec that
/// or type that is not read here, columns named for what is no table.
pub fn open_as(
    paths: &[PathBuf],
    columns: &Columns,
    format: Option<Format>,
) -> Result<Vec<Input>, Vec<Fault>> {
    let (mut inputs, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        let name = name_of(path.as_os_str());
        match expand(path) {
            Ok(files) => {
                for file in files {
                    let name = name_of(file.as_os_str());
                    match input(file, name, columns, format) {
                        Ok(input) => inputs.push(input),
                        Err(fault) => faults.push(fault),
                    }
                }
            }
            Err(problem) => faults.push(Fault { name, problem }),
        }
    }
    for (index, input) in inputs.iter().enumerate() {
        if inputs[..index].iter().any(|other| other.name == input.name) {
            faults.push(Fault::new(&input.name, "named twice"));
        }
    }
    if faults.is_empty() {
        Ok(inputs)
    } else {
        Err(faults)
    }
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| error.to_string())? {
        let file = entry.map_err(|error| error.to_string())?.path();
        if file.extension().is_some_and(|ending| ending == "parquet") && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err("a folder without *.parquet files; name the files to publish".to_owned());
    }
    files.sort();
    Ok(files)
}

fn input(
    path: PathBuf,
    name: String,
    columns: &Columns,
    format: Option<Format>,
) -> Result<Input, Fault> {
    let fault = |error: std::io::Error| Fault::new(&name, error);
    let no_table = || {
        let problem = "is text, a request a line: columns are for tables (CSV, TSV, Parquet; \
                       --format says which)";
        Fault::new(&name, problem)
    };
    let (is_stdin, metadata) = match name.as_str() {
        STDIN => (true, None),
        _ => (false, Some(fs::metadata(&path).map_err(fault)?)),
    };
    let Some(metadata) = metadata.filter(fs::Metadata::is_file) else {
        // A pipe is read once: it can neither be counted nor resumed.
        let format = format.or_else(|| by_ending(&path)).unwrap_or(Format::Lines);
        match format {
            Format::Parquet => {
                let problem = "Parquet cannot be read from a pipe; name the file";
                return Err(Fault::new(&name, problem));
            }
            Format::Lines | Format::Array if columns.is_named() => return Err(no_table()),
            _ => {}
        }
        return Ok(Input {
            name,
            count: None,
            bytes: None,
            kind: Kind::Once((!is_stdin).then_some(path), format, columns.clone()),
        });
    };
    let mut file = File::open(&path).map_err(fault)?;
    let mut magic = [0; 4];
    let is_parquet = file.read_exact(&mut magic).is_ok() && magic == *PARQUET;
    let by_name = format.or_else(|| by_ending(&path));
    if !is_parquet && by_name == Some(Format::Parquet) {
        return Err(Fault::new(
            &name,
            "no Parquet file: it does not begin with PAR1",
        ));
    }
    if is_parquet && format.is_some_and(|format| format != Format::Parquet) {
        return Err(Fault::new(&name, "is Parquet: leave --format out"));
    }
    let (count, kind) = if is_parquet {
        let (mapping, rows) = parquet::look(&name, file, columns)?;
        (rows, Kind::Parquet(path, Box::new(mapping)))
    } else {
        match by_name {
            Some(Format::Csv) => table(&name, path, Separator::Comma, columns)?,
            Some(Format::Tsv) => table(&name, path, Separator::Tab, columns)?,
            wanted => {
                let first =
                    (Text::open(&path, 0).and_then(|mut text| text.first())).map_err(fault)?;
                if columns.is_named() {
                    return Err(no_table());
                }
                if first == Some(b'[') || format == Some(Format::Array) {
                    let text = Text::open(&path, 0).map_err(fault)?;
                    (array::count(&name, text)?, Kind::Array(path))
                } else {
                    if wanted == Some(Format::Array) {
                        one_object(&name, &path)?;
                    }
                    let text = Text::open(&path, 0).map_err(fault)?;
                    (lines::count(text).map_err(fault)?, Kind::Lines(path))
                }
            }
        }
    };
    Ok(Input {
        name,
        count: Some(count),
        bytes: Some(metadata.len()),
        kind,
    })
}

fn table(
    name: &str,
    path: PathBuf,
    separator: Separator,
    columns: &Columns,
) -> Result<(u64, Kind), Fault> {
    let (table, rows) = table::look(name, &path, separator, columns)?;
    Ok((rows, Kind::Table(path, table)))
}

fn by_ending(path: &Path) -> Option<Format> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        "json" => Some(Format::Array),
        "parquet" => Some(Format::Parquet),
        _ => None,
    }
}

/// Refuses a JSON object that is spread over lines: it is no list.
fn one_object(name: &str, path: &Path) -> Result<(), Fault> {
    let fault = |error: std::io::Error| Fault::new(name, error);
    let mut lines = Lines::new(Text::open(path, 0).map_err(fault)?, 0);
    while let Some(line) = lines.next_line().map_err(fault)? {
        let text = line.text.trim_ascii();
        if text.is_empty() && !line.too_long {
            continue;
        }
        if text.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_err() {
            let problem = "is one JSON object, not a list of requests: an array ([…]) or an object \
                           a line is read; for an array inside of it: jq -c '.NAME[]' FILE | \
                           vila2 publish -";
            return Err(Fault::new(name, problem));
        }
        return Ok(());
    }
    Ok(())
}
