//! What is inside a model folder: graphs with their tensors, caches, tokenizer, prompt, rules.

use std::path::Path;

use ort::{session::Session, value::Outlet, value::ValueType};
use serde::Serialize;

use super::{
    ModelSettings, Provider, SessionSettings,
    adapter::FolderFacts,
    describe::{graph_files, is_pp_ocr},
    hub::content,
    registry::{self, Refused},
    session::{SessionError, open_session_on},
};

/// Everything that can be told of a model without running it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspected {
    /// The graphs, by file name.
    pub graphs: Vec<GraphFacts>,
    /// The KV cache; `None` where no graph has one.
    pub cache: Option<CacheFacts>,
    /// What the files beside the graphs say; `None` for PP-OCR, which has none.
    pub folder: Option<FolderFacts>,
}

/// A graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GraphFacts {
    /// Relative to the folder.
    pub file: String,
    /// Its size without external data, bytes.
    pub bytes: u64,
    /// Where it runs.
    pub provider: Provider,
    /// What it takes.
    pub inputs: Vec<TensorFacts>,
    /// What it gives.
    pub outputs: Vec<TensorFacts>,
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
    /// A graph cannot be opened.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The folder has faults.
    #[error(transparent)]
    Folder(#[from] super::FolderError),
    /// The prompt cannot be written.
    #[error("{0}")]
    Prompt(String),
    /// No adapter reads it.
    #[error("config.json: no adapter reads a `{model_type}`; accepted: {accepted}")]
    Unsupported {
        /// `config.json: model_type`.
        model_type: String,
        /// Those that adapters read.
        accepted: String,
    },
    /// There is nothing to inspect.
    #[error("{0} holds no graph (*.onnx), neither itself nor in onnx/")]
    Empty(String),
}

/// Opens the graphs that a model takes, one after the other, and reads the files beside them.
/// `question` is the example that the chat template is shown with.
///
/// # Errors
/// [`InspectError`].
pub fn inspect(settings: &ModelSettings, question: &str) -> Result<Inspected, InspectError> {
    let path = &settings.path;
    let files = graph_files(path);
    if files.is_empty() {
        return Err(InspectError::Empty(path.display().to_string()));
    }
    let session = settings.plain_session();
    if is_pp_ocr(path) {
        let faults = (files.iter()).filter_map(|file| content::graph(path, file).err());
        let faults: Vec<_> = faults.flatten().collect();
        if !faults.is_empty() {
            return Err(super::FolderError::new(path, faults).into());
        }
        let graphs = files.iter().map(|file| graph(path, file, &session));
        return Ok(Inspected {
            graphs: graphs.collect::<Result<_, _>>()?,
            cache: None,
            folder: None,
        });
    }
    let folder = registry::open(settings).map_err(|refused| match refused {
        Refused::Folder(error) => InspectError::Folder(error),
        Refused::Unsupported(model_type) => InspectError::Unsupported {
            model_type,
            accepted: registry::accepted(),
        },
    })?;
    let graphs = folder.graphs().iter();
    let graphs = graphs.map(|(_, taken)| graph(path, &taken.path, &session));
    let graphs = graphs.collect::<Result<Vec<_>, _>>()?;
    let facts = folder.facts(question);
    Ok(Inspected {
        cache: graphs.iter().find_map(cache),
        graphs,
        folder: Some(facts.map_err(|error| InspectError::Prompt(error.to_string()))?),
    })
}

fn graph(
    folder: &Path,
    file: &Path,
    settings: &SessionSettings,
) -> Result<GraphFacts, SessionError> {
    let (session, provider): (Session, Provider) = open_session_on(file, settings)?;
    Ok(GraphFacts {
        file: file
            .strip_prefix(folder)
            .unwrap_or(file)
            .display()
            .to_string(),
        bytes: file.metadata().map_or(0, |found| found.len()),
        provider,
        inputs: session.inputs().iter().map(tensor).collect(),
        outputs: session.outputs().iter().map(tensor).collect(),
    })
}

fn tensor(outlet: &Outlet) -> TensorFacts {
    let (element, shape) = match outlet.dtype() {
        ValueType::Tensor {
            ty,
            shape,
            dimension_symbols,
        } => {
            let sides = shape.iter().enumerate().map(|(at, side)| {
                let symbol = dimension_symbols[at].as_str();
                match (*side, symbol) {
                    (-1, "") => "?".to_owned(),
                    (-1, symbol) => symbol.to_owned(),
                    (side, _) => side.to_string(),
                }
            });
            (ty.to_string(), sides.collect())
        }
        other => (other.to_string(), Vec::new()),
    };
    TensorFacts {
        name: outlet.name().to_owned(),
        element,
        shape,
    }
}

/// The cache of a decoder graph.
fn cache(graph: &GraphFacts) -> Option<CacheFacts> {
    let past = |input: &&TensorFacts| input.name.starts_with("past_key_values.");
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
        assert_eq!(decoder.provider, Provider::Cpu);
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
        assert!(error.to_string().contains("holds no graph"), "{error}");
    }
}
