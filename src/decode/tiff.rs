//! TIFF: its first picture, with what its own directory says of alpha and orientation.

use std::io::Cursor;

use image::{ImageDecoder as _, ImageError, Limits, codecs::tiff::TiffDecoder};
use vila2_actors::error::DecodeError;

use super::{
    Claim, Format, Frame,
    background::Background,
    exif::{self, Directory},
    pixels::{Alpha, Samples, copied_bytes},
    raster,
};

/// What the decoder may allocate beside the pixels: strips, tables.
const SLACK: u64 = 32 << 20;

/// The number of JPEG among the compressions.
const JPEG: u64 = 7;

/// Reads size and layout from the header.
pub(super) fn claim(body: &[u8]) -> Result<Claim, DecodeError> {
    known_layout(body)?;
    let decoder = opened(body)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let ink = u64::from(decoder.original_color_type().bits_per_pixel().div_ceil(8));
    // the decoder's own buffer and what it is copied to, then to RGB
    let mut each = ink + u64::from(color.bytes_per_pixel()).max(copied_bytes(color));
    let compression = Directory::first(body).and_then(|directory| directory.compression());
    if compression == Some(JPEG) {
        each += ink; // a strip, which may be the whole, before it is put in its place
    }
    Ok(Claim {
        width,
        height,
        bytes: u64::from(width) * u64::from(height) * each,
    })
}

/// Refuses layouts that the decoder panics at, or lays out wrongly.
fn known_layout(body: &[u8]) -> Result<(), DecodeError> {
    let Some(directory) = Directory::first(body) else {
        return Ok(()); // the decoder says what is wrong with it
    };
    let kind = if directory.is_tiled() && directory.planes() == Some(2) {
        "tiles, with each colour in tiles of its own (planar)"
    } else if !directory.is_tiled() && !directory.has_strip_lengths() {
        "strips without their lengths (StripByteCounts)"
    } else {
        return Ok(());
    };
    Err(DecodeError::UnsupportedFormat(format!(
        "a kind of TIFF not decoded here: {kind}"
    )))
}

/// Decodes the first picture to RGB.
pub(super) fn decode(body: &[u8], background: Background) -> Result<Frame, DecodeError> {
    let mut decoder = opened(body)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let mut limits = Limits::no_limits();
    // sixteen bytes a pixel is the most: four floats
    let pixels = u64::from(width) * u64::from(height);
    limits.max_alloc = Some(pixels.saturating_mul(16).saturating_add(SLACK));
    decoder.set_limits(limits).map_err(|e| meaning(e, body))?;
    let mut bytes = vec![0; raster::length(&decoder)?];
    decoder
        .read_image(&mut bytes)
        .map_err(|e| meaning(e, body))?;
    let samples = Samples {
        color,
        alpha: alpha(body),
        bytes,
    };
    Ok(Frame {
        width,
        height,
        rgb: raster::to_rgb(samples, background)?,
        orientation: exif::of_tiff(body),
    })
}

/// What the extra sample is; alpha where the file does not say, as Pillow has it.
fn alpha(body: &[u8]) -> Alpha {
    match Directory::first(body).and_then(|directory| directory.extra_samples()) {
        None | Some(2) => Alpha::Straight,
        Some(1) => Alpha::Premultiplied,
        Some(_) => Alpha::Ignored,
    }
}

fn opened(body: &[u8]) -> Result<TiffDecoder<Cursor<&[u8]>>, DecodeError> {
    TiffDecoder::new(Cursor::new(body)).map_err(|error| meaning(error, body))
}

fn meaning(error: ImageError, body: &[u8]) -> DecodeError {
    match raster::meaning(Format::Tiff, error) {
        DecodeError::UnsupportedFormat(detail) => {
            let directory = Directory::first(body);
            let compression = directory.and_then(|directory| directory.compression());
            let kind = match compression.and_then(unknown_compression) {
                Some(name) => format!("compressed with {name}"),
                None => samples(directory).unwrap_or(detail),
            };
            DecodeError::UnsupportedFormat(format!("a kind of TIFF not decoded here: {kind}"))
        }
        error => error,
    }
}

/// The samples in words.
fn samples(directory: Option<Directory<'_>>) -> Option<String> {
    let directory = directory?;
    let colours = match directory.photometric()? {
        0 | 1 => "grey",
        2 => "RGB",
        3 => "a palette",
        4 => "a mask",
        5 => "CMYK",
        6 => "YCbCr",
        8..=10 => "CIE Lab",
        32803 => "a camera's raw mosaic",
        32844 | 32845 => "LogLuv",
        _ => return None,
    };
    let count = directory.samples().unwrap_or(1);
    let bits = directory.bits().unwrap_or(1);
    let plural = if count == 1 { "" } else { "s" };
    Some(format!(
        "{colours}, {count} sample{plural} of {bits} bits a pixel"
    ))
}

/// The name of a compression that is not read here.
///
/// # Source
/// TIFF 6.0 and libtiff's `tiff.h`.
fn unknown_compression(number: u64) -> Option<&'static str> {
    Some(match number {
        1 | 4 | 5 | 7 | 8 | 32946 | 32773 => return None,
        2 => "CCITT runs",
        3 => "CCITT fax 3",
        6 => "JPEG of the old kind",
        9 | 10 | 34661 => "JBIG",
        32809 => "ThunderScan",
        34676 | 34677 => "SGI LogLuv",
        34712 | 33003 | 33005 => "JPEG 2000",
        34887 => "LERC",
        34892 => "lossy JPEG of DNG",
        34925 => "LZMA",
        50000 => "Zstandard",
        50001 => "WebP",
        50002 | 52546 => "JPEG XL",
        _ => "a method of its own",
    })
}
