//! The relater that needs no weights: relations from the boxes of the groundings alone.
//!
//! It says only what boxes show clearly. For each pair of boxes:
//!
//! | relation | said when |
//! | --- | --- |
//! | `inside` | at least [`INSIDE_SHARE`] of the subject lies in an object that is much larger |
//! | `left of`, `right of`, `above`, `below` | the centres differ by more than the tie band, on the axis where they differ most against their band |
//! | `near` | the boxes touch, or their gap is at most [`NEAR_GAP`] of the picture's shorter side |
//!
//! The tie band of an axis is [`PICTURE_BAND`] of the picture or [`SIZE_BAND`] of the mean extent
//! of the two boxes, whichever is more: boxes are guesses, and the centre of a wide thing is less
//! sure than that of a narrow one. `in front of` and `behind` need depth and `on` needs contact;
//! a box shows neither, so they are never said.
//!
//! Each pair is spoken of once, with the first in reading order as subject (for `inside` the inner
//! one), so that `left of` never comes with its own mirror image.
//!
//! It speaks of what the caption names too (see `agreed`) and of what lies apart from all else (see
//! `apart`), and relates every thing to one anchor, the
//! first grounding: a model that writes boxes one after the other places the first ones best, and
//! n − 1 sentences say how n things lie. All pairs of five things would be twenty sentences.
//! Measured as in `agreed`: precision 0.87 with the anchor, 0.81 with all pairs.

mod agreed;
mod apart;
mod pair;

use vila2_actors::{
    annotation::{Grounding, ModelFacts, Relation, SpatialRelation},
    boxes::{area, iou},
    error::ModelError,
    ports::{BatchModel, Load, Located, Relater},
};

pub use pair::{INSIDE_SHARE, NEAR_GAP, PICTURE_BAND, SIZE_BAND};

use agreed::agreed;
use apart::apart;
use pair::{Frame, Said};

/// Two boxes of one phrase that share more than this (IoU) are one thing found twice.
const DUPLICATE_IOU: f32 = 0.7;

/// Builds the relater; cheap, cannot fail.
#[must_use]
pub fn load() -> Load<Relater> {
    std::sync::Arc::new(|| Ok(Box::new(GeometryRelater) as Box<Relater>))
}

/// Relates boxes by geometry. Deterministic, without state.
#[derive(Debug, Clone, Copy, Default)]
pub struct GeometryRelater;

impl BatchModel for GeometryRelater {
    type Question = Located;
    type Answer = Vec<SpatialRelation>;

    fn max_batch(&self) -> usize {
        64
    }

    fn run(
        &mut self,
        batch: &[Located],
    ) -> Result<Vec<Result<Vec<SpatialRelation>, ModelError>>, ModelError> {
        Ok(batch
            .iter()
            .map(|located| {
                let size = located.image.original;
                Ok(relate(&located.groundings, &located.caption, size))
            })
            .collect())
    }

    /// A function of its boxes alone: there is nothing that could break.
    fn self_check(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            model: "geometry".to_owned(),
            revision: revision(),
            prompt: None,
        }
    }
}

/// Twelve hex digits that change with the rules: there is no graph to hash.
fn revision() -> String {
    use sha2::{Digest, Sha256};
    let rules = format!("geometry/3 {INSIDE_SHARE} {NEAR_GAP} {PICTURE_BAND} {SIZE_BAND}");
    vila2_actors::request::hex(&Sha256::digest(rules)[..6])
}

/// The relations between groundings in a picture of (width, height) original pixels; ids `s0`,
/// `s1`, … in order of the groundings. Boxes without area and repeated finds of one thing are left
/// out. When nothing is clear of the anchor, the clearest direction of all pairs is said, if the
/// centres differ by more than half the band (with a score of at most 0.5).
#[must_use]
pub fn relate(
    groundings: &[Grounding],
    caption: &str,
    (width, height): (u32, u32),
) -> Vec<SpatialRelation> {
    let frame = Frame::new(width, height);
    let all: Vec<&Grounding> = groundings.iter().collect();
    let things = apart(distinct(&agreed(groundings, caption)), &distinct(&all));
    let ordered = |&(i, j): &(usize, usize)| {
        let (a, b) = (things[i], things[j]);
        if frame.reading_order(&b.bounding_box.0) < frame.reading_order(&a.bounding_box.0) {
            (b, a)
        } else {
            (a, b)
        }
    };
    let pairs: Vec<(usize, usize)> = (0..things.len())
        .flat_map(|i| (i + 1..things.len()).map(move |j| (i, j)))
        .collect();
    let mut all = Vec::new();
    for (first, second) in pairs.iter().filter(|pair| pair.0 == 0).map(ordered) {
        for said in frame.clear(&first.bounding_box.0, &second.bounding_box.0) {
            all.push(spoken(first, second, &said));
        }
    }
    if all.is_empty() {
        let weak = pairs.iter().map(ordered).filter_map(|(first, second)| {
            let said = frame.weak(&first.bounding_box.0, &second.bounding_box.0)?;
            Some(spoken(first, second, &said))
        });
        all.extend(weak.max_by(|a, b| a.score.total_cmp(&b.score)));
    }
    for (number, relation) in all.iter_mut().enumerate() {
        relation.id = format!("s{number}");
    }
    all
}

/// Things with area, each once.
fn distinct<'a>(groundings: &[&'a Grounding]) -> Vec<&'a Grounding> {
    let mut things: Vec<&Grounding> = Vec::with_capacity(groundings.len());
    for &grounding in groundings {
        let bounds = &grounding.bounding_box.0;
        let finite = bounds.iter().all(|v| v.is_finite());
        let again = |seen: &&Grounding| {
            seen.phrase == grounding.phrase && iou(&seen.bounding_box.0, bounds) > DUPLICATE_IOU
        };
        if finite && area(bounds) > 0.0 && !things.iter().any(again) {
            things.push(grounding);
        }
    }
    things
}

fn spoken(first: &Grounding, second: &Grounding, said: &Said) -> SpatialRelation {
    let (subject, object) = if said.swapped {
        (second, first)
    } else {
        (first, second)
    };
    SpatialRelation {
        id: String::new(),
        subject: subject.id.clone(),
        relation: said.relation,
        object: object.id.clone(),
        score: said.score,
    }
}

#[cfg(test)]
mod tests;
