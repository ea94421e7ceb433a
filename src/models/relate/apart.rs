//! Which things lie apart from all others.

use vila2_actors::{annotation::Grounding, boxes::iou};

/// Boxes that share more than this (IoU) collide.
const COLLIDE_IOU: f32 = 0.1;

/// The things whose box collides with no other grounding's; all of them where fewer than two do
/// not, since a weak relation is better than none.
///
/// Where boxes collide, one thing hides a part of the other or one of the boxes is wrong: of 454
/// such boxes 80 % were right (IoU 0.5 with the truth), of 597 others 96 % (seeds 1 to 5, the model
/// of that time). Relations' precision on these 312 pictures: 0.84 without this rule, 0.88 with it.
pub(super) fn apart<'a>(things: Vec<&'a Grounding>, all: &[&Grounding]) -> Vec<&'a Grounding> {
    let alone = |thing: &&Grounding| {
        all.iter().all(|other| {
            other.id == thing.id || iou(&other.bounding_box.0, &thing.bounding_box.0) <= COLLIDE_IOU
        })
    };
    let free: Vec<&Grounding> = things.iter().copied().filter(alone).collect();
    if free.len() < 2 { things } else { free }
}
