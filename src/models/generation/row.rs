//! One row of a running batch.

use std::sync::Arc;

use vila2_actors::{annotation::Finish, ports::RequestId};

use super::{
    Ended, Endings, Rules,
    search::{Chosen, Search},
};

#[derive(Debug)]
pub(super) struct Row {
    /// `None`: a dead row.
    pub request: Option<RequestId>,
    /// Prompt and answer; the last one is not in the cache yet.
    pub ids: Vec<u32>,
    /// Length of the prompt.
    pub prompt: usize,
    /// Upper bound of the answer's length.
    pub max_tokens: usize,
    /// How its tokens are chosen.
    pub search: Search,
    /// What ends it besides.
    pub endings: Option<Endings>,
    /// How likely the model held the tokens of the answer.
    pub probabilities: Vec<f32>,
}

impl Row {
    /// How many positions of the cache are its own.
    pub fn cached(&self) -> usize {
        self.ids.len() - 1
    }

    /// The choice after these logits; `None` where they are no numbers.
    pub fn choose(&self, logits: &[f32], rules: &Rules) -> Option<Chosen> {
        self.search.choose(logits, &self.ids, rules)
    }

    /// Takes one more token; says why the row ends with it, if it does.
    pub fn push(&mut self, chosen: Chosen, rules: &Rules, longest: usize) -> Option<Finish> {
        let Chosen { token, probability } = chosen;
        if rules.stop_tokens.contains(&token) {
            return Some(Finish::Stop);
        }
        self.ids.push(token);
        self.probabilities.push(probability);
        let answer = &self.ids[self.prompt..];
        if let Some(cut) = rules.repeats.and_then(|rule| rule.cut(answer)) {
            self.ids.truncate(self.prompt + cut);
            self.probabilities.truncate(cut);
            return Some(Finish::Repeat);
        }
        if (self.endings.as_ref()).is_some_and(|endings| endings.reached(answer)) {
            return Some(Finish::Stop);
        }
        (answer.len() >= self.max_tokens || self.ids.len() >= longest).then_some(Finish::Length)
    }

    /// The answer of a row that ended. A dead row keeps its tokens: it stays in the cache.
    pub fn end(&mut self, request: RequestId, finish: Finish) -> Ended {
        Ended {
            request,
            tokens: self.ids[self.prompt..].to_vec(),
            probabilities: std::mem::take(&mut self.probabilities),
            finish,
            stop: (self.endings.as_ref()).map_or_else(Arc::default, Endings::texts),
        }
    }
}
