//! How models write places in a picture, other than inline boxes (`vila2_actors::phrases`).
//!
//! ```text
//! locations  Florence-2: a token for each of a thousand steps across and down
//! ```

pub mod locations;
