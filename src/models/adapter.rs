//! What every architecture's adapter offers of a model folder.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use vila2_actors::{error::ModelError, ports::Generator};

use super::{
    hub::{FolderError, Graphs},
    settings::ModelSettings,
};

/// An architecture: which folders it reads, and how.
#[derive(Debug, Clone, Copy)]
pub struct Adapter {
    /// `config.json: model_type` of its folders.
    pub model_types: &'static [&'static str],
    /// Which of [`super::settings::Options`] it follows, by their keys.
    pub options: &'static [&'static str],
    /// Reads a folder; opens no session.
    pub open: fn(&ModelSettings) -> Result<Box<dyn OpenedFolder>, FolderError>,
}

/// A generator's folder, read and found whole.
pub trait OpenedFolder: fmt::Debug + Send + Sync {
    /// First 12 hex digits of a SHA-256 over everything on which its answers depend.
    ///
    /// # Errors
    /// [`FolderError`] where a file cannot be read.
    fn revision(&self) -> Result<String, FolderError>;

    /// The graphs it takes.
    fn graphs(&self) -> &Graphs;

    /// What the files beside the graphs say; `question` is asked as an example.
    ///
    /// # Errors
    /// [`ModelError::Input`] where the example cannot be written.
    fn facts(&self, question: &str) -> Result<FolderFacts, ModelError>;

    /// Whether a prompt of the configuration can be asked at all: of the pictures that need fewest
    /// tokens.
    ///
    /// # Errors
    /// [`ModelError::Input`], with what is wrong with it.
    fn try_prompt(&self, text: &str, max_tokens: u32) -> Result<(), ModelError>;

    /// Whether its answers say where lines of text stand.
    fn places_lines(&self) -> bool {
        false
    }

    /// Opens the sessions, and lets the model answer a question of its own.
    ///
    /// # Errors
    /// [`ModelError::Broken`].
    fn load(&self, settings: &ModelSettings) -> Result<Box<dyn Generator>, ModelError>;
}

/// What the files beside the graphs say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FolderFacts {
    /// The variant of each graph.
    pub variants: BTreeMap<String, String>,
    /// The side on which batches are padded: `left` or `right`.
    pub padding: String,
    /// Entries of the tokenizer, added ones included.
    pub tokenizer: usize,
    /// The most positions of one sequence, picture and prompt included.
    pub longest: usize,
    /// Side of a tile the vision encoder sees, pixels.
    pub tile: usize,
    /// Pictures are scaled to this longest side first, pixels.
    pub longest_edge: Option<usize>,
    /// Most tiles of one picture, the whole picture's own among them.
    pub most_tiles: u64,
    /// Whether large pictures are cut into tiles.
    pub splitting: bool,
    /// The example's question, as the chat template writes it.
    pub prompt: String,
    /// Tokens of that prompt about a picture of 640 × 480, the picture's own included.
    pub prompt_tokens: usize,
    /// How many texts are searched side by side; 1: the likeliest token every time.
    pub beams: usize,
    /// Ids that end a text.
    pub stop_tokens: Vec<u32>,
    /// Penalty of tokens seen before; 1 is off.
    pub repetition_penalty: f32,
    /// Runs of so many tokens may not come twice; 0 is off.
    pub no_repeat_ngram_size: usize,
}
