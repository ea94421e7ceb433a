//! ONNX Runtime sessions, hub folders, and one folder per architecture.
//!
//! ```text
//! runtime     the library and the one Environment of the process
//! session     the only Session::builder: providers, threads, memory
//! hub         a model folder as the Hugging Face hub publishes it
//! describe    what a folder is, without loading it
//! inspect     what is inside of it
//! trial       whether a generator answers, and how fast
//! pull        fetching a folder from a hub
//! generation  greedy decoding with continuous batching, for any decoder of that convention
//! smolvlm     the adapter for SmolVLM and Idefics3
//! geometry    the relater: spatial relations from boxes alone
//! ppocr       the text reader: detection, direction, recognition
//! ```
//!
//! Adding an architecture = one folder here, one line in [`open_generator`].

pub mod describe;
pub mod generation;
pub mod geometry;
pub mod hub;
pub mod inspect;
pub mod ppocr;
pub mod pull;
pub mod runtime;
pub mod session;
pub mod smolvlm;
pub mod trial;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use vila2_actors::{
    error::ModelError,
    ports::{Generator, Load},
};

pub use describe::overview;
pub use hub::{FolderError, Graph, HubFolder};
pub use runtime::{Runtime, RuntimeError};
pub use session::{Provider, SessionError, SessionSettings, open_session, try_provider};
pub use smolvlm::{SmolVlm, SmolVlmFolder};

/// Graphs below this many bytes run on one thread where nothing else is asked for: a decode step of
/// 1 million parameters is over before a second thread has woken up.
const SMALL_GRAPH: u64 = 16 << 20;

/// One of `[models]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// Its name in the configuration; goes into every record.
    pub name: String,
    /// The model folder.
    pub path: PathBuf,
    /// Path of the ONNX Runtime library (`runtime.onnxruntime`); `None` searches.
    pub library: Option<PathBuf>,
    /// Providers in order of preference; see [`SessionSettings::providers`].
    pub providers: Vec<Provider>,
    /// Threads inside one operator; `None`: one per core, and one alone for a graph so small that
    /// sharing its work out costs more than it saves.
    pub threads: Option<usize>,
    /// Most requests that run at once.
    pub max_running: usize,
    /// Bytes that pictures may take which are cut into tiles ahead of their turn; two of them are
    /// cut in any case.
    pub ahead_bytes: u64,
    /// Which variant of the graphs (`fp16`, `int8`, …); `None`: fp32, else the first there is.
    pub variant: Option<String>,
    /// Whether a text that goes round in a loop is ended with `repeat`.
    pub stop_on_repeat: bool,
}

impl ModelSettings {
    /// The usual settings of a model folder: CPU, eight running requests.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            library: None,
            providers: vec![Provider::Cpu],
            threads: None,
            max_running: 8,
            ahead_bytes: 128 << 20,
            variant: None,
            stop_on_repeat: true,
        }
    }

    /// How a session is built of a graph whose size does not matter.
    #[must_use]
    pub fn plain_session(&self) -> SessionSettings {
        SessionSettings {
            library: self.library.clone(),
            providers: self.providers.clone(),
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

/// A model that cannot be loaded, whatever is tried: wrong configuration, folder or library.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// No ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The folder has faults.
    #[error("models.{name}: {error}")]
    Folder {
        /// The model.
        name: String,
        /// Its faults.
        error: FolderError,
    },
    /// No adapter for this architecture.
    #[error(
        "models.{name}: {} is a `{model_type}`, which no adapter reads; accepted: {}",
        path.display(),
        smolvlm::MODEL_TYPES.join(", ")
    )]
    Unsupported {
        /// The model.
        name: String,
        /// The folder.
        path: PathBuf,
        /// `config.json: model_type`.
        model_type: String,
    },
}

/// A generator's folder, read and found whole; no session is open yet.
#[derive(Debug, Clone)]
pub struct GeneratorFolder {
    opened: SmolVlmFolder,
    settings: ModelSettings,
}

impl GeneratorFolder {
    /// Whether a prompt of the configuration can be asked at all.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn try_prompt(&self, text: &str, max_tokens: u32) -> Result<(), String> {
        let tried = self.opened.try_prompt(text, max_tokens);
        tried.map_err(|error| error.to_string())
    }

    /// What loads the model on its engine's thread, as often as the engine asks. The folder is read
    /// anew for every load but the first: what was put in its place has its own tokenizer and its
    /// own revision.
    #[must_use]
    pub fn load(self) -> Load<dyn Generator> {
        let Self { opened, settings } = self;
        let first = Mutex::new(Some(opened));
        Arc::new(move || {
            let opened = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let opened = match opened {
                Some(opened) => opened,
                None => SmolVlmFolder::open(&settings)
                    .map_err(|error| ModelError::Broken(error.to_string()))?,
            };
            let model = SmolVlm::load(&opened, &settings)?;
            Ok(Box::new(model) as Box<dyn Generator>)
        })
    }
}

/// Reads a model folder and chooses the adapter by `config.json: model_type`. Reading opens no
/// session, so that all faults of configuration are told at start.
///
/// # Errors
/// [`LoadError`], every fault of the folder at once.
pub fn open_generator(settings: &ModelSettings) -> Result<GeneratorFolder, LoadError> {
    let name = settings.name.clone();
    let folder = |error| LoadError::Folder { name, error };
    let model_type = hub::model_type(&settings.path).map_err(folder.clone())?;
    if smolvlm::MODEL_TYPES.contains(&model_type.as_str()) {
        // The folder before the library: a fault of the one must not hide those of the other.
        let opened = SmolVlmFolder::open(settings).map_err(folder)?;
        Runtime::get(settings.library.as_deref())?;
        let settings = settings.clone();
        return Ok(GeneratorFolder { opened, settings });
    }
    Err(LoadError::Unsupported {
        name: settings.name.clone(),
        path: settings.path.clone(),
        model_type,
    })
}

/// [`open_generator`], for those who ask nothing of the folder.
///
/// # Errors
/// As [`open_generator`].
pub fn load_generator(settings: &ModelSettings) -> Result<Load<dyn Generator>, LoadError> {
    open_generator(settings).map(GeneratorFolder::load)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn a_rebuild_reads_the_folder_anew_and_tells_what_it_loaded() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenes");
        let dir = tempfile::tempdir().expect("a scratch folder");
        for (file, _) in describe::files(&shipped) {
            let target = dir
                .path()
                .join(file.strip_prefix(&shipped).expect("inside"));
            fs::create_dir_all(target.parent().expect("a folder")).expect("folders");
            fs::copy(&file, &target).expect("a copy");
        }
        let load = load_generator(&ModelSettings::new("eyes", dir.path())).expect("whole");
        let revision = || load().map(|model| model.facts().revision);
        let first = revision().expect("loads");
        assert_eq!(revision().expect("loads again"), first);

        let rules = dir.path().join("generation_config.json");
        let mut changed: serde_json::Value =
            serde_json::from_slice(&fs::read(&rules).expect("read")).expect("JSON");
        changed["repetition_penalty"] = serde_json::json!(1.25);
        fs::write(&rules, changed.to_string()).expect("written");
        assert_ne!(revision().expect("loads what is there now"), first);

        fs::remove_file(dir.path().join("tokenizer.json")).expect("removed");
        let error = revision()
            .expect_err("a folder that is not whole")
            .to_string();
        assert!(error.contains("tokenizer.json: missing"), "{error}");
    }

    fn refused(config: &str) -> String {
        let dir = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(dir.path().join("config.json"), config).expect("a file");
        let settings = ModelSettings::new("eyes", dir.path());
        match load_generator(&settings) {
            Ok(_) => panic!("a folder with nothing in it was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_architecture_without_an_adapter_is_refused_with_the_accepted_ones() {
        let message = refused(r#"{"model_type": "bert"}"#);
        assert!(message.contains("models.eyes"), "{message}");
        assert!(message.contains("`bert`"), "{message}");
        assert!(message.contains("smolvlm, idefics3"), "{message}");
    }

    #[test]
    fn a_folder_with_faults_is_refused_with_all_of_them() {
        let message = refused(r#"{"model_type": "smolvlm"}"#);
        for missing in [
            "tokenizer.json",
            "preprocessor_config.json",
            "onnx/vision_encoder.onnx",
            "onnx/embed_tokens.onnx",
            "onnx/decoder_model_merged.onnx",
        ] {
            assert!(message.contains(missing), "{message}");
        }
    }
}
