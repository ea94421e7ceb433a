//! How likely a model held the text that it wrote.

use std::ops::Range;

/// The probability of each token of an answer, as the model gave it: before temperature and
/// penalties. Empty where a model does not say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Certainty {
    /// Of each token: where it ends in the text, in bytes, and its probability.
    tokens: Vec<(usize, f32)>,
}

impl Certainty {
    /// Of tokens in order: where each ends in the text, in bytes, and its probability.
    #[must_use]
    pub fn new(tokens: Vec<(usize, f32)>) -> Self {
        Self { tokens }
    }

    /// Mean probability of all tokens, 0 to 1 in steps of a thousandth: its further digits depend
    /// on what else was in the batch.
    #[must_use]
    pub fn mean(&self) -> Option<f32> {
        mean(self.tokens.iter().map(|(_, probability)| *probability))
    }

    /// The same of the tokens that write a stretch of the text, in bytes.
    #[must_use]
    pub fn of(&self, stretch: &Range<usize>) -> Option<f32> {
        let mut start = 0;
        mean(self.tokens.iter().filter_map(|&(end, probability)| {
            let within = start < stretch.end && end > stretch.start;
            start = end;
            within.then_some(probability)
        }))
    }
}

fn mean(probabilities: impl Iterator<Item = f32>) -> Option<f32> {
    let (count, sum) = probabilities.fold((0_u32, 0.0), |(count, sum), probability| {
        (count + 1, sum + f64::from(probability))
    });
    let mean = sum / f64::from(count);
    (count > 0).then(|| ((mean * 1_000.0).round() / 1_000.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_has_the_mean_of_the_tokens_that_write_it() {
        // "a cat": "a", " c", "at"; a token without text of its own in between.
        let certainty = Certainty::new(vec![(1, 0.9), (3, 0.5), (3, 0.1), (5, 0.7)]);
        assert_eq!(certainty.mean(), Some(0.55));
        assert_eq!(certainty.of(&(0..1)), Some(0.9));
        assert_eq!(certainty.of(&(3..5)), Some(0.7));
        assert_eq!(certainty.of(&(0..3)), Some(0.7));
        assert_eq!(certainty.of(&(0..5)), Some(0.55));
        assert_eq!(certainty.of(&(5..5)), None);
    }

    #[test]
    fn who_says_nothing_has_none() {
        assert_eq!(Certainty::default().mean(), None);
        assert_eq!(Certainty::default().of(&(0..9)), None);
    }
}
