//! What the folder of a Florence-2 says, checked.

use std::sync::Arc;

use serde_json::Value;
use vila2_actors::{
    error::ModelError,
    ports::{Generated, Generator},
};

use super::{Florence2, GRAPHS, Pixels, sentence, shape};
use crate::models::{
    adapter::{FolderFacts, OpenedFolder},
    answers::locations,
    generation::{BeamRules, Ended, Layout, Rules, text},
    hub::{FolderError, Graphs, HubFolder, Needs, Source, Values},
    settings::{ModelSettings, Options},
    vlm::{Asked, Cut as _},
};

/// Features of a picture where the folder does not say: of 768 × 768 pixels, 24 × 24 and their mean.
const IMAGE_TOKENS: usize = 577;

/// The most beams that are believed.
const MOST_BEAMS: usize = 16;

/// Pronouns and their like, which Florence-2 grounds too, where the folder does not name its own.
const BANNED: [&str; 40] = [
    "it",
    "I",
    "me",
    "you",
    "he",
    "him",
    "she",
    "her",
    "they",
    "them",
    "we",
    "us",
    "one",
    "mine",
    "yours",
    "his",
    "hers",
    "its",
    "ours",
    "theirs",
    "this",
    "that",
    "these",
    "those",
    "who",
    "which",
    "what",
    "all",
    "another",
    "any",
    "each",
    "everything",
    "few",
    "many",
    "none",
    "several",
    "some",
    "something",
    "the image",
    "image",
];

/// `post_processor_config.phrase_grounding.banned_grounding_tokens` of `processor_config.json`.
fn banned(processor: &Value) -> Vec<String> {
    let own = &processor["post_processor_config"]["phrase_grounding"]["banned_grounding_tokens"];
    match own.as_array() {
        Some(own) => (own.iter().filter_map(Value::as_str))
            .map(str::to_owned)
            .collect(),
        None => BANNED.map(str::to_owned).to_vec(),
    }
}

/// What the folder says, checked; sessions are opened from it, again and again if need be.
#[derive(Debug, Clone)]
pub struct Florence2Folder {
    pub(super) hub: HubFolder,
    pub(super) pixels: Arc<Pixels>,
    pub(super) rules: Rules,
    pub(super) beams: BeamRules,
    /// What every text begins with.
    pub(super) begin: Vec<u32>,
    /// Most positions of question and answer, each.
    pub(super) longest: usize,
    pub(super) vocabulary: usize,
    pub(super) hidden: usize,
    pub(super) image_tokens: usize,
    /// What stands around a question: its first and last token.
    around: [u32; 2],
    /// Phrases that say nothing of what is there.
    banned: Vec<String>,
    options: Options,
}

impl Florence2Folder {
    /// Reads a folder, without opening a session.
    ///
    /// # Errors
    /// [`FolderError`] with every fault.
    pub fn open(settings: &ModelSettings) -> Result<Self, FolderError> {
        let needs = Needs {
            graphs: &GRAPHS,
            chat_template: false,
        };
        let hub = HubFolder::open(&settings.path, needs, &settings.variant)?;
        let mut faults = Vec::new();
        let pixels = Pixels::read(&hub.preprocessor.0, hub.preprocessor.1)
            .map_err(|more| faults.extend(more))
            .ok();
        let rules = Rules::read(&hub.generation, &hub.config)
            .map_err(|more| faults.extend(more))
            .ok();
        let mut values = Values::new([
            Source::file("generation_config.json", &hub.generation),
            Source::text_config(&hub.config),
            Source::file("config.json", &hub.config),
        ]);
        values.needed(&["bos_token_id", "decoder_start_token_id"]);
        let around = [
            values.token("bos_token_id"),
            values.tokens("eos_token_id").map(|ids| ids[0]),
        ];
        let begin = [
            values.token("decoder_start_token_id"),
            values.token("forced_bos_token_id"),
        ];
        let mut beams = BeamRules::read(&mut values, MOST_BEAMS);
        faults.extend(values.faults());
        let mut values = Values::new([
            Source::text_config(&hub.config),
            Source::file("config.json", &hub.config),
        ]);
        values.needed(&["vocab_size", "max_position_embeddings", "d_model"]);
        let mut number = |key: &str| values.whole(key, 1..=u64::from(u32::MAX));
        let (vocabulary, longest) = (number("vocab_size"), number("max_position_embeddings"));
        let hidden = number("d_model");
        let ids = around.into_iter().chain(begin).chain([beams.forced_last]);
        let ids = ids.flatten().map(|id| id as usize);
        let largest = ids.max().unwrap_or_default();
        if vocabulary.is_some_and(|vocabulary| largest >= vocabulary) {
            let what =
                format!("leaves no room for the token {largest}, which begins or ends texts");
            values.fault("vocab_size", &what);
        }
        faults.extend(values.faults());
        let mut values = Values::new([
            Source::file(hub.preprocessor.1, &hub.preprocessor.0),
            Source::file("processor_config.json", &hub.processor),
        ]);
        let tokens = ["image_seq_length", "image_seq_len"]
            .map(|key| values.whole(key, 1..=u64::from(u32::MAX)));
        faults.extend(values.faults());
        let (Some(pixels), Some(mut rules), true) = (pixels, rules, faults.is_empty()) else {
            return Err(FolderError::new(&settings.path, faults));
        };
        if !settings.stop_on_repeat {
            rules.repeats = None;
        }
        if let Some(asked) = settings.options.beams {
            beams.beams = asked;
        }
        Ok(Self {
            pixels: Arc::new(pixels),
            rules,
            beams,
            begin: begin.into_iter().flatten().collect(),
            longest: longest.unwrap_or_default(),
            vocabulary: vocabulary.unwrap_or_default(),
            hidden: hidden.unwrap_or_default(),
            image_tokens: tokens.into_iter().flatten().next().unwrap_or(IMAGE_TOKENS),
            around: around.map(Option::unwrap_or_default),
            banned: banned(&hub.processor),
            options: settings.options.clone(),
            hub,
        })
    }

    /// See [`HubFolder::revision`]; another one where the configuration changes answers.
    ///
    /// # Errors
    /// [`FolderError`] where a file cannot be read.
    pub fn revision(&self) -> Result<String, FolderError> {
        self.hub.revision(self.options.told().as_deref())
    }

    /// The ids of a question, behind the picture's features.
    ///
    /// # Errors
    /// [`ModelError::Input`] where it is no question, or leaves no room.
    pub fn ids(&self, prompt: &str) -> Result<Arc<[u32]>, ModelError> {
        let sentence = sentence(prompt)?;
        let words = (self.hub.tokenizer)
            .encode_fast(sentence.as_str(), false)
            .map_err(|e| ModelError::Input(format!("the prompt cannot be tokenized: {e}")))?;
        let [first, last] = self.around;
        let ids: Arc<[u32]> = std::iter::once(first)
            .chain(words.get_ids().iter().copied())
            .chain([last])
            .collect();
        let tokens = self.image_tokens + ids.len();
        if tokens > self.longest {
            return Err(ModelError::Input(format!(
                "the question is {tokens} tokens, {} of them the picture, and the model reads {}: \
                 shorten the prompt by {} tokens or more",
                self.image_tokens,
                self.longest,
                tokens - self.longest
            )));
        }
        Ok(ids)
    }

    /// An answer as text, with the places that it names.
    pub(super) fn text(&self, ended: &Ended, asked: &Asked) -> Result<Generated, ModelError> {
        let generated = text::read(ended, &self.hub.tokenizer, false)?;
        let places = locations::read(
            &generated.text,
            shape(&asked.prompt),
            asked.size,
            &self.banned,
        );
        Ok(Generated {
            placed: Some(places),
            ..generated
        })
    }
}

impl OpenedFolder for Florence2Folder {
    fn revision(&self) -> Result<String, FolderError> {
        Self::revision(self)
    }

    fn graphs(&self) -> &Graphs {
        &self.hub.graphs
    }

    fn facts(&self, question: &str) -> Result<FolderFacts, ModelError> {
        let ids = self.ids(question)?;
        let graphs = self.hub.graphs.iter();
        Ok(FolderFacts {
            variants: graphs
                .map(|(name, graph)| (name.to_owned(), graph.variant.clone()))
                .collect(),
            padding: Layout::Right.to_string(),
            tokenizer: self.hub.tokenizer.get_vocab_size(true),
            longest: self.longest,
            tile: self.pixels.side(),
            longest_edge: Some(self.pixels.side()),
            most_tiles: 1,
            splitting: false,
            prompt: sentence(question)?,
            prompt_tokens: self.image_tokens + ids.len(),
            beams: self.beams.beams,
            stop_tokens: self.rules.stop_tokens.clone(),
            repetition_penalty: self.rules.penalties.repetition_penalty,
            no_repeat_ngram_size: self.rules.penalties.no_repeat_ngram_size,
        })
    }

    fn try_prompt(&self, text: &str, _: u32) -> Result<(), ModelError> {
        self.ids(text).map(drop)
    }

    fn places_lines(&self) -> bool {
        true
    }

    fn load(&self, settings: &ModelSettings) -> Result<Box<dyn Generator>, ModelError> {
        Ok(Box::new(Florence2::load(self, settings)?))
    }
}
