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

mod ahead;
mod features;
mod folder;
mod footprint;
mod known;
mod preprocess;
mod prompt;
mod resample;
mod room;
mod vision;

use std::{collections::HashMap, sync::Arc};

use vila2_actors::{
    annotation::ModelFacts,
    error::ModelError,
    image::{Image, ImageId},
    ports::{Footprint, Generated, Generator, Prompt, RequestId},
};

use super::{
    adapter::Adapter,
    generation::{
        Batch, Decoder, Embedder, Prepared, Search,
        batch::{Figures, Outcome},
    },
    hub::{Fault, FolderError},
    session::open_session,
    settings::ModelSettings,
};
use ahead::TilesAhead;
use features::{FeatureCache, Features};
pub use folder::SmolVlmFolder;
use footprint::Ahead;
pub use preprocess::{Preprocess, Tiles};
pub use prompt::PromptTemplate;
pub use resample::{Filter, resample};
use vision::VisionEncoder;

/// `model_type` of the folders this adapter reads.
pub const MODEL_TYPES: [&str; 2] = ["smolvlm", "idefics3"];

/// The graphs it needs.
pub const GRAPHS: [&str; 3] = ["vision_encoder", "embed_tokens", "decoder_model_merged"];

/// Its line in the registry.
pub const ADAPTER: Adapter = Adapter {
    model_types: &MODEL_TYPES,
    open: |settings| Ok(Box::new(SmolVlmFolder::open(settings)?)),
};

/// A request whose image has not been looked at yet.
#[derive(Debug)]
struct Waiting {
    request: RequestId,
    image: Arc<Image>,
    ids: Arc<[u32]>,
    max_tokens: usize,
    search: Search,
}

/// The model: one of these per engine thread.
#[derive(Debug)]
pub struct SmolVlm {
    facts: ModelFacts,
    folder: SmolVlmFolder,
    vision: VisionEncoder,
    batch: Batch,
    features: FeatureCache,
    tiles: TilesAhead,
    ahead: Ahead,
    waiting: Vec<Waiting>,
    max_running: usize,
    encoded: u64,
}

impl SmolVlm {
    /// Opens the sessions of a folder and lets the model answer a question of its own.
    ///
    /// # Errors
    /// [`ModelError::Broken`].
    pub fn load(folder: &SmolVlmFolder, settings: &ModelSettings) -> Result<Self, ModelError> {
        let folder = folder.clone();
        let session = |name: &str| {
            let graph = folder
                .graph(name)
                .expect("bug: a folder opened without one of its graphs");
            open_session(&graph.path, &settings.session(graph))
                .map(|session| (session, graph))
                .map_err(|e| ModelError::Broken(e.to_string()))
        };
        let broken = |faults: Vec<Fault>| {
            ModelError::Broken(FolderError::new(&settings.path, faults).to_string())
        };
        let (vision, vision_graph) = session("vision_encoder")?;
        let (decoder, graph) = session("decoder_model_merged")?;
        let decoder = Decoder::new(decoder, graph, folder.sides).map_err(broken)?;
        let ahead = Ahead::new(&folder.preprocess, settings);
        let sizes = vision::Sizes {
            tile: folder.preprocess.tile(),
            hidden: decoder.hidden(),
            most: ahead.tiles,
        };
        let vision = VisionEncoder::new(vision, vision_graph, sizes).map_err(broken)?;
        let (embedder, _) = session("embed_tokens")?;
        let dead = |error: ModelError| ModelError::Broken(error.to_string());
        let embedder =
            Embedder::new(embedder, decoder.hidden(), folder.vocabulary).map_err(dead)?;
        let batch = Batch::new(decoder, embedder, folder.rules.clone(), folder.longest);
        let mut model = Self {
            tiles: TilesAhead::new(Arc::clone(&folder.preprocess), ahead.pictures),
            ahead,
            facts: ModelFacts {
                model: settings.name.clone(),
                revision: folder.revision().to_owned(),
                prompt: None,
            },
            folder,
            vision,
            batch,
            features: FeatureCache::default(),
            waiting: Vec::new(),
            max_running: settings.max_running.max(1),
            encoded: 0,
        };
        model.self_check().map_err(dead)?;
        Ok(model)
    }

    /// What the decoder's batch has done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.batch.figures()
    }

    /// How many pictures went through the vision encoder so far.
    #[must_use]
    pub fn encoded(&self) -> u64 {
        self.encoded
    }

    /// [`Generator::step`], with token ids instead of text.
    ///
    /// # Errors
    /// As [`Generator::step`].
    pub fn step_tokens(&mut self) -> Result<Vec<Outcome>, ModelError> {
        let refused = self.prepare()?;
        let mut answers: Vec<_> = refused.into_iter().map(Err).collect();
        answers.extend(self.batch.step()?);
        Ok(answers)
    }

    /// Hands waiting requests to the batch, after computing the vision features that are missing.
    /// While others run, nobody waits for tiles: those requests come with a later step. Returns
    /// those that are refused.
    fn prepare(&mut self) -> Result<Vec<(RequestId, ModelError)>, ModelError> {
        self.features.forget_dropped();
        self.tiles.collect();
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        for waiting in &self.waiting {
            if self.features.get(waiting.image.id()).is_none() {
                self.tiles.begin(&waiting.image);
            }
        }
        let ready = |waiting: &Waiting| {
            self.features.get(waiting.image.id()).is_some() || self.tiles.ready(&waiting.image)
        };
        let nothing_to_do = self.batch.running() == 0 && !self.waiting.iter().any(ready);
        let turn = |waiting: &mut Waiting| nothing_to_do || ready(waiting);
        let waiting: Vec<Waiting> = self.waiting.extract_if(.., turn).collect();
        let unseen = self.look(&waiting)?;
        let mut refused = Vec::new();
        for waiting in waiting {
            let request = waiting.request;
            let prepared = match self.features.get(waiting.image.id()) {
                Some(features) => self.merge(&waiting.ids, &features)?,
                // Nobody looks at an image without features or a reason.
                None => Err((unseen.get(&waiting.image.id()).cloned())
                    .unwrap_or_else(|| ModelError::Run("the picture has gone".to_owned()))),
            };
            let admitted = prepared.and_then(|embeds| {
                self.batch.admit(Prepared {
                    request,
                    prompt: waiting.ids.to_vec(),
                    embeds,
                    max_tokens: waiting.max_tokens,
                    endings: self.folder.endings(&waiting.search.sampling),
                    search: waiting.search,
                })
            });
            if let Err(error) = admitted {
                refused.push((request, error));
            }
        }
        Ok(refused)
    }

    /// Computes vision features that are missing, of as many pictures at a time as go through the
    /// encoder together: no more tiles lie beside it. Returns the images that have none, and why.
    fn look(&mut self, waiting: &[Waiting]) -> Result<HashMap<ImageId, ModelError>, ModelError> {
        let mut unseen = HashMap::new();
        let mut images: Vec<&Arc<Image>> = Vec::new();
        let mut tiles = Vec::new();
        for Waiting { image, .. } in waiting {
            let known = self.features.get(image.id()).is_some() || unseen.contains_key(&image.id());
            if known || images.iter().any(|other| other.id() == image.id()) {
                continue;
            }
            let cut = match self.tiles.take(image) {
                Ok(cut) => cut,
                Err(error) => {
                    unseen.insert(image.id(), error);
                    continue;
                }
            };
            let before: usize = tiles.iter().map(|tiles: &Tiles| tiles.count).sum();
            if before + cut.count > self.ahead.tiles {
                self.encode(&mut images, &mut tiles, &mut unseen)?;
            }
            images.push(image);
            tiles.push(cut);
        }
        self.encode(&mut images, &mut tiles, &mut unseen)?;
        Ok(unseen)
    }

    /// The features of these pictures; their tiles are gone afterwards.
    fn encode(
        &mut self,
        images: &mut Vec<&Arc<Image>>,
        tiles: &mut Vec<Tiles>,
        unseen: &mut HashMap<ImageId, ModelError>,
    ) -> Result<(), ModelError> {
        let features = self.vision.run(tiles)?;
        tiles.clear();
        for (image, features) in images.drain(..).zip(features) {
            match features {
                Ok(features) => {
                    self.encoded += 1;
                    self.features.insert(image, features);
                }
                Err(error) => {
                    unseen.insert(image.id(), error);
                }
            }
        }
        Ok(())
    }

    /// Embeddings of the prompt with the image's features at the image tokens.
    #[allow(clippy::type_complexity)]
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
}

impl Generator for SmolVlm {
    fn free_slots(&self) -> usize {
        self.max_running
            .saturating_sub(self.waiting.len() + self.batch.running())
    }

    fn announce(&mut self, image: &Arc<Image>) {
        if self.features.get(image.id()).is_none() {
            self.tiles.begin(image);
        }
    }

    fn admit(
        &mut self,
        request: RequestId,
        image: Arc<Image>,
        prompt: &Prompt,
    ) -> Result<(), ModelError> {
        let ids = self.folder.ids(&image, &prompt.text)?;
        self.folder.fits(&ids, prompt.max_tokens)?;
        self.announce(&image);
        self.waiting.push(Waiting {
            request,
            image,
            ids,
            max_tokens: prompt.max_tokens as usize,
            search: Search::from(prompt),
        });
        Ok(())
    }

    fn step(&mut self) -> Result<Vec<(RequestId, Result<Generated, ModelError>)>, ModelError> {
        let ended = self.step_tokens()?;
        Ok(ended
            .into_iter()
            .map(|ended| match ended {
                Ok(ended) => (ended.request, self.folder.text(&ended)),
                Err((request, error)) => (request, Err(error)),
            })
            .collect())
    }

    fn cancel(&mut self, request: RequestId) {
        self.waiting.retain(|waiting| waiting.request != request);
        self.batch.cancel(request);
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        self.answer_own_question()
    }

    fn facts(&self) -> ModelFacts {
        self.facts.clone()
    }

    fn footprint(&self) -> Footprint {
        let tokens = self.folder.prompt.image_tokens();
        let feature = tokens * self.vision.hidden() * size_of::<f32>();
        (self.ahead).footprint(&self.folder.preprocess, feature as u64)
    }
}
