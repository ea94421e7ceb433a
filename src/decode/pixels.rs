//! Samples to upright RGB of a bounded size.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as Pixels, ImageRef},
};
use image::{ColorType, DynamicImage, RgbImage, metadata::Orientation};

use super::{
    Frame,
    background::{Background, Pixel, Weight, over},
};

/// How a fourth (or second) sample is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    /// Opacity; colours are stored as if opaque.
    Straight,
    /// Opacity; colours are multiplied by it.
    Premultiplied,
    /// Something else: every pixel is opaque.
    Ignored,
}

/// Decoded samples in the file's own layout, 16 bits and floats in this machine's byte order.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) color: ColorType,
    pub(super) alpha: Alpha,
    pub(super) bytes: Vec<u8>,
}

impl Samples {
    /// To RGB in front of a background: grey is repeated, 16 bits keep their high byte, floats in
    /// 0–1 are scaled. `None` for a kind unknown here.
    pub(super) fn into_rgb(self, background: Background) -> Option<Vec<u8>> {
        let (size, read): (_, fn(&[u8]) -> Pixel) = match self.color {
            ColorType::Rgb8 => return Some(self.bytes),
            ColorType::Rgba8 => (4, |p| ([p[0], p[1], p[2]], p[3])),
            ColorType::L8 => (1, |p| ([p[0]; 3], OPAQUE)),
            ColorType::La8 => (2, |p| ([p[0]; 3], p[1])),
            ColorType::L16 => (2, |p| ([high(p, 0); 3], OPAQUE)),
            ColorType::La16 => (4, |p| ([high(p, 0); 3], high(p, 1))),
            ColorType::Rgb16 => (6, |p| (high3(p), OPAQUE)),
            ColorType::Rgba16 => (8, |p| (high3(p), high(p, 3))),
            ColorType::Rgb32F => (12, |p| (float3(p), OPAQUE)),
            ColorType::Rgba32F => (16, |p| (float3(p), float(p, 3))),
            _ => return None,
        };
        let premultiplied = self.alpha == Alpha::Premultiplied;
        let behind = if self.color.has_alpha() && self.alpha != Alpha::Ignored {
            background.behind(|| weight(&self.bytes, size, read, premultiplied))
        } else {
            None
        };
        Some(match behind {
            None => rewritten(self.bytes, size, |pixel| read(pixel).0),
            Some(behind) => rewritten(self.bytes, size, |pixel| {
                over(read(pixel), premultiplied, behind)
            }),
        })
    }
}

const OPAQUE: u8 = 255;

fn weight(samples: &[u8], size: usize, read: fn(&[u8]) -> Pixel, premultiplied: bool) -> Weight {
    let mut weight = Weight::default();
    for pixel in samples.chunks_exact(size) {
        weight.add(read(pixel), premultiplied, 1);
    }
    weight
}

/// Bytes per pixel that [`Samples::into_rgb`] needs beside the samples: most kinds shrink in
/// place.
pub(super) fn copied_bytes(color: ColorType) -> u64 {
    match color {
        ColorType::L8 | ColorType::La8 | ColorType::L16 => 3,
        _ => 0,
    }
}

/// Pixels of `size` bytes as three bytes each: in place where they fit, else in a copy.
fn rewritten(mut samples: Vec<u8>, size: usize, rgb: impl Fn(&[u8]) -> [u8; 3]) -> Vec<u8> {
    let count = samples.len() / size;
    if size < 3 {
        let mut copy = Vec::with_capacity(count * 3);
        for pixel in samples.chunks_exact(size) {
            copy.extend_from_slice(&rgb(pixel));
        }
        return copy;
    }
    for i in 0..count {
        let pixel = rgb(&samples[i * size..(i + 1) * size]);
        samples[i * 3..i * 3 + 3].copy_from_slice(&pixel);
    }
    samples.truncate(count * 3);
    samples.shrink_to_fit();
    samples
}

fn high(pixel: &[u8], sample: usize) -> u8 {
    let value = u16::from_ne_bytes([pixel[sample * 2], pixel[sample * 2 + 1]]);
    (value >> 8) as u8
}

fn high3(pixel: &[u8]) -> [u8; 3] {
    [0, 1, 2].map(|sample| high(pixel, sample))
}

fn float(pixel: &[u8], sample: usize) -> u8 {
    let at = sample * 4;
    let value = f32::from_ne_bytes([pixel[at], pixel[at + 1], pixel[at + 2], pixel[at + 3]]);
    (value.clamp(0.0, 1.0) * 255.0).round() as u8 // NaN becomes 0
}

fn float3(pixel: &[u8]) -> [u8; 3] {
    [0, 1, 2].map(|sample| float(pixel, sample))
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

/// Bytes at the peak of scaling and turning a frame of RGB, the frame included.
pub(super) fn upright_bytes(width: u32, height: u32, max_side: u32) -> u64 {
    let bytes = |width: u32, height: u32| u64::from(width) * u64::from(height) * 3;
    let (w, h) = fitted(width, height, max_side);
    let turning = 2 * bytes(w, h);
    if (w, h) == (width, height) {
        return turning;
    }
    // the columns are scaled first, into a picture as high as the frame
    let scaling = bytes(width, height) + bytes(w, height) + bytes(w, h);
    scaling.max(turning)
}

/// Scales a frame down to `max_side` where it is larger (Lanczos, as wide as the scale demands),
/// then turns it upright: width, height, RGB.
pub(super) fn upright(frame: Frame, max_side: u32) -> (u32, u32, Vec<u8>) {
    let (width, height) = fitted(frame.width, frame.height, max_side);
    let orientation = frame.orientation;
    let rgb = if (width, height) == (frame.width, frame.height) {
        frame.rgb
    } else {
        scaled(frame, width, height)
    };
    if orientation == Orientation::NoTransforms {
        return (width, height, rgb);
    }
    let picture = RgbImage::from_raw(width, height, rgb).expect("bug: size and pixels differ");
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    (width, height, picture.into_bytes())
}

/// Takes the frame, so that its pixels are gone before anything is turned.
fn scaled(frame: Frame, width: u32, height: u32) -> Vec<u8> {
    let from = ImageRef::new(frame.width, frame.height, &frame.rgb, PixelType::U8x3)
        .expect("bug: size and pixels differ");
    let mut to = Pixels::new(width, height, PixelType::U8x3);
    let filter = ResizeAlg::Convolution(FilterType::Lanczos3);
    Resizer::new()
        .resize(&from, &mut to, &ResizeOptions::new().resize_alg(filter))
        .expect("bug: both are U8x3");
    to.into_vec()
}
