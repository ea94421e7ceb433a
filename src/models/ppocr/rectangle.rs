//! Hulls, the smallest rectangle around points, and its growth. Pixels, x right, y down.

/// A point `[x, y]`.
pub(super) type Point = [f64; 2];

/// The convex hull, clockwise as seen, from the leftmost (then topmost) point on; no three corners
/// on one line.
pub(super) fn hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    if points.len() < 3 {
        return points;
    }
    let mut upper = chain(points.iter());
    let mut lower = chain(points.iter().rev());
    upper.pop();
    lower.pop();
    upper.append(&mut lower);
    upper
}

/// One side of the hull: only turns to the right as seen are kept.
fn chain<'a>(points: impl Iterator<Item = &'a Point>) -> Vec<Point> {
    let mut side: Vec<Point> = Vec::new();
    for point in points {
        while let [.., a, b] = side[..] {
            if cross(a, b, *point) > 0.0 {
                break;
            }
            side.pop();
        }
        side.push(*point);
    }
    side
}

fn cross(a: Point, b: Point, c: Point) -> f64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// A rectangle that may be turned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    /// Clockwise as seen; the first is the upper of the two on the left.
    pub corners: [Point; 4],
    /// Length of the shorter side.
    pub short_side: f64,
}

impl Rectangle {
    /// The rectangle of least area around a [`hull`]; `None` for an empty one. A point or a line
    /// has one without area.
    pub fn around(hull: &[Point]) -> Option<Self> {
        let first = *hull.first()?;
        let mut best: Option<(f64, Self)> = None;
        for (i, a) in hull.iter().enumerate() {
            let b = hull[(i + 1) % hull.len()];
            let length = (b[0] - a[0]).hypot(b[1] - a[1]);
            if length == 0.0 {
                continue;
            }
            let along = [(b[0] - a[0]) / length, (b[1] - a[1]) / length];
            let (area, rectangle) = Self::along(hull, along);
            if best.is_none_or(|(least, _)| area < least - 1e-9) {
                best = Some((area, rectangle));
            }
        }
        let point = Self {
            corners: [first; 4],
            short_side: 0.0,
        };
        Some(best.map_or(point, |(_, rectangle)| rectangle))
    }

    /// The rectangle around points with one side along a unit vector, and its area.
    fn along(points: &[Point], [ux, uy]: Point) -> (f64, Self) {
        let mut low = [f64::INFINITY; 2];
        let mut high = [f64::NEG_INFINITY; 2];
        for [x, y] in points {
            for (axis, at) in [x * ux + y * uy, y * ux - x * uy].into_iter().enumerate() {
                low[axis] = low[axis].min(at);
                high[axis] = high[axis].max(at);
            }
        }
        let at = |s: f64, t: f64| [tidy(s * ux - t * uy), tidy(s * uy + t * ux)];
        let corners = [
            at(low[0], low[1]),
            at(high[0], low[1]),
            at(high[0], high[1]),
            at(low[0], high[1]),
        ];
        let (length, width) = (high[0] - low[0], high[1] - low[1]);
        let rectangle = Self {
            corners: from_upper_left(corners),
            short_side: length.min(width),
        };
        (length * width, rectangle)
    }

    /// The hull of the rectangle grown on all sides by area × `ratio` / perimeter, corners rounded
    /// off; its points are whole numbers. Empty for a rectangle without area.
    ///
    /// # Source
    /// The offset of A. Johnson's Clipper 6.4 with round joins, on corners cut to whole numbers, as
    /// PaddleOCR calls it.
    pub fn grown(&self, ratio: f64) -> Vec<Point> {
        const ARC_TOLERANCE: f64 = 0.25;
        let [a, b, c, _] = self.corners;
        let (long, wide) = (
            (b[0] - a[0]).hypot(b[1] - a[1]),
            (c[0] - b[0]).hypot(c[1] - b[1]),
        );
        let distance = long * wide * ratio / (2.0 * (long + wide));
        let whole = hull(self.corners.map(|p| p.map(f64::trunc)).to_vec());
        if whole.len() < 3 || distance <= 0.0 {
            return Vec::new();
        }
        let tolerance = ARC_TOLERANCE.min(distance * 0.25);
        let steps = (std::f64::consts::PI / (1.0 - tolerance / distance).acos())
            .min(distance * std::f64::consts::PI);
        let step = std::f64::consts::TAU / steps;
        let normal = |from: Point, to: Point| {
            let length = (to[0] - from[0]).hypot(to[1] - from[1]);
            [(to[1] - from[1]) / length, (from[0] - to[0]) / length]
        };
        let mut outline = Vec::new();
        for (i, corner) in whole.iter().enumerate() {
            let before = normal(whole[(i + whole.len() - 1) % whole.len()], *corner);
            let after = normal(*corner, whole[(i + 1) % whole.len()]);
            let sine = before[0] * after[1] - before[1] * after[0];
            let cosine = before[0] * after[0] + before[1] * after[1];
            let count = ((sine.atan2(cosine).abs() / step).round() as usize).max(1);
            let mut direction = before;
            let mut push = |[x, y]: Point| {
                let round = |v: f64| {
                    if v < 0.0 {
                        (v - 0.5).trunc()
                    } else {
                        (v + 0.5).trunc()
                    }
                };
                outline.push([
                    round(corner[0] + x * distance),
                    round(corner[1] + y * distance),
                ]);
            };
            for _ in 0..count {
                push(direction);
                let [x, y] = direction;
                let (sin, cos) = step.sin_cos();
                direction = [x * cos - y * sin, x * sin + y * cos];
            }
            push(after);
        }
        hull(outline)
    }
}

/// Removes rounding noise around whole numbers, which would turn into a whole pixel when cut.
fn tidy(v: f64) -> f64 {
    let whole = v.round();
    if (v - whole).abs() < 1e-6 { whole } else { v }
}

/// The same rectangle, its first corner the upper of the two on the left, clockwise as seen.
fn from_upper_left(corners: [Point; 4]) -> [Point; 4] {
    let mut by_x = corners;
    by_x.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let [
        mut top_left,
        mut bottom_left,
        mut top_right,
        mut bottom_right,
    ] = by_x;
    if bottom_left[1] <= top_left[1] {
        (top_left, bottom_left) = (bottom_left, top_left);
    }
    if bottom_right[1] <= top_right[1] {
        (top_right, bottom_right) = (bottom_right, top_right);
    }
    [top_left, top_right, bottom_right, bottom_left]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hull_leaves_out_inner_points_and_points_on_its_sides() {
        let points = vec![
            [2.0, 2.0],
            [0.0, 0.0],
            [4.0, 0.0],
            [2.0, 0.0],
            [4.0, 4.0],
            [0.0, 4.0],
            [0.0, 0.0],
        ];
        assert_eq!(
            hull(points),
            [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]
        );
    }

    #[test]
    fn the_smallest_rectangle_may_be_turned() {
        // A square on its corner, side 2·√2.
        let diamond = hull(vec![[2.0, 0.0], [4.0, 2.0], [2.0, 4.0], [0.0, 2.0]]);
        let rectangle = Rectangle::around(&diamond).unwrap();
        assert!((rectangle.short_side - 8f64.sqrt()).abs() < 1e-9);
        let mut corners = rectangle.corners.to_vec();
        corners.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
        assert_eq!(corners, [[0.0, 2.0], [2.0, 0.0], [2.0, 4.0], [4.0, 2.0]]);
    }

    #[test]
    fn a_line_and_a_point_have_rectangles_without_area() {
        let line = Rectangle::around(&[[0.0, 0.0], [5.0, 0.0]]).unwrap();
        assert_eq!(line.short_side, 0.0);
        let point = Rectangle::around(&[[3.0, 1.0]]).unwrap();
        assert_eq!((point.short_side, point.corners[2]), (0.0, [3.0, 1.0]));
        assert!(Rectangle::around(&[]).is_none());
    }

    #[test]
    fn growth_moves_every_side_by_the_same_distance() {
        // 100 × 20: distance 2000 × 1.6 / 240 = 13.33.
        let upright = hull(vec![
            [10.0, 50.0],
            [110.0, 50.0],
            [110.0, 70.0],
            [10.0, 70.0],
        ]);
        let grown = Rectangle::around(&upright).unwrap().grown(1.6);
        let around = Rectangle::around(&grown).unwrap();
        assert_eq!(
            around.corners,
            [[-3.0, 37.0], [123.0, 37.0], [123.0, 83.0], [-3.0, 83.0]]
        );
    }

    #[test]
    fn what_has_no_area_does_not_grow() {
        let line = Rectangle::around(&[[0.0, 0.0], [5.0, 0.0]]).unwrap();
        assert!(line.grown(1.6).is_empty());
    }
}
