//! The adapter alone, driven as an engine drives it: the chain's model without the chain.

use std::{collections::HashMap, sync::Arc};

use vila2::models::{ModelSettings, SmolVlm, SmolVlmFolder};
use vila2_actors::{
    image::Image,
    ports::{Generator, Prompt, RequestId},
};

use super::workload::Workload;

/// The adapter, loaded once.
pub struct Adapter(SmolVlm);

impl Adapter {
    /// Loads the model; `stop_on_repeat`: see [`ModelSettings::stop_on_repeat`].
    pub fn new(workload: &Workload, stop_on_repeat: bool) -> Self {
        let mut settings = ModelSettings::new("adapter", &workload.model);
        settings.threads = workload.threads;
        settings.stop_on_repeat = stop_on_repeat;
        settings.max_running = workload.sequences;
        let folder = SmolVlmFolder::open(&settings).expect("a model folder");
        Self(SmolVlm::load(&folder, &settings).expect("the model loads"))
    }

    /// Answers everything once. Returns the number of tokens of each answer, in order.
    pub fn run(&mut self, workload: &Workload, images: &[Arc<Image>]) -> Vec<usize> {
        let mut waiting = images.iter().zip(&workload.pictures).enumerate();
        let mut lengths = HashMap::new();
        while lengths.len() < images.len() {
            while self.0.free_slots() > 0
                && let Some((at, (image, picture))) = waiting.next()
            {
                // An image of its own: its features are not known from the last run.
                let image = Image::new(
                    image.width,
                    image.height,
                    image.pixels.clone(),
                    image.original,
                );
                let prompt = Prompt {
                    text: Arc::clone(&workload.prompt),
                    max_tokens: picture.max_tokens,
                    seed: 0,
                    sampling: vila2_actors::sampling::Sampling::default(),
                };
                self.0
                    .admit(RequestId(at as u64), image, &prompt)
                    .expect("admitted");
            }
            for (request, answer) in self.0.step().expect("a step") {
                let answer = answer.expect("an answer");
                lengths.insert(request.0 as usize, answer.tokens as usize);
            }
        }
        (0..images.len()).map(|at| lengths[&at]).collect()
    }
}
