//! One look at every dead letter there is.
//!
//! About 150 bytes of memory per letter: values are not kept.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use sha2::{Digest, Sha256};

use super::{
    CYCLES,
    positions::{GIVEN_UP, Mark, Positions, class, classes},
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
    /// Where its request stands in the input topic, if that is of ours.
    request: Option<(i32, i64)>,
    /// A hash of its value.
    value: u64,
    /// What looks like a copy of it: written later.
    later: Vec<(Place, &'static str)>,
}

/// What stands at a letter's source now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occupant {
    /// Nothing any more: it was deleted, or the topic was made anew and has not come so far.
    Nothing,
    /// A record with so many milliseconds since the Unix epoch, and a hash of its value.
    Request { at_ms: i64, value: u64 },
}

/// Every letter, each counted once however often it was written.
#[derive(Debug, Default)]
pub struct Scan {
    entries: HashMap<u128, Entry>,
    lineages: HashMap<u64, u32>,
    newest: HashMap<&'static str, (Place, Example)>,
    /// First offset and end of each partition.
    pub ends: BTreeMap<i32, (i64, i64)>,
    /// The last letter of each partition.
    pub last: BTreeMap<i32, Mark>,
    /// Further copies of letters (at-least-once delivery writes some).
    pub copies: u64,
}

/// The beginning of a value that is shown.
const SHOWN: usize = 200;

impl Scan {
    /// Reads the topic of dead letters up to its present end; `each` is called with how many were
    /// read. Return false to stop. Positions `at` that are of a topic which was made anew since
    /// are set back to its beginning.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Topic`], [`Error::Broker`].
    pub fn read(
        settings: &KafkaSettings,
        at: &mut BTreeMap<i32, Positions>,
        mut each: impl FnMut(u64) -> bool,
    ) -> Result<Self, Error> {
        let topic = &settings.topics.dead;
        let mut scan = Self {
            ends: bounds(settings, topic)?,
            ..Self::default()
        };
        let (mut read, mut stopped) = (0, false);
        let ends = scan.ends.clone();
        let beyond = |(partition, at): (&i32, &Positions)| {
            let end = ends.get(partition).map_or(0, |(_, end)| *end);
            (at.highest() > end).then_some(*partition)
        };
        let mut anew: BTreeSet<i32> = at.iter().filter_map(beyond).collect();
        read_to_end(settings, topic, &ends, |letter| {
            let seen = mark(&letter);
            let known = at.get(&letter.partition).and_then(Positions::mark);
            if known.is_some_and(|known| known.offset == seen.offset && known != seen) {
                anew.insert(letter.partition);
            }
            scan.take(&letter, &settings.topics.images);
            read += 1;
            stopped = !each(read);
            !stopped
        })?;
        for partition in anew {
            tracing::warn!(
                "`{topic}` was made anew since letters were given back: all letters of partition \
                 {partition} are new"
            );
            at.remove(&partition);
        }
        if !stopped {
            let occupants = occupants(settings, &scan.doubtful(at))?;
            scan.tell_apart(at, &occupants);
        }
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
        self.last.insert(letter.partition, mark(letter));
        // `topic/partition/offset`; a letter of another producer is alone in its place.
        let of_images = source.is_none_or(|source| source.rsplitn(3, '/').last() == Some(images));
        let value = letter.value.as_deref().unwrap_or_default();
        let identity = match source {
            Some(source) => digest(&[source.as_bytes(), b"\0", value]),
            None => digest(&[
                &letter.partition.to_be_bytes(),
                &letter.offset.to_be_bytes(),
            ]),
        };
        let lineage = lineage(letter);
        match self.entries.get_mut(&identity) {
            Some(entry) => {
                self.copies += 1;
                entry.later.push((place, class));
                if place < entry.place {
                    let first = (place, class);
                    let later = (entry.place, entry.class);
                    (entry.place, entry.class) = first;
                    entry.later.retain(|one| *one != first);
                    entry.later.push(later);
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
                        request: source.filter(|_| of_images).and_then(request),
                        value: hash_of(value),
                        later: Vec::new(),
                    },
                );
            }
        }
    }

    /// Sources of letters of which the first was given back and a later one was not: a copy of it, or
    /// a letter of another request that stood at the same place of a topic made anew.
    fn doubtful(&self, at: &BTreeMap<i32, Positions>) -> BTreeSet<(i32, i64)> {
        let doubtful = self.entries.values().filter(|entry| {
            let mut later = entry.later.iter();
            is_behind(at, entry.place, entry.class)
                && later.any(|(place, class)| !is_behind(at, *place, class))
        });
        doubtful.filter_map(|entry| entry.request).collect()
    }

    /// Makes letters of their own of those that are no copies.
    fn tell_apart(
        &mut self,
        at: &BTreeMap<i32, Positions>,
        occupants: &HashMap<(i32, i64), Occupant>,
    ) {
        let mut new = Vec::new();
        for entry in self.entries.values_mut() {
            let Some(&occupant) = entry.request.as_ref().and_then(|it| occupants.get(it)) else {
                continue;
            };
            let is_copy = match occupant {
                Occupant::Nothing => false,
                // Of a topic that is gone, both of them: nothing tells them apart.
                Occupant::Request { value, .. } if value != entry.value => true,
                Occupant::Request { at_ms, .. } => entry.place.0 >= at_ms,
            };
            if is_copy {
                continue;
            }
            entry.later.sort_unstable();
            let first_new =
                (entry.later.iter()).position(|(place, class)| !is_behind(at, *place, class));
            let Some(first_new) = first_new else {
                continue;
            };
            let mut others = entry.later.split_off(first_new);
            let (place, class) = others.remove(0);
            new.push(Entry {
                class,
                place,
                later: others,
                ..*entry
            });
        }
        for entry in new {
            self.copies -= 1;
            *self.lineages.entry(entry.lineage).or_default() += 1;
            let (_, partition, offset) = entry.place;
            let identity = digest(&[&partition.to_be_bytes(), &offset.to_be_bytes()]);
            self.entries.insert(identity, entry);
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

/// Whether a letter was given back.
fn is_behind(at: &BTreeMap<i32, Positions>, (_, partition, offset): Place, class: &str) -> bool {
    at.get(&partition).is_some_and(|at| offset < at.of(class))
}

/// Partition and offset of a `vila2-source`.
fn request(source: &str) -> Option<(i32, i64)> {
    let mut parts = source.rsplitn(3, '/');
    let offset = parts.next()?.parse().ok()?;
    Some((parts.next()?.parse().ok()?, offset))
}

/// Reads what stands at these places of the input topic now.
fn occupants(
    settings: &KafkaSettings,
    places: &BTreeSet<(i32, i64)>,
) -> Result<HashMap<(i32, i64), Occupant>, Error> {
    let mut found: HashMap<_, _> = (places.iter())
        .map(|place| (*place, Occupant::Nothing))
        .collect();
    if places.is_empty() {
        return Ok(found);
    }
    let topic = &settings.topics.images;
    let mut stretch = bounds(settings, topic)?;
    stretch.retain(|partition, (first, end)| {
        let mut wanted = places.range((*partition, *first)..(*partition, *end));
        let Some(lowest) = wanted.next() else {
            return false;
        };
        let highest = wanted.next_back().unwrap_or(lowest);
        (*first, *end) = (lowest.1, highest.1 + 1);
        true
    });
    read_to_end(settings, topic, &stretch, |record| {
        if let Some(occupant) = found.get_mut(&(record.partition, record.offset)) {
            *occupant = Occupant::Request {
                at_ms: record.timestamp_ms.unwrap_or(i64::MAX),
                value: hash_of(record.value.as_deref().unwrap_or_default()),
            };
        }
        true
    })?;
    Ok(found)
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

/// A letter by what it is: the same in every process.
pub(super) fn mark(letter: &Received) -> Mark {
    let time = letter.timestamp_ms.unwrap_or_default().to_be_bytes();
    let source = letter.header("vila2-source").unwrap_or_default();
    let value = letter.value.as_deref().unwrap_or_default();
    let key = letter.key.as_deref().unwrap_or_default();
    let parts = [&time[..], source.as_bytes(), b"\0", value, b"\0", key];
    Mark {
        offset: letter.offset,
        // The lower half is as good as the whole.
        hash: digest(&parts) as i64,
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
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
