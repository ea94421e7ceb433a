//! On which side a batch is padded: the only place that knows where a row stands in a batch, which
//! positions are masked, and how positions are counted.
//!
//! ```text
//! cache        left    · · a b c     right   a b c · ·
//!                      d e f g h             d e f g h
//! next token         [ · · a b c x ]       [ a b c x · · ]
//! ```
//!
//! A decoder of plain attention appends the new keys to the cache, so rows of unlike length must end
//! together. GroupQueryAttention counts a row's own positions from its mask and writes the new key
//! behind them, so rows begin together; it knows no padding on the left.

use std::{fmt, ops::Range};

/// Shortest prompt, as a part of the longest, that shares a run with it where padding is computed.
const LIKENESS: f32 = 0.75;

/// The side on which rows begin or end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Padding on the left: rows end together.
    Left,
    /// Padding on the right: rows begin together.
    Right,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

/// What one run of a decoder is fed. `B` rows, `S` new positions, `P` positions in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// f32 `[B, S, hidden]`.
    pub embeds: Vec<f32>,
    /// 0 or 1, `[B, P + S]`.
    pub mask: Vec<i64>,
    /// `[B, S]`.
    pub positions: Vec<i64>,
    /// B.
    pub rows: usize,
    /// S.
    pub new: usize,
}

impl Layout {
    /// That of a decoder, by whether it has GroupQueryAttention operators.
    #[must_use]
    pub fn of(group_query_attention: bool) -> Self {
        if group_query_attention {
            Self::Right
        } else {
            Self::Left
        }
    }

    /// Where the `own` positions of a row stand in a cache of `length` positions.
    #[must_use]
    pub fn range(self, own: usize, length: usize) -> Range<usize> {
        match self {
            Self::Left => length - own..length,
            Self::Right => 0..own,
        }
    }

    /// Whether a prompt of `length` tokens may go through the decoder together with one of
    /// `longest`. On the right none is padded: the last position of all, whose logits are wanted,
    /// would be padding.
    #[must_use]
    pub fn shares(self, longest: usize, length: usize) -> bool {
        match self {
            Self::Left => length as f32 >= longest as f32 * LIKENESS,
            Self::Right => length == longest,
        }
    }

    /// Whether prompts of unlike length share a run at all.
    #[must_use]
    pub fn pads_prompts(self) -> bool {
        self == Self::Left
    }

    /// The feed of a first run: prompts f32 `[length, hidden]`, such as [`Layout::shares`] allows.
    #[must_use]
    pub fn prompts(self, prompts: &[&[f32]], hidden: usize) -> Feed {
        let lengths: Vec<usize> = prompts.iter().map(|p| p.len() / hidden).collect();
        let new = lengths.iter().copied().max().unwrap_or(0);
        let rows = prompts.len();
        let mut embeds = vec![0.0; rows * new * hidden];
        let mut mask = vec![0; rows * new];
        let mut positions = vec![1; rows * new];
        for (at, (prompt, length)) in prompts.iter().zip(lengths).enumerate() {
            let Range { start, end } = self.range(length, new);
            let (start, end) = (at * new + start, at * new + end);
            embeds[start * hidden..end * hidden].copy_from_slice(prompt);
            mask[start..end].fill(1);
            for (position, to) in positions[start..end].iter_mut().enumerate() {
                *to = position as i64;
            }
        }
        Feed {
            embeds,
            mask,
            positions,
            rows,
            new,
        }
    }

    /// The feed of one more token for each row: `embeds` f32 `[rows, hidden]`, `own` positions of
    /// each row in a cache of `length`.
    #[must_use]
    pub fn step(self, embeds: Vec<f32>, own: &[usize], length: usize) -> Feed {
        let (rows, total) = (own.len(), length + 1);
        let mut mask = vec![0; rows * total];
        for (mask, own) in mask.chunks_mut(total).zip(own) {
            mask[self.range(own + 1, total)].fill(1);
        }
        Feed {
            embeds,
            mask,
            positions: own.iter().map(|own| *own as i64).collect(),
            rows,
            new: 1,
        }
    }
}

impl Feed {
    /// The new positions `part` of a first run of one row, as a run of their own.
    pub(super) fn part(&self, part: Range<usize>, hidden: usize) -> Self {
        debug_assert!(self.rows == 1, "bug: only a row alone is fed in parts");
        Self {
            embeds: self.embeds[part.start * hidden..part.end * hidden].to_vec(),
            mask: self.mask[..part.end].to_vec(),
            positions: self.positions[part.clone()].to_vec(),
            rows: 1,
            new: part.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_of_unlike_length_end_together_on_the_left_and_begin_together_on_the_right() {
        let (long, short) = ([1.0, 2.0, 3.0], [4.0]);
        let left = Layout::Left.prompts(&[&long, &short], 1);
        assert_eq!(left.embeds, [1.0, 2.0, 3.0, 0.0, 0.0, 4.0]);
        assert_eq!(left.mask, [1, 1, 1, 0, 0, 1]);
        assert_eq!(left.positions, [0, 1, 2, 1, 1, 0]);
        let right = Layout::Right.prompts(&[&long, &short], 1);
        assert_eq!(right.embeds, [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(right.mask, [1, 1, 1, 1, 0, 0]);
        assert_eq!(right.positions, [0, 1, 2, 0, 1, 1]);
    }

    #[test]
    fn a_new_token_stands_at_the_end_of_all_or_behind_the_rows_own() {
        let step = |layout: Layout| layout.step(vec![0.0; 2], &[3, 1], 3);
        let left = step(Layout::Left);
        assert_eq!(left.mask, [1, 1, 1, 1, 0, 0, 1, 1]);
        assert_eq!(
            (&left.positions[..], left.rows, left.new),
            (&[3, 1][..], 2, 1)
        );
        let right = step(Layout::Right);
        assert_eq!(right.mask, [1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(right.positions, [3, 1]);
        assert_eq!(Layout::Left.range(1, 3), 2..3);
        assert_eq!(Layout::Right.range(1, 3), 0..1);
    }

    #[test]
    fn only_the_left_pads_a_prompt() {
        assert!(Layout::Left.shares(100, 75) && !Layout::Left.shares(100, 74));
        assert!(Layout::Right.shares(100, 100) && !Layout::Right.shares(100, 99));
    }

    #[test]
    fn a_part_of_a_prompt_sees_what_came_before_it() {
        let whole = Layout::Right.prompts(&[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], 2);
        let part = whole.part(1..3, 2);
        assert_eq!(part.embeds, [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            (&part.mask[..], &part.positions[..]),
            (&[1; 3][..], &[1, 2][..])
        );
        assert_eq!(part.new, 2);
    }
}
