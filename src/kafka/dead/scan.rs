//! One look at every dead letter there is.
//!
//! About 100 bytes of memory per letter: values are not kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use sha2::{Digest, Sha256};

use super::{
    CYCLES,
    positions::{GIVEN_UP, Positions, class, classes},
};
use crate::kafka::{
    Error, KafkaSettings,
    read::{Received, bounds, committed, read_to_end},
};

/// Letters of one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letters {
    /// Those that were never given back and can be.
    pub waiting: u64,
    /// Those that were given back.
    pub redriven: u64,
    /// Those that came back too often.
    pub given_up: u64,
    /// Those without a value, or of another input topic: nothing can be given back.
    pub kept: u64,
    /// Milliseconds since the Unix epoch of the first and the last one.
    pub oldest_ms: Option<i64>,
    /// See [`Letters::oldest_ms`].
    pub newest_ms: Option<i64>,
    /// The newest one.
    pub example: Example,
}

impl Letters {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.waiting + self.redriven + self.given_up + self.kept
    }
}

/// What one letter says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// `vila2-stage`.
    pub stage: String,
    /// `vila2-detail`.
    pub detail: String,
    /// `vila2-source`.
    pub source: String,
    /// The value's beginning.
    pub value: String,
}

/// When and where a letter was written.
type Place = (i64, i32, i64);

#[derive(Debug)]
struct Entry {
    class: &'static str,
    lineage: u64,
    place: Place,
    can_go: bool,
}

/// Every letter, each counted once however often it was written.
#[derive(Debug, Default)]
pub struct Scan {
    entries: HashMap<u128, Entry>,
    lineages: HashMap<u64, u32>,
    newest: HashMap<&'static str, (Place, Example)>,
    /// First offset and end of each partition.
    pub ends: BTreeMap<i32, (i64, i64)>,
    /// Further copies of letters (at-least-once delivery writes some).
    pub copies: u64,
}

/// The beginning of a value that is shown.
const SHOWN: usize = 200;

impl Scan {
    /// Reads the topic of dead letters up to its present end; `each` is called with how many were
    /// read, and ends the look by `false`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Topic`], [`Error::Broker`].
    pub fn read(
        settings: &KafkaSettings,
        mut each: impl FnMut(u64) -> bool,
    ) -> Result<Self, Error> {
        let topic = &settings.topics.dead;
        let mut scan = Self {
            ends: bounds(settings, topic)?,
            ..Self::default()
        };
        let mut read = 0;
        let ends = scan.ends.clone();
        read_to_end(settings, topic, &ends, |letter| {
            scan.take(&letter, &settings.topics.images);
            read += 1;
            each(read)
        })?;
        Ok(scan)
    }

    fn take(&mut self, letter: &Received, images: &str) {
        let class = class(letter.header("vila2-reason"));
        let source = letter.header("vila2-source");
        let place = (
            letter.timestamp_ms.unwrap_or_default(),
            letter.partition,
            letter.offset,
        );
        let newest = self.newest.get(class);
        if newest.is_none_or(|(newest, _)| place > *newest) {
            self.newest.insert(class, (place, example(letter)));
        }
        // `topic/partition/offset`; a letter of another producer is alone in its place.
        let of_images = source.is_none_or(|source| source.rsplitn(3, '/').last() == Some(images));
        let identity = match source {
            Some(source) => digest(&[source.as_bytes()]),
            None => digest(&[
                &letter.partition.to_be_bytes(),
                &letter.offset.to_be_bytes(),
            ]),
        };
        let lineage = lineage(letter);
        match self.entries.get_mut(&identity) {
            Some(entry) => {
                self.copies += 1;
                if place < entry.place {
                    (entry.place, entry.class) = (place, class);
                }
            }
            None => {
                *self.lineages.entry(lineage).or_default() += 1;
                let can_go =
                    of_images && letter.value.as_ref().is_some_and(|value| !value.is_empty());
                self.entries.insert(
                    identity,
                    Entry {
                        class,
                        lineage,
                        place,
                        can_go,
                    },
                );
            }
        }
    }

    /// Letters that died more than [`CYCLES`] times before.
    fn given_up(&self) -> BTreeSet<(i32, i64)> {
        let mut often: HashMap<u64, Vec<Place>> = HashMap::new();
        for entry in self.entries.values() {
            if self.lineages[&entry.lineage] > CYCLES {
                often.entry(entry.lineage).or_default().push(entry.place);
            }
        }
        let mut given_up = BTreeSet::new();
        for mut places in often.into_values() {
            places.sort_unstable();
            let late = places.into_iter().skip(CYCLES as usize);
            given_up.extend(late.map(|(_, partition, offset)| (partition, offset)));
        }
        given_up
    }

    /// What waits, by place: the class it belongs to.
    #[must_use]
    pub(super) fn waiting(
        &self,
        positions: &BTreeMap<i32, Positions>,
    ) -> BTreeMap<(i32, i64), &'static str> {
        let given_up = self.given_up();
        let start = Positions::default();
        let waiting = self.entries.values().filter_map(|entry| {
            let (_, partition, offset) = entry.place;
            let place = (partition, offset);
            let class = if given_up.contains(&place) {
                GIVEN_UP
            } else {
                entry.class
            };
            let behind = positions.get(&partition).unwrap_or(&start).of(class);
            (entry.can_go && offset >= behind).then_some((place, class))
        });
        waiting.collect()
    }

    /// Letters by reason, the most frequent first.
    #[must_use]
    pub fn by_reason(&self, positions: &BTreeMap<i32, Positions>) -> Vec<(&'static str, Letters)> {
        let waiting = self.waiting(positions);
        let given_up = self.given_up();
        let mut reasons: BTreeMap<&'static str, Letters> = BTreeMap::new();
        for entry in self.entries.values() {
            let (at, partition, offset) = entry.place;
            let letters = reasons.entry(entry.class).or_default();
            let place = (partition, offset);
            if !entry.can_go {
                letters.kept += 1;
            } else if given_up.contains(&place) && waiting.contains_key(&place) {
                letters.given_up += 1;
            } else if waiting.contains_key(&place) {
                letters.waiting += 1;
            } else {
                letters.redriven += 1;
            }
            letters.oldest_ms = Some(letters.oldest_ms.map_or(at, |oldest| oldest.min(at)));
            letters.newest_ms = Some(letters.newest_ms.map_or(at, |newest| newest.max(at)));
        }
        for (class, letters) in &mut reasons {
            if let Some((_, example)) = self.newest.get(class) {
                letters.example = example.clone();
            }
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, letters)| std::cmp::Reverse(letters.total()));
        reasons
    }

    /// Classes without a letter that waits: their positions may go to the end.
    pub(super) fn empty_classes(waiting: &BTreeMap<(i32, i64), &'static str>) -> Vec<&'static str> {
        let found: BTreeSet<_> = waiting.values().copied().collect();
        classes().filter(|class| !found.contains(class)).collect()
    }
}

/// How far each partition's letters were given back.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Topic`], [`Error::Broker`].
pub fn positions(settings: &KafkaSettings) -> Result<BTreeMap<i32, Positions>, Error> {
    let mut own = settings.clone();
    own.group = super::group(&settings.group);
    let committed = committed(&own, &settings.topics.dead)?;
    Ok(committed
        .into_iter()
        .map(|(partition, (offset, metadata))| (partition, Positions::decode(offset, &metadata)))
        .collect())
}

fn example(letter: &Received) -> Example {
    let header = |name| letter.header(name).unwrap_or_default().to_owned();
    let value = String::from_utf8_lossy(letter.value.as_deref().unwrap_or_default());
    Example {
        stage: header("vila2-stage"),
        detail: header("vila2-detail"),
        source: header("vila2-source"),
        value: value.chars().take(SHOWN).collect(),
    }
}

/// What stays the same when a record is given back and dies again: its trace, key and value.
fn lineage(letter: &Received) -> u64 {
    let trace = letter
        .header("traceparent")
        .and_then(|text| text.get(3..35));
    let mut hash = DefaultHasher::new();
    (trace, &letter.key, &letter.value).hash(&mut hash);
    hash.finish()
}

fn digest(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn letter(offset: i64, source: &str, reason: &str, value: &str) -> Received {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Received {
            partition: 0,
            offset,
            timestamp_ms: Some(1_000 + offset),
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: vec![
                header("vila2-reason", reason),
                header("vila2-source", source),
                header(
                    "traceparent",
                    &format!("00-{:032x}-00f067aa0ba902b7-00", value.len()),
                ),
            ],
        }
    }

    fn scan(letters: &[Received]) -> Scan {
        let mut scan = Scan::default();
        for letter in letters {
            scan.take(letter, "images");
        }
        scan
    }

    #[test]
    fn a_letter_written_twice_waits_once() {
        let scan = scan(&[
            letter(4, "images/0/7", "fetch_status", "u"),
            letter(5, "images/0/7", "fetch_timeout", "u"),
            letter(6, "images/0/8", "fetch_status", "v"),
        ]);
        let waiting: Vec<_> = scan.waiting(&BTreeMap::new()).into_iter().collect();
        assert_eq!(
            waiting,
            [((0, 4), "fetch_status"), ((0, 6), "fetch_status")]
        );
        assert_eq!(scan.copies, 1);
    }

    #[test]
    fn what_is_behind_its_reasons_position_does_not_wait() {
        let scan = scan(&[
            letter(0, "images/0/1", "fetch_status", "a"),
            letter(1, "images/0/2", "stuck", "b"),
            letter(2, "images/0/3", "fetch_status", "c"),
        ]);
        let mut positions = Positions::default();
        positions.advance("fetch_status", 2);
        let positions = BTreeMap::from([(0, positions)]);
        let waiting: Vec<_> = scan.waiting(&positions).into_keys().collect();
        assert_eq!(waiting, [(0, 1), (0, 2)]);
        let reasons = scan.by_reason(&positions);
        let (reason, letters) = &reasons[0];
        assert_eq!(*reason, "fetch_status");
        assert_eq!(
            (letters.waiting, letters.redriven, letters.total()),
            (1, 1, 2)
        );
        assert_eq!(
            (letters.oldest_ms, letters.newest_ms),
            (Some(1_000), Some(1_002))
        );
        assert_eq!(letters.example.source, "images/0/3");
    }

    #[test]
    fn what_died_again_after_three_returns_is_given_up() {
        let letters: Vec<_> = (0..5)
            .map(|n| letter(n, &format!("images/0/{n}"), "fetch_status", "same"))
            .collect();
        let scan = scan(&letters);
        let waiting = scan.waiting(&BTreeMap::new());
        let given_up = waiting.iter().filter(|(_, class)| **class == GIVEN_UP);
        assert_eq!(
            given_up.map(|(place, _)| place.1).collect::<Vec<_>>(),
            [3, 4]
        );
        assert_eq!(scan.by_reason(&BTreeMap::new())[0].1.given_up, 2);
    }

    #[test]
    fn the_same_value_under_other_traces_is_not_the_same_record() {
        let mut letters: Vec<_> = (0..5)
            .map(|n| letter(n, &format!("images/0/{n}"), "fetch_status", "same"))
            .collect();
        for (n, letter) in letters.iter_mut().enumerate() {
            letter.headers[2].1 = format!("00-{n:032x}-00f067aa0ba902b7-00");
        }
        let waiting = scan(&letters).waiting(&BTreeMap::new());
        assert!(waiting.values().all(|class| *class == "fetch_status"));
    }

    #[test]
    fn letters_without_a_value_or_of_another_topic_stay() {
        let mut empty = letter(0, "images/0/1", "bad_request", "");
        empty.value = None;
        let other = letter(1, "pictures/0/1", "bad_request", "x");
        let scan = scan(&[empty, other]);
        assert!(scan.waiting(&BTreeMap::new()).is_empty());
        assert_eq!(scan.by_reason(&BTreeMap::new())[0].1.kept, 2);
    }
}
