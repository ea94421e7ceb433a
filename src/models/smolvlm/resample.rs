//! Pillow's resampling of 8-bit pictures, bit for bit.
//!
//! Two passes over bytes, horizontal first, with fixed-point coefficients of 22 bits. A tiny model
//! tells one level of difference: other resamplers' pixels change its words.
//!
//! # Source
//! Pillow 12, `src/libImaging/Resample.c`. Pillow 13 filters some tall pictures vertically first,
//! which moves a few of their bytes by a few levels; this does not.

use std::f64::consts::PI;

/// Fraction bits of a coefficient: 32 − 8 bits of a pixel − 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// Interleaved channels: RGB.
const CHANNELS: usize = 3;

/// A resampling kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Windowed sinc over three lobes.
    Lanczos,
    /// Triangle.
    Bilinear,
    /// Cubic convolution, a = −0.5.
    Bicubic,
}

impl Filter {
    /// The filter by its number in `preprocessor_config.json: resample` (Pillow's).
    #[must_use]
    pub fn from_pillow(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Lanczos),
            2 => Some(Self::Bilinear),
            3 => Some(Self::Bicubic),
            _ => None,
        }
    }

    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let sinc = |x: f64| {
            if x == 0.0 {
                1.0
            } else {
                (x * PI).sin() / (x * PI)
            }
        };
        let distance = x.abs();
        match self {
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Bilinear if distance < 1.0 => 1.0 - distance,
            Self::Bicubic if distance < 1.0 => {
                ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
            }
            Self::Bicubic if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A
            }
            _ => 0.0,
        }
    }
}

/// Where one output sample comes from.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

fn windows(input: usize, output: usize, filter: Filter) -> Vec<Window> {
    let scale = input as f64 / output as f64;
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    let shrink = 1.0 / filter_scale;
    (0..output)
        .map(|at| {
            let center = (at as f64 + 0.5) * scale;
            // `as` truncates towards zero and clamps below at 0, as the original does.
            let first = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            let weights: Vec<f64> = (first..end)
                .map(|x| filter.at((x as f64 - center + 0.5) * shrink))
                .collect();
            let sum: f64 = weights.iter().sum();
            let weights = weights
                .into_iter()
                .map(|w| if sum == 0.0 { w } else { w / sum })
                .map(|w| {
                    let half = if w < 0.0 { -0.5 } else { 0.5 };
                    (half + w * f64::from(1 << PRECISION)) as i32
                })
                .collect();
            Window { first, weights }
        })
        .collect()
}

/// Resamples `u8[height, width, 3]` to `u8[to.1, to.0, 3]`. A side that keeps its length is not
/// filtered.
///
/// # Panics
/// When `pixels` is not `height × width × 3` long: a bug of the caller.
#[must_use]
pub fn resample(
    pixels: &[u8],
    (width, height): (usize, usize),
    to: (usize, usize),
    filter: Filter,
) -> Vec<u8> {
    assert_eq!(
        pixels.len(),
        width * height * CHANNELS,
        "bug: not {width}x{height}x3"
    );
    let narrow;
    let pixels = if to.0 == width {
        pixels
    } else {
        narrow = horizontal(pixels, width, to.0, filter);
        &narrow
    };
    if to.1 == height {
        pixels.to_vec()
    } else {
        vertical(pixels, to.0 * CHANNELS, height, to.1, filter)
    }
}

fn horizontal(pixels: &[u8], width: usize, to: usize, filter: Filter) -> Vec<u8> {
    let windows = windows(width, to, filter);
    let rows = pixels.chunks_exact(width * CHANNELS);
    let mut out = Vec::with_capacity(rows.len() * to * CHANNELS);
    for row in rows {
        let (row, _) = row.as_chunks::<CHANNELS>();
        for window in &windows {
            let mut sums = [1i32 << (PRECISION - 1); CHANNELS];
            let source = &row[window.first..window.first + window.weights.len()];
            for (pixel, weight) in source.iter().zip(&window.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            out.extend(sums.map(clip));
        }
    }
    out
}

fn vertical(pixels: &[u8], stride: usize, height: usize, to: usize, filter: Filter) -> Vec<u8> {
    let mut out = Vec::with_capacity(stride * to);
    let mut sums = vec![0i32; stride];
    for window in windows(height, to, filter) {
        sums.fill(1 << (PRECISION - 1));
        let rows = pixels[window.first * stride..].chunks_exact(stride);
        for (row, weight) in rows.zip(window.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        out.extend(sums.iter().map(|sum| clip(*sum)));
    }
    out
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
