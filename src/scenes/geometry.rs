//! Boxes and quads of the scenes world. Pixels, origin top left, x right, y down.

/// An axis-aligned box `[x1, y1, x2, y2]` in pixels; x2 and y2 are exclusive.
pub type Box2 = [f32; 4];

/// Four corners, clockwise from the text's top left.
pub type Quad = [[f32; 2]; 4];

/// Area in square pixels; 0 for a box turned inside out.
pub fn area(b: &Box2) -> f32 {
    (b[2] - b[0]).max(0.0) * (b[3] - b[1]).max(0.0)
}

/// Area common to both boxes, in square pixels.
pub fn intersection(a: &Box2, b: &Box2) -> f32 {
    area(&[
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ])
}

/// Intersection over union, 0 to 1.
pub fn iou(a: &Box2, b: &Box2) -> f32 {
    let common = intersection(a, b);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

/// Centre `[x, y]`.
pub fn center(b: &Box2) -> [f32; 2] {
    [(b[0] + b[2]) / 2.0, (b[1] + b[3]) / 2.0]
}

/// Whether `inner` lies wholly within `outer`.
pub fn contains(outer: &Box2, inner: &Box2) -> bool {
    inner[0] >= outer[0] && inner[1] >= outer[1] && inner[2] <= outer[2] && inner[3] <= outer[3]
}

/// Shortest distance between two boxes, in pixels; 0 when they touch or overlap.
pub fn gap(a: &Box2, b: &Box2) -> f32 {
    let dx = (a[0] - b[2]).max(b[0] - a[2]).max(0.0);
    let dy = (a[1] - b[3]).max(b[1] - a[3]).max(0.0);
    dx.hypot(dy)
}

/// The box grown by `margin` pixels on every side.
pub fn grown(b: &Box2, margin: f32) -> Box2 {
    [b[0] - margin, b[1] - margin, b[2] + margin, b[3] + margin]
}

/// The smallest box around points.
pub fn bounds(points: &[[f32; 2]]) -> Box2 {
    points.iter().fold(
        [
            f32::INFINITY,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NEG_INFINITY,
        ],
        |b, p| {
            [
                b[0].min(p[0]),
                b[1].min(p[1]),
                b[2].max(p[0]),
                b[3].max(p[1]),
            ]
        },
    )
}

/// A point turned clockwise (as seen, y down) by `degrees` around `center`.
pub fn turned(point: [f32; 2], center: [f32; 2], degrees: f32) -> [f32; 2] {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (x, y) = (point[0] - center[0], point[1] - center[1]);
    [center[0] + x * cos - y * sin, center[1] + x * sin + y * cos]
}

/// Rounded to a hundredth, which is what truth files carry.
pub fn hundredths(value: f32) -> f32 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_half_covered_boxes_is_a_third() {
        let iou = iou(&[0.0, 0.0, 10.0, 10.0], &[5.0, 0.0, 15.0, 10.0]);
        assert!((iou - 1.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn the_gap_of_boxes_is_zero_where_they_overlap_and_diagonal_apart() {
        assert_eq!(gap(&[0.0, 0.0, 4.0, 4.0], &[2.0, 2.0, 6.0, 6.0]), 0.0);
        assert_eq!(gap(&[0.0, 0.0, 1.0, 1.0], &[4.0, 5.0, 6.0, 6.0]), 5.0);
    }

    #[test]
    fn a_quarter_turn_is_clockwise_as_seen() {
        let p = turned([1.0, 0.0], [0.0, 0.0], 90.0);
        assert!(p[0].abs() < 1e-6 && (p[1] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn only_a_whole_box_is_contained() {
        assert!(contains(&[0.0, 0.0, 4.0, 4.0], &[1.0, 1.0, 4.0, 4.0]));
        assert!(!contains(&[0.0, 0.0, 4.0, 4.0], &[1.0, 1.0, 5.0, 4.0]));
    }
}
