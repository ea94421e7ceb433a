//! JPEG, by the code of libjpeg-turbo: what cameras, browsers and Pillow agree on is its output.
//!
//! It fills in what a damaged scan lacks, as Pillow does. What ends too early is found by the
//! markers beforehand.

mod markers;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use image::metadata::Orientation;
use mozjpeg::{ColorSpace, Decompress};
use vila2_actors::error::DecodeError;

use self::markers::{
    Ending, SOS, Segment, ending, few_scans, headers, holds_coefficients, markers,
};
use super::{Claim, Frame, SIDE_CHUNK, exif};

/// The most scans of a picture. Each is gone through in full, also where it holds nothing: a small
/// file of many would keep a core for hours. Cameras and encoders write ten or so.
const MAX_SCANS: usize = 100;

/// Reads size and layout from the header.
pub(super) fn claim(body: &[u8]) -> Result<Claim, DecodeError> {
    let Some(header) = FrameHeader::of(body)? else {
        return Err(match ending(body) {
            Ending::Cut => truncated(),
            Ending::Whole | Ending::Lost => corrupt("it has no frame header"),
        });
    };
    let FrameHeader {
        width,
        height,
        components,
    } = header;
    let pixels = u64::from(width) * u64::from(height);
    // two bytes a coefficient; 4:4:4 is the worst
    let coefficients = pixels * 2 * u64::from(components);
    let whole = if holds_coefficients(body, components) {
        coefficients
    } else {
        0
    };
    Ok(Claim {
        width,
        height,
        bytes: pixels * 3 + whole + side_bytes(body),
    })
}

/// Decodes to RGB.
pub(super) fn decode(body: &[u8]) -> Result<Frame, DecodeError> {
    let Some(FrameHeader { components, .. }) = FrameHeader::of(body)? else {
        return Err(corrupt("it has no frame header"));
    };
    match ending(body) {
        Ending::Whole => few_scans(body)?,
        Ending::Cut => return Err(truncated()),
        Ending::Lost => return Err(corrupt("a segment is longer than the file")),
    }
    // The library reports a fatal fault by unwinding; nothing is shared that could be left broken.
    let read = catch_unwind(AssertUnwindSafe(|| pixels(body, components)));
    let (width, height, rgb) = match read {
        Ok(Ok(pixels)) => pixels,
        Ok(Err(error)) => return Err(meaning(&error.to_string())),
        Err(fault) => return Err(meaning(text(&*fault))),
    };
    Ok(Frame {
        width,
        height,
        rgb,
        orientation: orientation(body),
    })
}

/// Size and components, of a kind that is decoded here.
#[derive(Debug, Clone, Copy)]
struct FrameHeader {
    width: u32,
    height: u32,
    components: u8,
}

impl FrameHeader {
    /// The first frame header, `None` where there is none.
    fn of(body: &[u8]) -> Result<Option<Self>, DecodeError> {
        let refused = |kind: &str| {
            Err(DecodeError::UnsupportedFormat(format!(
                "a kind of JPEG not decoded here: {kind}"
            )))
        };
        for Segment { marker, data } in markers(body) {
            match marker {
                0xc0..=0xc2 => {}
                0xc3 | 0xc7 => return refused("lossless"),
                0xc5 | 0xc6 => return refused("hierarchical"),
                0xc9 | 0xca => return refused("arithmetic coding"),
                0xcb | 0xcf => return refused("lossless, arithmetic coding"),
                0xcd | 0xce => return refused("hierarchical, arithmetic coding"),
                0xde => return refused("hierarchical"), // DHP stands in front of the frames
                0xf7 => return refused("JPEG-LS"),
                SOS => return Ok(None),
                _ => continue,
            }
            let &[precision, h1, h0, w1, w0, components, ..] = data else {
                return Ok(None);
            };
            let height = u32::from(u16::from_be_bytes([h1, h0]));
            return match (precision, components) {
                (8, 1 | 3 | 4) if height == 0 => refused("its height stands behind its scan (DNL)"),
                (8, 1 | 3 | 4) => Ok(Some(Self {
                    width: u32::from(u16::from_be_bytes([w1, w0])),
                    height,
                    components,
                })),
                (8, 0) => Err(DecodeError::Corrupt("a JPEG without components".to_owned())),
                (8, _) => refused(&format!("{components} components")),
                _ => refused(&format!("{precision} bits a sample")),
            };
        }
        Ok(None)
    }
}

/// Bytes of profiles, EXIF and other side segments that the decoder copies.
fn side_bytes(body: &[u8]) -> u64 {
    headers(body)
        .filter(|segment| matches!(segment.marker, 0xe1..=0xef | 0xfe))
        .map(|segment| segment.data.len() as u64)
        .sum()
}

/// The orientation by EXIF, in one segment or cut into several, else by XMP.
fn orientation(body: &[u8]) -> Orientation {
    const EXIF: &[u8] = b"Exif\0";
    const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
    let of_kind = |kind: &'static [u8]| {
        headers(body)
            .filter(|segment| segment.marker == 0xe1)
            .filter_map(move |segment| segment.data.strip_prefix(kind))
    };
    // one zero and one byte of any value follow the name
    let mut segments = of_kind(EXIF).filter_map(|data| data.get(1..));
    let alone = segments.clone().find(|exif| exif::has_orientation(exif));
    let joined: Vec<u8> = if alone.is_none() {
        segments
            .by_ref()
            .flatten()
            .copied()
            .take(SIDE_CHUNK)
            .collect()
    } else {
        Vec::new()
    };
    exif::orientation(alone.or(Some(&joined)), of_kind(XMP).next())
}

/// Width, height and RGB.
fn pixels(body: &[u8], components: u8) -> std::io::Result<(u32, u32, Vec<u8>)> {
    let header = Decompress::new_mem(body)?;
    let (width, height) = header.size();
    let size = (width as u32, height as u32); // both come from 16 bits
    let mut rgb = vec![0; width * height * 3];
    if components != 4 {
        header.rgb()?.read_scanlines_into(&mut rgb)?;
        return Ok((size.0, size.1, rgb));
    }
    let mut inks = header.to_colorspace(ColorSpace::JCS_CMYK)?;
    let mut line = vec![0; width * 4];
    for row in rgb.chunks_exact_mut(width * 3) {
        inks.read_scanlines_into(&mut line)?;
        for (pixel, ink) in row.chunks_exact_mut(3).zip(line.chunks_exact(4)) {
            // Stored inverted, the Adobe way: what is stored as black is the light that it leaves.
            let light = ink[3];
            for (colour, stored) in pixel.iter_mut().zip(ink) {
                *colour = light - scaled(255 - stored, light);
            }
        }
    }
    Ok((size.0, size.1, rgb))
}

/// `a × b / 255`, rounded.
fn scaled(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// What the library unwinds with.
fn text(fault: &(dyn Any + Send)) -> &str {
    let owned = fault.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| fault.downcast_ref::<&str>().copied())
        .unwrap_or("a fault without a name")
}

fn truncated() -> DecodeError {
    DecodeError::Truncated("the JPEG ends before its end marker".to_owned())
}

fn corrupt(detail: &str) -> DecodeError {
    DecodeError::Corrupt(format!("a damaged JPEG: {detail}"))
}

/// The library's fatal faults: kinds that it does not know, else damage.
fn meaning(fault: &str) -> DecodeError {
    const UNKNOWN: [&str; 5] = [
        "nsupported",
        "not supported",
        "not implemented",
        "Sorry",
        "omitted",
    ];
    let fault = fault.trim_start_matches("libjpeg fatal error: ");
    if UNKNOWN.iter().any(|word| fault.contains(word)) {
        return DecodeError::UnsupportedFormat(format!("a kind of JPEG not decoded here: {fault}"));
    }
    corrupt(fault)
}
