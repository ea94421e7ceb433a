//! Samples to upright RGB of a bounded size.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as Pixels, ImageRef},
};
use image::{ColorType, DynamicImage, RgbImage, metadata::Orientation};

use super::Frame;

/// Samples of any kind to RGB: grey is repeated, alpha dropped, 16 bits keep their high byte,
/// floats in 0–1 are scaled. `None` for a kind unknown here.
pub(super) fn to_rgb(color: ColorType, mut samples: Vec<u8>) -> Option<Vec<u8>> {
    match color {
        ColorType::Rgb8 => {}
        ColorType::Rgba8 => compact(&mut samples, 4, |pixel| [pixel[0], pixel[1], pixel[2]]),
        ColorType::L8 => return Some(repeated(&samples, 1, |pixel| pixel[0])),
        ColorType::La8 => return Some(repeated(&samples, 2, |pixel| pixel[0])),
        ColorType::L16 => return Some(repeated(&samples, 2, |pixel| high(pixel, 0))),
        ColorType::La16 => compact(&mut samples, 4, |pixel| [high(pixel, 0); 3]),
        ColorType::Rgb16 => compact(&mut samples, 6, high3),
        ColorType::Rgba16 => compact(&mut samples, 8, high3),
        ColorType::Rgb32F => compact(&mut samples, 12, float3),
        ColorType::Rgba32F => compact(&mut samples, 16, float3),
        _ => return None,
    }
    Some(samples)
}

/// Bytes per pixel that [`to_rgb`] needs beside the samples: most kinds shrink in place.
pub(super) fn copied_bytes(color: ColorType) -> u64 {
    match color {
        ColorType::L8 | ColorType::La8 | ColorType::L16 => 3,
        _ => 0,
    }
}

/// Rewrites pixels of `size` bytes as three bytes each, in place.
fn compact(samples: &mut Vec<u8>, size: usize, rgb: impl Fn(&[u8]) -> [u8; 3]) {
    let count = samples.len() / size;
    for i in 0..count {
        let pixel = rgb(&samples[i * size..(i + 1) * size]);
        samples[i * 3..i * 3 + 3].copy_from_slice(&pixel);
    }
    samples.truncate(count * 3);
    samples.shrink_to_fit();
}

/// One grey value per pixel of `size` bytes, three times.
fn repeated(samples: &[u8], size: usize, grey: impl Fn(&[u8]) -> u8) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(samples.len() / size * 3);
    for pixel in samples.chunks_exact(size) {
        rgb.extend_from_slice(&[grey(pixel); 3]);
    }
    rgb
}

fn high(pixel: &[u8], sample: usize) -> u8 {
    let value = u16::from_ne_bytes([pixel[sample * 2], pixel[sample * 2 + 1]]);
    (value >> 8) as u8
}

fn high3(pixel: &[u8]) -> [u8; 3] {
    [0, 1, 2].map(|sample| high(pixel, sample))
}

fn float3(pixel: &[u8]) -> [u8; 3] {
    [0, 4, 8].map(|at| {
        let value = f32::from_ne_bytes([pixel[at], pixel[at + 1], pixel[at + 2], pixel[at + 3]]);
        (value.clamp(0.0, 1.0) * 255.0).round() as u8 // NaN becomes 0
    })
}

/// The size with the longest side at most `max_side` and the shape kept, each side at least 1.
pub(super) fn fitted(width: u32, height: u32, max_side: u32) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= max_side {
        return (width, height);
    }
    let scale = |side: u32| {
        let exact = u64::from(side) * u64::from(max_side) + u64::from(longest / 2);
        ((exact / u64::from(longest)) as u32).max(1)
    };
    (scale(width), scale(height))
}

/// Width and height once the orientation is applied.
pub(super) fn upright_size(width: u32, height: u32, orientation: Orientation) -> (u32, u32) {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

/// Scales a frame down to `max_side` where it is larger (Lanczos, as wide as the scale demands),
/// then turns it upright: width, height, RGB.
pub(super) fn upright(frame: Frame, max_side: u32) -> (u32, u32, Vec<u8>) {
    let (width, height) = fitted(frame.width, frame.height, max_side);
    let rgb = if (width, height) == (frame.width, frame.height) {
        frame.rgb
    } else {
        scaled(&frame, width, height)
    };
    if frame.orientation == Orientation::NoTransforms {
        return (width, height, rgb);
    }
    let picture = RgbImage::from_raw(width, height, rgb).expect("bug: size and pixels differ");
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(frame.orientation);
    let (width, height) = (picture.width(), picture.height());
    (width, height, picture.into_bytes())
}

fn scaled(frame: &Frame, width: u32, height: u32) -> Vec<u8> {
    let from = ImageRef::new(frame.width, frame.height, &frame.rgb, PixelType::U8x3)
        .expect("bug: size and pixels differ");
    let mut to = Pixels::new(width, height, PixelType::U8x3);
    let filter = ResizeAlg::Convolution(FilterType::Lanczos3);
    Resizer::new()
        .resize(&from, &mut to, &ResizeOptions::new().resize_alg(filter))
        .expect("bug: both are U8x3");
    to.into_vec()
}
