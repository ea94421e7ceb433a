//! Cutting a quad out of a picture, straightened.

use super::bitmap::Bitmap;

/// Points `[x, y]` in pixels, clockwise.
pub(super) type Corners = [[f32; 2]; 4];

/// The constant of the cubic filter.
const CUBIC: f64 = -0.75;

/// Cuts out the quad and straightens it; its first corner becomes the top left. Columns that stand
/// at least half as high again as they are wide are turned left, so that text which runs down the
/// picture lies. The second value says whether that was done. `None` for a quad without area.
///
/// # Source
/// `get_rotate_crop_image` of PaddleOCR: perspective warp with cubic interpolation, the edge
/// repeated beyond the picture.
pub(super) fn straightened(picture: &Bitmap, corners: &Corners) -> Option<(Bitmap, bool)> {
    let length = |i: usize, j: usize| {
        let ([ax, ay], [bx, by]) = (corners[i], corners[j]);
        (ax - bx).hypot(ay - by)
    };
    let width = length(0, 1).max(length(2, 3)) as usize;
    let height = length(0, 3).max(length(1, 2)) as usize;
    if width == 0 || height == 0 {
        return None;
    }
    let map = Projection::onto(corners, width as f64, height as f64)?;
    let mut cut = Bitmap::black(width, height);
    for (i, target) in cut.levels.chunks_exact_mut(3).enumerate() {
        let source = map.apply((i % width) as f64, (i / width) as f64);
        target.copy_from_slice(&cubic(picture, source));
    }
    if height as f64 / width as f64 >= 1.5 {
        return Some((cut.turned_left(), true));
    }
    Some((cut, false))
}

/// A projective map of the plane.
#[derive(Debug, Clone, Copy)]
struct Projection([f64; 8]);

impl Projection {
    /// The map from the rectangle (0, 0) – (width, height) onto a quad.
    ///
    /// # Source
    /// P. Heckbert, Fundamentals of Texture Mapping and Image Warping, 1989, section 2.2.3.
    fn onto(corners: &Corners, width: f64, height: f64) -> Option<Self> {
        let [[x0, y0], [x1, y1], [x2, y2], [x3, y3]] = corners.map(|c| c.map(f64::from));
        let (dx1, dx2, sx) = (x1 - x2, x3 - x2, x0 - x1 + x2 - x3);
        let (dy1, dy2, sy) = (y1 - y2, y3 - y2, y0 - y1 + y2 - y3);
        let determinant = dx1 * dy2 - dx2 * dy1;
        if determinant == 0.0 {
            return None;
        }
        let g = (sx * dy2 - dx2 * sy) / determinant;
        let h = (dx1 * sy - sx * dy1) / determinant;
        Some(Self([
            (x1 - x0 + g * x1) / width,
            (x3 - x0 + h * x3) / height,
            x0,
            (y1 - y0 + g * y1) / width,
            (y3 - y0 + h * y3) / height,
            y0,
            g / width,
            h / height,
        ]))
    }

    fn apply(&self, x: f64, y: f64) -> [f64; 2] {
        let [a, b, c, d, e, f, g, h] = self.0;
        let scale = g * x + h * y + 1.0;
        [(a * x + b * y + c) / scale, (d * x + e * y + f) / scale]
    }
}

/// The picture's levels at a point between pixels.
fn cubic(picture: &Bitmap, [x, y]: [f64; 2]) -> [u8; 3] {
    // Quads have whole coordinates, so most cuts fall on the pixels; keep rounding noise out.
    let snap = |v: f64| {
        let whole = v.round();
        if (v - whole).abs() < 1e-6 { whole } else { v }
    };
    let (x, y) = (snap(x), snap(y));
    let (wx, wy) = (weights(x - x.floor()), weights(y - y.floor()));
    let column = |k: usize| clamped(x.floor() as i64 - 1 + k as i64, picture.width);
    let columns: [usize; 4] = std::array::from_fn(column);
    let mut sums = [0.0; 3];
    for (k, weight_y) in wy.iter().enumerate() {
        let row = clamped(y.floor() as i64 - 1 + k as i64, picture.height);
        for (column, weight_x) in columns.iter().zip(&wx) {
            let weight = weight_x * weight_y;
            for (sum, level) in sums.iter_mut().zip(picture.at(*column, row)) {
                *sum += weight * f64::from(level);
            }
        }
    }
    sums.map(|sum| sum.round_ties_even().clamp(0.0, 255.0) as u8)
}

fn clamped(index: i64, length: usize) -> usize {
    index.clamp(0, length as i64 - 1) as usize
}

/// Weights of the pixels at −1, 0, 1, 2 for a point at `t` in 0..1.
fn weights(t: f64) -> [f64; 4] {
    let near = |d: f64| ((CUBIC + 2.0) * d - (CUBIC + 3.0)) * d * d + 1.0;
    let far = |d: f64| ((CUBIC * d - 5.0 * CUBIC) * d + 8.0 * CUBIC) * d - 4.0 * CUBIC;
    let first = [far(t + 1.0), near(t), near(1.0 - t)];
    [
        first[0],
        first[1],
        first[2],
        1.0 - first.iter().sum::<f64>(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Bitmap {
        let level = |i: usize| [(i % width * 7 + i / width * 13) as u8; 3];
        Bitmap {
            width,
            height,
            levels: (0..width * height).flat_map(level).collect(),
        }
    }

    #[test]
    fn an_upright_quad_is_cut_out_pixel_by_pixel() {
        let picture = ramp(12, 9);
        let corners = [[2.0, 3.0], [9.0, 3.0], [9.0, 7.0], [2.0, 7.0]];
        let (cut, turned) = straightened(&picture, &corners).unwrap();
        assert_eq!((cut.width, cut.height, turned), (7, 4, false));
        for y in 0..4 {
            for x in 0..7 {
                assert_eq!(cut.at(x, y), picture.at(x + 2, y + 3));
            }
        }
    }

    #[test]
    fn the_corners_of_the_cut_are_those_of_the_quad() {
        let corners = [[10.0, 20.0], [90.0, 5.0], [97.0, 40.0], [12.0, 61.0]];
        let map = Projection::onto(&corners, 80.0, 40.0).unwrap();
        let ends = [[0.0, 0.0], [80.0, 0.0], [80.0, 40.0], [0.0, 40.0]];
        for (end, corner) in ends.iter().zip(corners) {
            let [x, y] = map.apply(end[0], end[1]);
            assert!((x - f64::from(corner[0])).abs() < 1e-9);
            assert!((y - f64::from(corner[1])).abs() < 1e-9);
        }
    }

    #[test]
    fn a_tall_quad_is_turned_left() {
        let corners = [[2.0, 1.0], [5.0, 1.0], [5.0, 8.0], [2.0, 8.0]];
        let (cut, turned) = straightened(&ramp(12, 9), &corners).unwrap();
        assert_eq!((cut.width, cut.height, turned), (7, 3, true));
        assert_eq!(cut.at(0, 0), ramp(12, 9).at(4, 1));
    }

    #[test]
    fn a_quad_without_area_gives_nothing() {
        assert!(straightened(&ramp(4, 4), &[[1.0, 1.0]; 4]).is_none());
        let line = [[0.0, 0.0], [3.0, 3.0], [3.0, 3.0], [0.0, 0.0]];
        assert!(straightened(&ramp(4, 4), &line).is_none());
    }
}
