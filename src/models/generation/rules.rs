//! What `generation_config.json` says about ending and penalising.

use serde_json::Value;
use vila2_actors::sampling::Sampling;

use super::repeats::RepeatRule;
use crate::models::hub::Fault;

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
    /// `config` (the folder's `config.json`). More beams than `most_beams` are refused.
    ///
    /// # Errors
    /// Every fault found.
    pub fn read(generation: &Value, config: &Value, most_beams: u64) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let stop = [generation, config, &config["text_config"]]
            .into_iter()
            .map(|value| &value["eos_token_id"])
            .find(|value| !value.is_null());
        let stop_tokens: Vec<u32> = match stop {
            Some(Value::Array(ids)) => ids.iter().filter_map(token).collect(),
            Some(id) => token(id).into_iter().collect(),
            None => Vec::new(),
        };
        if stop_tokens.is_empty() {
            faults.push(Fault::new(
                FILE,
                "`eos_token_id` is missing, here and in config.json",
            ));
        }
        let beams = generation["num_beams"].as_u64().unwrap_or(1);
        if beams > most_beams {
            faults.push(Fault::new(
                FILE,
                format!("`num_beams` is {beams}; this adapter follows {most_beams} at most"),
            ));
        }
        let repetition_penalty = match &generation["repetition_penalty"] {
            Value::Null => 1.0,
            value => value.as_f64().unwrap_or(0.0) as f32,
        };
        if repetition_penalty <= 0.0 {
            faults.push(Fault::new(
                FILE,
                "`repetition_penalty` must be a number above 0",
            ));
        }
        let no_repeat_ngram_size =
            usize::try_from(generation["no_repeat_ngram_size"].as_u64().unwrap_or(0))
                .unwrap_or(usize::MAX);
        if faults.is_empty() {
            Ok(Self {
                stop_tokens,
                penalties: Penalties {
                    repetition_penalty,
                    no_repeat_ngram_size,
                },
                repeats: Some(RepeatRule::default()),
            })
        } else {
            Err(faults)
        }
    }
}

fn token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stop_tokens_are_one_or_many_and_fall_back_to_the_model_configuration() {
        let rules = Rules::read(&json!({"eos_token_id": [3, 7]}), &json!({}), 1).expect("whole");
        assert_eq!(rules.stop_tokens, [3, 7]);
        assert!(rules.penalties.are_off());
        let config = json!({"text_config": {"eos_token_id": 5}});
        let rules = Rules::read(&json!({}), &config, 1).expect("whole");
        assert_eq!(rules.stop_tokens, [5]);
    }

    #[test]
    fn beams_and_a_missing_stop_token_are_told_together() {
        let faults = Rules::read(&json!({"num_beams": 3}), &json!({}), 1).unwrap_err();
        assert_eq!(faults.len(), 2);
    }
}
