//! Beam search: several texts of one answer side by side, of which the likeliest is kept.
//!
//! # Source
//! `_beam_search` of transformers 5.24, step by step, ties excepted.

use std::cmp::Reverse;

use serde_json::Value;

use super::penalise;
use crate::models::{
    generation::rules::{Penalties, Rules},
    hub::Values,
};

/// What transformers adds to the score of what is not to be chosen.
const NEVER: f32 = -1e9;

/// When a search is over though longer texts are still possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// As soon as there are as many ended texts as beams.
    Full,
    /// Where no running text is better than the worst ended one, were it to end now.
    Now,
    /// Where none could become better at any length.
    Never,
}

/// How beams are searched and texts begin and end, as `generation_config.json` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeamRules {
    /// How many texts side by side; 1 is greedy.
    pub beams: usize,
    /// Power of the length by which a text's score is divided.
    pub length_penalty: f32,
    /// When it is over.
    pub early: Early,
    /// The token that every text of the greatest length ends with.
    pub forced_last: Option<u32>,
}

impl BeamRules {
    /// Reads `num_beams` (`most` at most), `length_penalty`, `early_stopping` and
    /// `forced_eos_token_id`.
    pub fn read(values: &mut Values<'_>, most: usize) -> Self {
        let early = |value: &Value| match value {
            Value::Bool(true) => Some(Early::Full),
            Value::Bool(false) => Some(Early::Now),
            Value::String(word) if word == "never" => Some(Early::Never),
            _ => None,
        };
        Self {
            beams: beams(values, most),
            length_penalty: values.number("length_penalty").unwrap_or(1.0) as f32,
            early: (values.read("early_stopping", "true, false or \"never\"", early))
                .unwrap_or(Early::Now),
            forced_last: values.token("forced_eos_token_id"),
        }
    }
}

/// Reads `num_beams`; more than `most` are a fault.
pub fn beams(values: &mut Values<'_>, most: usize) -> usize {
    let beams = values.whole("num_beams", 1..=u64::MAX).unwrap_or(1);
    if beams > most {
        let what = format!("is {beams}; this adapter follows {most} at most");
        values.fault("num_beams", &what);
    }
    beams
}

/// A text that is not ended.
#[derive(Debug, Clone)]
struct Running {
    /// What it begins with, and what was chosen.
    ids: Vec<u32>,
    /// Sum of the logarithms of its tokens' probabilities, after penalties.
    score: f32,
    /// What the model held each chosen token for, before penalties.
    probabilities: Vec<f32>,
}

/// One of the best ended texts.
#[derive(Debug, Clone)]
struct Best {
    ids: Vec<u32>,
    probabilities: Vec<f32>,
    score: f32,
    ended: bool,
}

/// One more token for one of the running texts.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    parent: usize,
    token: u32,
    score: f32,
    probability: f32,
}

/// The search for one answer.
#[derive(Debug)]
pub struct BeamSearch {
    rules: BeamRules,
    penalties: Penalties,
    running: Vec<Running>,
    best: Vec<Best>,
    candidates: Vec<Candidate>,
    /// Whether ended texts can still be improved on.
    improvable: bool,
    /// Most ids, those that every text begins with among them.
    longest: usize,
    broken: bool,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Advance {
    /// The texts go on: the place of each one's parent among those before.
    On(Vec<usize>),
    /// The best text is known.
    Over,
    /// The logits are no numbers.
    Broken,
}

impl BeamSearch {
    /// A search of texts that begin with `begin` (a start token, and what is forced after it) and
    /// have at most `longest` ids.
    #[must_use]
    pub fn new(rules: BeamRules, penalties: Penalties, begin: &[u32], longest: usize) -> Self {
        let running = (0..rules.beams).map(|beam| Running {
            ids: begin.to_vec(),
            // All beams begin alike: only the first one's tokens are candidates.
            score: if beam == 0 { 0.0 } else { NEVER },
            probabilities: Vec::new(),
        });
        let best = Best {
            ids: begin.to_vec(),
            probabilities: Vec::new(),
            score: NEVER,
            ended: false,
        };
        Self {
            running: running.collect(),
            best: vec![best; rules.beams],
            candidates: Vec::new(),
            improvable: true,
            longest,
            rules,
            penalties,
            broken: false,
        }
    }

    /// The last token of each running text.
    pub fn last(&self) -> impl Iterator<Item = u32> + '_ {
        let last = |text: &Running| text.ids[text.ids.len() - 1];
        self.running.iter().map(last)
    }

    /// How many ids the running texts have.
    #[must_use]
    pub fn length(&self) -> usize {
        self.running[0].ids.len()
    }

    fn kept(&self, rules: &Rules) -> usize {
        (1 + rules.stop_tokens.len()).max(2) * self.rules.beams
    }

    /// Takes in the logits after one of the running texts.
    pub fn consider(&mut self, beam: usize, logits: &[f32], rules: &Rules) {
        let text = &self.running[beam];
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let log_sum = sum.ln();
        if !largest.is_finite() || !log_sum.is_finite() {
            self.broken = true;
            return;
        }
        let mut scores: Vec<f32> = (logits.iter())
            .map(|logit| logit - largest - log_sum)
            .collect();
        penalise(&mut scores, &text.ids, self.penalties);
        if let Some(forced) = self.rules.forced_last
            && text.ids.len() + 1 == self.longest
        {
            scores.fill(f32::NEG_INFINITY);
            if let Some(score) = scores.get_mut(forced as usize) {
                *score = 0.0;
            }
        }
        let most = self.kept(rules).min(scores.len());
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let by = |token: &usize| (Reverse(ordered(scores[*token])), *token);
        if most < order.len() {
            order.select_nth_unstable_by_key(most, by);
            order.truncate(most);
        }
        for token in order {
            self.candidates.push(Candidate {
                parent: beam,
                token: token as u32,
                score: scores[token] + text.score,
                probability: (logits[token] - largest - log_sum).exp(),
            });
        }
    }

    /// Chooses among the candidates of all running texts.
    pub fn advance(&mut self, rules: &Rules) -> Advance {
        if self.broken {
            return Advance::Broken;
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_unstable_by_key(|one| (Reverse(ordered(one.score)), one.parent, one.token));
        candidates.truncate(self.kept(rules));
        let length = self.length();
        let at_end = length + 1 >= self.longest;
        let ends = |one: &Candidate| at_end || rules.stop_tokens.contains(&one.token);
        self.keep_best(&candidates, ends, length);
        // Those that ended go on only where there are no others.
        let mut next: Vec<(f32, usize)> = (candidates.iter().enumerate())
            .map(|(at, one)| (one.score + if ends(one) { NEVER } else { 0.0 }, at))
            .collect();
        next.sort_by_key(|(score, at)| (Reverse(ordered(*score)), *at));
        next.truncate(self.rules.beams);
        let all_end = candidates.iter().all(ends);
        let parents = next.iter().map(|(_, at)| candidates[*at].parent).collect();
        self.running = next
            .into_iter()
            .map(|(score, at)| {
                let Candidate {
                    parent,
                    token,
                    probability,
                    ..
                } = candidates[at];
                let mut text = self.running[parent].clone();
                text.ids.push(token);
                text.probabilities.push(probability);
                text.score = score;
                text
            })
            .collect();
        self.look_ahead(length + 1);
        let full = self.best.iter().all(|best| best.ended);
        if !self.improvable || (full && self.rules.early == Early::Full) || all_end {
            return Advance::Over;
        }
        Advance::On(parents)
    }

    /// The best ended texts, those among `candidates` that end now included. `length` is that of the
    /// running texts.
    fn keep_best(
        &mut self,
        candidates: &[Candidate],
        ends: impl Fn(&Candidate) -> bool,
        length: usize,
    ) {
        // The start token is no part of a text.
        let divisor = (length as f32).powf(self.rules.length_penalty);
        let full = self.best.iter().all(|best| best.ended);
        let closed = (full && self.rules.early == Early::Full) || !self.improvable;
        for (place, one) in candidates.iter().enumerate() {
            // Those behind the first ones are only there so that enough texts can go on.
            let ended = ends(one) && place < self.rules.beams;
            let mut score = one.score / divisor;
            if closed {
                score += NEVER;
            }
            if !ended {
                score += NEVER;
            }
            let text = &self.running[one.parent];
            self.best.push(Best {
                ids: [&text.ids[..], &[one.token]].concat(),
                probabilities: [&text.probabilities[..], &[one.probability]].concat(),
                score,
                ended,
            });
        }
        (self.best).sort_by_key(|best| Reverse(ordered(best.score)));
        self.best.truncate(self.rules.beams);
    }

    /// Whether running texts, now of `length` ids, may still become better than the ended ones.
    fn look_ahead(&mut self, length: usize) {
        let penalty = self.rules.length_penalty;
        let hoped = match self.rules.early {
            Early::Never if penalty > 0.0 => self.longest - 1,
            _ => length - 1,
        };
        let possible = self.running[0].score / (hoped as f32).powf(penalty);
        let worst = (self.best.iter()).fold(f32::INFINITY, |worst, best| worst.min(best.score));
        let better = |best: &Best| possible > if best.ended { worst } else { NEVER };
        self.improvable &= self.best.iter().any(better);
    }

    /// The best text without what it began with (`begun` ids), and how likely the model held each of
    /// its tokens.
    #[must_use]
    pub fn answer(&self, begun: usize) -> (Vec<u32>, Vec<f32>) {
        let best = &self.best[0];
        (best.ids[begun..].to_vec(), best.probabilities.clone())
    }
}

/// A number that is in the same order as the float, which is no NaN.
fn ordered(number: f32) -> i32 {
    let bits = number.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: u32 = 0;

    fn rules() -> Rules {
        Rules {
            stop_tokens: vec![STOP],
            penalties: Penalties::OFF,
            repeats: None,
        }
    }

    fn beams(beams: usize, early: Early) -> BeamRules {
        BeamRules {
            beams,
            length_penalty: 1.0,
            early,
            forced_last: None,
        }
    }

    /// Runs a search over a table: after a text, the probabilities of the tokens 0, 1, 2, ….
    fn search(rules_of: BeamRules, longest: usize, table: fn(&[u32]) -> [f32; 4]) -> Vec<u32> {
        let mut search = BeamSearch::new(rules_of, Penalties::OFF, &[9], longest);
        loop {
            for beam in 0..rules_of.beams {
                let ids = search.running[beam].ids.clone();
                let logits = table(&ids[1..]).map(f32::ln);
                search.consider(beam, &logits, &rules());
            }
            if search.advance(&rules()) == Advance::Over {
                return search.answer(1).0;
            }
        }
    }

    /// The likeliest first token leads to nothing likely: 0.6 × 0.4 against 0.4 × 0.9.
    fn garden_path(text: &[u32]) -> [f32; 4] {
        match text {
            [] => [1e-9, 0.6, 0.4, 1e-9],
            [1] => [0.4, 0.3, 0.2, 0.1],
            [2] => [0.9, 0.05, 0.03, 0.02],
            _ => [0.97, 0.01, 0.01, 0.01],
        }
    }

    #[test]
    fn two_beams_find_what_one_does_not() {
        assert_eq!(search(beams(1, Early::Full), 8, garden_path), [1, STOP]);
        assert_eq!(search(beams(2, Early::Full), 8, garden_path), [2, STOP]);
    }

    #[test]
    fn a_text_of_the_greatest_length_ends_and_may_be_forced_to() {
        let endless = |_: &[u32]| [1e-6, 0.5, 0.3, 0.2];
        assert_eq!(search(beams(2, Early::Now), 4, endless), [1, 1, 1]);
        let forced = BeamRules {
            forced_last: Some(STOP),
            ..beams(2, Early::Now)
        };
        assert_eq!(search(forced, 4, endless), [1, 1, STOP]);
    }

    #[test]
    fn logits_that_are_no_numbers_end_the_search() {
        let mut search = BeamSearch::new(beams(2, Early::Full), Penalties::OFF, &[9], 8);
        search.consider(0, &[0.0, f32::NAN], &rules());
        search.consider(1, &[0.0, 1.0], &rules());
        assert_eq!(search.advance(&rules()), Advance::Broken);
    }

    #[test]
    fn floats_are_put_in_order_by_their_bits() {
        let numbers = [
            f32::NEG_INFINITY,
            -1e9,
            -2.0,
            -0.5,
            0.0,
            0.5,
            3.0,
            f32::INFINITY,
        ];
        assert!(numbers.is_sorted_by_key(|number| ordered(*number)));
    }
}
