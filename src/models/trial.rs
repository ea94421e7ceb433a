//! Trying a generator outside the chain: does it answer, and how fast.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use vila2_actors::{
    error::ModelError,
    image::Image,
    ports::{Generated, Generator, Prompt, RequestId},
};

/// How a trial went.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The answers, in the order of the pictures.
    pub answers: Vec<Generated>,
    /// From the first admission to the first token of all: pictures and prompts.
    pub first_token: Duration,
    /// From the first admission to the last answer.
    pub total: Duration,
}

impl Trial {
    /// Tokens of all answers.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.answers
            .iter()
            .map(|answer| u64::from(answer.tokens))
            .sum()
    }

    /// Tokens a second, pictures and prompts included.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens() as f64 / self.total.as_secs_f64().max(1e-9)
    }
}

/// Asks one question about every picture, all at once as far as the model has room for them.
///
/// # Errors
/// The first error of the model, of a step or of an answer.
pub fn run(
    model: &mut dyn Generator,
    pictures: &[Arc<Image>],
    prompt: &Prompt,
) -> Result<Trial, ModelError> {
    let started = Instant::now();
    let mut first_token = None;
    let mut answers: Vec<Option<Generated>> = vec![None; pictures.len()];
    let mut waiting = pictures.iter().enumerate();
    let mut open = pictures.len();
    while open > 0 {
        for (index, picture) in waiting.by_ref().take(model.free_slots()) {
            model.admit(RequestId(index as u64), Arc::clone(picture), prompt)?;
        }
        for (RequestId(index), answer) in model.step()? {
            let place = usize::try_from(index).ok().and_then(|i| answers.get_mut(i));
            if let Some(place @ None) = place {
                *place = Some(answer?);
                open -= 1;
            }
        }
        first_token.get_or_insert_with(|| started.elapsed());
    }
    Ok(Trial {
        answers: answers.into_iter().flatten().collect(),
        first_token: first_token.unwrap_or_default(),
        total: started.elapsed(),
    })
}
