//! Which offsets above the watermark are finished, and their text form in the commit's metadata.

use std::collections::BTreeMap;

/// Kafka's default upper bound of a commit's metadata (`offset.metadata.max.bytes`).
pub(super) const METADATA_BYTES: usize = 4_096;

/// Above this the map is nearly full: what is in flight must still find room.
const NEARLY_FULL: usize = METADATA_BYTES * 3 / 4;

/// The first character of the metadata: the version of its form.
const VERSION: u8 = b'1';

/// Base 64 digits, least significant first, five bits and a continuation bit each.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A set of offsets as disjoint runs that do not touch: start → end (exclusive).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Finished {
    runs: BTreeMap<i64, i64>,
}

impl Finished {
    pub(super) fn contains(&self, offset: i64) -> bool {
        (self.runs.range(..=offset).next_back()).is_some_and(|(_, &end)| offset < end)
    }

    /// How many offsets.
    pub(super) fn count(&self) -> i64 {
        self.runs.iter().map(|(start, end)| end - start).sum()
    }

    /// The runs (start, exclusive end) of `start..end` that are not in the set.
    pub(super) fn missing(&self, start: i64, end: i64) -> Vec<(i64, i64)> {
        let mut missing = Vec::new();
        let mut at = start;
        let from = (self.runs.range(..=start).next_back()).map_or(start, |(&first, _)| first);
        for (&first, &last) in self.runs.range(from..end.max(from)) {
            if first > at {
                missing.push((at, first));
            }
            at = at.max(last);
        }
        if at < end {
            missing.push((at, end));
        }
        missing
    }

    /// Whether every offset of the set is in `other` or below `watermark`.
    pub(super) fn is_within(&self, other: &Self, watermark: i64) -> bool {
        (self.runs.iter()).all(|(&start, &end)| other.missing(start.max(watermark), end).is_empty())
    }

    /// Adds `start..end`, joining runs that touch or overlap.
    pub(super) fn insert(&mut self, mut start: i64, mut end: i64) {
        if start >= end {
            return;
        }
        if let Some((&left, &left_end)) = self.runs.range(..=start).next_back()
            && left_end >= start
        {
            start = left;
            end = end.max(left_end);
        }
        while let Some((&right, &right_end)) = self.runs.range(start..=end).next() {
            end = end.max(right_end);
            self.runs.remove(&right);
        }
        self.runs.insert(start, end);
    }

    /// Moves the watermark over the run that starts at it, if there is one.
    pub(super) fn advance(&mut self, watermark: i64) -> i64 {
        let mut at = watermark;
        while let Some(first) = self.runs.first_entry() {
            if *first.key() > at {
                break;
            }
            at = at.max(*first.get());
            first.remove();
        }
        at
    }

    /// The text form relative to `watermark`, and whether it is nearly full. Runs that do not fit
    /// are left out, highest first: those records would be delivered again, never lost.
    pub(super) fn encode(&self, watermark: i64) -> (String, bool) {
        if self.runs.is_empty() {
            return (String::new(), false);
        }
        let mut text = vec![VERSION];
        let mut at = watermark;
        for (&start, &end) in &self.runs {
            let before = text.len();
            digits(&mut text, start - at);
            digits(&mut text, end - start);
            if text.len() > METADATA_BYTES {
                text.truncate(before);
                break;
            }
            at = end;
        }
        let full = text.len() > NEARLY_FULL;
        let text = String::from_utf8(text).expect("bug: base 64 digits are ASCII");
        (text, full)
    }

    /// Reads the text form back. What is not understood gives an empty set: the records are
    /// delivered again.
    pub(super) fn decode(watermark: i64, text: &str) -> Self {
        Self::read(watermark, text).unwrap_or_default()
    }

    fn read(watermark: i64, text: &str) -> Option<Self> {
        let mut bytes = text.as_bytes().iter().copied();
        if bytes.next() != Some(VERSION) || text.len() > METADATA_BYTES {
            return None;
        }
        let mut finished = Self::default();
        let mut at = watermark;
        while let Some(gap) = number(&mut bytes)? {
            let length = number(&mut bytes)??;
            let start = at.checked_add(gap)?;
            let end = start.checked_add(length)?;
            if gap < 1 || length < 1 {
                return None;
            }
            finished.insert(start, end);
            at = end;
        }
        Some(finished)
    }

    #[cfg(test)]
    pub(super) fn offsets(&self) -> std::collections::BTreeSet<i64> {
        self.runs.iter().flat_map(|(&s, &e)| s..e).collect()
    }
}

fn digits(text: &mut Vec<u8>, number: i64) {
    let mut rest = number.unsigned_abs();
    loop {
        let low = (rest & 31) as usize;
        rest >>= 5;
        text.push(DIGITS[low | if rest > 0 { 32 } else { 0 }]);
        if rest == 0 {
            return;
        }
    }
}

/// `Some(None)` at the end of the text, `None` where it is malformed.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<Option<i64>> {
    let mut value = 0u64;
    let mut shift = 0;
    loop {
        let Some(byte) = bytes.next() else {
            return (shift == 0).then_some(None);
        };
        let digit = DIGITS.iter().position(|&d| d == byte)? as u64;
        if shift > 55 {
            return None;
        }
        value |= (digit & 31) << shift;
        shift += 5;
        if digit & 32 == 0 {
            return Some(Some(i64::try_from(value).ok()?));
        }
    }
}
