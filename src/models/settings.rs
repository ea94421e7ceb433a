//! The settings of one model.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    endpoint::EndpointSettings,
    hub::{Graph, Variant},
    session::{Provider, SessionSettings},
};

/// Graphs below this many bytes run on one thread where nothing else is asked for: a decode step of
/// 1 million parameters is over before a second thread has woken up.
const SMALL_GRAPH: u64 = 16 << 20;

/// One of `[models]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// Its name in the configuration; goes into every record.
    pub name: String,
    /// The model folder; empty where it has none.
    pub path: PathBuf,
    /// The server that has it instead of a folder; what is below is for folders.
    pub endpoint: Option<EndpointSettings>,
    /// Path of the ONNX Runtime library (`runtime.onnxruntime`); `None` searches.
    pub library: Option<PathBuf>,
    /// Providers in order of preference; see [`SessionSettings::providers`].
    pub providers: Vec<Provider>,
    /// Which of several devices of a kind.
    pub device: i32,
    /// See [`SessionSettings::provider_options`].
    pub provider_options: BTreeMap<String, String>,
    /// Threads inside one operator; `None`: one per core, and one alone for a graph so small that
    /// sharing its work out costs more than it saves.
    pub threads: Option<usize>,
    /// Most requests that run at once.
    pub max_running: usize,
    /// Bytes that pictures may take which are cut into tiles ahead of their turn; two of them are
    /// cut in any case.
    pub ahead_bytes: u64,
    /// Which variants of the graphs.
    pub variant: Variant,
    /// What is changed in the folder's own way with pictures and texts.
    pub options: Options,
    /// Whether a text that goes round in a loop is ended with `repeat`.
    pub stop_on_repeat: bool,
}

/// What the configuration changes in the answers of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Longest side to which pictures are scaled before they are cut, pixels; `None`: the folder's.
    pub longest_edge: Option<usize>,
    /// Most tiles of one picture, the whole picture's own among them; `None`: as many as it makes.
    pub max_tiles: Option<usize>,
    /// How many texts are searched side by side; `None`: as many as the folder says. Only for
    /// architectures that search so.
    pub beams: Option<usize>,
    /// Whether special tokens stay in the text: some models write markup with them.
    pub keep_special_tokens: bool,
}

impl Options {
    /// Keys of those that are set.
    pub(super) fn set(&self) -> impl Iterator<Item = &'static str> {
        let set = [
            ("longest_edge", self.longest_edge.is_some()),
            ("max_tiles", self.max_tiles.is_some()),
            ("beams", self.beams.is_some()),
            ("keep_special_tokens", self.keep_special_tokens),
        ];
        set.into_iter()
            .filter_map(|(key, is_set)| is_set.then_some(key))
    }

    /// A text that differs where the options do; `None` where nothing is changed.
    pub(super) fn told(&self) -> Option<String> {
        (*self != Self::default()).then(|| format!("{self:?}"))
    }
}

impl ModelSettings {
    /// The usual settings of a model folder: CPU, eight running requests.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            endpoint: None,
            library: None,
            providers: vec![Provider::Cpu],
            device: 0,
            provider_options: BTreeMap::new(),
            threads: None,
            max_running: 8,
            ahead_bytes: 128 << 20,
            variant: Variant::First,
            options: Options::default(),
            stop_on_repeat: true,
        }
    }

    /// How a session is built of a graph whose size does not matter.
    #[must_use]
    pub fn plain_session(&self) -> SessionSettings {
        SessionSettings {
            library: self.library.clone(),
            providers: self.providers.clone(),
            device: self.device,
            provider_options: self.provider_options.clone(),
            threads: self.threads,
            arena: true,
        }
    }

    /// How the session of one of its graphs is built.
    #[must_use]
    pub fn session(&self, graph: &Graph) -> SessionSettings {
        let small = graph.bytes() < SMALL_GRAPH;
        SessionSettings {
            threads: self.threads.or(small.then_some(1)),
            ..self.plain_session()
        }
    }
}
