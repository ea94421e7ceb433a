//! What `generation_config.json` says about ending and penalising.

use serde_json::Value;
use vila2_actors::sampling::Sampling;

use super::repeats::RepeatRule;
use crate::models::hub::{Fault, Source, Values};

const FILE: &str = "generation_config.json";

/// How a text is generated. Its sampling keys are not looked at: whether tokens are drawn says the
/// configuration, and by default they are not.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Ids that end the text; never part of it.
    pub stop_tokens: Vec<u32>,
    /// What makes tokens less likely.
    pub penalties: Penalties,
    /// When a text that goes round in a loop is ended; `None` never.
    pub repeats: Option<RepeatRule>,
}

/// What makes tokens less likely that were seen before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalties {
    /// Logits of tokens seen so far, prompt included, are divided by it where positive and
    /// multiplied where negative. 1 is off.
    pub repetition_penalty: f32,
    /// No run of this many tokens may occur twice, prompt included. 0 is off.
    pub no_repeat_ngram_size: usize,
}

impl Penalties {
    /// None.
    pub const OFF: Self = Self {
        repetition_penalty: 1.0,
        no_repeat_ngram_size: 0,
    };

    /// Whether the logits go to the choice as they are.
    #[must_use]
    pub fn are_off(&self) -> bool {
        *self == Self::OFF
    }

    /// These, where the configuration says nothing else.
    #[must_use]
    pub fn overruled(self, sampling: &Sampling) -> Self {
        let size = sampling.no_repeat_ngram_size.map(|size| size as usize);
        Self {
            repetition_penalty: (sampling.repetition_penalty).unwrap_or(self.repetition_penalty),
            no_repeat_ngram_size: size.unwrap_or(self.no_repeat_ngram_size),
        }
    }
}

impl Rules {
    /// Reads the rules of a folder. Stop tokens not named in `generation` are looked up in
    /// `config` (the folder's `config.json`).
    ///
    /// # Errors
    /// Every fault found.
    pub fn read(generation: &Value, config: &Value) -> Result<Self, Vec<Fault>> {
        let mut ends = Values::new([
            Source::file(FILE, generation),
            Source::file("config.json", config),
            Source::text_config(config),
        ]);
        ends.needed(&["eos_token_id"]);
        let stop_tokens = ends.tokens("eos_token_id").unwrap_or_default();
        let mut faults = ends.faults();
        let mut values = Values::new([Source::file(FILE, generation)]);
        let above_0 = |value: &Value| value.as_f64().filter(|penalty| *penalty > 0.0);
        let repetition_penalty = values.read("repetition_penalty", "a number above 0", above_0);
        let no_repeat_ngram_size = values.whole("no_repeat_ngram_size", 0..=u64::MAX);
        faults.extend(values.faults());
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            stop_tokens,
            penalties: Penalties {
                repetition_penalty: repetition_penalty.unwrap_or(1.0) as f32,
                no_repeat_ngram_size: no_repeat_ngram_size.unwrap_or(0),
            },
            repeats: Some(RepeatRule::default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stop_tokens_are_one_or_many_and_fall_back_to_the_model_configuration() {
        let rules = Rules::read(&json!({"eos_token_id": [3, 7]}), &json!({})).expect("whole");
        assert_eq!(rules.stop_tokens, [3, 7]);
        assert!(rules.penalties.are_off());
        let config = json!({"text_config": {"eos_token_id": 5}});
        let rules = Rules::read(&json!({}), &config).expect("whole");
        assert_eq!(rules.stop_tokens, [5]);
    }

    #[test]
    fn values_of_a_wrong_kind_and_a_missing_stop_token_are_told_together() {
        let generation = json!({"repetition_penalty": 0, "no_repeat_ngram_size": "3"});
        let faults = Rules::read(&generation, &json!({})).unwrap_err();
        let told: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(
            told,
            [
                "`eos_token_id` is missing, so is `eos_token_id` of config.json, so is \
                 `text_config.eos_token_id` of config.json",
                "`repetition_penalty` is 0; it must be a number above 0",
                "`no_repeat_ngram_size` is \"3\"; it must be a whole number from 0",
            ]
        );
    }
}
