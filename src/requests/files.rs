//! From what a person named to inputs: files, folders of Parquet files, stdin.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::{Columns, Fault, Input, Kind, lines, parquet};

const STDIN: &str = "-";
/// First and last bytes of a Parquet file.
const PARQUET: &[u8; 4] = b"PAR1";

/// Looks at every path, in order; a folder stands for its `*.parquet` files by name.
///
/// # Errors
/// Every fault: what cannot be read, a column that is missing (with those there are), a codec that
/// is not read here, columns named for what is text.
pub fn open(paths: &[PathBuf], columns: &Columns) -> Result<Vec<Input>, Vec<Fault>> {
    let (mut inputs, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.display().to_string();
        match expand(path) {
            Ok(files) => {
                for file in files {
                    let name = file.display().to_string();
                    match input(file, name, columns) {
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

fn input(path: PathBuf, name: String, columns: &Columns) -> Result<Input, Fault> {
    let text = |input: Input| {
        if columns.is_named() {
            let problem = "is text, a request a line: columns are for Parquet files";
            return Err(Fault::new(&input.name, problem));
        }
        Ok(input)
    };
    if name == STDIN {
        return text(Input {
            name,
            count: None,
            bytes: None,
            kind: Kind::Stdin,
        });
    }
    let fault = |error: std::io::Error| Fault::new(&name, error);
    let mut file = File::open(&path).map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    if !metadata.is_file() {
        // A pipe is read once: it can neither be counted nor resumed.
        return text(Input {
            name,
            count: None,
            bytes: None,
            kind: Kind::Lines(path),
        });
    }
    let mut magic = [0; 4];
    let is_parquet = file.read_exact(&mut magic).is_ok() && magic == *PARQUET;
    if !is_parquet && path.extension().is_some_and(|ending| ending == "parquet") {
        return Err(Fault::new(
            &name,
            "no Parquet file: it does not begin with PAR1",
        ));
    }
    let bytes = Some(metadata.len());
    if is_parquet {
        let (mapping, rows) = parquet::look(&name, file, columns)?;
        return Ok(Input {
            name,
            count: Some(rows),
            bytes,
            kind: Kind::Parquet(path, Box::new(mapping)),
        });
    }
    if lines::is_binary(&path).map_err(fault)? {
        let problem = "is neither text nor Parquet; unpack it first, for example: \
                       zcat FILE | vila2 publish -";
        return Err(Fault::new(&name, problem));
    }
    let count = lines::count(&path).map_err(fault)?;
    text(Input {
        name,
        count: Some(count),
        bytes,
        kind: Kind::Lines(path),
    })
}
