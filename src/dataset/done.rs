//! Which entries are done: all below one ordinal, and some above it.

use std::collections::BTreeMap;

use crate::inputs::Place;

/// Done entries. Holds no more than lies between the first that is not done and the last that is.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    low: u64,
    /// Those from `low` on, each with the place behind it, where that is known.
    above: BTreeMap<u64, Option<Place>>,
    place: Option<Place>,
}

impl Done {
    /// All below `low`, and those in the ranges `[first, last]`.
    pub(super) fn new(low: u64, above: &[[u64; 2]]) -> Self {
        let above = above.iter().flat_map(|[first, last]| *first..=*last);
        Self {
            low,
            above: above.map(|ordinal| (ordinal, None)).collect(),
            place: None,
        }
    }

    /// Whether it is done.
    pub(super) fn has(&self, ordinal: u64) -> bool {
        ordinal < self.low || self.above.contains_key(&ordinal)
    }

    /// It is done, and reading can go on at `place` once all before it are done, too.
    pub(super) fn add(&mut self, ordinal: u64, place: Option<Place>) {
        if ordinal >= self.low {
            self.above.insert(ordinal, place);
        }
        while let Some(first) = self.above.first_entry() {
            let Some(place) = first.get().filter(|_| *first.key() == self.low) else {
                break;
            };
            self.place = Some(place);
            self.low += 1;
            first.remove();
        }
    }

    /// `low`, and the ranges above it, ends included.
    pub(super) fn parts(&self) -> (u64, Vec<[u64; 2]>) {
        let mut ranges: Vec<[u64; 2]> = Vec::new();
        for &ordinal in self.above.keys() {
            match ranges.last_mut() {
                Some([_, last]) if *last + 1 == ordinal => *last = ordinal,
                _ => ranges.push([ordinal, ordinal]),
            }
        }
        (self.low, ranges)
    }

    /// The place behind the last entry below `low`, where it changed.
    pub(super) fn place(&self) -> Option<Place> {
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Position;

    fn place(number: u64) -> Option<Place> {
        Some(Place {
            position: Position { at: number, number },
            ..Place::default()
        })
    }

    #[test]
    fn it_goes_on_behind_the_last_entry_of_those_that_are_all_done() {
        let mut done = Done::default();
        for ordinal in [1, 3, 4] {
            done.add(ordinal, place(ordinal + 1));
        }
        assert_eq!(done.parts(), (0, vec![[1, 1], [3, 4]]));
        assert_eq!(done.place(), None);
        done.add(0, place(1));
        assert_eq!(done.parts(), (2, vec![[3, 4]]));
        assert_eq!(done.place(), place(2));
        assert!(done.has(1) && done.has(3) && !done.has(2));
    }

    #[test]
    fn what_an_earlier_run_did_counts_once_it_is_read_again() {
        let mut done = Done::new(2, &[[3, 4]]);
        assert!(done.has(4) && !done.has(2));
        done.add(2, place(3));
        assert_eq!(done.parts(), (3, vec![[3, 4]]));
        done.add(3, place(4));
        done.add(4, place(5));
        assert_eq!(done.parts(), (5, Vec::new()));
        assert_eq!(done.place(), place(5));
    }
}
