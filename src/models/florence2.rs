//! Florence-2: a DaViT encoder and a BART that is asked by task prompts; places in pictures are tokens.
//!
//! ```text
//! image ─▶ pixels ─▶ vision_encoder ─▶ features ──────────┐
//! prompt ─▶ task ─▶ ids ─▶ embed_tokens ─▶ embeddings ────┴─▶ encoder_model ─▶ decoder_model, decoder_with_past_model ─▶ text
//! ```
//!
//! # Source
//! transformers 5.24, `models/florence2`; the graphs as onnx-community exports them.

mod folder;
mod pixels;
mod task;

use std::sync::Arc;

use vila2_actors::{
    error::ModelError,
    image::Image,
    ports::{Generated, Prompt},
    sampling::Sampling,
};

use super::{
    adapter::Adapter,
    generation::{Cohorts, Ended, Endings, Running, Seq2Seq, check, cohorts::Frame},
    settings::ModelSettings,
    vlm::{
        Ahead, Architecture, Asked, Cut, Features, Opening, Sizes, Tiles, VisionEncoder, Vlm,
        broken, example,
    },
};
pub use folder::Florence2Folder;
pub use pixels::Pixels;
pub use task::{sentence, shape};

/// `model_type` of the folders this adapter reads.
pub const MODEL_TYPES: [&str; 1] = ["florence2"];

/// The graphs it needs.
pub const GRAPHS: [&str; 5] = [
    "vision_encoder",
    "embed_tokens",
    "encoder_model",
    "decoder_model",
    "decoder_with_past_model",
];

/// Its line in the registry.
pub const ADAPTER: Adapter = Adapter {
    model_types: &MODEL_TYPES,
    options: &["beams"],
    open: |settings| Ok(Box::new(Florence2Folder::open(settings)?)),
};

/// The question of the self-check.
const QUESTION: &str = "<CAPTION>";

/// A Florence-2.
pub type Florence2 = Vlm<Florence>;

/// What is particular to it, with the open sessions.
#[derive(Debug)]
pub struct Florence {
    folder: Florence2Folder,
    vision: VisionEncoder,
    cohorts: Cohorts,
}

impl Florence2 {
    /// Opens the sessions of a folder and lets the model answer a question of its own.
    ///
    /// # Errors
    /// [`ModelError::Broken`].
    pub fn load(folder: &Florence2Folder, settings: &ModelSettings) -> Result<Self, ModelError> {
        let opening = Opening {
            graphs: &folder.hub.graphs,
            settings,
        };
        let sessions = [
            opening.session("encoder_model")?,
            opening.session("decoder_model")?,
            opening.session("decoder_with_past_model")?,
        ];
        let model = Seq2Seq::new(sessions, folder.hidden).map_err(|found| opening.faults(found))?;
        let ahead = Ahead::new(&*folder.pixels, settings);
        let vision = opening.vision(Sizes {
            tile: folder.pixels.side(),
            hidden: model.hidden(),
            most: ahead.tiles,
            several: false,
        })?;
        let embedder = opening.embedder(model.hidden(), folder.vocabulary)?;
        let frame = Frame {
            begin: folder.begin.clone(),
            longest: folder.longest,
            rows: settings.max_running.max(1),
        };
        let cohorts = Cohorts::new(model, embedder, folder.rules.clone(), folder.beams, frame);
        let revision = folder.revision().map_err(broken)?;
        let architecture = Florence {
            folder: folder.clone(),
            vision,
            cohorts,
        };
        Vlm::new(architecture, ahead, &revision, settings)
    }
}

impl Architecture for Florence {
    fn cutter(&self) -> Arc<dyn Cut> {
        Arc::clone(&self.folder.pixels) as Arc<dyn Cut>
    }

    fn ids(&self, _: &Image, prompt: &Prompt) -> Result<Arc<[u32]>, ModelError> {
        self.folder.ids(&prompt.text)
    }

    fn endings(&self, sampling: &Sampling) -> Option<Endings> {
        Endings::new(&self.folder.hub.tokenizer, &sampling.stop, false)
    }

    fn look(
        &mut self,
        pictures: &[Tiles],
    ) -> Result<Vec<Result<Features, ModelError>>, ModelError> {
        self.vision.run(pictures)
    }

    fn feature_bytes(&self) -> u64 {
        (self.folder.image_tokens * self.vision.hidden() * size_of::<f32>()) as u64
    }

    /// The picture's features come before the question.
    fn merge(
        &mut self,
        ids: &[u32],
        features: &Features,
    ) -> Result<Result<Vec<f32>, ModelError>, ModelError> {
        let given = features.0.len() / self.vision.hidden().max(1);
        if given != self.folder.image_tokens {
            return Ok(Err(ModelError::Run(format!(
                "the vision encoder gave {given} features where {} were counted: \
                 `image_seq_length` and the graph do not fit each other",
                self.folder.image_tokens
            ))));
        }
        let mut embeds = features.0.clone();
        self.cohorts.embedder().append(ids, &mut embeds)?;
        Ok(Ok(embeds))
    }

    fn running(&self) -> &dyn Running {
        &self.cohorts
    }

    fn running_mut(&mut self) -> &mut dyn Running {
        &mut self.cohorts
    }

    fn text(&self, ended: &Ended, asked: &Asked) -> Result<Generated, ModelError> {
        self.folder.text(ended, asked)
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        let tiles = self.folder.pixels.tiles(&example::picture());
        let features = self.vision.run_one(tiles)?;
        let ids = self.folder.ids(QUESTION)?;
        let question = self.merge(&ids, &features)??;
        let (begin, vocabulary) = (self.cohorts.begin().to_vec(), self.folder.vocabulary);
        let (model, embedder) = self.cohorts.parts();
        check::seq2seq(model, embedder, &question, (&begin, vocabulary))
    }
}
