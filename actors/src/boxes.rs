//! Geometry of boxes in a picture. Pixels, origin top left, x right, y down.

/// An axis-aligned box `[x1, y1, x2, y2]` in pixels; x2 and y2 are exclusive.
pub type Box2 = [f32; 4];

/// Area in square pixels; 0 for a box turned inside out.
#[must_use]
pub fn area(b: &Box2) -> f32 {
    (b[2] - b[0]).max(0.0) * (b[3] - b[1]).max(0.0)
}

/// Area common to both boxes, in square pixels.
#[must_use]
pub fn intersection(a: &Box2, b: &Box2) -> f32 {
    area(&[
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ])
}

/// Intersection over union, 0 to 1.
#[must_use]
pub fn iou(a: &Box2, b: &Box2) -> f32 {
    let common = intersection(a, b);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

/// Centre `[x, y]`.
#[must_use]
pub fn center(b: &Box2) -> [f32; 2] {
    [(b[0] + b[2]) / 2.0, (b[1] + b[3]) / 2.0]
}

/// Whether `inner` lies wholly within `outer`.
#[must_use]
pub fn contains(outer: &Box2, inner: &Box2) -> bool {
    inner[0] >= outer[0] && inner[1] >= outer[1] && inner[2] <= outer[2] && inner[3] <= outer[3]
}

/// Shortest distance between two boxes, in pixels; 0 when they touch or overlap.
#[must_use]
pub fn gap(a: &Box2, b: &Box2) -> f32 {
    let dx = (a[0] - b[2]).max(b[0] - a[2]).max(0.0);
    let dy = (a[1] - b[3]).max(b[1] - a[3]).max(0.0);
    dx.hypot(dy)
}

/// The common area as a share of the smaller box, 0 to 1; boxes must have area.
#[must_use]
pub fn overlap(a: &Box2, b: &Box2) -> f32 {
    (intersection(a, b) / area(a).min(area(b))).min(1.0)
}

/// The smallest box around points.
#[must_use]
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
    fn only_a_whole_box_is_contained() {
        assert!(contains(&[0.0, 0.0, 4.0, 4.0], &[1.0, 1.0, 4.0, 4.0]));
        assert!(!contains(&[0.0, 0.0, 4.0, 4.0], &[1.0, 1.0, 5.0, 4.0]));
    }

    #[test]
    fn a_box_inside_another_overlaps_it_wholly() {
        let overlap = overlap(&[0.0, 0.0, 10.0, 10.0], &[2.0, 2.0, 4.0, 4.0]);
        assert!((overlap - 1.0).abs() < 1e-6);
    }
}
