//! Where a point stands in the picture, in words: thirds of width and height.

use vila2_actors::annotation::{BoundingBox, Quad};

/// Centre of a box, pixels of the original image.
pub fn box_centre(bounding_box: BoundingBox) -> (f32, f32) {
    let [x1, y1, x2, y2] = bounding_box.0;
    (f32::midpoint(x1, x2), f32::midpoint(y1, y2))
}

/// Centre of a quad, pixels of the original image.
pub fn quad_centre(quad: Quad) -> (f32, f32) {
    let sum = quad
        .0
        .iter()
        .fold((0.0, 0.0), |sum, [x, y]| (sum.0 + x, sum.1 + y));
    (sum.0 / 4.0, sum.1 / 4.0)
}

/// `at the top left`, `in the center`, … for a point in a picture of `size` (width, height).
pub fn words((x, y): (f32, f32), size: (u32, u32)) -> &'static str {
    const WORDS: [[&str; 3]; 3] = [
        ["at the top left", "at the top", "at the top right"],
        ["on the left", "in the center", "on the right"],
        ["at the bottom left", "at the bottom", "at the bottom right"],
    ];
    WORDS[third(y, size.1)][third(x, size.0)]
}

fn third(value: f32, length: u32) -> usize {
    let part = value / length.max(1) as f32 * 3.0;
    if part < 1.0 {
        0
    } else if part < 2.0 {
        1
    } else {
        2
    }
}
