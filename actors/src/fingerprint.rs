//! The identity of an answer: what `vila2-dedup` holds.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{
    config::{CaptionConfig, ChainConfig},
    message::Draft,
    ports::QuestionId,
    record::Request,
    request::hex,
    stage::Stage,
    stages::{caption, choice},
};

/// Bumped where the way of hashing changes.
const SCHEME: &str = "vila2.fingerprint/1";

/// A SHA-256 over everything that can change the text of a record: two records with the same
/// fingerprint say the same. It is written as 64 lower-case hex digits.
///
/// In it:
/// - the image: the SHA-256 of its file, and what decoding does to the pixels
///   ([`Decoder::identity`](crate::ports::Decoder::identity));
/// - of every stage that was answered by a model: the stage and its kind, the model's revision (graphs,
///   tokenizer, template, processor and generation settings), the prompt as it was asked, and the
///   limit of tokens that was in effect. The producer's `options` are in these two, and so is what
///   the choice among several prompts came to;
/// - of each of these stages, how tokens are chosen where it is not greedily, and the seed where they
///   are drawn ([`Sampling::identity`](crate::sampling::Sampling::identity));
/// - the rules by which a caption is asked for again, where there are any
///   ([`Rules::identity`](crate::rules::Rules::identity)): they decide which of several answers it is;
/// - which specialists failed: a degraded record never passes for a complete one, nor for one that
///   lacks another specialist;
/// - the round, and the caption that came with the image, which a merge may use;
/// - version and settings of the merge ([`Merger::identity`](crate::ports::Merger::identity));
/// - the version of this program, whose own steps lie between all of these.
///
/// Not in it: URL, id, `meta`, where the record came from, timings, the reason why a specialist
/// failed, and names and paths of models.
/// Execution providers and the make-up of batches are not in it either: they may move a figure in
/// its last digits, which is no other answer.
///
/// It may change between versions of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// What a [`Fingerprint`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingredients<'a> {
    /// SHA-256 (hex) of the image's file.
    pub image: &'a str,
    /// See [`Decoder::identity`](crate::ports::Decoder::identity).
    pub decoder: &'a str,
    /// The round.
    pub round: u32,
    /// The caption that came with the image.
    pub original_caption: Option<&'a str>,
    /// What was asked, in the order of the stages' names.
    pub asked: Vec<Asked<'a>>,
    /// See [`Rules::identity`](crate::rules::Rules::identity).
    pub rules: Option<&'a str>,
    /// Stages whose specialist failed, in path order.
    pub missing: Vec<&'a str>,
    /// See [`Merger::identity`](crate::ports::Merger::identity).
    pub merger: &'a str,
}

/// What a request asks of the captioner about these bytes: see [`QuestionId`]. Where it leaves the
/// prompt to the configuration, any of the configured ones will do: the same picture under two ids
/// is not to be captioned twice because the choice fell otherwise.
pub(crate) fn question(request: &Request, body: &[u8], config: &CaptionConfig) -> QuestionId {
    let mut parts = Parts(Sha256::new());
    parts.add_some("prompt", request.options.prompt.as_deref());
    parts.add(
        "max_tokens",
        &caption::max_tokens(request, config).to_string(),
    );
    parts.add("round", &request.round.to_string());
    parts.add_some("original_caption", request.original_caption.as_deref());
    parts.0.update(body); // last, so that its length need not be said
    let hash = parts.0.finalize();
    QuestionId(std::array::from_fn(|at| hash[at]))
}

/// What one stage asked of its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The stage.
    pub stage: &'a str,
    /// What it is asked for: `caption`, or the kind of the specialist.
    pub kind: &'a str,
    /// See [`ModelFacts::revision`](crate::annotation::ModelFacts::revision).
    pub revision: &'a str,
    /// The prompt; `None` where the model takes none.
    pub prompt: Option<&'a str>,
    /// The limit of tokens in effect; `None` where the model writes none.
    pub max_tokens: Option<u32>,
    /// See [`Sampling::identity`](crate::sampling::Sampling::identity).
    pub sampling: Option<String>,
}

/// What decoder and merge say of themselves; the same for all records of a chain.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    pub(crate) decoder: String,
    pub(crate) rules: Option<String>,
    pub(crate) merger: String,
}

impl Fingerprint {
    /// Hashes the ingredients. Every part stands behind its name and its length, so that no text
    /// can pass for another part.
    #[must_use]
    pub fn of(ingredients: &Ingredients<'_>) -> Self {
        let Ingredients {
            image,
            decoder,
            round,
            original_caption,
            asked,
            rules,
            missing,
            merger,
        } = ingredients;
        let mut parts = Parts(Sha256::new());
        parts.add(SCHEME, env!("CARGO_PKG_VERSION"));
        parts.add("image", image);
        parts.add("decoder", decoder);
        parts.add("round", &round.to_string());
        parts.add_some("original_caption", *original_caption);
        for one in asked {
            parts.add("stage", one.stage);
            parts.add("kind", one.kind);
            parts.add("revision", one.revision);
            parts.add_some("prompt", one.prompt);
            let limit = one.max_tokens.map(|limit| limit.to_string());
            parts.add_some("max_tokens", limit.as_deref());
            parts.add_some("sampling", one.sampling.as_deref());
        }
        parts.add_some("rules", *rules);
        for stage in missing {
            parts.add("missing", stage);
        }
        parts.add("merger", merger);
        Self(parts.0.finalize().into())
    }

    /// The fingerprint of a draft.
    pub(crate) fn of_draft(draft: &Draft, config: &ChainConfig, identities: &Identities) -> Self {
        let specialist = |stage: &str| {
            let mut specialists = config.specialists.iter();
            specialists.find(|one| one.name.as_str() == stage)
        };
        let limit = |stage: &str| {
            if stage == Stage::Caption.as_str() {
                return Some(caption::max_tokens(&draft.request, &config.caption));
            }
            let asking = specialist(stage)?.task.asking();
            asking.map(|asking| asking.max_tokens)
        };
        let sampling = |stage: &str| {
            if stage == Stage::Caption.as_str() {
                let seed = choice(&draft.request, Stage::Caption);
                return config.caption.sampling.identity(seed);
            }
            let specialist = specialist(stage)?;
            let seed = choice(&draft.request, Stage::Ask(specialist.name));
            specialist.task.asking()?.sampling.identity(seed)
        };
        let mut asked = Vec::with_capacity(draft.models.len());
        for (stage, facts) in &draft.models {
            asked.push(Asked {
                stage,
                kind: specialist(stage).map_or(stage.as_str(), |one| one.task.kind()),
                revision: &facts.revision,
                prompt: facts.prompt.as_deref(),
                max_tokens: limit(stage),
                sampling: sampling(stage),
            });
        }
        Self::of(&Ingredients {
            image: &draft.facts.sha256,
            decoder: &identities.decoder,
            round: draft.request.round,
            original_caption: draft.request.original_caption.as_deref(),
            asked,
            rules: identities.rules.as_deref(),
            missing: draft.degraded.iter().map(|d| d.stage.as_str()).collect(),
            merger: &identities.merger,
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Parts, each behind its name and its length.
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, name: &str, value: &str) {
        for text in [name, value] {
            self.0.update((text.len() as u64).to_be_bytes());
            self.0.update(text);
        }
    }

    fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingredients() -> Ingredients<'static> {
        let asked = |stage, prompt, max_tokens| Asked {
            stage,
            kind: stage,
            revision: "0123456789ab",
            prompt,
            max_tokens,
            sampling: None,
        };
        Ingredients {
            image: "ab",
            decoder: "max_side=2048",
            round: 0,
            original_caption: None,
            asked: vec![
                asked("caption", Some("Describe."), Some(160)),
                asked("read_text", None, None),
            ],
            rules: None,
            missing: Vec::new(),
            merger: "sentences/1",
        }
    }

    #[test]
    fn each_ingredient_changes_the_fingerprint() {
        type Change = fn(&mut Ingredients<'static>);
        let changes: [Change; 18] = [
            |_| (),
            |i| i.image = "ac",
            |i| i.decoder = "max_side=1024",
            |i| i.round = 1,
            |i| i.original_caption = Some(""),
            |i| i.original_caption = Some("a cat"),
            |i| i.asked[0].revision = "0123456789ac",
            |i| i.asked[0].prompt = Some("Elaborate."),
            |i| i.asked[0].max_tokens = Some(3),
            |i| i.asked[0].sampling = Some("0.7".to_owned()),
            |i| i.asked[1].stage = "relate",
            |i| i.asked[1].kind = "answer",
            |i| i.asked.truncate(1),
            |i| i.rules = Some("empty"),
            |i| i.rules = Some("too_short"),
            |i| i.missing = vec!["ground"],
            |i| i.missing = vec!["relate"],
            |i| i.merger = "sentences/2",
        ];
        let mut seen = std::collections::HashSet::new();
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = ingredients();
            change(&mut changed);
            assert!(seen.insert(Fingerprint::of(&changed)), "change {number}");
        }
    }

    #[test]
    fn no_text_passes_for_another_part() {
        let (mut one, mut other) = (ingredients(), ingredients());
        (one.image, one.decoder) = ("ab", "c");
        (other.image, other.decoder) = ("a", "bc");
        assert_ne!(Fingerprint::of(&one), Fingerprint::of(&other));
    }

    #[test]
    fn it_is_written_as_64_hex_digits_and_is_the_same_every_time() {
        let text = Fingerprint::of(&ingredients()).to_string();
        assert_eq!(text, Fingerprint::of(&ingredients()).to_string());
        assert_eq!(text.len(), 64);
        assert!(text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
    }
}
