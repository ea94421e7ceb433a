//! What is inside a model folder: graphs with their tensors, caches, tokenizer, prompt, rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    FolderError, ModelSettings,
    adapter::FolderFacts,
    describe::{PP_OCR, graph_files, is_pp_ocr},
    hub::{
        self, Fault, content, digest,
        onnx::{self, Port},
        variant,
    },
    ppocr,
    registry::{self, Refused},
};

/// Most bytes of weights that are read to tell the revision.
const READ: u64 = 256 << 20;

/// Everything that can be told of a model without running it, or reading its weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspected {
    /// What kind of folder it is: `config.json: model_type`, `pp-ocr`, or `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What reads it, or why nothing does.
    pub adapter: Adapted,
    /// See [`HubFolder::revision`](super::HubFolder::revision). `None` where nothing reads the folder,
    /// or too much would have to be read.
    pub revision: Option<String>,
    /// The graphs that are taken, by file name; where nothing reads the folder, one of each name.
    pub graphs: Vec<GraphFacts>,
    /// The KV cache; `None` where no graph has one.
    pub cache: Option<CacheFacts>,
    /// What the files beside the graphs say; `None` for PP-OCR, which has none, and where nothing reads
    /// the folder.
    pub folder: Option<FolderFacts>,
}

/// What reads a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapted {
    /// An adapter, by the `model_type` it is for.
    Reads(String),
    /// None; why.
    None(String),
}

/// A graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GraphFacts {
    /// Relative to the folder.
    pub file: String,
    /// Its size without external data, bytes.
    pub bytes: u64,
    /// Size of its external data, bytes.
    pub external_bytes: u64,
    /// The variants that there are of it, by the ends of their files' names.
    pub variants: Vec<String>,
    /// What it takes.
    pub inputs: Vec<TensorFacts>,
    /// What it gives.
    pub outputs: Vec<TensorFacts>,
    /// Operators that not every runtime has, or that hold graphs, with their number.
    pub operators: BTreeMap<String, u64>,
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorFacts {
    /// Its name.
    pub name: String,
    /// Its element type, for example `f32`.
    pub element: String,
    /// Its sides: a number, the name of a side that varies, or `?`.
    pub shape: Vec<String>,
}

/// How a decoder keeps what it has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheFacts {
    /// Pairs of key and value.
    pub layers: usize,
    /// Element type.
    pub element: String,
    /// Sides of one tensor: rows, heads, positions, dim.
    pub shape: Vec<String>,
    /// Bytes that one position of one sequence takes.
    pub bytes_per_token: Option<u64>,
}

/// Why a model cannot be inspected.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InspectError {
    /// The folder has faults.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The prompt cannot be written.
    #[error("{0}")]
    Prompt(String),
    /// There is nothing to inspect.
    #[error("{0} holds no graph (*.onnx), neither itself nor in onnx/")]
    Empty(String),
}

/// Reads what the graphs of a folder say of themselves, and the files beside them. Weights are not
/// read. `question` is the example that the chat template is shown with.
///
/// # Errors
/// [`InspectError`].
pub fn inspect(settings: &ModelSettings, question: &str) -> Result<Inspected, InspectError> {
    let path = &settings.path;
    let files = graph_files(path);
    if is_pp_ocr(path) {
        let graphs = graphs(path, files.iter().map(|file| (file, false)))?;
        let revision = affordable(&files).then(|| ppocr::revision(path).ok());
        return Ok(Inspected {
            kind: PP_OCR.to_owned(),
            adapter: Adapted::Reads(PP_OCR.to_owned()),
            revision: revision.flatten(),
            graphs,
            cache: None,
            folder: None,
        });
    }
    let kind = hub::model_type(path);
    let unread = |why: String| -> Result<Inspected, InspectError> {
        if files.is_empty() {
            return Err(InspectError::Empty(path.display().to_string()));
        }
        let graphs = graphs(path, files.iter().map(|file| (file, true)))?;
        Ok(Inspected {
            kind: kind.clone().unwrap_or_else(|_| "unknown".to_owned()),
            adapter: Adapted::None(why),
            revision: None,
            cache: graphs.iter().find_map(cache),
            graphs,
            folder: None,
        })
    };
    let folder = match registry::open(settings) {
        Ok(folder) => folder,
        Err(Refused::Unsupported(kind)) => {
            let accepted = registry::accepted();
            return unread(format!("no adapter reads a `{kind}`; accepted: {accepted}"));
        }
        Err(Refused::Folder(error)) => return Err(error.into()),
    };
    let taken: Vec<_> = folder.graphs().iter().collect();
    let graphs = graphs(path, taken.iter().map(|(_, graph)| (&graph.path, false)))?;
    let weights = taken.iter().flat_map(|(_, graph)| {
        let external = graph.external_data.iter();
        std::iter::once(&graph.path).chain(external)
    });
    let revision = affordable(weights).then(|| folder.revision());
    let facts = folder.facts(question);
    let kind = kind?;
    Ok(Inspected {
        adapter: Adapted::Reads(kind.clone()),
        kind,
        revision: revision.transpose()?,
        cache: graphs.iter().find_map(cache),
        graphs,
        folder: Some(facts.map_err(|error| InspectError::Prompt(error.to_string()))?),
    })
}

/// Whether so few bytes would have to be read for the digests of these files that they may be.
fn affordable<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    files
        .into_iter()
        .map(|file| digest::unread(file))
        .sum::<u64>()
        <= READ
}

/// What graph files say of themselves. Of those that may be passed over (`true`) only one of each
/// name is looked into: the variant that would be taken first.
fn graphs<'a>(
    folder: &Path,
    files: impl Iterator<Item = (&'a PathBuf, bool)>,
) -> Result<Vec<GraphFacts>, FolderError> {
    let mut variants: BTreeMap<(PathBuf, String), BTreeSet<String>> = BTreeMap::new();
    for file in graph_files(folder) {
        let (graph, suffix) = name(&file);
        variants.entry(graph).or_default().insert(suffix);
    }
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (file, may_be_passed) in files {
        let (graph, suffix) = name(file);
        let there = &variants[&graph];
        if may_be_passed && variant::choose(there, None) != Some(&suffix) {
            continue;
        }
        match facts(folder, file, there) {
            Ok(facts) => found.push(facts),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() {
        Ok(found)
    } else {
        Err(FolderError::new(folder, faults))
    }
}

/// A graph file without its variant, and the variant.
fn name(file: &Path) -> ((PathBuf, String), String) {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let (graph, suffix) = variant::split(&stem);
    let beside = file.parent().unwrap_or(Path::new("")).to_owned();
    ((beside, graph.to_owned()), suffix.to_owned())
}

fn facts(
    folder: &Path,
    file: &Path,
    variants: &BTreeSet<String>,
) -> Result<GraphFacts, Vec<Fault>> {
    let outline = content::graph(folder, file)?;
    let inside = file.strip_prefix(folder).unwrap_or(file);
    let inside = inside.display().to_string();
    let surface = onnx::surface(file)
        .map_err(|_| vec![Fault::new(inside.clone(), "changed while it was read")])?;
    let size = |file: &Path| file.metadata().map_or(0, |found| found.len());
    let beside = file.parent().unwrap_or(folder);
    let external = outline.external.keys().map(|name| size(&beside.join(name)));
    let words = variant::words(variants.iter().map(String::as_str));
    Ok(GraphFacts {
        file: inside,
        bytes: size(file),
        external_bytes: external.sum(),
        variants: words.split(", ").map(str::to_owned).collect(),
        inputs: surface.inputs.into_iter().map(TensorFacts::from).collect(),
        outputs: surface.outputs.into_iter().map(TensorFacts::from).collect(),
        operators: surface.operators,
    })
}

impl From<Port> for TensorFacts {
    fn from(port: Port) -> Self {
        Self {
            name: port.name,
            element: port.element,
            shape: port.shape,
        }
    }
}

/// The cache of a decoder graph.
fn cache(graph: &GraphFacts) -> Option<CacheFacts> {
    // What a decoder keeps of its encoder does not grow.
    let past = |input: &&TensorFacts| {
        input.name.starts_with("past_key_values.") && !input.name.contains(".encoder.")
    };
    let tensors: Vec<_> = graph.inputs.iter().filter(past).collect();
    let first = tensors.first()?;
    let side = |at: usize| first.shape.get(at)?.parse::<u64>().ok();
    let element_bytes = match first.element.as_str() {
        "f32" => Some(4),
        "f16" | "bf16" => Some(2),
        _ => None,
    };
    let per_tensor = || Some(side(1)? * side(3)? * element_bytes?);
    Some(CacheFacts {
        layers: tensors.len() / 2,
        element: first.element.clone(),
        shape: first.shape.clone(),
        bytes_per_token: per_tensor().map(|bytes| bytes * tensors.len() as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_tells_its_graphs_cache_and_prompt() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenes");
        let inspected = inspect(&ModelSettings::new("scenes", path), "What is this?");
        let inspected = inspected.expect("the shipped model");
        assert_eq!(inspected.graphs.len(), 3);
        let decoder = &inspected.graphs[0];
        assert_eq!(decoder.file, "onnx/decoder_model_merged.onnx");
        assert!(decoder.outputs.iter().any(|output| output.name == "logits"));
        let cache = inspected.cache.expect("a cache");
        assert_eq!((cache.layers, cache.shape.len()), (4, 4));
        assert_eq!(cache.bytes_per_token, Some(4 * 2 * 128 * 4));
        let folder = inspected.folder.expect("files beside the graphs");
        assert!(folder.prompt.contains("What is this?"), "{}", folder.prompt);
        assert!(folder.prompt_tokens > 16 && folder.tokenizer > 1_000);
        assert!(!folder.stop_tokens.is_empty());
    }

    #[test]
    fn a_folder_without_graphs_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = inspect(&ModelSettings::new("x", folder.path()), "?").unwrap_err();
        assert!(
            error.to_string().contains("config.json: missing"),
            "{error}"
        );
        std::fs::write(folder.path().join("config.json"), r#"{"model_type": "x"}"#)
            .expect("a file");
        let error = inspect(&ModelSettings::new("x", folder.path()), "?").unwrap_err();
        assert!(error.to_string().contains("holds no graph"), "{error}");
    }
}
