//! A model folder as the Hugging Face hub publishes it for transformers.js / onnx-community.
//!
//! Reading a folder opens no session, and tells every fault of the folder at once.
//!
//! ```text
//! values   values of its JSON files, checked as they are read
//! graphs   which graph files, in which variant
//! variant  number formats by the suffix of a file
//! onnx     what a graph file says of itself, without its weights
//! content  whether a file is what its name says, and whole
//! digest   the revision, each file read once a process
//! ```

pub(super) mod content;
pub(super) mod digest;
mod faults;
mod graphs;
pub(super) mod onnx;
mod values;
pub(super) mod variant;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use tokenizers::Tokenizer;

use digest::Revision;
pub use faults::{Fault, FolderError};
pub use graphs::{Graph, Graphs};
pub use values::{Source, Values};
pub use variant::Variant;

/// What a model folder says, read and checked.
#[derive(Debug, Clone)]
pub struct HubFolder {
    /// The folder.
    pub path: PathBuf,
    /// `config.json: model_type`, which chooses the adapter.
    pub model_type: String,
    /// `config.json`.
    pub config: Value,
    /// `generation_config.json`; an empty object where there is none.
    pub generation: Value,
    /// How pictures are prepared, and the file that says so: `processor_config.json:
    /// image_processor` as transformers 5 writes it, else `preprocessor_config.json`.
    pub preprocessor: (Value, &'static str),
    /// `processor_config.json`; an empty object where there is none.
    pub processor: Value,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Value,
    /// `tokenizer.json`.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template, Jinja; empty where none was asked for.
    pub chat_template: String,
    /// The graph files asked for.
    pub graphs: Graphs,
}

/// What an architecture needs of a folder besides its configuration and tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// Graph files, by their names without variant and ending (`vision_encoder`, …).
    pub graphs: &'a [&'a str],
    /// Whether questions are written by a chat template.
    pub chat_template: bool,
}

/// The files besides graphs and template on which answers depend, where they are there.
const SETTINGS: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Reads `config.json: model_type` alone: what kind of folder this is.
///
/// # Errors
/// [`FolderError`] where the folder or the key is missing.
pub fn model_type(path: &Path) -> Result<String, FolderError> {
    let mut faults = Vec::new();
    let kind = read_folder(path, &mut faults)
        .then(|| read_json(path, "config.json", true, &mut faults))
        .flatten()
        .and_then(|config| string(&config, "config.json", "model_type", &mut faults));
    kind.ok_or_else(|| FolderError::new(path, faults))
}

impl HubFolder {
    /// Reads the folder and finds the graph files that its architecture needs, each in the variant
    /// asked for.
    ///
    /// # Errors
    /// [`FolderError`] with every fault of the folder.
    pub fn open(path: &Path, needs: Needs<'_>, variant: &Variant) -> Result<Self, FolderError> {
        let mut faults = Vec::new();
        if !read_folder(path, &mut faults) {
            return Err(FolderError::new(path, faults));
        }
        let config = read_json(path, "config.json", true, &mut faults);
        let model_type = config
            .as_ref()
            .and_then(|config| string(config, "config.json", "model_type", &mut faults));
        let generation = read_json(path, "generation_config.json", false, &mut faults);
        let processor = read_json(path, PROCESSOR, false, &mut faults);
        let preprocessor = read_image_settings(path, processor.as_ref(), &mut faults);
        let tokenizer_config = read_json(path, "tokenizer_config.json", true, &mut faults);
        let tokenizer = read_tokenizer(path, &mut faults);
        let chat_template = if needs.chat_template {
            read_template(path, tokenizer_config.as_ref(), &mut faults)
        } else {
            Some(String::new())
        };
        let graphs = Graphs::find(path, needs.graphs, variant, &mut faults);
        if !faults.is_empty() {
            return Err(FolderError::new(path, faults));
        }
        let found = "bug: a missing part without a fault";
        let chat_template = chat_template.expect(found);
        Ok(Self {
            path: path.to_path_buf(),
            model_type: model_type.expect(found),
            config: config.expect(found),
            generation: generation.expect(found),
            preprocessor: preprocessor.expect(found),
            processor: processor.expect(found),
            tokenizer_config: tokenizer_config.expect(found),
            tokenizer: Arc::new(tokenizer.expect(found)),
            chat_template,
            graphs,
        })
    }

    /// First 12 hex digits of a SHA-256 over everything on which answers depend: graphs with their
    /// weights, tokenizer, chat template, the configuration of model, generation and processor, and
    /// what the configuration has `changed`. Files are read for it once a process, large ones once
    /// for all processes.
    ///
    /// # Errors
    /// [`FolderError`] where a file cannot be read.
    pub fn revision(&self, changed: Option<&str>) -> Result<String, FolderError> {
        let plain = revision(&self.path, &self.chat_template, &self.graphs)?;
        Ok(match changed {
            Some(changed) => digest::with(&plain, changed),
            None => plain,
        })
    }
}

fn revision(path: &Path, chat_template: &str, graphs: &Graphs) -> Result<String, FolderError> {
    let mut revision = Revision::default();
    let mut faults = Vec::new();
    for name in SETTINGS {
        let file = path.join(name);
        if !file.is_file() {
            continue;
        }
        if let Err(error) = revision.add_file(name, &file) {
            faults.push(Fault::new(name, format!("cannot be read: {error}")));
        }
    }
    revision.add_text("chat_template", chat_template);
    graphs.add_to(&mut revision, &mut faults);
    if faults.is_empty() {
        Ok(revision.finish())
    } else {
        Err(FolderError::new(path, faults))
    }
}

fn read_folder(path: &Path, faults: &mut Vec<Fault>) -> bool {
    let there = path.is_dir();
    if !there {
        faults.push(Fault::new(
            ".",
            "no such folder; set models.NAME.path to a model folder as the Hugging Face hub \
             publishes it",
        ));
    }
    there
}

/// A JSON object. Where the file may be missing, a missing one reads as an empty object.
fn read_json(
    folder: &Path,
    name: &'static str,
    required: bool,
    faults: &mut Vec<Fault>,
) -> Option<Value> {
    let path = folder.join(name);
    if !path.is_file() {
        if !required {
            return Some(Value::Object(serde_json::Map::new()));
        }
        faults.push(Fault::new(name, "missing"));
        return None;
    }
    let parsed = read_whole(&path)
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).map_err(|e| not_json(&e)))
        .and_then(|value| match value {
            Value::Object(_) => Ok(value),
            _ => Err("not a JSON object".to_owned()),
        });
    parsed
        .map_err(|what| faults.push(Fault::new(name, what)))
        .ok()
}

/// The bytes of a file, unless something else stands in its place.
fn read_whole(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    match content::foreign(&bytes, bytes.len() as u64) {
        Some(what) => Err(what),
        None => Ok(bytes),
    }
}

fn not_json(error: &serde_json::Error) -> String {
    if error.is_eof() {
        format!("cut off: not JSON: {error}; {}", content::AGAIN)
    } else {
        format!("not JSON: {error}")
    }
}

const PROCESSOR: &str = "processor_config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";

/// How pictures are prepared. Where both files say it, transformers 5 heeds `processor_config.json`.
fn read_image_settings(
    folder: &Path,
    processor: Option<&Value>,
    faults: &mut Vec<Fault>,
) -> Option<(Value, &'static str)> {
    let nested = processor.map(|processor| &processor["image_processor"]);
    if let Some(nested @ Value::Object(_)) = nested {
        return Some((nested.clone(), PROCESSOR));
    }
    if !folder.join(PREPROCESSOR).is_file() {
        let what = "missing, and processor_config.json has no `image_processor`";
        faults.push(Fault::new(PREPROCESSOR, what));
        return None;
    }
    let settings = read_json(folder, PREPROCESSOR, true, faults)?;
    Some((settings, PREPROCESSOR))
}

fn string(
    value: &Value,
    file: &'static str,
    key: &'static str,
    faults: &mut Vec<Fault>,
) -> Option<String> {
    let found = value.get(key).and_then(Value::as_str).map(str::to_owned);
    if found.is_none() {
        faults.push(Fault::new(file, format!("`{key}` is missing or no string")));
    }
    found
}

fn read_tokenizer(folder: &Path, faults: &mut Vec<Fault>) -> Option<Tokenizer> {
    let name = "tokenizer.json";
    let path = folder.join(name);
    if !path.is_file() {
        faults.push(Fault::new(name, "missing"));
        return None;
    }
    let read = read_whole(&path).and_then(|bytes| {
        Tokenizer::from_bytes(&bytes).map_err(|error| {
            match serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
                Err(error) => not_json(&error),
                Ok(_) => format!("not a tokenizer this can read: {error}"),
            }
        })
    });
    read.map_err(|what| faults.push(Fault::new(name, what)))
        .ok()
}

/// `chat_template.jinja`, else `chat_template.json`, else inside `tokenizer_config.json`.
fn read_template(
    folder: &Path,
    tokenizer_config: Option<&Value>,
    faults: &mut Vec<Fault>,
) -> Option<String> {
    let jinja = folder.join("chat_template.jinja");
    if jinja.is_file() {
        let read = read_whole(&jinja)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|e| format!("cannot be read: {e}")));
        return read
            .map_err(|what| faults.push(Fault::new("chat_template.jinja", what)))
            .ok();
    }
    let template = |value: &Value| {
        let found = value.get("chat_template")?;
        // One template, or a list of named ones of which `default` is meant.
        found.as_str().map(str::to_owned).or_else(|| {
            let named = found.as_array()?;
            let default = named.iter().find(|t| t["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        })
    };
    let found = if folder.join("chat_template.json").is_file() {
        read_json(folder, "chat_template.json", true, faults).and_then(|value| template(&value))
    } else {
        tokenizer_config.and_then(template)
    };
    if found.is_none() {
        faults.push(Fault::new(
            "chat_template.jinja",
            "missing, and neither chat_template.json nor tokenizer_config.json has \
             `chat_template`",
        ));
    }
    found
}

#[cfg(test)]
mod tests;
