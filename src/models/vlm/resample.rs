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

/// Rows that are transposed together.
const BLOCK: usize = 32;

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

/// The vertical filter on the transposed picture: one loop over whole rows serves both.
fn horizontal(pixels: &[u8], width: usize, to: usize, filter: Filter) -> Vec<u8> {
    let height = pixels.len() / (width * CHANNELS);
    let upright = transposed(pixels, width, height);
    let narrow = vertical(&upright, height * CHANNELS, width, to, filter);
    transposed(&narrow, height, to)
}

/// `u8[height, width, 3]` to `u8[width, height, 3]`.
fn transposed(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let (from, _) = pixels.as_chunks::<CHANNELS>();
    let mut out = vec![[0; CHANNELS]; from.len()];
    // In blocks: what is read and what is written stays in the cache.
    for top in (0..height).step_by(BLOCK) {
        for x in 0..width {
            for y in top..height.min(top + BLOCK) {
                out[x * height + y] = from[y * width + x];
            }
        }
    }
    out.into_flattened()
}

fn vertical(pixels: &[u8], stride: usize, height: usize, to: usize, filter: Filter) -> Vec<u8> {
    let mut out = vec![0; stride * to];
    let mut sums = vec![0i32; stride];
    let windows = windows(height, to, filter);
    for (window, out) in windows.iter().zip(out.chunks_exact_mut(stride)) {
        sums.fill(1 << (PRECISION - 1));
        let rows = pixels[window.first * stride..].chunks_exact(stride);
        for (row, weight) in rows.zip(&window.weights) {
            add(&mut sums, row, *weight);
        }
        for at in 0..stride {
            out[at] = (sums[at] >> PRECISION).clamp(0, 255) as u8;
        }
    }
    out
}

/// Adds `weight` times a row. A product of 32 bits is put together from two of 16, which every
/// processor multiplies many at a time; plain indices, so that it does not hang on what the
/// compiler inlines.
fn add(sums: &mut [i32], row: &[u8], weight: i32) {
    let (high, low) = ((weight >> 8) as i16, (weight & 0xff) as i16);
    let length = sums.len().min(row.len());
    let (sums, row) = (&mut sums[..length], &row[..length]);
    for at in 0..length {
        let value = i16::from(row[at]);
        let product = |part: i16| i32::from(value) * i32::from(part);
        sums[at] += (product(high) << 8) + product(low);
    }
}
