//! The graph files of a model folder: which variant, with external data, and their revision.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::Fault;

/// The suffixes of the convention, in the order in which they are taken where none is asked for.
/// The first, empty one is fp32.
pub const VARIANTS: [&str; 8] = [
    "",
    "fp16",
    "int8",
    "uint8",
    "quantized",
    "q4",
    "q4f16",
    "bnb4",
];

/// The operator that keeps a cache of its own making and wants padding on the right.
const GROUP_QUERY_ATTENTION: &[u8] = b"GroupQueryAttention";

/// One graph file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The `.onnx` file.
    pub path: PathBuf,
    /// Its suffix, one of [`VARIANTS`].
    pub variant: &'static str,
    /// Files with its weights, in order: `<file>_data`, `<file>_data_1`, ….
    pub external_data: Vec<PathBuf>,
    /// Whether it holds GroupQueryAttention operators.
    pub group_query_attention: bool,
}

impl Graph {
    /// Size of the graph with its external data, in bytes; files that are gone count nothing.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let files = std::iter::once(&self.path).chain(&self.external_data);
        files
            .filter_map(|file| fs::metadata(file).ok())
            .map(|facts| facts.len())
            .sum()
    }
}

/// The graph files that were asked for, with their common revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graphs {
    by_name: BTreeMap<String, Graph>,
    revision: String,
}

impl Graphs {
    /// The graph `name`, one of those the folder was opened with.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Graph> {
        self.by_name.get(name)
    }

    /// First 12 hex digits of a SHA-256 over the graph files (each with its external data), in the
    /// order of their names.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Finds `onnx/<name>[_<variant>].onnx` for every name, and reads them once for the revision.
    pub(super) fn find(
        folder: &Path,
        names: &[&str],
        variant: Option<&str>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let wanted: Vec<&'static str> = match variant {
            None => VARIANTS.to_vec(),
            Some(asked) => {
                let asked = if asked == "fp32" { "" } else { asked };
                let known = VARIANTS.iter().copied().filter(|v| *v == asked).collect();
                if VARIANTS.contains(&asked) {
                    known
                } else {
                    faults.push(Fault::new(
                        "onnx",
                        format!(
                            "variant `{asked}` is not known; accepted: fp32, {}",
                            VARIANTS[1..].join(", ")
                        ),
                    ));
                    Vec::new()
                }
            }
        };
        let mut by_name = BTreeMap::new();
        let mut digest = Sha256::new();
        let mut names = names.to_vec();
        names.sort_unstable();
        for name in names {
            let found = wanted
                .iter()
                .map(|variant| (*variant, folder.join(file_name(name, variant))))
                .find(|(_, path)| path.is_file());
            match found {
                Some((variant, path)) => match read_graph(path.clone(), variant, &mut digest) {
                    Ok(graph) => {
                        by_name.insert(name.to_owned(), graph);
                    }
                    Err(error) => faults.push(Fault::new(
                        file_name(name, variant),
                        format!("cannot be read: {error}"),
                    )),
                },
                None if wanted.is_empty() => {}
                None => faults.push(Fault::new(
                    file_name(name, wanted[0]),
                    match variant {
                        Some(_) => "missing".to_owned(),
                        None => format!(
                            "missing, and so are the variants {}",
                            VARIANTS[1..].join(", ")
                        ),
                    },
                )),
            }
        }
        let digest = digest.finalize();
        let revision = vila2_actors::request::hex(&digest[..6]);
        Self { by_name, revision }
    }
}

fn file_name(name: &str, variant: &str) -> String {
    match variant {
        "" => format!("onnx/{name}.onnx"),
        _ => format!("onnx/{name}_{variant}.onnx"),
    }
}

fn read_graph(path: PathBuf, variant: &'static str, digest: &mut Sha256) -> io::Result<Graph> {
    let mut scan = Scan::new(GROUP_QUERY_ATTENTION);
    read_all(&path, digest, |block| scan.feed(block))?;
    let mut external_data = Vec::new();
    let data = |suffix: &str| {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut next = data("_data");
    while next.is_file() {
        read_all(&next, digest, |_| {})?;
        external_data.push(next);
        next = data(&format!("_data_{}", external_data.len()));
    }
    Ok(Graph {
        path,
        variant,
        external_data,
        group_query_attention: scan.found,
    })
}

fn read_all(path: &Path, digest: &mut Sha256, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let size = fs::metadata(path)?.len();
    let mut block = vec![0; size.clamp(1, 1 << 20) as usize];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(());
        }
        digest.update(&block[..read]);
        each(&block[..read]);
    }
}

/// Looks for a byte string in a stream. Names of operators stand as plain bytes in an ONNX file.
struct Scan {
    needle: &'static [u8],
    tail: Vec<u8>,
    found: bool,
}

impl Scan {
    fn new(needle: &'static [u8]) -> Self {
        Self {
            needle,
            tail: Vec::new(),
            found: false,
        }
    }

    fn feed(&mut self, block: &[u8]) {
        let keep = self.needle.len() - 1;
        let first = self.needle[0];
        let seen = |bytes: &[u8]| {
            let mut rest = bytes;
            while let Some(at) = rest.iter().position(|b| *b == first) {
                if rest[at..].starts_with(self.needle) {
                    return true;
                }
                rest = &rest[at + 1..];
            }
            false
        };
        if self.found || seen(block) {
            self.found = true;
            return;
        }
        self.tail.extend_from_slice(&block[..block.len().min(keep)]);
        if seen(&self.tail) {
            self.found = true;
            return;
        }
        self.tail.extend_from_slice(&block[block.len().min(keep)..]);
        let drop = self.tail.len().saturating_sub(keep);
        self.tail.drain(..drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_name_is_found_across_the_border_of_two_blocks() {
        let text = b"xxGroupQueryAttentionyy";
        for cut in 0..text.len() {
            let mut scan = Scan::new(GROUP_QUERY_ATTENTION);
            scan.feed(&text[..cut]);
            scan.feed(&text[cut..]);
            assert!(scan.found, "cut at {cut}");
        }
        for size in 1..6 {
            let mut scan = Scan::new(GROUP_QUERY_ATTENTION);
            text.chunks(size).for_each(|block| scan.feed(block));
            assert!(scan.found, "blocks of {size}");
        }
        let mut scan = Scan::new(GROUP_QUERY_ATTENTION);
        scan.feed(b"GroupQueryAtten");
        scan.feed(b"xion GroupQuery");
        assert!(!scan.found);
    }
}
