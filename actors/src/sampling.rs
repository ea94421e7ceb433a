//! How a generator chooses the tokens of an answer.

use std::sync::Arc;

/// What is chosen of what the model thinks likely, and where the text ends before the model ends it.
/// The default is greedy: the likeliest token every time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// What logits are divided by before a token is drawn: above 1 the text is more varied, below 1
    /// surer. 0: nothing is drawn, the likeliest token is taken.
    pub temperature: f32,
    /// Only so many of the likeliest tokens can be drawn; 0: all.
    pub top_k: u32,
    /// Only the likeliest tokens that together have this probability can be drawn; 1: all.
    pub top_p: f32,
    /// Overrules the model's own: above 1, tokens that were seen before become less likely.
    pub repetition_penalty: Option<f32>,
    /// Overrules the model's own: no run of so many tokens occurs twice; 0: off.
    pub no_repeat_ngram_size: Option<u32>,
    /// The text ends before the first of these.
    pub stop: Arc<[String]>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: None,
            no_repeat_ngram_size: None,
            stop: Arc::new([]),
        }
    }
}

impl Sampling {
    /// Whether the likeliest token is taken every time, whatever the seed.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// All of it that can change an answer, in words that are the same whenever it is; `None` for
    /// the default. Where tokens are drawn, `seed` can change it too.
    #[must_use]
    pub fn identity(&self, seed: u64) -> Option<String> {
        let seed = (!self.is_greedy()).then_some(seed);
        (*self != Self::default()).then(|| format!("{self:?} {seed:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_matters_only_where_tokens_are_drawn() {
        let greedy = Sampling::default();
        assert_eq!(greedy.identity(1), None);
        let drawn = Sampling {
            temperature: 0.7,
            ..greedy
        };
        assert_ne!(drawn.identity(1), drawn.identity(2));
        let shorter = Sampling {
            stop: ["\n".to_owned()].into(),
            ..Sampling::default()
        };
        assert_eq!(shorter.identity(1), shorter.identity(2));
        assert!(shorter.identity(1).is_some());
    }
}
