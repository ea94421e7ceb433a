//! One row of the running batch.

use vila2_actors::{annotation::Finish, ports::RequestId};

use crate::models::generation::Rules;

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
}

impl Row {
    /// How many positions of the cache are its own.
    pub fn cached(&self) -> usize {
        self.ids.len() - 1
    }

    /// Takes one more token; says why the row ends with it, if it does.
    pub fn push(&mut self, token: u32, rules: &Rules, longest: usize) -> Option<Finish> {
        if rules.stop_tokens.contains(&token) {
            return Some(Finish::Stop);
        }
        self.ids.push(token);
        let answer = &self.ids[self.prompt..];
        if let Some(cut) = rules.repeats.and_then(|rule| rule.cut(answer)) {
            self.ids.truncate(self.prompt + cut);
            return Some(Finish::Repeat);
        }
        (answer.len() >= self.max_tokens || self.ids.len() >= longest).then_some(Finish::Length)
    }
}
