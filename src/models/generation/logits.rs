//! One row of logits: the largest, penalties, probabilities.

use super::rules::Penalties;

/// Lanes that are compared at once; the loop over them compiles to vector instructions.
const LANES: usize = 16;

/// The index of the largest value, the first of equals. `None` where the row says nothing: a NaN
/// or a positive infinity is in it, or no number at all. Negative infinity forbids a token, and
/// graphs may do that.
#[must_use]
pub fn argmax(row: &[f32]) -> Option<usize> {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    // Beside the comparison, so that the scan costs no second pass over the row.
    let mut sound = [true; LANES];
    let (blocks, tail) = row.as_chunks::<LANES>();
    for block in blocks {
        for ((lane, sound), value) in lanes.iter_mut().zip(&mut sound).zip(block) {
            *lane = if *value > *lane { *value } else { *lane };
            *sound &= *value < f32::INFINITY;
        }
    }
    let mut largest = f32::NEG_INFINITY;
    for value in lanes.iter().chain(tail) {
        if *value > largest {
            largest = *value;
        }
    }
    let sound = sound.iter().all(|sound| *sound) && tail.iter().all(|v| *v < f32::INFINITY);
    if sound && largest > f32::NEG_INFINITY {
        row.iter().position(|v| *v == largest)
    } else {
        None
    }
}

/// The probability of one index, given the row's largest value: its share of the softmax.
#[must_use]
pub fn probability(row: &[f32], largest: f32, at: usize) -> f32 {
    let mut lanes = [0.0; LANES];
    let (blocks, tail) = row.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += exponential(*value - largest);
        }
    }
    let tail = tail.iter().map(|value| exponential(*value - largest));
    exponential(row[at] - largest) / (lanes.iter().sum::<f32>() + tail.sum::<f32>())
}

/// e to the power of a number that is not above 0, to within 10 parts in a million: unlike
/// [`f32::exp`] it compiles to vector instructions, which matters in a row of 150,000. 0 below -87.
#[must_use]
pub fn exponential(number: f32) -> f32 {
    /// Added to a float of this size, what is behind the point is rounded away.
    const ROUNDING: f32 = 12_582_912.0;
    /// A power of two below which nothing is left.
    const LEAST: f32 = -126.0;
    let power = (number * std::f32::consts::LOG2_E).max(LEAST);
    let rounded = power + ROUNDING;
    let part = (power - (rounded - ROUNDING)) * std::f32::consts::LN_2;
    // e to the power of `part`, which is at most ln 2 / 2: its Taylor series.
    let series =
        1.0 + part * (1.0 + part * (0.5 + part * (1.0 / 6.0 + part * (1.0 / 24.0 + part / 120.0))));
    // The whole power of two stands in the last bits of `rounded`, and goes into an exponent.
    let whole = rounded.to_bits().wrapping_sub(ROUNDING.to_bits());
    let scale = f32::from_bits(whole.wrapping_add(127) << 23);
    if power > LEAST { series * scale } else { 0.0 }
}

/// Applies penalties to `row`, given everything before it: prompt and answer.
///
/// # Source
/// `RepetitionPenaltyLogitsProcessor` and `NoRepeatNGramLogitsProcessor` of transformers 4.57, in
/// that order.
pub fn penalise(row: &mut [f32], before: &[u32], penalties: Penalties) {
    if penalties.repetition_penalty != 1.0 {
        let mut seen = before.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some(value) = row.get_mut(id as usize) {
                *value = if *value < 0.0 {
                    *value * penalties.repetition_penalty
                } else {
                    *value / penalties.repetition_penalty
                };
            }
        }
    }
    let size = penalties.no_repeat_ngram_size;
    if size > 0 && before.len() + 1 >= size {
        let (_, last) = before.split_at(before.len() + 1 - size);
        for run in before.windows(size) {
            let (head, next) = run.split_at(size - 1);
            if head == last
                && let Some(value) = row.get_mut(next[0] as usize)
            {
                *value = f32::NEG_INFINITY;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn argmax_is_the_first_of_the_largest(row in prop::collection::vec(-4i32..4, 1..100)) {
            let row: Vec<f32> = row.into_iter().map(|v| v as f32).collect();
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(argmax(&row), row.iter().position(|v| *v == largest));
        }

        #[test]
        fn a_row_with_a_value_that_is_no_number_chooses_nothing(
            mut row in prop::collection::vec(-4f32..4.0, 1..100),
            at in any::<prop::sample::Index>(),
            wrong in prop::sample::select(vec![f32::NAN, -f32::NAN, f32::INFINITY]),
        ) {
            let at = at.index(row.len());
            row[at] = wrong;
            prop_assert_eq!(argmax(&row), None);
        }
    }

    fn rules(repetition_penalty: f32, no_repeat_ngram_size: usize) -> Penalties {
        Penalties {
            repetition_penalty,
            no_repeat_ngram_size,
        }
    }

    proptest! {
        #[test]
        fn exponentials_are_near(number in -87f32..0.0) {
            let exact = f64::from(number).exp();
            prop_assert!((f64::from(exponential(number)) / exact - 1.0).abs() < 1e-5);
        }

        #[test]
        fn probabilities_add_up_to_one(row in prop::collection::vec(-30f32..30.0, 1..100)) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = (0..row.len()).map(|at| probability(&row, largest, at)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);
        }
    }

    #[test]
    fn an_exponential_of_what_is_forbidden_is_nothing() {
        assert_eq!(exponential(0.0), 1.0);
        assert_eq!(exponential(-90.0), 0.0);
        assert_eq!(exponential(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn forbidden_tokens_are_not_chosen_and_a_row_of_nothing_else_chooses_nothing() {
        assert_eq!(argmax(&[f32::NEG_INFINITY, 1.0]), Some(1));
        assert_eq!(argmax(&[f32::NEG_INFINITY; 40]), None);
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn seen_tokens_lose_whatever_their_sign() {
        let mut row = [2.0, -2.0, 2.0];
        penalise(&mut row, &[0, 1, 0], rules(2.0, 0));
        assert_eq!(row, [1.0, -4.0, 2.0]);
    }

    #[test]
    fn a_run_of_tokens_may_not_occur_twice() {
        let mut row = [0.0; 5];
        penalise(&mut row, &[1, 2, 3, 1, 2], rules(1.0, 3));
        assert_eq!(row, [0.0, 0.0, 0.0, f32::NEG_INFINITY, 0.0]);
    }

    #[test]
    fn a_run_of_one_forbids_every_seen_token() {
        let mut row = [0.0; 3];
        penalise(&mut row, &[2], rules(1.0, 1));
        assert_eq!(row, [0.0, 0.0, f32::NEG_INFINITY]);
    }
}
