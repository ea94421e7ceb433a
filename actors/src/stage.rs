//! The names of the stages, and their order in one chain.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// A part of the path, as it is named in records, headers, spans and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Where records come in and requests are read.
    Intake,
    /// Gets the body.
    Fetch,
    /// Makes pixels of it.
    Decode,
    /// Describes the picture.
    Caption,
    /// Asks a specialist.
    Ask(Specialist),
    /// Makes one text of all.
    Merge,
    /// Writes the result.
    Publish,
}

/// The name of a specialist.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Specialist(&'static str);

impl Specialist {
    /// Names one. Names come out of the configuration: they are few, and they are kept as long as
    /// the process lives.
    #[must_use]
    pub fn named(name: &str) -> Self {
        static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        Self(names.get(name).copied().unwrap_or_else(|| {
            let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
            names.insert(kept);
            kept
        }))
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for Specialist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Stage {
    /// Finds phrases with boxes.
    pub const GROUND: Self = Self::Ask(Specialist("ground"));
    /// Finds how they stand to each other.
    pub const RELATE: Self = Self::Ask(Specialist("relate"));
    /// Reads text in the picture.
    pub const READ_TEXT: Self = Self::Ask(Specialist("read_text"));

    /// The stages every chain has, which no specialist may be named after.
    pub const FIXED: [Self; 6] = [
        Self::Intake,
        Self::Fetch,
        Self::Decode,
        Self::Caption,
        Self::Merge,
        Self::Publish,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Fetch => "fetch",
            Self::Decode => "decode",
            Self::Caption => "caption",
            Self::Ask(specialist) => specialist.as_str(),
            Self::Merge => "merge",
            Self::Publish => "publish",
        }
    }

    /// Whether it works on a record and is timed.
    #[must_use]
    pub const fn is_timed(self) -> bool {
        !matches!(self, Self::Intake | Self::Publish)
    }
}

/// The stages of one chain, in the order of the data's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Arc<[Stage]>);

impl Path {
    /// The path with these specialists, in their order.
    pub fn through(specialists: impl IntoIterator<Item = Specialist>) -> Self {
        let before = [Stage::Intake, Stage::Fetch, Stage::Decode, Stage::Caption];
        let asks = specialists.into_iter().map(Stage::Ask);
        let after = [Stage::Merge, Stage::Publish];
        Self(before.into_iter().chain(asks).chain(after).collect())
    }

    /// All of them.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.0
    }

    /// Those that work on a record and are timed.
    pub fn timed(&self) -> impl Iterator<Item = Stage> + '_ {
        self.0.iter().copied().filter(|stage| stage.is_timed())
    }

    /// Where a stage stands in it.
    ///
    /// # Panics
    /// Where the chain has no such stage.
    pub(crate) fn place(&self, stage: Stage) -> usize {
        let place = self.0.iter().position(|&one| one == stage);
        place.expect("bug: a stage of another chain")
    }
}

impl Default for Path {
    /// That of the built-in specialists.
    fn default() -> Self {
        let built_in = ["ground", "relate", "read_text"];
        Self::through(built_in.map(Specialist::named))
    }
}

/// Names of timed stages and `total`, as records have them, in path order. Specialists that are not
/// built in come after those that are, by their names.
#[must_use]
pub fn in_path_order<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const KNOWN: [&str; 6] = [
        "fetch",
        "decode",
        "caption",
        "ground",
        "relate",
        "read_text",
    ];
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable_by_key(|name| {
        let place = match *name {
            "merge" => KNOWN.len() + 1,
            "total" => KNOWN.len() + 2,
            name => (KNOWN.iter().position(|known| *known == name)).unwrap_or(KNOWN.len()),
        };
        (place, *name)
    });
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_one_stage() {
        assert_eq!(Stage::Ask(Specialist::named("ground")), Stage::GROUND);
        let colours = Specialist::named(&String::from("colours"));
        assert_eq!(colours, Specialist::named("colours"));
        assert_ne!(Stage::Ask(colours), Stage::GROUND);
    }

    #[test]
    fn names_out_of_records_are_put_in_order() {
        let names = [
            "total",
            "style",
            "merge",
            "colours",
            "read_text",
            "fetch",
            "style",
        ];
        let expected = ["fetch", "read_text", "colours", "style", "merge", "total"];
        assert_eq!(in_path_order(names), expected);
    }

    #[test]
    fn specialists_stand_between_caption_and_merge_in_their_order() {
        let path = Path::through(["b", "a"].map(Specialist::named));
        let names: Vec<_> = path.stages().iter().map(|stage| stage.as_str()).collect();
        let expected = [
            "intake", "fetch", "decode", "caption", "b", "a", "merge", "publish",
        ];
        assert_eq!(names, expected);
        let timed: Vec<_> = path.timed().map(Stage::as_str).collect();
        assert_eq!(timed, &expected[1..7]);
    }
}
