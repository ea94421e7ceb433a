//! What two boxes show of each other. Boxes `[x1, y1, x2, y2]` in pixels, x2 and y2 exclusive.

use vila2_actors::boxes::{area, center, gap, overlap};

use super::Relation;

/// The tie band, as a share of the picture's width (x) or height (y).
pub const PICTURE_BAND: f32 = 0.08;

/// The tie band, as a share of the mean extent of the two boxes on the axis.
pub const SIZE_BAND: f32 = 0.25;

/// The share of the inner box that must lie in the outer one.
pub const INSIDE_SHARE: f32 = 0.9;

/// The inner box has at most this share of the outer one's area.
const INSIDE_AREA: f32 = 0.6;

/// The widest gap called near, as a share of the picture's shorter side.
pub const NEAR_GAP: f32 = 0.04;

/// Boxes that share more of the smaller one than this are not called near: they may be parts of
/// each other, or one thing under two names.
const NEAR_OVERLAP: f32 = 0.5;

/// A relation of the first box to the second, or the other way round where `swapped`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Said {
    pub relation: Relation,
    pub swapped: bool,
    /// 0 to 1; 0.5 at the edge of the band.
    pub score: f32,
}

/// The picture in which boxes are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    width: f32,
    height: f32,
}

impl Frame {
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width: width.max(1) as f32,
            height: height.max(1) as f32,
        }
    }

    /// The third of the height that a box's centre is in, then the x of its centre.
    pub fn reading_order(&self, bounds: &[f32; 4]) -> (u8, f32) {
        let [x, y] = center(bounds);
        let third = (y * 3.0 / self.height).floor().clamp(0.0, 2.0);
        (third as u8, x)
    }

    /// The relations of `a` and `b` that are clear; none where nothing is.
    pub fn clear(&self, a: &[f32; 4], b: &[f32; 4]) -> Vec<Said> {
        if let Some(inside) = inside(a, b) {
            return vec![inside];
        }
        let mut said = Vec::new();
        let (relation, margin) = self.direction(a, b);
        if margin > 1.0 {
            said.push(Said {
                relation,
                swapped: false,
                score: 1.0 - 0.5 / margin,
            });
        }
        let limit = NEAR_GAP * self.width.min(self.height);
        let apart = gap(a, b);
        if apart <= limit && overlap(a, b) <= NEAR_OVERLAP {
            said.push(Said {
                relation: Relation::Near,
                swapped: false,
                score: 1.0 - 0.5 * apart / limit,
            });
        }
        said
    }

    /// The direction between the half and the whole of the band, for want of anything clear.
    pub fn weak(&self, a: &[f32; 4], b: &[f32; 4]) -> Option<Said> {
        let (relation, margin) = self.direction(a, b);
        (margin > 0.5).then_some(Said {
            relation,
            swapped: false,
            score: 0.5 * margin.min(1.0),
        })
    }

    /// The direction of `a` from `b` that stands out most, and the offset of the centres in bands.
    fn direction(&self, a: &[f32; 4], b: &[f32; 4]) -> (Relation, f32) {
        let ([ax, ay], [bx, by]) = (center(a), center(b));
        let band = |side: f32, low: usize, high: usize| {
            let extent = (a[high] - a[low] + b[high] - b[low]) / 2.0;
            (PICTURE_BAND * side).max(SIZE_BAND * extent)
        };
        let x = (bx - ax) / band(self.width, 0, 2);
        let y = (by - ay) / band(self.height, 1, 3);
        let relation = match (x.abs() >= y.abs(), x >= 0.0, y >= 0.0) {
            (true, true, _) => Relation::LeftOf,
            (true, false, _) => Relation::RightOf,
            (false, _, true) => Relation::Above,
            (false, _, false) => Relation::Below,
        };
        (relation, x.abs().max(y.abs()))
    }
}

/// Whether one box lies in the other, in either order.
fn inside(a: &[f32; 4], b: &[f32; 4]) -> Option<Said> {
    let swapped = area(b) < area(a);
    let (inner, outer) = if swapped { (b, a) } else { (a, b) };
    let share = overlap(a, b);
    let fits = share >= INSIDE_SHARE && area(inner) <= INSIDE_AREA * area(outer);
    fits.then_some(Said {
        relation: Relation::Inside,
        swapped,
        score: 0.5 + 0.5 * (share - INSIDE_SHARE) / (1.0 - INSIDE_SHARE),
    })
}
