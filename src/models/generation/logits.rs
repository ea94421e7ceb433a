//! One row of logits: penalties and the greedy choice.

use super::rules::Rules;

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

/// Applies the penalties of `rules` to `row`, given everything before it: prompt and answer.
///
/// # Source
/// `RepetitionPenaltyLogitsProcessor` and `NoRepeatNGramLogitsProcessor` of transformers 4.57, in
/// that order.
pub fn penalise(row: &mut [f32], before: &[u32], rules: &Rules) {
    if rules.repetition_penalty != 1.0 {
        let mut seen = before.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some(value) = row.get_mut(id as usize) {
                *value = if *value < 0.0 {
                    *value * rules.repetition_penalty
                } else {
                    *value / rules.repetition_penalty
                };
            }
        }
    }
    let size = rules.no_repeat_ngram_size;
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

    fn rules(repetition_penalty: f32, no_repeat_ngram_size: usize) -> Rules {
        Rules {
            stop_tokens: vec![0],
            repetition_penalty,
            no_repeat_ngram_size,
            repeats: None,
        }
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
        penalise(&mut row, &[0, 1, 0], &rules(2.0, 0));
        assert_eq!(row, [1.0, -4.0, 2.0]);
    }

    #[test]
    fn a_run_of_tokens_may_not_occur_twice() {
        let mut row = [0.0; 5];
        penalise(&mut row, &[1, 2, 3, 1, 2], &rules(1.0, 3));
        assert_eq!(row, [0.0, 0.0, 0.0, f32::NEG_INFINITY, 0.0]);
    }

    #[test]
    fn a_run_of_one_forbids_every_seen_token() {
        let mut row = [0.0; 3];
        penalise(&mut row, &[2], &rules(1.0, 1));
        assert_eq!(row, [0.0, 0.0, f32::NEG_INFINITY]);
    }
}
