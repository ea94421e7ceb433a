//! From what a person named to sources.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Columns, Entry, Fault, Inputs, Kind, Source,
    entry::{Base, is_url},
    folder::{Folder, is_picture},
    identity,
    shards::{self, Shard},
};
use crate::requests::{self, Format, name_of};

/// Looks at everything that was named, in order.
///
/// # Errors
/// Every fault: a folder without pictures, a list or tar that cannot be read, a column that is not
/// there.
pub fn open(
    named: &[OsString],
    columns: &Columns,
    format: Option<Format>,
) -> Result<Inputs, Vec<Fault>> {
    let (mut sources, mut faults) = (Vec::new(), Vec::new());
    for name in named {
        match source(name, columns, format) {
            Ok(found) => sources.extend(found),
            Err(found) => faults.extend(found),
        }
    }
    for (index, source) in sources.iter().enumerate() {
        let Some(real) = real(source) else {
            continue;
        };
        let same = |other: &&Source| self::real(other).as_ref() == Some(&real);
        match sources[..index].iter().find(same) {
            Some(other) if other.name == source.name => {
                faults.push(fault(&source.name, "named twice"));
            }
            Some(other) => {
                let problem = format!("is {}, which is named, too: name it once", other.name);
                faults.push(fault(&source.name, problem));
            }
            None => {}
        }
    }
    if faults.is_empty() {
        Ok(Inputs { sources })
    } else {
        Err(faults)
    }
}

/// What many pictures come from, whatever its name.
fn real(source: &Source) -> Option<PathBuf> {
    let named = || {
        let path = Path::new(&source.name);
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    };
    match &source.kind {
        Kind::One(_) => None,
        Kind::Folder(folder) => Some(folder.real().to_owned()),
        Kind::Shard(_) | Kind::List(..) => Some(named()),
    }
}

fn source(
    named: &OsStr,
    columns: &Columns,
    format: Option<Format>,
) -> Result<Vec<Source>, Vec<Fault>> {
    let name = name_of(named);
    let path = Path::new(named);
    if named == "-" {
        return lists(vec![path.to_owned()], None, columns, format);
    }
    if let Some(text) = named.to_str().filter(|text| is_url(text)) {
        return Ok(vec![one(Entry::url(text))]);
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => folder(path, columns, format),
        // A pipe gives its bytes once: none are taken to see what it is.
        Ok(metadata) if metadata.is_file() && is_tar(path) => {
            Ok(vec![shard(path).map_err(|fault| vec![fault])?])
        }
        Ok(_) if is_packed_tar(&name) => {
            let problem = "a packed tar, in which no picture can be read where it lies: unpack it \
                           to a .tar first (gunzip, zstd -d) and name that";
            Err(vec![fault(&name, problem)])
        }
        Ok(_) if is_list(path) || (format.is_some() && !is_picture(path)) => {
            let folder = path.parent().map(Path::to_owned);
            lists(vec![path.to_owned()], folder, columns, format)
        }
        // What is no list is a picture: decoding says what is wrong with it.
        Ok(_) => {
            let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            Ok(vec![one(Entry::file(name, &real))])
        }
        Err(error) if is_list(path) || has_ending(path, &["tar"]) => Err(vec![fault(&name, error)]),
        Err(error) => Ok(vec![one(Entry::refused(
            name,
            "fetch_failed",
            error.to_string(),
        ))]),
    }
}

fn one(entry: Entry) -> Source {
    Source {
        name: entry.name.clone(),
        count: Some(1),
        skipped: 0,
        identity: Some(String::new()),
        file: None,
        kind: Kind::One(entry),
    }
}

/// A folder of pictures; where it holds none, of tars; where it holds none, of Parquet files.
fn folder(
    path: &Path,
    columns: &Columns,
    format: Option<Format>,
) -> Result<Vec<Source>, Vec<Fault>> {
    let name = name_of(path.as_os_str());
    let opened = Folder::new(path).map_err(|fault| vec![fault])?;
    let found = opened.look().map_err(|fault| vec![fault])?;
    if found.pictures > 0 {
        return Ok(vec![Source {
            name,
            count: Some(found.pictures),
            skipped: found.skipped,
            identity: Some(found.identity),
            file: None,
            kind: Kind::Folder(opened),
        }]);
    }
    let inside = |ending: &str| files(path, ending).map_err(|error| vec![fault(&name, error)]);
    let tars = inside("tar")?;
    if !tars.is_empty() {
        return tars
            .iter()
            .map(|path| shard(path).map_err(|fault| vec![fault]))
            .collect();
    }
    let tables = inside("parquet")?;
    if tables.is_empty() {
        let problem = format!(
            "a folder without pictures: none of its {} files ends in .jpg, .png, .webp, .gif, .bmp, \
             .tif or the like, nor are there .tar or .parquet files in it",
            found.skipped
        );
        return Err(vec![fault(&name, problem)]);
    }
    lists(tables, Some(path.to_owned()), columns, format)
}

fn shard(path: &Path) -> Result<Source, Fault> {
    let shard = Shard::new(path)?;
    let found = shard.look()?;
    let name = name_of(path.as_os_str());
    if found.samples == 0 {
        let problem = "a tar without pictures: no member has a picture's ending";
        return Err(fault(&name, problem));
    }
    Ok(Source {
        count: Some(found.samples),
        skipped: found.skipped,
        identity: Some(identity::of_file(path).map_err(|error| fault(&name, error))?),
        file: Some(path.to_owned()),
        kind: Kind::Shard(shard),
        name,
    })
}

fn lists(
    paths: Vec<PathBuf>,
    folder: Option<PathBuf>,
    columns: &Columns,
    format: Option<Format>,
) -> Result<Vec<Source>, Vec<Fault>> {
    let inputs = requests::open_as(&paths, columns, format)?;
    (inputs.into_iter().zip(&paths))
        .map(|(input, path)| {
            let identity = match input.bytes {
                Some(_) => Some(identity::of_file(path).map_err(|e| vec![fault(&input.name, e)])?),
                None => None,
            };
            Ok(Source {
                name: input.name.clone(),
                count: input.count,
                skipped: 0,
                file: identity.is_some().then(|| path.clone()),
                identity,
                kind: Kind::List(input, Base(folder.clone())),
            })
        })
        .collect()
}

/// The files of a folder with this ending, by name.
fn files(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if has_ending(&path, &[ending]) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_tar(path: &Path) -> bool {
    has_ending(path, &["tar"]) || shards::is_tar(path)
}

fn is_packed_tar(name: &str) -> bool {
    const ENDINGS: [&str; 8] = [
        ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz",
    ];
    let name = name.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn is_list(path: &Path) -> bool {
    const LISTS: [&str; 8] = [
        "txt", "jsonl", "ndjson", "json", "csv", "tsv", "tab", "parquet",
    ];
    has_ending(path, &LISTS)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| endings.contains(&ending.to_ascii_lowercase().as_str()))
}

fn fault(name: &str, problem: impl std::fmt::Display) -> Fault {
    Fault {
        name: name.to_owned(),
        problem: problem.to_string(),
    }
}
