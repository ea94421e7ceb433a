//! The graph files of a model folder: which variant, and with which external data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{
    Fault, content,
    digest::Revision,
    variant::{self, Variant},
};

/// One graph file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The `.onnx` file.
    pub path: PathBuf,
    /// Its variant: `fp32`, or the suffix of the file.
    pub variant: String,
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

    /// Its file, relative to the folder.
    #[must_use]
    pub fn file(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        format!("onnx/{}", name.to_string_lossy())
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

    /// All of them with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Graph)> {
        let all = self.by_name.iter();
        all.map(|(name, graph)| (name.as_str(), graph))
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
        asked: &Variant,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut names = names.to_vec();
        names.sort_unstable();
        let there: BTreeMap<&str, BTreeSet<String>> = names
            .iter()
            .map(|name| (*name, suffixes(folder, name)))
            .collect();
        if let Variant::Each(each) = asked {
            for name in each.keys().filter(|name| !names.contains(&name.as_str())) {
                let what = format!(
                    "`variant` names the graph `{name}`, which this model has not; its graphs: {}",
                    names.join(", ")
                );
                faults.push(Fault::new("onnx", what));
            }
        }
        let mut by_name = BTreeMap::new();
        for name in names {
            let all = &there[name];
            let wanted = match asked {
                Variant::First => None,
                Variant::All(word) => Some(word.as_str()),
                Variant::Each(each) => each.get(name).map(String::as_str),
            };
            let Some(suffix) = variant::choose(all, wanted) else {
                let suffix = variant::suffix(wanted.unwrap_or_default());
                let there = variant::words(all.iter().map(String::as_str));
                let what = match (all.is_empty(), asked) {
                    (true, _) => {
                        "missing, and so are the variants fp16, int8, q8, q4 and any other"
                            .to_owned()
                    }
                    (false, Variant::All(_)) => format!(
                        "missing; of {name} there are: {there}; a table gives each graph its own: \
                         variant = {{ {name} = \"…\" }}"
                    ),
                    (false, _) => format!("missing; of {name} there are: {there}"),
                };
                faults.push(Fault::new(file_name(name, suffix), what));
                continue;
            };
            match read_graph(folder, folder.join(file_name(name, suffix)), suffix) {
                Ok(graph) => {
                    by_name.insert(name.to_owned(), graph);
                }
                Err(found) => faults.extend(found),
            }
        }
        Self { by_name }
    }
}

/// The suffixes in which a graph is there. Of those with a name of their own only what looks like a
/// number format: `decoder_model_merged` is no variant of `decoder_model`.
fn suffixes(folder: &Path, name: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder.join("onnx")).into_iter().flatten();
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    files
        .filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            let rest = file.strip_suffix(".onnx")?.strip_prefix(name)?;
            if rest.is_empty() {
                return Some(String::new());
            }
            let suffix = rest.strip_prefix('_')?;
            variant::is_suffix(suffix).then(|| suffix.to_owned())
        })
        .collect()
}

fn file_name(name: &str, suffix: &str) -> String {
    match suffix {
        "" => format!("onnx/{name}.onnx"),
        _ => format!("onnx/{name}_{suffix}.onnx"),
    }
}

/// Looks at a graph file and at those with its weights, without reading them.
fn read_graph(folder: &Path, path: PathBuf, suffix: &str) -> Result<Graph, Vec<Fault>> {
    let outline = content::graph(folder, &path)?;
    let beside = path.parent().unwrap_or(folder);
    Ok(Graph {
        external_data: outline
            .external
            .keys()
            .map(|name| beside.join(name))
            .collect(),
        path,
        variant: variant::word(suffix).to_owned(),
        group_query_attention: outline.group_query_attention,
    })
}
