//! Borders of the regions of a mask, as the convex hulls of their pixels.
//!
//! What follows only ever looks at the smallest rectangle around a border, and that is decided by
//! its hull. So no border is walked: regions are labelled, and each pixel that can be a corner is
//! handed to its region's hull. A region of set pixels (joined over edges and corners) has an
//! outer border; a hole in one (clear pixels joined over edges, not touching the mask's edge) has
//! the border of the set pixels around it.

use super::rectangle::{Point, hull};

/// A mask, row-major, one flag per pixel.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    pub width: usize,
    pub height: usize,
    pub set: Vec<bool>,
}

impl Mask {
    fn get(&self, x: i64, y: i64) -> bool {
        let within = x >= 0 && y >= 0 && x < self.width as i64 && y < self.height as i64;
        within && self.set[y as usize * self.width + x as usize]
    }

    /// Every pixel that is set or has a set pixel to the left, above, or above left.
    pub fn dilated(&self) -> Self {
        let set = (0..self.set.len())
            .map(|i| {
                let (x, y) = ((i % self.width) as i64, (i / self.width) as i64);
                self.get(x, y) || self.get(x - 1, y) || self.get(x, y - 1) || self.get(x - 1, y - 1)
            })
            .collect();
        Self { set, ..*self }
    }
}

/// The hulls of all borders, the one that begins lowest in the picture first (the reference's
/// order, which matters when there are more than are looked at).
pub(super) fn border_hulls(mask: &Mask) -> Vec<Vec<Point>> {
    let regions = Regions::label(mask);
    let mut borders: Vec<Vec<Point>> = vec![Vec::new(); regions.count()];
    let width = mask.width;
    for (i, &set) in mask.set.iter().enumerate() {
        let (x, y) = ((i % width) as i64, (i / width) as i64);
        let point = [x as f64, y as f64];
        if set {
            // Only the ends of a run can be corners of the hull.
            if !(mask.get(x - 1, y) && mask.get(x + 1, y)) {
                borders[regions.label[i]].push(point);
            }
        } else {
            // The set pixels beside a clear one belong to the border of its hole.
            let hole = regions.label[i];
            for (dx, dy) in [(-1, 0), (1, 0), (0, -1), (0, 1)] {
                if mask.get(x + dx, y + dy) {
                    borders[hole].push([(x + dx) as f64, (y + dy) as f64]);
                }
            }
        }
    }
    (0..regions.count())
        .rev()
        .filter(|&region| !regions.open[region])
        .map(|region| hull(std::mem::take(&mut borders[region])))
        .collect()
}

/// Labels of all pixels: regions numbered by their first pixel in reading order.
struct Regions {
    label: Vec<usize>,
    /// Clear regions that touch the mask's edge: no holes.
    open: Vec<bool>,
}

impl Regions {
    fn count(&self) -> usize {
        self.open.len()
    }

    fn label(mask: &Mask) -> Self {
        const NONE: usize = usize::MAX;
        const ROUND: [(i64, i64); 8] = [
            (-1, 0),
            (1, 0),
            (0, -1),
            (0, 1),
            (-1, -1),
            (1, -1),
            (-1, 1),
            (1, 1),
        ];
        let (width, height) = (mask.width as i64, mask.height as i64);
        let mut regions = Self {
            label: vec![NONE; mask.set.len()],
            open: Vec::new(),
        };
        let mut queue = Vec::new();
        for start in 0..mask.set.len() {
            if regions.label[start] != NONE {
                continue;
            }
            let (region, set) = (regions.open.len(), mask.set[start]);
            let neighbours = if set { &ROUND[..] } else { &ROUND[..4] };
            let mut open = false;
            regions.label[start] = region;
            queue.push(start);
            while let Some(pixel) = queue.pop() {
                let (x, y) = (pixel as i64 % width, pixel as i64 / width);
                open |= !set && (x == 0 || y == 0 || x == width - 1 || y == height - 1);
                for (dx, dy) in neighbours {
                    let (x, y) = (x + dx, y + dy);
                    if x < 0 || y < 0 || x >= width || y >= height {
                        continue;
                    }
                    let next = (y * width + x) as usize;
                    if regions.label[next] == NONE && mask.set[next] == set {
                        regions.label[next] = region;
                        queue.push(next);
                    }
                }
            }
            regions.open.push(open);
        }
        regions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Mask {
        Mask {
            width: rows[0].len(),
            height: rows.len(),
            set: rows
                .iter()
                .flat_map(|r| r.bytes().map(|b| b == b'#'))
                .collect(),
        }
    }

    #[test]
    fn regions_are_joined_over_corners_and_the_lowest_comes_first() {
        let hulls = border_hulls(&mask(&["##....", "..#...", "......", "....##"]));
        assert_eq!(hulls.len(), 2);
        assert_eq!(hulls[0], [[4.0, 3.0], [5.0, 3.0]]);
        assert_eq!(hulls[1], [[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]]);
    }

    #[test]
    fn a_hole_has_the_border_of_the_pixels_around_it() {
        let hulls = border_hulls(&mask(&["#####", "#...#", "#####"]));
        assert_eq!(hulls.len(), 2);
        // Lower first pixel: the hole. Its hull lacks the outer corners.
        let expected = [
            [0.0, 1.0],
            [1.0, 0.0],
            [3.0, 0.0],
            [4.0, 1.0],
            [3.0, 2.0],
            [1.0, 2.0],
        ];
        assert_eq!(hulls[0], expected);
        assert_eq!(hulls[1], [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]);
    }

    #[test]
    fn a_bay_that_reaches_the_edge_is_no_hole() {
        assert_eq!(border_hulls(&mask(&["###", "#..", "###"])).len(), 1);
    }

    #[test]
    fn dilation_grows_down_and_to_the_right() {
        let grown = mask(&["....", ".#..", "...."]).dilated();
        assert_eq!(grown.set, mask(&["....", ".##.", ".##."]).set);
    }
}
