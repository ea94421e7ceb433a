//! SmolVLM and Idefics3: a SigLIP encoder, features shuffled into few tokens, a Llama decoder.
//!
//! ```text
//! image ─▶ preprocess ─▶ tiles ─▶ vision_encoder ─▶ features ─┐
//! prompt ─▶ template ─▶ ids ─▶ embed_tokens ─▶ embeddings ────┴─▶ decoder_model_merged ─▶ text
//! ```
//!
//! # Source
//! transformers 4.57, `models/smolvlm` and `models/idefics3`; the graphs as onnx-community exports
//! them.

mod folder;
mod preprocess;
mod prompt;
mod room;

use std::sync::Arc;

use vila2_actors::{
    error::ModelError,
    image::Image,
    ports::{Generated, Prompt},
    sampling::Sampling,
};

use super::{
    adapter::Adapter,
    generation::{Batch, Decoder, Ended, Endings, Running, batch::Figures, check},
    settings::ModelSettings,
    vlm::{
        Ahead, Architecture, Asked, Cut, Features, Opening, Sizes, Tiles, VisionEncoder, Vlm,
        broken, example,
    },
};
pub use folder::SmolVlmFolder;
pub use preprocess::Preprocess;
pub use prompt::PromptTemplate;

/// `model_type` of the folders this adapter reads.
pub const MODEL_TYPES: [&str; 2] = ["smolvlm", "idefics3"];

/// The graphs it needs.
pub const GRAPHS: [&str; 3] = ["vision_encoder", "embed_tokens", "decoder_model_merged"];

/// Its line in the registry.
pub const ADAPTER: Adapter = Adapter {
    model_types: &MODEL_TYPES,
    options: &["longest_edge", "max_tiles", "keep_special_tokens"],
    open: |settings| Ok(Box::new(SmolVlmFolder::open(settings)?)),
};

/// The question of the self-check.
const QUESTION: &str = "Describe the image.";

/// A SmolVLM or Idefics3.
pub type SmolVlm = Vlm<Idefics3>;

/// What is particular to them, with the open sessions.
#[derive(Debug)]
pub struct Idefics3 {
    folder: SmolVlmFolder,
    vision: VisionEncoder,
    batch: Batch,
}

impl SmolVlm {
    /// Opens the sessions of a folder and lets the model answer a question of its own.
    ///
    /// # Errors
    /// [`ModelError::Broken`].
    pub fn load(folder: &SmolVlmFolder, settings: &ModelSettings) -> Result<Self, ModelError> {
        let opening = Opening {
            graphs: &folder.hub.graphs,
            settings,
        };
        let (decoder, graph) = opening.session("decoder_model_merged")?;
        let decoder =
            Decoder::new(decoder, graph, folder.sides).map_err(|found| opening.faults(found))?;
        let ahead = Ahead::new(&*folder.preprocess, settings);
        let vision = opening.vision(Sizes {
            tile: folder.preprocess.side(),
            hidden: decoder.hidden(),
            most: ahead.tiles,
            several: true,
        })?;
        let embedder = opening.embedder(decoder.hidden(), folder.vocabulary)?;
        let batch = Batch::new(decoder, embedder, folder.rules.clone(), folder.longest);
        let revision = folder.revision().map_err(broken)?;
        let architecture = Idefics3 {
            folder: folder.clone(),
            vision,
            batch,
        };
        Vlm::new(architecture, ahead, &revision, settings)
    }

    /// What the decoder's batch has done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.architecture().batch.figures()
    }
}

impl Architecture for Idefics3 {
    fn cutter(&self) -> Arc<dyn Cut> {
        Arc::clone(&self.folder.preprocess) as Arc<dyn Cut>
    }

    fn ids(&self, image: &Image, prompt: &Prompt) -> Result<Arc<[u32]>, ModelError> {
        let ids = self.folder.ids(image, &prompt.text)?;
        self.folder.fits(&ids, prompt.max_tokens)?;
        Ok(ids)
    }

    fn endings(&self, sampling: &Sampling) -> Option<Endings> {
        self.folder.endings(sampling)
    }

    fn look(
        &mut self,
        pictures: &[Tiles],
    ) -> Result<Vec<Result<Features, ModelError>>, ModelError> {
        self.vision.run(pictures)
    }

    fn feature_bytes(&self) -> u64 {
        let tokens = self.folder.prompt.image_tokens();
        (tokens * self.vision.hidden() * size_of::<f32>()) as u64
    }

    /// Features go to the image tokens.
    fn merge(
        &mut self,
        ids: &[u32],
        features: &Features,
    ) -> Result<Result<Vec<f32>, ModelError>, ModelError> {
        let image_token = self.folder.image_token;
        let wanted = ids.iter().filter(|id| **id == image_token).count();
        let hidden = self.vision.hidden();
        if wanted * hidden != features.0.len() {
            // The prompt was counted when its ids were made: it is the folder that does not fit.
            return Ok(Err(ModelError::Run(format!(
                "the prompt has {wanted} image tokens, the vision encoder gave {} features: \
                 `image_seq_len` and the graph do not fit each other",
                features.0.len() / hidden.max(1)
            ))));
        }
        let mut embeds = Vec::with_capacity(ids.len() * hidden);
        self.batch.embedder().append(ids, &mut embeds)?;
        let places = ids
            .iter()
            .zip(embeds.chunks_mut(hidden))
            .filter(|(id, _)| **id == image_token);
        for ((_, place), feature) in places.zip(features.0.chunks(hidden)) {
            place.copy_from_slice(feature);
        }
        Ok(Ok(embeds))
    }

    fn running(&self) -> &dyn Running {
        &self.batch
    }

    fn running_mut(&mut self) -> &mut dyn Running {
        &mut self.batch
    }

    fn text(&self, ended: &Ended, _: &Asked) -> Result<Generated, ModelError> {
        self.folder.text(ended)
    }

    /// With caches of its own, and one tile whatever the folder says.
    fn self_check(&mut self) -> Result<(), ModelError> {
        let (decoder, embedder) = self.batch.parts();
        check::check(decoder, embedder, self.folder.vocabulary)?;
        let tiles = self.folder.preprocess.whole(&example::picture());
        let features = self.vision.run_one(tiles)?;
        let ids = (self.folder.prompt).ids(&self.folder.hub.tokenizer, QUESTION, 0, 0)?;
        let embeds = self.merge(&ids, &features)??;
        let (decoder, embedder) = self.batch.parts();
        check::answers(decoder, embedder, &embeds, &self.folder.rules)
    }
}
