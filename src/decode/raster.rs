//! PNG, WebP, GIF, BMP and TIFF through the `image` crate.

use std::{error::Error, io, io::Cursor};

use image::{
    ColorType, ImageDecoder, ImageError, Limits,
    codecs::{
        bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder,
    },
    metadata::Orientation,
};
use vila2_actors::error::DecodeError;

use super::{Claim, Format, Frame, pixels};

/// What a decoder may allocate beside the pixels: palettes, profiles, rows, tables.
const SLACK: u64 = 32 << 20;

/// Reads size and layout from the header.
pub(super) fn claim(format: Format, body: &[u8]) -> Result<Claim, DecodeError> {
    let decoder = opened(format, body, SLACK).map_err(|e| meaning(format, e, body))?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let each = u64::from(color.bytes_per_pixel()) + pixels::copied_bytes(color);
    Ok(Claim {
        width,
        height,
        bytes: u64::from(width) * u64::from(height) * each,
    })
}

/// Decodes the first frame to RGB.
pub(super) fn decode(format: Format, body: &[u8], max_pixels: u64) -> Result<Frame, DecodeError> {
    if !is_complete(format, body) {
        return Err(truncated(format));
    }
    let refused = |error| meaning(format, error, body);
    // eight bytes a pixel is the most that any of these formats decodes to
    let mut decoder = opened(format, body, max_pixels * 8 + SLACK).map_err(refused)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut samples = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    decoder.read_image_boxed(&mut samples).map_err(refused)?;
    let rgb = pixels::to_rgb(color, samples).ok_or_else(|| unsupported_color(color))?;
    Ok(Frame {
        width,
        height,
        rgb,
        orientation,
    })
}

fn opened(
    format: Format,
    body: &[u8],
    max_alloc: u64,
) -> Result<Box<dyn ImageDecoder + '_>, ImageError> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_alloc);
    let file = Cursor::new(body);
    let mut decoder: Box<dyn ImageDecoder + '_> = match format {
        Format::Png => Box::new(PngDecoder::with_limits(file, limits.clone())?),
        Format::WebP => Box::new(WebPDecoder::new(file)?),
        Format::Gif => Box::new(GifDecoder::new(file)?),
        Format::Bmp => Box::new(BmpDecoder::new(file)?),
        Format::Tiff => Box::new(TiffDecoder::new(file)?),
        Format::Jpeg => unreachable!("bug: JPEG is decoded elsewhere"),
    };
    decoder.set_limits(limits)?;
    Ok(decoder)
}

/// Whether the file is as long as it says.
fn is_complete(format: Format, body: &[u8]) -> bool {
    match format {
        Format::Png => ends_with_iend(body),
        Format::WebP => body
            .get(4..8)
            .and_then(|size| size.try_into().ok())
            .is_some_and(|size| body.len() as u64 >= 8 + u64::from(u32::from_le_bytes(size))),
        _ => true, // these fail where bytes are missing
    }
}

/// Walks the chunks of a PNG: length, name, data, checksum.
fn ends_with_iend(body: &[u8]) -> bool {
    let mut rest = body.get(8..).unwrap_or_default();
    while let [a, b, c, d, name @ ..] = rest {
        if name.starts_with(b"IEND") {
            return name.len() >= 8; // with its checksum
        }
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        rest = rest
            .get(12usize.saturating_add(length)..)
            .unwrap_or_default();
    }
    false
}

/// Whether a GIF holds the whole of its first frame; asked only where decoding failed, for some
/// encoders leave out the end.
fn holds_first_frame(body: &[u8]) -> Option<()> {
    let table = |flags: u8| match flags & 0x80 {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    };
    let blocks_end = |mut at: usize| loop {
        let length = *body.get(at)?;
        at += 1 + usize::from(length);
        if length == 0 {
            return Some(at);
        }
    };
    let mut at = 13 + table(*body.get(10)?);
    loop {
        match body.get(at)? {
            0x21 => at = blocks_end(at + 2)?, // extension
            0x2c => {
                let local = table(*body.get(at + 9)?);
                return blocks_end(at + 10 + local + 1).map(|_| ());
            }
            _ => return Some(()), // no block: broken, not cut
        }
    }
}

fn truncated(format: Format) -> DecodeError {
    DecodeError::Truncated(format!("the {} file ends too early", format.name()))
}

fn unsupported_color(color: ColorType) -> DecodeError {
    DecodeError::UnsupportedFormat(format!("samples of kind {color:?} are not decoded here"))
}

fn meaning(format: Format, error: ImageError, body: &[u8]) -> DecodeError {
    let cut = format == Format::Gif && holds_first_frame(body).is_none();
    if cut || ends_early(&error) || !is_complete(format, body) {
        return truncated(format);
    }
    match error {
        ImageError::Unsupported(error) => DecodeError::UnsupportedFormat(error.to_string()),
        error => DecodeError::Corrupt(error.to_string()),
    }
}

/// Whether an end of file is among the causes.
fn ends_early(error: &ImageError) -> bool {
    let mut at: Option<&(dyn Error + 'static)> = match error {
        ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => return true,
        error => error.source(),
    };
    while let Some(cause) = at {
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            return true;
        }
        at = cause.source();
    }
    false
}
