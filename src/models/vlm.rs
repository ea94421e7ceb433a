//! What every vision-language model does, whatever its architecture: pictures are cut into tiles ahead
//! of their turn, their features are computed once for all prompts, and requests join a running batch.
//!
//! ```text
//! tiles       what a vision encoder sees of a picture, and how its levels are normalised
//! resample    Pillow's resampling, bit for bit
//! ahead       tiles cut on other threads
//! vision      the vision encoder session
//! features    features of the pictures in flight
//! footprint   what is held of pictures beside their pixels
//! opening     the sessions of a folder
//! example     the question that a model must be able to answer
//! ```

mod ahead;
pub(crate) mod example;
mod features;
mod footprint;
mod opening;
mod resample;
mod tiles;
mod vision;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use vila2_actors::{
    annotation::ModelFacts,
    error::ModelError,
    image::{Image, ImageId},
    ports::{Footprint, Generated, Generator, Prompt, RequestId},
    sampling::Sampling,
};

use super::{
    generation::{Ended, Endings, Outcome, Prepared, Running, Search},
    settings::ModelSettings,
};
use ahead::TilesAhead;
use features::FeatureCache;
pub use features::Features;
pub(crate) use footprint::Ahead;
pub(crate) use opening::{Opening, broken};
pub use resample::{Filter, resample};
pub use tiles::{Cut, Levels, Tiles, filter};
pub(crate) use vision::{Sizes, VisionEncoder};

/// What differs from one architecture to the next.
pub trait Architecture: fmt::Debug + 'static {
    /// How its pictures become tiles.
    fn cutter(&self) -> Arc<dyn Cut>;

    /// The ids of a question about an image, where there is room for an answer.
    ///
    /// # Errors
    /// [`ModelError::Input`].
    fn ids(&self, image: &Image, prompt: &Prompt) -> Result<Arc<[u32]>, ModelError>;

    /// What ends an answer besides the model's own end.
    fn endings(&self, sampling: &Sampling) -> Option<Endings>;

    /// The features of several pictures, in order.
    ///
    /// # Errors
    /// [`ModelError::Run`] of the whole run; inside, of one picture.
    #[allow(clippy::type_complexity)]
    fn look(&mut self, pictures: &[Tiles])
    -> Result<Vec<Result<Features, ModelError>>, ModelError>;

    /// Bytes of the features of one tile.
    fn feature_bytes(&self) -> u64;

    /// Embeddings of a question, f32 `[length, hidden]`, the picture's features in place.
    ///
    /// # Errors
    /// [`ModelError::Run`] of the embeddings; inside, where features and question do not fit.
    #[allow(clippy::type_complexity)]
    fn merge(
        &mut self,
        ids: &[u32],
        features: &Features,
    ) -> Result<Result<Vec<f32>, ModelError>, ModelError>;

    /// What runs its requests.
    fn running(&self) -> &dyn Running;

    /// The same, to be changed.
    fn running_mut(&mut self) -> &mut dyn Running;

    /// An answer as text.
    ///
    /// # Errors
    /// [`ModelError::Run`] where the tokens are no text.
    fn text(&self, ended: &Ended, asked: &Asked) -> Result<Generated, ModelError>;

    /// Answers a question of its own, beside what is running.
    ///
    /// # Errors
    /// The model is at fault.
    fn self_check(&mut self) -> Result<(), ModelError>;
}

/// What a request asks.
#[derive(Debug)]
pub struct Asked {
    /// The user's text.
    pub prompt: Arc<str>,
    /// (width, height) of the original picture, in pixels.
    pub size: (u32, u32),
}

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
pub struct Vlm<A> {
    facts: ModelFacts,
    architecture: A,
    features: FeatureCache,
    tiles: TilesAhead,
    ahead: Ahead,
    waiting: Vec<Waiting>,
    asked: HashMap<RequestId, Asked>,
    max_running: usize,
    encoded: u64,
}

impl<A: Architecture> Vlm<A> {
    /// A model of open sessions, once it has answered a question of its own.
    ///
    /// # Errors
    /// [`ModelError::Broken`].
    pub(crate) fn new(
        architecture: A,
        ahead: Ahead,
        revision: &str,
        settings: &ModelSettings,
    ) -> Result<Self, ModelError> {
        let mut model = Self {
            tiles: TilesAhead::new(architecture.cutter(), ahead.pictures),
            ahead,
            facts: ModelFacts {
                model: settings.name.clone(),
                revision: revision.to_owned(),
                prompt: None,
            },
            architecture,
            features: FeatureCache::default(),
            waiting: Vec::new(),
            asked: HashMap::new(),
            max_running: settings.max_running.max(1),
            encoded: 0,
        };
        model.architecture.self_check().map_err(broken)?;
        Ok(model)
    }

    /// The architecture, with its sessions.
    pub(crate) fn architecture(&self) -> &A {
        &self.architecture
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
        answers.extend(self.architecture.running_mut().step()?);
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
        let idle = self.architecture.running().running() == 0;
        let nothing_to_do = idle && !self.waiting.iter().any(ready);
        let turn = |waiting: &mut Waiting| nothing_to_do || ready(waiting);
        let waiting: Vec<Waiting> = self.waiting.extract_if(.., turn).collect();
        let unseen = self.look(&waiting)?;
        let mut refused = Vec::new();
        for waiting in waiting {
            let request = waiting.request;
            let prepared = match self.features.get(waiting.image.id()) {
                Some(features) => self.architecture.merge(&waiting.ids, &features)?,
                // Nobody looks at an image without features or a reason.
                None => Err((unseen.get(&waiting.image.id()).cloned())
                    .unwrap_or_else(|| ModelError::Run("the picture has gone".to_owned()))),
            };
            let admitted = prepared.and_then(|embeds| {
                let endings = self.architecture.endings(&waiting.search.sampling);
                self.architecture.running_mut().admit(Prepared {
                    request,
                    prompt: waiting.ids.to_vec(),
                    embeds,
                    max_tokens: waiting.max_tokens,
                    endings,
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
        let mut known = HashSet::new();
        let mut images: Vec<&Arc<Image>> = Vec::new();
        let mut tiles = Vec::new();
        for Waiting { image, .. } in waiting {
            if self.features.get(image.id()).is_some() || !known.insert(image.id()) {
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
        let features = self.architecture.look(tiles)?;
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
}

impl<A: Architecture> Generator for Vlm<A> {
    fn free_slots(&self) -> usize {
        let running = self.architecture.running();
        let at_once = (self.max_running / running.rows_each().max(1)).max(1);
        at_once.saturating_sub(self.waiting.len() + running.running())
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
        let ids = self.architecture.ids(&image, prompt)?;
        self.announce(&image);
        let asked = Asked {
            prompt: Arc::clone(&prompt.text),
            size: image.original,
        };
        self.asked.insert(request, asked);
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
                Ok(ended) => {
                    let asked = self.asked.remove(&ended.request);
                    let asked = asked.expect("bug: a request that was never admitted");
                    (ended.request, self.architecture.text(&ended, &asked))
                }
                Err((request, error)) => {
                    self.asked.remove(&request);
                    (request, Err(error))
                }
            })
            .collect())
    }

    fn cancel(&mut self, request: RequestId) {
        self.waiting.retain(|waiting| waiting.request != request);
        self.asked.remove(&request);
        self.architecture.running_mut().cancel(request);
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        self.architecture.self_check()
    }

    fn facts(&self) -> ModelFacts {
        self.facts.clone()
    }

    fn footprint(&self) -> Footprint {
        let feature = self.architecture.feature_bytes();
        self.ahead.footprint(&*self.architecture.cutter(), feature)
    }
}
