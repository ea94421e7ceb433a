//! Pictures as the reader's graphs want them: `u8[height, width, 3]` in BGR order, resampled the
//! way the reference does it. A recogniser reads what it is shown: one grey level of rounding in
//! every pixel is enough to change a doubtful letter.

use vila2_actors::image::Image;

/// A picture, BGR, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bitmap {
    pub width: usize,
    pub height: usize,
    /// `height × width × 3` levels.
    pub levels: Vec<u8>,
}

/// Weights of the linear filter are multiples of 1 / 2048.
const WEIGHT_BITS: u32 = 11;

impl Bitmap {
    /// A black picture.
    pub fn black(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            levels: vec![0; width * height * 3],
        }
    }

    /// Copies a decoded picture, red and blue swapped.
    pub fn of(image: &Image) -> Self {
        Self {
            width: image.width as usize,
            height: image.height as usize,
            levels: image
                .pixels
                .chunks_exact(3)
                .flat_map(|rgb| [rgb[2], rgb[1], rgb[0]])
                .collect(),
        }
    }

    /// The three levels at (x, y).
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let start = (y * self.width + x) * 3;
        [
            self.levels[start],
            self.levels[start + 1],
            self.levels[start + 2],
        ]
    }

    /// Resamples bilinearly to the given size, in fixed point, without antialiasing.
    ///
    /// # Source
    /// Equal to `cv2.resize` (`INTER_LINEAR`, 8 bits) of OpenCV 5.0 on x86-64, level by level.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        if (width * 2, height * 2) == (self.width, self.height) {
            return self.halved();
        }
        let columns: Vec<Tap> = (0..width)
            .map(|x| Tap::column(x, width, self.width))
            .collect();
        let mut levels = vec![0; width * height * 3];
        // The two source rows last resampled along x; neighbouring target rows mostly share them.
        let mut rows: [(usize, Vec<i32>); 2] = [(usize::MAX, vec![]), (usize::MAX, vec![])];
        for (y, target) in levels.chunks_exact_mut(width * 3).enumerate() {
            let tap = Tap::row(y, height, self.height);
            if rows[1].0 == tap.low {
                rows.swap(0, 1);
            }
            for (row, source) in rows.iter_mut().zip([tap.low, tap.high]) {
                if row.0 != source {
                    *row = (source, self.stretched_row(source, &columns));
                }
            }
            for ((level, low), high) in target.iter_mut().zip(&rows[0].1).zip(&rows[1].1) {
                let low = ((low >> 4) * tap.low_weight) >> 16;
                let high = ((high >> 4) * tap.high_weight) >> 16;
                *level = ((low + high + 2) >> 2).clamp(0, 255) as u8;
            }
        }
        Self {
            width,
            height,
            levels,
        }
    }

    /// Row `y` resampled along x, times 2¹¹.
    fn stretched_row(&self, y: usize, columns: &[Tap]) -> Vec<i32> {
        let row = &self.levels[y * self.width * 3..(y + 1) * self.width * 3];
        let mut stretched = Vec::with_capacity(columns.len() * 3);
        for tap in columns {
            for channel in 0..3 {
                let low = i32::from(row[tap.low * 3 + channel]) * tap.low_weight;
                let high = i32::from(row[tap.high * 3 + channel]) * tap.high_weight;
                stretched.push(low + high);
            }
        }
        stretched
    }

    /// Half the size: means of two by two.
    fn halved(&self) -> Self {
        let mut half = Self::black(self.width / 2, self.height / 2);
        for y in 0..half.height {
            for x in 0..half.width {
                let corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
                    .map(|(dx, dy)| self.at(2 * x + dx, 2 * y + dy));
                for channel in 0..3 {
                    let sum: u16 = corners.iter().map(|c| u16::from(c[channel])).sum();
                    half.levels[(y * half.width + x) * 3 + channel] = ((sum + 2) >> 2) as u8;
                }
            }
        }
        half
    }

    /// Turned by 90 degrees counter-clockwise: the right edge becomes the top.
    pub fn turned_left(&self) -> Self {
        let mut turned = Self::black(self.height, self.width);
        for (i, target) in turned.levels.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % self.height, i / self.height);
            target.copy_from_slice(&self.at(self.width - 1 - y, x));
        }
        turned
    }

    /// Upside down.
    pub fn turned_over(&self) -> Self {
        let levels = self
            .levels
            .chunks_exact(3)
            .rev()
            .flatten()
            .copied()
            .collect();
        Self { levels, ..*self }
    }
}

/// Two neighbours of a source row or column with their weights, which sum to 2¹¹.
#[derive(Debug, Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    low_weight: i32,
    high_weight: i32,
}

impl Tap {
    /// Columns beyond the edge take the edge's level alone.
    fn column(x: usize, target: usize, source: usize) -> Self {
        let (floor, fraction) = Self::place(x, target, source);
        let last = source as i64 - 1;
        let fraction = if floor < 0 || floor >= last {
            0.0
        } else {
            fraction
        };
        Self::weighted(floor, fraction, last)
    }

    /// Rows beyond the edge repeat the edge, weights as they are.
    fn row(y: usize, target: usize, source: usize) -> Self {
        let (floor, fraction) = Self::place(y, target, source);
        Self::weighted(floor, fraction, source as i64 - 1)
    }

    fn place(at: usize, target: usize, source: usize) -> (i64, f32) {
        let scale = source as f64 / target as f64;
        let place = ((at as f64 + 0.5) * scale - 0.5) as f32;
        (place.floor() as i64, place - place.floor())
    }

    fn weighted(floor: i64, fraction: f32, last: i64) -> Self {
        let weight = |share: f32| (share * (1 << WEIGHT_BITS) as f32).round_ties_even() as i32;
        Self {
            low: floor.clamp(0, last) as usize,
            high: (floor + 1).clamp(0, last) as usize,
            low_weight: weight(1.0 - fraction),
            high_weight: weight(fraction),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(width: usize, height: usize, levels: &[u8]) -> Bitmap {
        let levels = levels.iter().flat_map(|l| [*l; 3]).collect();
        Bitmap {
            width,
            height,
            levels,
        }
    }

    fn blue(bitmap: &Bitmap) -> Vec<u8> {
        bitmap.levels.iter().step_by(3).copied().collect()
    }

    #[test]
    fn a_decoded_picture_is_read_in_bgr_order() {
        let image = Image::new(1, 1, bytes::Bytes::from_static(&[10, 20, 30]), (1, 1));
        assert_eq!(Bitmap::of(&image).levels, [30, 20, 10]);
    }

    #[test]
    fn linear_resampling_rounds_like_the_reference() {
        // cv2.resize(np.array([[0, 100, 255], [50, 200, 3]], np.uint8), (5, 3))
        let small = gray(3, 2, &[0, 100, 255, 50, 200, 3]);
        let expected = [
            0, 40, 100, 193, 255, 25, 75, 150, 137, 129, 50, 110, 200, 82, 3,
        ];
        assert_eq!(blue(&small.resized(5, 3)), expected);
    }

    #[test]
    fn half_size_is_the_mean_of_four() {
        let small = gray(4, 2, &[0, 1, 10, 20, 1, 1, 30, 41]);
        assert_eq!(blue(&small.resized(2, 1)), [1, 25]);
    }

    #[test]
    fn turning_left_brings_the_right_edge_to_the_top() {
        let wide = gray(3, 2, &[1, 2, 3, 4, 5, 6]);
        let turned = wide.turned_left();
        assert_eq!((turned.width, turned.height), (2, 3));
        assert_eq!(blue(&turned), [3, 6, 2, 5, 1, 4]);
        assert_eq!(blue(&wide.turned_over()), [6, 5, 4, 3, 2, 1]);
    }
}
