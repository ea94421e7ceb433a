//! What the folder of a SmolVLM or Idefics3 says, checked.

use std::sync::Arc;

use vila2_actors::{
    error::ModelError,
    image::Image,
    ports::{Generated, Generator},
    sampling::Sampling,
};

use super::{GRAPHS, Preprocess, PromptTemplate, SmolVlm};
use crate::models::{
    adapter::{FolderFacts, OpenedFolder},
    generation::{Ended, Endings, Layout, Rules, TextSides, beams, text},
    hub::{FolderError, Graph, Graphs, HubFolder, Needs, Source, Values},
    settings::{ModelSettings, Options},
    vlm::{Cut, Tiles},
};

/// What the folder says, checked; sessions are opened from it, again and again if need be.
#[derive(Debug, Clone)]
pub struct SmolVlmFolder {
    pub(super) hub: HubFolder,
    pub(super) preprocess: Arc<Preprocess>,
    pub(super) prompt: PromptTemplate,
    pub(super) rules: Rules,
    pub(super) longest: usize,
    pub(super) vocabulary: usize,
    pub(super) image_token: u32,
    pub(super) sides: TextSides,
    pub(super) keep_special_tokens: bool,
    options: Options,
}

impl SmolVlmFolder {
    /// Reads a folder, without opening a session.
    ///
    /// # Errors
    /// [`FolderError`] with every fault.
    pub fn open(settings: &ModelSettings) -> Result<Self, FolderError> {
        let needs = Needs {
            graphs: &GRAPHS,
            chat_template: true,
        };
        let hub = HubFolder::open(&settings.path, needs, &settings.variant)?;
        let options = &settings.options;
        let mut faults = Vec::new();
        let preprocess = Preprocess::read_from(&hub.preprocessor.0, hub.preprocessor.1, options)
            .map_err(|more| faults.extend(more))
            .ok();
        let prompt = PromptTemplate::read(&hub)
            .map_err(|more| faults.extend(more))
            .ok();
        let rules = Rules::read(&hub.generation, &hub.config)
            .map_err(|more| faults.extend(more))
            .ok();
        let mut values = Values::new([Source::file("generation_config.json", &hub.generation)]);
        beams(&mut values, 1);
        faults.extend(values.faults());
        let mut values = Values::new([Source::text_config(&hub.config)]);
        values.needed(&["vocab_size", "max_position_embeddings"]);
        let most = 1..=u64::from(u32::MAX);
        let vocabulary = values.whole("vocab_size", most.clone());
        let longest = values.whole("max_position_embeddings", most);
        let sides = TextSides::read(&mut values);
        faults.extend(values.faults());
        let mut values = Values::new([Source::file("config.json", &hub.config)]);
        let image_token = values.token("image_token_id");
        let image_token = image_token.or_else(|| hub.tokenizer.token_to_id("<image>"));
        if image_token.is_none() {
            values.needed(&["image_token_id"]);
        }
        let beyond = |id: u32| vocabulary.is_some_and(|words| id as usize >= words);
        if image_token.is_some_and(beyond) {
            values.fault("image_token_id", "is beyond `text_config.vocab_size`");
        }
        faults.extend(values.faults());
        if !faults.is_empty() {
            return Err(FolderError::new(&settings.path, faults));
        }
        match (preprocess, prompt, rules, vocabulary, longest, image_token) {
            (
                Some(preprocess),
                Some(prompt),
                Some(mut rules),
                Some(vocabulary),
                Some(longest),
                Some(image_token),
            ) => {
                if !settings.stop_on_repeat {
                    rules.repeats = None;
                }
                Ok(Self {
                    sides,
                    options: options.clone(),
                    keep_special_tokens: options.keep_special_tokens,
                    hub,
                    preprocess: Arc::new(preprocess),
                    prompt,
                    rules,
                    longest,
                    vocabulary,
                    image_token,
                })
            }
            _ => Err(FolderError::new(&settings.path, faults)),
        }
    }

    /// One of [`GRAPHS`].
    #[must_use]
    pub fn graph(&self, name: &str) -> Option<&Graph> {
        self.hub.graphs.get(name)
    }

    /// See [`HubFolder::revision`]; another one where the configuration changes answers.
    ///
    /// # Errors
    /// [`FolderError`] where a file cannot be read.
    pub fn revision(&self) -> Result<String, FolderError> {
        self.hub.revision(self.options.told().as_deref())
    }

    /// What ends and penalises a text.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The id whose embeddings give way to image features.
    #[must_use]
    pub fn image_token(&self) -> u32 {
        self.image_token
    }

    /// What ends an answer besides the model's own end.
    pub(super) fn endings(&self, sampling: &Sampling) -> Option<Endings> {
        let skip = !self.keep_special_tokens;
        Endings::new(&self.hub.tokenizer, &sampling.stop, skip)
    }

    /// An answer as text.
    pub(super) fn text(&self, ended: &Ended) -> Result<Generated, ModelError> {
        text::read(ended, &self.hub.tokenizer, !self.keep_special_tokens)
    }

    /// The tiles of an image.
    #[must_use]
    pub fn tiles(&self, image: &Image) -> Tiles {
        self.preprocess.tiles(image)
    }

    /// The ids of a question about an image.
    ///
    /// # Errors
    /// [`ModelError::Input`].
    pub fn ids(&self, image: &Image, question: &str) -> Result<Arc<[u32]>, ModelError> {
        let (rows, columns) = self.preprocess.grid(image.width, image.height);
        self.prompt
            .ids(&self.hub.tokenizer, question, rows, columns)
    }
}

impl OpenedFolder for SmolVlmFolder {
    fn revision(&self) -> Result<String, FolderError> {
        Self::revision(self)
    }

    fn graphs(&self) -> &Graphs {
        &self.hub.graphs
    }

    fn facts(&self, question: &str) -> Result<FolderFacts, ModelError> {
        let (rows, columns) = self.preprocess.grid(640, 480);
        let ids = self
            .prompt
            .ids(&self.hub.tokenizer, question, rows, columns)?;
        let graphs = self.hub.graphs.iter();
        let right = self
            .hub
            .graphs
            .iter()
            .any(|(_, graph)| graph.group_query_attention);
        Ok(FolderFacts {
            variants: graphs
                .map(|(name, graph)| (name.to_owned(), graph.variant.clone()))
                .collect(),
            padding: Layout::of(right).to_string(),
            tokenizer: self.hub.tokenizer.get_vocab_size(true),
            longest: self.longest,
            tile: self.preprocess.side(),
            longest_edge: self.preprocess.longest_edge(),
            most_tiles: self.preprocess.most_tiles(),
            splitting: self.preprocess.splitting(),
            prompt: self.prompt.example(question)?,
            prompt_tokens: ids.len(),
            beams: 1,
            stop_tokens: self.rules.stop_tokens.clone(),
            repetition_penalty: self.rules.penalties.repetition_penalty,
            no_repeat_ngram_size: self.rules.penalties.no_repeat_ngram_size,
        })
    }

    fn try_prompt(&self, text: &str, max_tokens: u32) -> Result<(), ModelError> {
        Self::try_prompt(self, text, max_tokens)
    }

    fn load(&self, settings: &ModelSettings) -> Result<Box<dyn Generator>, ModelError> {
        Ok(Box::new(SmolVlm::load(self, settings)?))
    }
}
