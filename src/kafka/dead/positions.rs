//! How far the letters of a partition were given back, by class: each reason is a class, and so is
//! what was given up.

use std::collections::BTreeMap;

use vila2_actors::error::Reason;

/// Letters whose reason is none of the contract's.
pub(super) const OTHER: &str = "other";
/// Letters that came back too often.
pub(super) const GIVEN_UP: &str = "given_up";

/// Every class.
pub(super) fn classes() -> impl Iterator<Item = &'static str> {
    let reasons = Reason::ALL.into_iter().map(Reason::as_str);
    reasons.chain([OTHER, GIVEN_UP])
}

/// The class of a `vila2-reason`.
pub(super) fn class(reason: Option<&str>) -> &'static str {
    reason
        .and_then(|reason| classes().find(|class| *class == reason))
        .unwrap_or(OTHER)
}

/// The positions of one partition: letters below them are behind us.
///
/// Committed as an offset, the lowest of all classes, with those above it as a JSON object in the
/// metadata: `{"fetch_status":120}`. So the group's lag says how many letters wait at most. With
/// them goes a mark, the last letter that was behind us: where another letter stands in its place,
/// the topic was made anew, and its offsets mean nothing here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    lowest: i64,
    ahead: BTreeMap<String, i64>,
    mark: Option<Mark>,
}

/// A letter by its offset and a hash of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where it is.
    pub offset: i64,
    /// Of its time, source, key and value.
    pub hash: i64,
}

/// Members of the metadata that are no class.
const MARK: [&str; 2] = ["~offset", "~hash"];

impl Positions {
    /// Reads a commit; metadata that is none of ours counts as none.
    #[must_use]
    pub fn decode(offset: i64, metadata: &str) -> Self {
        let mut ahead: BTreeMap<String, i64> = serde_json::from_str(metadata).unwrap_or_default();
        let [at, hash] = MARK.map(|name| ahead.remove(name));
        ahead.retain(|_, at| *at > offset);
        Self {
            lowest: offset,
            ahead,
            mark: (at.zip(hash)).map(|(offset, hash)| Mark { offset, hash }),
        }
    }

    /// Offset and metadata of a commit.
    #[must_use]
    pub fn encode(&self) -> (i64, String) {
        let mut members = self.ahead.clone();
        if let Some(Mark { offset, hash }) = self.mark {
            members.extend(MARK.map(str::to_owned).into_iter().zip([offset, hash]));
        }
        let metadata = if members.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&members).expect("bug: numbers by name are JSON")
        };
        (self.lowest, metadata)
    }

    /// The first offset of a class that is not behind us.
    #[must_use]
    pub fn of(&self, class: &str) -> i64 {
        self.ahead.get(class).copied().unwrap_or(self.lowest)
    }

    /// The highest offset that is not behind any class.
    #[must_use]
    pub fn highest(&self) -> i64 {
        self.ahead.values().copied().fold(self.lowest, i64::max)
    }

    /// The last letter behind us, where one was remembered.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Remembers a letter that is behind us, where it is the last one.
    pub fn remember(&mut self, mark: Mark) {
        if self.mark.is_none_or(|present| present.offset < mark.offset) {
            self.mark = Some(mark);
        }
    }

    /// Moves a class forward; never back.
    pub fn advance(&mut self, class: &str, to: i64) {
        if to > self.of(class) {
            self.ahead.insert(class.to_owned(), to);
            self.lowest = classes().map(|class| self.of(class)).min().unwrap_or(to);
            self.ahead.retain(|_, at| *at > self.lowest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reason_that_is_ahead_leaves_the_others_where_they_are() {
        let mut positions = Positions::default();
        positions.advance("fetch_status", 120);
        assert_eq!(
            positions.encode(),
            (0, r#"{"fetch_status":120}"#.to_owned())
        );
        assert_eq!(positions.of("fetch_status"), 120);
        assert_eq!(positions.of("stuck"), 0);
        positions.advance("fetch_status", 7);
        assert_eq!(positions.of("fetch_status"), 120, "never back");
    }

    #[test]
    fn when_all_classes_have_passed_the_offset_does() {
        let mut positions = Positions::default();
        classes().for_each(|class| positions.advance(class, 50));
        positions.advance("stuck", 60);
        assert_eq!(positions.encode(), (50, r#"{"stuck":60}"#.to_owned()));
    }

    #[test]
    fn foreign_metadata_is_no_metadata() {
        for text in ["", "vila2", "[1]", r#"{"a": "b"}"#] {
            assert_eq!(Positions::decode(9, text).encode(), (9, String::new()));
        }
    }

    proptest! {
        #[test]
        fn what_is_committed_comes_back_and_fits(
            moves in proptest::collection::vec((0..17_usize, 0..i64::MAX), 0..60)
        ) {
            let mut positions = Positions::default();
            for (class, to) in moves {
                positions.advance(classes().nth(class).unwrap(), to);
                positions.remember(Mark { offset: to - 1, hash: to.wrapping_mul(-7) });
            }
            let (offset, metadata) = positions.encode();
            prop_assert!(metadata.len() < 4096);
            prop_assert_eq!(Positions::decode(offset, &metadata), positions);
        }
    }
}
