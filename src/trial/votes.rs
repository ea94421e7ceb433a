//! Votes on pairs of texts, as the page of `vila2 compare` exports them: one JSON object a line,
//! `{"schema": "vila2.votes/1", "pair", "ordinal", "id", "winner": "a"|"b"|"tie"}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::shares::Counted;
use crate::stats;

/// The schema of a line.
pub const SCHEMA: &str = "vila2.votes/1";

/// Which text is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Winner {
    /// That of the first configuration.
    A,
    /// That of the second.
    B,
    /// Neither.
    Tie,
}

/// Votes, counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Pictures on which the first won.
    pub a: u64,
    /// Pictures on which the second won.
    pub b: u64,
    /// Pictures on which neither did.
    pub ties: u64,
    /// Wins of the second among those that were decided.
    pub b_of_decided: Counted,
    /// The two-sided sign test: how often chance alone, were both equally good, would be at least
    /// as lopsided.
    pub sign_test: f64,
}

#[derive(Deserialize)]
struct Line {
    schema: String,
    pair: String,
    ordinal: u64,
    winner: Winner,
}

/// The name of a pair of configurations: their settings, in this order.
#[must_use]
pub fn pair(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> String {
    let text = serde_json::to_vec(&(a, b)).unwrap_or_default();
    let digest = Sha256::digest(&text);
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The votes in a file, `name`, of one voter; where a picture has several, the last counts.
/// `pair` is the name of the configurations now, `turned` that of the same in the other order.
///
/// # Errors
/// What is wrong, in which line, and what to do.
pub fn read(name: &str, text: &str, pair: &str, turned: &str) -> Result<Vec<Winner>, String> {
    let mut votes = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("{name}: line {number}");
        let line: Line = serde_json::from_str(line).map_err(|error| {
            format!(
                "{place}: not a vote ({error}); give a file that the page of `vila2 compare` \
                 saved, as it is"
            )
        })?;
        if line.schema != SCHEMA {
            return Err(format!(
                "{place}: schema {:?}, not {SCHEMA:?}: votes of another version; vote again in a page \
                 of this one",
                line.schema
            ));
        }
        if line.pair == turned && pair != turned {
            return Err(format!(
                "{place}: a vote on the same two configurations the other way round; give them in \
                 the order of that comparison"
            ));
        }
        if line.pair != pair {
            return Err(format!(
                "{place}: a vote on another pair of configurations ({}, not {pair}); give the \
                 configurations that were compared when it was cast, unchanged, with the same --set",
                line.pair
            ));
        }
        votes.insert(line.ordinal, line.winner);
    }
    if votes.is_empty() {
        return Err(format!(
            "{name}: no votes; choose texts in the page of `vila2 compare`, then save them there"
        ));
    }
    Ok(votes.into_values().collect())
}

/// Counts votes.
#[must_use]
pub fn tally(votes: impl IntoIterator<Item = Winner>) -> Tally {
    let (mut a, mut b, mut ties) = (0, 0, 0);
    for vote in votes {
        match vote {
            Winner::A => a += 1,
            Winner::B => b += 1,
            Winner::Tie => ties += 1,
        }
    }
    Tally {
        a,
        b,
        ties,
        b_of_decided: Counted::new(b, a + b),
        sign_test: stats::sign_test(a, b),
    }
}
