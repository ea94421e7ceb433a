//! The choice of the next token: the likeliest, or one that is drawn.

pub mod beam;

use std::cmp::Reverse;

use vila2_actors::{ports::Prompt, sampling::Sampling};

use super::{
    logits::{argmax, exponential, penalise, probability},
    rules::Rules,
};

/// How many of the likeliest tokens are put in order at first, to find those that together have a
/// probability of `top_p`; if they do not, sixteen times as many.
const HEAD: usize = 64;

/// How one answer is searched for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// What is drawn of what.
    pub sampling: Sampling,
    /// Seed of what is drawn: the same seed draws the same of the same logits, whatever else is in
    /// the batch.
    pub seed: u64,
}

/// A token that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// Its id.
    pub token: u32,
    /// How likely the model holds it, before temperature and penalties.
    pub probability: f32,
}

impl From<&Prompt> for Search {
    fn from(prompt: &Prompt) -> Self {
        Self {
            sampling: prompt.sampling.clone(),
            seed: prompt.seed,
        }
    }
}

impl Search {
    /// The next token after `before` (prompt and answer); `None` where the logits are no numbers.
    ///
    /// # Source
    /// Logits processors and warpers of transformers 4.57, in its order: repetition penalty, runs of
    /// tokens, temperature, `top_k`, `top_p`.
    #[must_use]
    pub fn choose(&self, logits: &[f32], before: &[u32], rules: &Rules) -> Option<Chosen> {
        let best = argmax(logits)?;
        let penalties = rules.penalties.overruled(&self.sampling);
        let chosen = if penalties.are_off() && self.sampling.is_greedy() {
            best
        } else {
            let mut penalised = logits.to_vec();
            penalise(&mut penalised, before, penalties);
            // Rules that forbid every token leave the choice as it was.
            match argmax(&penalised) {
                Some(likeliest) if self.sampling.is_greedy() => likeliest,
                Some(likeliest) => {
                    let largest = penalised[likeliest];
                    self.draw(&penalised, largest, before.len())
                }
                None => best,
            }
        };
        Some(Chosen {
            token: chosen as u32,
            probability: probability(logits, logits[best], chosen),
        })
    }

    /// One of the tokens that can be drawn, each as often as it is likely among them.
    fn draw(&self, logits: &[f32], largest: f32, position: usize) -> usize {
        let weight = |logit: f32| exponential((logit - largest) / self.sampling.temperature);
        let mut left: Vec<(usize, f32)> = (logits.iter().enumerate())
            .filter(|(_, logit)| **logit > f32::NEG_INFINITY)
            .map(|(token, logit)| (token, weight(*logit)))
            .collect();
        // The likelier first; of equals the one with the lower id, so that the order is always the same.
        let order = |&(token, weight): &(usize, f32)| (Reverse(weight.to_bits()), token);
        let most = self.sampling.top_k as usize;
        if most > 0 && most < left.len() {
            left.select_nth_unstable_by_key(most, order);
            left.truncate(most);
        }
        if self.sampling.top_p < 1.0 {
            let wanted = f64::from(self.sampling.top_p) * total(&left);
            let mut head = HEAD;
            loop {
                let all = head >= left.len();
                if !all {
                    left.select_nth_unstable_by_key(head, order);
                }
                let end = head.min(left.len());
                let first = &mut left[..end];
                first.sort_unstable_by_key(order);
                let mut reached = 0.0;
                let enough = first.iter().position(|(_, weight)| {
                    reached += f64::from(*weight);
                    reached >= wanted
                });
                match enough {
                    Some(last) => left.truncate(last + 1),
                    None if all => {}
                    None => {
                        head *= 16;
                        continue;
                    }
                }
                break;
            }
        }
        left.sort_unstable_by_key(|(token, _)| *token);
        let mut point = uniform(self.seed, position) * total(&left);
        for (token, weight) in &left {
            point -= f64::from(*weight);
            if point < 0.0 {
                return *token;
            }
        }
        // Rounding alone leads here.
        left.last().map_or(0, |(token, _)| *token)
    }
}

fn total(weights: &[(usize, f32)]) -> f64 {
    weights.iter().map(|(_, weight)| f64::from(*weight)).sum()
}

/// A number from 0 (inclusive) to 1 (exclusive), the same whenever seed and position are.
///
/// # Source
/// The output function of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014), of which any state is as good as any other.
fn uniform(seed: u64, position: usize) -> f64 {
    let mut state = seed.wrapping_add((position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^= state >> 31;
    (state >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::models::generation::rules::Penalties;

    fn rules() -> Rules {
        Rules {
            stop_tokens: vec![0],
            penalties: Penalties::OFF,
            repeats: None,
        }
    }

    fn search(temperature: f32, top_k: u32, top_p: f32) -> Search {
        Search {
            sampling: Sampling {
                temperature,
                top_k,
                top_p,
                ..Sampling::default()
            },
            seed: 7,
        }
    }

    /// Of 8,000 draws, the share of each token.
    fn shares(search: &Search, logits: &[f32]) -> BTreeMap<u32, f64> {
        let mut counts = BTreeMap::new();
        for seed in 0..8_000 {
            let search = Search {
                seed,
                ..search.clone()
            };
            let chosen = search.choose(logits, &[1, 2], &rules()).expect("a token");
            *counts.entry(chosen.token).or_insert(0) += 1;
        }
        let share = |(token, count)| (token, f64::from(count) / 8_000.0);
        counts.into_iter().map(share).collect()
    }

    fn near(shares: &BTreeMap<u32, f64>, wanted: &[(u32, f64)]) {
        assert_eq!(shares.len(), wanted.len(), "{shares:?}");
        for (token, share) in wanted {
            // Four standard deviations of the widest of them.
            assert!((shares[token] - share).abs() < 0.023, "{shares:?}");
        }
    }

    /// Logarithms of probabilities: what a softmax makes probabilities of.
    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln() + 3.0).collect()
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits = logits(&[0.1, 0.5, 0.25, 0.15]);
        let wanted = [(0, 0.1), (1, 0.5), (2, 0.25), (3, 0.15)];
        near(&shares(&search(1.0, 0, 1.0), &logits), &wanted);
    }

    #[test]
    fn temperature_flattens_or_sharpens() {
        // Squares of the probabilities, and their square roots, each divided by their sum.
        let logits = logits(&[0.2, 0.8]);
        near(
            &shares(&search(0.5, 0, 1.0), &logits),
            &[(0, 0.0588), (1, 0.9412)],
        );
        near(
            &shares(&search(2.0, 0, 1.0), &logits),
            &[(0, 1.0 / 3.0), (1, 2.0 / 3.0)],
        );
    }

    #[test]
    fn only_the_likeliest_are_drawn() {
        let logits = logits(&[0.1, 0.4, 0.3, 0.2]);
        let two = [(1, 4.0 / 7.0), (2, 3.0 / 7.0)];
        near(&shares(&search(1.0, 2, 1.0), &logits), &two);
        // 0.4 and 0.3 reach 0.6; 0.4 alone does not.
        near(&shares(&search(1.0, 0, 0.6), &logits), &two);
        near(&shares(&search(1.0, 0, 0.3), &logits), &[(1, 1.0)]);
        // Of three the first two have 7/9, which is less than 0.8.
        let three = [(1, 4.0 / 9.0), (2, 3.0 / 9.0), (3, 2.0 / 9.0)];
        near(&shares(&search(1.0, 3, 0.8), &logits), &three);
    }

    #[test]
    fn the_tokens_that_top_p_leaves_are_found_among_many() {
        // 3,000 tokens of which 1,500 have nearly all, in any order.
        let large = |token: usize| (token * 7).is_multiple_of(2);
        let logits: Vec<f32> = (0..3_000)
            .map(|token| if large(token) { 5.0 } else { -5.0 })
            .collect();
        let search = search(1.0, 0, 0.99);
        for seed in 0..500 {
            let search = Search {
                seed,
                ..search.clone()
            };
            let chosen = search.choose(&logits, &[], &rules()).expect("a token");
            assert!(large(chosen.token as usize));
        }
    }

    #[test]
    fn a_seed_draws_the_same_again_and_another_position_something_else() {
        let logits = logits(&[0.05; 20]);
        let search = search(1.0, 0, 1.0);
        let draws = |search: &Search| -> Vec<u32> {
            (0..50)
                .map(|length| {
                    let before = vec![1; length];
                    let chosen = search.choose(&logits, &before, &rules());
                    chosen.expect("a token").token
                })
                .collect()
        };
        assert_eq!(draws(&search), draws(&search.clone()));
        let other = Search {
            seed: 8,
            ..search.clone()
        };
        assert_ne!(draws(&search), draws(&other));
        let first = draws(&search)[0];
        assert!(draws(&search).iter().any(|token| *token != first));
    }

    #[test]
    fn the_greedy_choice_is_the_likeliest_and_its_probability_the_models() {
        let logits = logits(&[0.1, 0.6, 0.3]);
        let chosen = search(0.0, 1, 0.1).choose(&logits, &[], &rules());
        let chosen = chosen.expect("a token");
        assert_eq!(chosen.token, 1);
        assert!((chosen.probability - 0.6).abs() < 1e-4, "{chosen:?}");
        // A penalty changes the choice, and not what the model holds of it.
        let mut penalised = search(0.0, 0, 1.0);
        penalised.sampling.no_repeat_ngram_size = Some(1);
        let chosen = penalised.choose(&logits, &[1], &rules()).expect("a token");
        assert_eq!(chosen.token, 2);
        assert!((chosen.probability - 0.3).abs() < 1e-4, "{chosen:?}");
    }

    #[test]
    fn what_is_forbidden_is_not_drawn_and_logits_that_are_no_numbers_give_nothing() {
        let hot = search(9.0, 0, 1.0);
        for seed in 0..200 {
            let hot = Search {
                seed,
                ..hot.clone()
            };
            let chosen = hot.choose(&[f32::NEG_INFINITY, 1.0, 2.0], &[], &rules());
            assert_ne!(chosen.expect("a token").token, 0);
        }
        assert_eq!(hot.choose(&[1.0, f32::NAN], &[], &rules()), None);
    }
}
