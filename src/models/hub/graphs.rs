//! The graph files of a model folder: which variant, and with which external data.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{Fault, content, digest::Revision};

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

/// One graph file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The `.onnx` file.
    pub path: PathBuf,
    /// Its suffix, one of [`VARIANTS`].
    pub variant: &'static str,
    /// Files with its weights, by name, as the graph itself lists them.
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

/// The graph files that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graphs {
    by_name: BTreeMap<String, Graph>,
}

impl Graphs {
    /// The graph `name`, one of those the folder was opened with.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Graph> {
        self.by_name.get(name)
    }

    /// Adds every file of every graph to a revision, in the order of the graphs' names.
    pub(super) fn add_to(&self, revision: &mut Revision, faults: &mut Vec<Fault>) {
        for (name, graph) in &self.by_name {
            for file in std::iter::once(&graph.path).chain(&graph.external_data) {
                if let Err(error) = revision.add_file(name, file) {
                    let file = file.display().to_string();
                    faults.push(Fault::new(file, format!("cannot be read: {error}")));
                }
            }
        }
    }

    /// Finds `onnx/<name>[_<variant>].onnx` for every name.
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
        let mut names = names.to_vec();
        names.sort_unstable();
        for name in names {
            let found = wanted
                .iter()
                .map(|variant| (*variant, folder.join(file_name(name, variant))))
                .find(|(_, path)| path.is_file());
            match found {
                Some((variant, path)) => match read_graph(folder, path, variant) {
                    Ok(graph) => {
                        by_name.insert(name.to_owned(), graph);
                    }
                    Err(found) => faults.extend(found),
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
        Self { by_name }
    }
}

fn file_name(name: &str, variant: &str) -> String {
    match variant {
        "" => format!("onnx/{name}.onnx"),
        _ => format!("onnx/{name}_{variant}.onnx"),
    }
}

/// Looks at a graph file and at those with its weights, without reading them.
fn read_graph(folder: &Path, path: PathBuf, variant: &'static str) -> Result<Graph, Vec<Fault>> {
    let outline = content::graph(folder, &path)?;
    let beside = path.parent().unwrap_or(folder);
    Ok(Graph {
        external_data: outline
            .external
            .keys()
            .map(|name| beside.join(name))
            .collect(),
        path,
        variant,
        group_query_attention: outline.group_query_attention,
    })
}
