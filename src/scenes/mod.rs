//! The scenes world: pictures drawn from a seed, with exact truth, and the scores computed on it.
//!
//! Two halves that meet in one file format, the truth line ([`scene::Scene`]):
//!
//! - [`generate`] composes scenes from `(seed, index)` ([`compose`]), rasterises them ([`draw`]) and writes a data set;
//! - [`score`] reads truth lines and caption records and computes object, attribute, relation,
//!   grounding and text scores, with plain programs and no model.
//!
//! The words both halves agree on live in [`lexicon`], the meaning of relations in [`relation`].

mod alt_text;
pub mod compose;
pub mod draw;
pub mod font;
pub mod generate;
pub mod geometry;
mod label;
pub mod lexicon;
pub mod mark;
pub mod measure;
pub mod parse;
pub mod random;
pub mod record;
pub mod relation;
pub mod scene;
pub mod score;
pub mod words;
