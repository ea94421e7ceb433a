//! The question that the model must be able to answer: the self-check.

use std::sync::Arc;

use vila2_actors::{error::ModelError, image::Image};

use super::SmolVlm;
use crate::models::generation::check;

/// The question of the self-check.
const QUESTION: &str = "Describe the image.";

/// The picture of the self-check: a light disc on a dark ground, no level at either end.
fn drawn() -> Arc<Image> {
    const SIDE: u32 = 64;
    let inside = |n: u32| (n as i32 - SIDE as i32 / 2).pow(2);
    let pixels: Vec<u8> = (0..SIDE * SIDE)
        .flat_map(|at| {
            let disc = inside(at % SIDE) + inside(at / SIDE) < 400;
            if disc { [200, 180, 60] } else { [40, 60, 90] }
        })
        .collect();
    Image::new(SIDE, SIDE, pixels.into(), (SIDE, SIDE))
}

impl SmolVlm {
    /// Beside the running batch: with caches of its own, and one tile whatever the folder says.
    ///
    /// # Errors
    /// What keeps it from an answer.
    pub(super) fn answer_own_question(&mut self) -> Result<(), ModelError> {
        let (decoder, embedder) = self.batch.parts();
        check::check(decoder, embedder, self.folder.vocabulary)?;
        let tiles = self.folder.preprocess.whole(&drawn());
        let features = match self.vision.run(&[tiles])?.pop() {
            Some(features) => features?,
            None => {
                return Err(ModelError::Run(
                    "the vision encoder gave nothing".to_owned(),
                ));
            }
        };
        let ids = (self.folder.prompt).ids(&self.folder.hub.tokenizer, QUESTION, 0, 0)?;
        let embeds = self.merge(&ids, &features)??;
        let (decoder, embedder) = self.batch.parts();
        check::answers(decoder, embedder, &embeds, &self.folder.rules)
    }
}
