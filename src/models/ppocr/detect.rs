//! Finding text: a picture in, quads out.
//!
//! The graph gives each pixel its probability of being text. Regions above a threshold become the
//! smallest rectangles around them, which are grown again by what the training shrank them.
//!
//! # Source
//! Real-time Scene Text Detection with Differentiable Binarization, arXiv 1911.08947; thresholds
//! and order of the steps as in rapidocr-onnxruntime 1.4.4.

use vila2_actors::error::ModelError;

use super::{
    bitmap::Bitmap,
    borders::{Mask, border_hulls},
    graph::{Batch, Graph},
    rectangle::{Point, Rectangle},
    warp::Corners,
};

/// The shorter side is enlarged to this for the graph, in pixels.
const SHORT_SIDE: usize = 736;

/// The height is enlarged to at most this: beyond eight times as tall as wide, where the reference
/// would enlarge without end.
const MOST_HEIGHT: usize = 8 * SHORT_SIDE;

/// The width is enlarged to at most this: beyond 32 times as wide as tall. Up to there a wide
/// picture is read as the reference reads it; a strip of 2000 × 16 pixels would cost it 8 GB.
const MOST_WIDTH: usize = 32 * SHORT_SIDE;

/// The graph wants sides that are multiples of this.
pub(super) const STRIDE: usize = 32;

/// Pixels with a higher probability are text.
const PIXEL_THRESHOLD: f32 = 0.3;

/// Rectangles with a lower mean probability are dropped.
const BOX_THRESHOLD: f64 = 0.5;

/// How much rectangles grow.
const GROWTH: f64 = 1.6;

/// Borders looked at.
const MAX_BORDERS: usize = 1000;

/// Rectangles with a shorter side below this (before growing; two more after) are dropped, pixels
/// of the graph.
const MIN_SIDE: f64 = 3.0;

/// Sides of a multiple of [`STRIDE`], at least one, rounding halves to even.
pub(super) fn strided(side: usize) -> usize {
    let steps = (side as f64 / STRIDE as f64).round_ties_even() as usize;
    steps.max(1) * STRIDE
}

/// Finds text. Quads have whole coordinates in pixels of `picture`, clockwise from the picture's
/// top left, in reading order.
///
/// # Errors
/// [`ModelError::Run`].
pub(super) fn detect(graph: &mut Graph, picture: &Bitmap) -> Result<Vec<Corners>, ModelError> {
    let (width, height) = graph_size(picture.width, picture.height);
    let mut batch = Batch::new(width, height);
    batch.push(&picture.resized(width, height));
    let answer = graph.run(&batch)?;
    if answer.shape != [1, 1, height, width] {
        return Err(ModelError::Broken(format!(
            "the detector answered with shape {:?} to a picture of {width}x{height}",
            answer.shape
        )));
    }
    let map = ProbabilityMap {
        width,
        height,
        values: answer.values,
    };
    let mut quads: Vec<Corners> = map
        .rectangles()
        .iter()
        .filter_map(|rectangle| placed(rectangle, [width, height], picture))
        .collect();
    sort_for_reading(&mut quads);
    Ok(quads)
}

/// The size at which the graph sees a picture.
fn graph_size(width: usize, height: usize) -> (usize, usize) {
    let short = width.min(height);
    let mut ratio = 1.0;
    if short < SHORT_SIDE {
        let most = (MOST_WIDTH as f64 / width as f64).min(MOST_HEIGHT as f64 / height as f64);
        ratio = (SHORT_SIDE as f64 / short as f64).min(most.max(1.0));
    }
    let side = |side: usize| strided((side as f64 * ratio) as usize);
    (side(width), side(height))
}

/// The graph's answer, row-major.
struct ProbabilityMap {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl ProbabilityMap {
    /// The grown rectangles around text, in pixels of the map.
    fn rectangles(&self) -> Vec<Rectangle> {
        let mask = Mask {
            width: self.width,
            height: self.height,
            set: self.values.iter().map(|&p| p > PIXEL_THRESHOLD).collect(),
        };
        border_hulls(&mask.dilated())
            .iter()
            .take(MAX_BORDERS)
            .filter_map(|hull| {
                let tight = Rectangle::around(hull)?;
                if tight.short_side < MIN_SIDE || self.mean(&tight.corners) < BOX_THRESHOLD {
                    return None;
                }
                let grown = Rectangle::around(&tight.grown(GROWTH))?;
                (grown.short_side >= MIN_SIDE + 2.0).then_some(grown)
            })
            .collect()
    }

    /// The mean probability in a convex polygon whose corners are cut to whole pixels, its outline
    /// included; 0 where it lies outside.
    fn mean(&self, corners: &[Point; 4]) -> f64 {
        let origin = |axis: usize, end: usize| {
            let low = corners
                .iter()
                .map(|c| c[axis])
                .fold(f64::INFINITY, f64::min);
            low.floor().clamp(0.0, end as f64 - 1.0)
        };
        let (left, top) = (origin(0, self.width), origin(1, self.height));
        let whole = corners.map(|[x, y]| [left + (x - left).trunc(), top + (y - top).trunc()]);
        let bottom = whole.iter().map(|c| c[1]).fold(0.0, f64::max);
        let (mut sum, mut count) = (0.0, 0usize);
        for y in top as usize..=(bottom as usize).min(self.height - 1) {
            let Some((low, high)) = span(&whole, y as f64) else {
                continue;
            };
            let low = low.round().max(0.0) as usize;
            let high = high.round().min(self.width as f64 - 1.0);
            if high < low as f64 {
                continue;
            }
            let row = &self.values[y * self.width + low..=y * self.width + high as usize];
            sum += row.iter().map(|&p| f64::from(p)).sum::<f64>();
            count += row.len();
        }
        if count == 0 { 0.0 } else { sum / count as f64 }
    }
}

/// The extent in x of a convex polygon within half a pixel of row `y`.
fn span(corners: &[Point; 4], y: f64) -> Option<(f64, f64)> {
    let mut extent: Option<(f64, f64)> = None;
    let (above, below) = (y - 0.5, y + 0.5);
    for (i, a) in corners.iter().enumerate() {
        let b = corners[(i + 1) % 4];
        let (upper, lower) = if a[1] <= b[1] { (*a, b) } else { (b, *a) };
        if lower[1] < above || upper[1] > below {
            continue;
        }
        let at = |row: f64| {
            if lower[1] == upper[1] {
                return upper[0];
            }
            let share = (row - upper[1]) / (lower[1] - upper[1]);
            upper[0] + share.clamp(0.0, 1.0) * (lower[0] - upper[0])
        };
        let ends = if lower[1] == upper[1] {
            [upper[0], lower[0]]
        } else {
            [at(above), at(below)]
        };
        for x in ends {
            let (low, high) = extent.unwrap_or((x, x));
            extent = Some((low.min(x), high.max(x)));
        }
    }
    extent
}

/// A rectangle of the map as a quad of the picture; `None` where hardly anything is left of it.
fn placed(rectangle: &Rectangle, map: [usize; 2], picture: &Bitmap) -> Option<Corners> {
    let ends = [picture.width as f32, picture.height as f32];
    let whole = rectangle.corners.map(|corner| {
        // In single precision and in this order: many corners come to lie half-way between pixels.
        let on = |axis: usize| {
            let at = corner[axis] as f32 / map[axis] as f32 * ends[axis];
            at.round_ties_even().clamp(0.0, ends[axis])
        };
        [on(0), on(1)]
    });
    let quad = clockwise(whole).map(|[x, y]| {
        [
            x.min(picture.width as f32 - 1.0),
            y.min(picture.height as f32 - 1.0),
        ]
    });
    let length = |i: usize, j: usize| {
        let ([ax, ay], [bx, by]) = (quad[i], quad[j]);
        (ax - bx).hypot(ay - by) as u32
    };
    (length(0, 1) > 3 && length(0, 3) > 3).then_some(quad)
}

/// Corners clockwise as seen, from the upper of the two on the left.
fn clockwise(mut corners: Corners) -> Corners {
    corners.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let (left, right) = corners.split_at_mut(2);
    for pair in [left, right] {
        pair.sort_by(|a, b| a[1].total_cmp(&b[1]));
    }
    let [top_left, bottom_left, top_right, bottom_right] = corners;
    [top_left, top_right, bottom_right, bottom_left]
}

/// From top to bottom, and within ten pixels of height from left to right.
fn sort_for_reading(quads: &mut [Corners]) {
    quads.sort_by(|a, b| {
        a[0][1]
            .total_cmp(&b[0][1])
            .then(a[0][0].total_cmp(&b[0][0]))
    });
    for end in 1..quads.len() {
        for i in (0..end).rev() {
            let ([x, y], [next_x, next_y]) = (quads[i][0], quads[i + 1][0]);
            if (next_y - y).abs() >= 10.0 || next_x >= x {
                break;
            }
            quads.swap(i, i + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_sees_the_short_side_at_736_and_multiples_of_32() {
        assert_eq!(graph_size(400, 320), (928, 736));
        assert_eq!(graph_size(1600, 1200), (1600, 1216));
        // 2000 / 32 = 62.5 goes to the even 62, 752 / 32 = 23.5 to the even 24.
        assert_eq!(graph_size(2000, 752), (1984, 768));
        assert_eq!(strided(720), 704);
        assert_eq!(strided(3), 32);
    }

    #[test]
    fn a_very_tall_picture_is_not_enlarged_without_end() {
        assert_eq!(graph_size(40, 2000), (128, 5888));
        assert_eq!(graph_size(250, 2000), (736, 5888));
    }

    #[test]
    fn a_wide_picture_is_enlarged_as_the_reference_does_up_to_32_times_its_height() {
        assert_eq!(graph_size(1600, 60), (19_616, 736));
        assert_eq!(graph_size(1984, 62), (23_552, 736));
        assert_eq!(graph_size(1984, 32), (23_552, 384));
    }

    fn map(width: usize, height: usize, text: impl Fn(usize, usize) -> f32) -> ProbabilityMap {
        let values = (0..width * height)
            .map(|i| text(i % width, i / width))
            .collect();
        ProbabilityMap {
            width,
            height,
            values,
        }
    }

    #[test]
    fn a_block_of_text_becomes_one_grown_rectangle() {
        let block = |x: usize, y: usize| {
            let inside = (40..100).contains(&x) && (30..40).contains(&y);
            if inside { 0.9 } else { 0.1 }
        };
        let found = map(160, 80, block).rectangles();
        assert_eq!(found.len(), 1);
        // Dilated to 40..=100 × 30..=40: 60 × 10, grown by 600 × 1.6 / 140 = 6.86.
        let expected = [[33.0, 23.0], [107.0, 23.0], [107.0, 47.0], [33.0, 47.0]];
        assert_eq!(found[0].corners, expected);
    }

    #[test]
    fn faint_text_is_dropped_by_its_mean() {
        let faint = |x: usize, y: usize| {
            let inside = (40..100).contains(&x) && (30..40).contains(&y);
            if inside { 0.4 } else { 0.0 }
        };
        assert!(map(160, 80, faint).rectangles().is_empty());
    }

    #[test]
    fn the_mean_covers_the_outline_and_nothing_else() {
        let square = map(10, 10, |x, y| {
            let inside = (2..=5).contains(&x) && (3..=6).contains(&y);
            if inside { 1.0 } else { 0.0 }
        });
        let corners = [[2.0, 3.0], [5.0, 3.0], [5.0, 6.0], [2.0, 6.0]];
        assert_eq!(square.mean(&corners), 1.0);
        let wider = [[2.0, 3.0], [9.0, 3.0], [9.0, 6.0], [2.0, 6.0]];
        assert_eq!(square.mean(&wider), 0.5);
        assert_eq!(
            square.mean(&[[-9.0, -9.0], [-5.0, -9.0], [-5.0, -5.0], [-9.0, -5.0]]),
            0.0
        );
    }

    #[test]
    fn quads_are_read_line_by_line() {
        let at = |x: f32, y: f32| [[x, y], [x + 9.0, y], [x + 9.0, y + 9.0], [x, y + 9.0]];
        let mut quads = vec![
            at(50.0, 100.0),
            at(80.0, 12.0),
            at(10.0, 20.0),
            at(0.0, 109.0),
        ];
        sort_for_reading(&mut quads);
        let order = [
            at(10.0, 20.0),
            at(80.0, 12.0),
            at(0.0, 109.0),
            at(50.0, 100.0),
        ];
        assert_eq!(quads, order);
    }

    #[test]
    fn corners_go_clockwise_from_the_upper_left() {
        let mixed = [[8.0, 9.0], [1.0, 7.0], [2.0, 1.0], [9.0, 2.0]];
        assert_eq!(
            clockwise(mixed),
            [[2.0, 1.0], [9.0, 2.0], [8.0, 9.0], [1.0, 7.0]].map(|[x, y]: [f32; 2]| [x, y])
        );
    }
}
