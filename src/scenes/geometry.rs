//! Boxes and quads of the scenes world. Pixels, origin top left, x right, y down.

pub use vila2_actors::boxes::{Box2, area, bounds, center, contains, gap, intersection, iou};

/// Four corners, clockwise from the text's top left.
pub type Quad = [[f32; 2]; 4];

/// The box grown by `margin` pixels on every side.
pub fn grown(b: &Box2, margin: f32) -> Box2 {
    [b[0] - margin, b[1] - margin, b[2] + margin, b[3] + margin]
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
    fn a_quarter_turn_is_clockwise_as_seen() {
        let p = turned([1.0, 0.0], [0.0, 0.0], 90.0);
        assert!(p[0].abs() < 1e-6 && (p[1] - 1.0).abs() < 1e-6);
    }
}
