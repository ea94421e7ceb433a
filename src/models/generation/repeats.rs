//! When a text has begun to repeat itself. Greedy decoding that falls into a loop never leaves it:
//! every further token is wasted, and so is a slot of the batch.

/// What counts as a loop: the text ends in a block of at most `longest_block` tokens, standing
/// there at least `times` times in a row and covering at least `least_tokens` tokens. Lists
/// (`a red circle, a red circle, a red circle`) stay below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatRule {
    /// Longest block looked for.
    pub longest_block: usize,
    /// How often it must stand there.
    pub times: usize,
    /// How many tokens the repetition must cover.
    pub least_tokens: usize,
}

impl Default for RepeatRule {
    fn default() -> Self {
        Self {
            longest_block: 32,
            times: 4,
            least_tokens: 32,
        }
    }
}

impl RepeatRule {
    /// Where the text is to be cut, after the first time the block stands there; `None` while it
    /// is no loop.
    #[must_use]
    pub fn cut(&self, tokens: &[u32]) -> Option<usize> {
        let n = tokens.len();
        (1..=self.longest_block.min(n / self.times)).find_map(|block| {
            // The tail has period `block` as far back as `same` tokens before the last block.
            let same = (0..n - block)
                .take_while(|back| tokens[n - 1 - back] == tokens[n - 1 - back - block])
                .count();
            let covered = same + block;
            (covered >= block * self.times && covered >= self.least_tokens)
                .then(|| n - covered + block)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_cut_after_its_first_round() {
        let mut tokens = vec![1, 2, 3];
        for _ in 0..8 {
            tokens.extend([7, 8, 9, 10]);
        }
        assert_eq!(RepeatRule::default().cut(&tokens), Some(7));
    }

    #[test]
    fn one_token_over_and_over_is_a_loop() {
        assert_eq!(RepeatRule::default().cut(&[5; 32]), Some(1));
        assert_eq!(RepeatRule::default().cut(&[5; 31]), None);
    }

    #[test]
    fn a_list_of_three_alike_is_no_loop() {
        let item: Vec<u32> = (0..15).collect();
        let mut tokens = item.repeat(3);
        assert_eq!(RepeatRule::default().cut(&tokens), None);
        tokens.extend(&item);
        assert_eq!(RepeatRule::default().cut(&tokens), Some(15));
    }

    #[test]
    fn a_text_without_repetition_goes_on() {
        let tokens: Vec<u32> = (0..200).collect();
        assert_eq!(RepeatRule::default().cut(&tokens), None);
    }
}
