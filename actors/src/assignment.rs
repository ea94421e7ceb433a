//! One-to-one matching of greatest total weight (the Hungarian method).
//!
//! # Source
//! Kuhn, "The Hungarian method for the assignment problem", 1955, in the O(n² m) form with row
//! and column potentials.

/// For each of `rows`, the column it is matched with, so that the sum of `weight(row, column)` is
/// greatest. Pairs of weight 0 or less are never matched.
#[must_use]
pub fn best_matching(
    rows: usize,
    columns: usize,
    weight: impl Fn(usize, usize) -> f64,
) -> Vec<Option<usize>> {
    if rows <= columns {
        return match_rows(rows, columns, &weight);
    }
    let mut matched = vec![None; rows];
    for (column, row) in match_rows(columns, rows, &|c, r| weight(r, c))
        .iter()
        .enumerate()
    {
        if let Some(row) = row {
            matched[*row] = Some(column);
        }
    }
    matched
}

/// The same for no more rows than columns.
fn match_rows(
    rows: usize,
    columns: usize,
    weight: &dyn Fn(usize, usize) -> f64,
) -> Vec<Option<usize>> {
    // Positions are one higher than rows and columns; 0 is the row or column that is not there.
    let cost = |row: usize, column: usize| -weight(row - 1, column - 1).max(0.0);
    let (mut u, mut v) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut row_of = vec![0; columns + 1];
    for row in 1..=rows {
        let (mut least, mut from) = (vec![f64::INFINITY; columns + 1], vec![0; columns + 1]);
        let mut visited = vec![false; columns + 1];
        row_of[0] = row;
        let mut column = 0;
        while row_of[column] != 0 {
            visited[column] = true;
            let (here, mut step, mut next) = (row_of[column], f64::INFINITY, 0);
            for c in 1..=columns {
                if visited[c] {
                    continue;
                }
                let slack = cost(here, c) - u[here] - v[c];
                if slack < least[c] {
                    (least[c], from[c]) = (slack, column);
                }
                if least[c] < step {
                    (step, next) = (least[c], c);
                }
            }
            for c in 0..=columns {
                if visited[c] {
                    u[row_of[c]] += step;
                    v[c] -= step;
                } else {
                    least[c] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[from[column]];
            column = from[column];
        }
    }
    let mut matched = vec![None; rows];
    for (column, &row) in row_of.iter().enumerate().skip(1) {
        if row != 0 && weight(row - 1, column - 1) > 0.0 {
            matched[row - 1] = Some(column - 1);
        }
    }
    matched
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(weights: &[Vec<f64>], matching: &[Option<usize>]) -> f64 {
        matching
            .iter()
            .zip(weights)
            .filter_map(|(column, row)| column.map(|c| row[c]))
            .sum()
    }

    /// The best total by trying everything.
    fn exhaustive(weights: &[Vec<f64>], used: u32) -> f64 {
        let Some((row, rest)) = weights.split_first() else {
            return 0.0;
        };
        (0..row.len())
            .filter(|c| used & (1 << c) == 0)
            .map(|c| row[c].max(0.0) + exhaustive(rest, used | (1 << c)))
            .fold(exhaustive(rest, used), f64::max)
    }

    #[test]
    fn the_best_total_beats_the_greedy_choice() {
        let weights = [[0.9, 0.8], [0.8, 0.1]];
        assert_eq!(
            best_matching(2, 2, |r, c| weights[r][c]),
            [Some(1), Some(0)]
        );
    }

    #[test]
    fn pairs_without_weight_stay_unmatched() {
        assert_eq!(best_matching(2, 1, |r, _| r as f64), [None, Some(0)]);
        assert_eq!(best_matching(0, 3, |_, _| 1.0), []);
    }

    proptest! {
        #[test]
        fn the_total_is_that_of_an_exhaustive_search(
            weights in (1usize..5, 1usize..5).prop_flat_map(|(rows, columns)| {
                proptest::collection::vec(
                    proptest::collection::vec((-2i32..10).prop_map(f64::from), columns), rows)
            })
        ) {
            let matching = best_matching(weights.len(), weights[0].len(), |r, c| weights[r][c]);
            let mut columns: Vec<_> = matching.iter().flatten().collect();
            columns.sort_unstable();
            prop_assert!(columns.windows(2).all(|w| w[0] != w[1]));
            prop_assert_eq!(total(&weights, &matching), exhaustive(&weights, 0));
        }
    }
}
