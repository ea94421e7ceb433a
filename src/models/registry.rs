//! The one table of architectures.

use std::sync::{Arc, Mutex, PoisonError};

use vila2_actors::{
    error::ModelError,
    ports::{Generator, Load},
};

use super::{
    adapter::{Adapter, OpenedFolder},
    endpoint,
    error::LoadError,
    florence2,
    hub::{self, FolderError},
    runtime::Runtime,
    settings::ModelSettings,
    smolvlm,
};

/// Every architecture that can be read. Adding one = one folder beside this file, one line here.
pub static ADAPTERS: [Adapter; 2] = [smolvlm::ADAPTER, florence2::ADAPTER];

/// The adapter of a `model_type`.
#[must_use]
pub fn adapter(model_type: &str) -> Option<&'static Adapter> {
    let mut all = ADAPTERS.iter();
    all.find(|adapter| adapter.model_types.contains(&model_type))
}

/// Every `model_type` that can be read, for people.
#[must_use]
pub fn accepted() -> String {
    let types = ADAPTERS.iter().flat_map(|adapter| adapter.model_types);
    types.copied().collect::<Vec<_>>().join(", ")
}

/// A folder that cannot be opened by its `model_type`.
#[derive(Debug, Clone)]
pub(super) enum Refused {
    /// It has faults.
    Folder(FolderError),
    /// There is no adapter; its `model_type`.
    Unsupported(String),
}

/// Reads a folder with the adapter of its `model_type`; opens no session.
pub(super) fn open(settings: &ModelSettings) -> Result<Box<dyn OpenedFolder>, Refused> {
    let model_type = hub::model_type(&settings.path).map_err(Refused::Folder)?;
    let Some(adapter) = adapter(&model_type) else {
        return Err(Refused::Unsupported(model_type));
    };
    (adapter.open)(settings).map_err(Refused::Folder)
}

/// A generator's folder, read and found whole; no session is open yet. Or what stands for it where a
/// server has the model; it was not asked yet.
#[derive(Debug, Clone)]
pub struct GeneratorFolder {
    /// `None`: see [`ModelSettings::endpoint`].
    opened: Option<Arc<dyn OpenedFolder>>,
    settings: ModelSettings,
}

impl GeneratorFolder {
    /// Whether a prompt of the configuration can be asked at all, as far as can be told here: a
    /// server's template and length are its own.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn try_prompt(&self, text: &str, max_tokens: u32) -> Result<(), String> {
        let Some(opened) = &self.opened else {
            return Ok(());
        };
        let tried = opened.try_prompt(text, max_tokens);
        tried.map_err(|error| error.to_string())
    }

    /// Whether its answers say where lines of text stand.
    #[must_use]
    pub fn places_lines(&self) -> bool {
        (self.opened.as_ref()).is_some_and(|opened| opened.places_lines())
    }

    /// What loads the model on its engine's thread, as often as the engine asks. The folder is read
    /// anew for every load but the first: what was put in its place has its own tokenizer and its
    /// own revision.
    #[must_use]
    pub fn load(self) -> Load<dyn Generator> {
        let Self { opened, settings } = self;
        if let Some(endpoint) = &settings.endpoint {
            return endpoint::load(&settings.name, endpoint);
        }
        let first = Mutex::new(opened);
        Arc::new(move || {
            let opened = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            match opened {
                Some(opened) => opened.load(&settings),
                None => open(&settings)
                    .map_err(|refused| told(refused, &settings))
                    .map_err(|error| ModelError::Broken(error.to_string()))?
                    .load(&settings),
            }
        })
    }
}

/// Reads a model folder and chooses the adapter by `config.json: model_type`. Reading opens no
/// session, so that all faults of configuration are told at start. A model behind an endpoint needs
/// neither folder nor ONNX Runtime.
///
/// # Errors
/// [`LoadError`], every fault of the folder at once.
pub fn open_generator(settings: &ModelSettings) -> Result<GeneratorFolder, LoadError> {
    let opened = match settings.endpoint {
        Some(_) => None,
        None => {
            // The folder before the library: a fault of the one must not hide those of the other.
            let opened = open(settings).map_err(|refused| told(refused, settings))?;
            heeds_options(settings)?;
            Runtime::get(settings.library.as_deref())?;
            Some(Arc::from(opened))
        }
    };
    Ok(GeneratorFolder {
        opened,
        settings: settings.clone(),
    })
}

/// Refuses an option that the architecture has no use for.
fn heeds_options(settings: &ModelSettings) -> Result<(), LoadError> {
    let model_type = hub::model_type(&settings.path).unwrap_or_default();
    let Some(adapter) = adapter(&model_type) else {
        return Ok(());
    };
    let mut set = settings.options.set();
    match set.find(|key| !adapter.options.contains(key)) {
        None => Ok(()),
        Some(key) => Err(LoadError::Option {
            name: settings.name.clone(),
            path: settings.path.clone(),
            model_type,
            key,
            accepted: adapter.options.join(", "),
        }),
    }
}

fn told(refused: Refused, settings: &ModelSettings) -> LoadError {
    let name = settings.name.clone();
    match refused {
        Refused::Folder(error) => LoadError::Folder { name, error },
        Refused::Unsupported(model_type) => LoadError::Unsupported {
            name,
            path: settings.path.clone(),
            model_type,
            accepted: accepted(),
        },
    }
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
    use crate::models::describe;

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

    #[test]
    fn options_that_an_architecture_has_no_use_for_are_refused() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenes");
        let mut settings = ModelSettings::new("eyes", shipped);
        settings.options.max_tiles = Some(5);
        load_generator(&settings).map(drop).expect("it cuts tiles");
        settings.options.beams = Some(3);
        let Err(error) = load_generator(&settings) else {
            panic!("beams of a model that has none");
        };
        let told = error.to_string();
        assert!(
            told.starts_with("models.eyes.beams is set, and ")
                && told.ends_with("is a `smolvlm`, which has no use for it"),
            "{told}"
        );
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
        assert_eq!(accepted(), "smolvlm, idefics3, florence2");
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
