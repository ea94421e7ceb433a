//! What was read: writing, or a thing that looks like a letter?

use vila2_actors::annotation::{BoundingBox, Grounding, Quad, TextLine};

/// A single letter that covers a grounded thing this much (IoU) is that thing.
const SAME_PLACE: f32 = 0.5;

/// Whether a line is writing. Text readers read rings as `O`, stars as `★`, crosses as `+`: a line
/// without any letter or digit is none, nor is a single letter where a grounded thing stands.
/// Such lines stay in the record's `text`; they are only not said in the enriched text.
pub fn is_writing(line: &TextLine, groundings: &[Grounding]) -> bool {
    let mut letters = line.text.chars().filter(|letter| letter.is_alphanumeric());
    match (letters.next(), letters.next()) {
        (None, _) => false,
        (Some(_), Some(_)) => true,
        (Some(_), None) => {
            let bounds = bounds(line.quad);
            groundings
                .iter()
                .all(|thing| iou(bounds, thing.bounding_box) < SAME_PLACE)
        }
    }
}

/// The upright box around a quad.
fn bounds(quad: Quad) -> BoundingBox {
    let fold = |axis: usize, start: f32, pick: fn(f32, f32) -> f32| {
        quad.0.iter().map(|corner| corner[axis]).fold(start, pick)
    };
    BoundingBox([
        fold(0, f32::INFINITY, f32::min),
        fold(1, f32::INFINITY, f32::min),
        fold(0, f32::NEG_INFINITY, f32::max),
        fold(1, f32::NEG_INFINITY, f32::max),
    ])
}

/// Intersection over union; 0 where both are empty.
fn iou(a: BoundingBox, b: BoundingBox) -> f32 {
    let (a, b) = (a.0, b.0);
    let area = |b: [f32; 4]| (b[2] - b[0]).max(0.0) * (b[3] - b[1]).max(0.0);
    let common = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}
