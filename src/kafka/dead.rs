//! Dead letters: list by reason; redrive (give the originals back to the input topic) after a fix.
//!
//! **Once.** How far letters were given back is committed to the broker under the group
//! `GROUP-redrive`, per partition of the dead letters and, in the commit's metadata, per reason:
//! giving back one reason loses nothing of the others, and a second call finds nothing to do. A
//! position moves only after the broker confirmed the writes before it, in batches of
//! [`redrive::BATCH`]; only after a crash in between is at most one batch sent again. Two calls at
//! the same time exclude each other: one works only while it holds every partition of the group.
//! A dead letter that was itself written twice (same `vila2-source` and value) is given back once.
//!
//! **Topics made anew.** Offsets begin again then, so neither a position nor a source says by itself
//! which letter it means. With a position goes a mark of the last letter behind it: where that
//! letter is another one, or the position lies beyond the end, all letters of the partition are
//! new. A letter that looks like a copy of one that was given back is compared with the request
//! that stands at its source now: only where both were written after that request are they copies.
//!
//! **Not for ever.** A record that was given back and died again is a new letter. It is recognised
//! by its trace, key and value, without any header on the input topic; after [`CYCLES`] returns it
//! counts as given up and is left alone unless asked for.

mod claim;
mod positions;
pub mod redrive;
pub mod scan;

pub use positions::Positions;
pub use scan::{Letters, Scan};

/// How often a record is given back before it counts as given up.
pub const CYCLES: u32 = 3;

/// The group under which positions are kept.
#[must_use]
pub fn group(of: &str) -> String {
    format!("{of}-redrive")
}
