//! The names of the stages, in path order.

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
    /// Finds phrases with boxes.
    Ground,
    /// Finds how they stand to each other.
    Relate,
    /// Reads text in the picture.
    ReadText,
    /// Makes one text of all.
    Merge,
    /// Writes the result.
    Publish,
}

impl Stage {
    /// Every stage, in path order; a stage's place in it is `stage as usize`.
    pub const ALL: [Self; 9] = [
        Self::Intake,
        Self::Fetch,
        Self::Decode,
        Self::Caption,
        Self::Ground,
        Self::Relate,
        Self::ReadText,
        Self::Merge,
        Self::Publish,
    ];

    /// The stages that work on a record and are timed.
    pub const TIMED: [Self; 7] = [
        Self::Fetch,
        Self::Decode,
        Self::Caption,
        Self::Ground,
        Self::Relate,
        Self::ReadText,
        Self::Merge,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Fetch => "fetch",
            Self::Decode => "decode",
            Self::Caption => "caption",
            Self::Ground => "ground",
            Self::Relate => "relate",
            Self::ReadText => "read_text",
            Self::Merge => "merge",
            Self::Publish => "publish",
        }
    }

    /// Its place in [`Stage::TIMED`].
    pub(crate) fn timed(self) -> Option<usize> {
        Self::TIMED.iter().position(|&stage| stage == self)
    }
}
