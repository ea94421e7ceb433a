//! JPEG, straight through zune-jpeg: the `image` crate reads the same way but fills in what is
//! missing without a word.

use image::metadata::Orientation;
use vila2_actors::error::DecodeError;
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::{JpegDecoder, errors::DecodeErrors};

use super::{Claim, Frame, SIDE_CHUNK, exif};

/// Reads size and layout from the header.
pub(super) fn claim(body: &[u8]) -> Result<Claim, DecodeError> {
    let Some(header) = FrameHeader::of(body)? else {
        return Err(if is_complete(body) {
            DecodeError::Corrupt("the JPEG has no frame header".to_owned())
        } else {
            truncated()
        });
    };
    let FrameHeader {
        width,
        height,
        components,
    } = header;
    let pixels = u64::from(width) * u64::from(height);
    // Progressive and multi-scan files hold all coefficients, two bytes each; 4:4:4 is the worst.
    let coefficients = pixels * 2 * u64::from(components);
    let whole = if holds_coefficients(body) {
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
    if !is_complete(body) {
        return Err(truncated());
    }
    let orientation = orientation(body);
    // Strict first: it is silent only about files without a fault. A file with a fault that every
    // viewer forgives (junk between headers, a wrong restart marker) is read again leniently.
    let (decoder, rgb) = match decoded(body, true) {
        Ok(done) => done,
        Err(error) if is_premature(&error) => return Err(truncated()),
        Err(_) => decoded(body, false).map_err(|e| meaning(e, body))?,
    };
    let (width, height) = size(&decoder);
    Ok(Frame {
        width,
        height,
        rgb,
        orientation,
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

type Opened<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

fn opened(body: &[u8], strict: bool) -> Result<Opened<'_>, DecodeErrors> {
    let options = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::MAX) // bounded by pixels, elsewhere
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(body), options);
    decoder.decode_headers()?;
    Ok(decoder)
}

fn decoded(body: &[u8], strict: bool) -> Result<(Opened<'_>, Vec<u8>), DecodeErrors> {
    let mut decoder = opened(body, strict)?;
    let (width, height) = size(&decoder);
    let mut rgb = vec![0; width as usize * height as usize * 3];
    decoder.decode_into(&mut rgb)?;
    Ok((decoder, rgb))
}

fn size(decoder: &Opened<'_>) -> (u32, u32) {
    let (width, height) = decoder.dimensions().unwrap_or_default();
    (width as u32, height as u32) // both come from 16 bits
}

fn is_premature(error: &DecodeErrors) -> bool {
    matches!(error, DecodeErrors::ExhaustedData)
        || matches!(error, DecodeErrors::FormatStatic(text) if text.contains("Premature end"))
}

fn truncated() -> DecodeError {
    DecodeError::Truncated("the JPEG ends before its end marker or its last row".to_owned())
}

fn meaning(error: DecodeErrors, body: &[u8]) -> DecodeError {
    match error {
        DecodeErrors::Unsupported(kind) => {
            DecodeError::UnsupportedFormat(format!("a kind of JPEG not decoded here: {kind:?}"))
        }
        error if is_premature(&error) || !is_complete(body) => truncated(),
        error => DecodeError::Corrupt(format!("{error:?}")),
    }
}

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;

/// Walks the markers of a JPEG file.
#[derive(Debug, Clone)]
struct Markers<'a> {
    body: &'a [u8],
    at: usize,
}

/// A marker and its data, as far as they are there.
#[derive(Debug, Clone, Copy)]
struct Segment<'a> {
    marker: u8,
    data: &'a [u8],
}

impl<'a> Iterator for Markers<'a> {
    type Item = Segment<'a>;

    /// The next marker. Segments are skipped by their length, so a thumbnail's markers inside of
    /// one do not count; entropy-coded data is skipped by its stuffing.
    fn next(&mut self) -> Option<Segment<'a>> {
        loop {
            let rest = self.body.get(self.at..)?;
            self.at += rest.iter().position(|byte| *byte == 0xff)? + 1;
            let marker = *self.body.get(self.at)?;
            match marker {
                0xff => {}                                 // fill: look at this byte again
                0x00 | 0x01 | 0xd0..=0xd7 => self.at += 1, // stuffing, TEM, restart
                SOI | EOI => {
                    self.at += 1;
                    return Some(Segment { marker, data: &[] });
                }
                _ => {
                    let length = self.body.get(self.at + 1..self.at + 3)?;
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                    let start = self.at + 3;
                    self.at += 1 + length;
                    let end = self.at.min(self.body.len());
                    let data = &self.body[start..end];
                    return Some(Segment { marker, data });
                }
            }
        }
    }
}

fn markers(body: &[u8]) -> Markers<'_> {
    Markers { body, at: 2 }
}

/// The segments in front of the first scan.
fn headers(body: &[u8]) -> impl Iterator<Item = Segment<'_>> + Clone {
    markers(body).take_while(|segment| segment.marker != SOS)
}

/// Whether the end marker follows the scans. What comes after it is nobody's business.
fn is_complete(body: &[u8]) -> bool {
    markers(body)
        .skip_while(|segment| segment.marker != SOS)
        .any(|segment| segment.marker == EOI)
}

/// Whether the decoder keeps all coefficients: progressive, or components in scans of their own.
fn holds_coefficients(body: &[u8]) -> bool {
    let all = markers(body).map(|segment| segment.marker);
    let mut scans = all.filter(|marker| matches!(*marker, 0xc2 | SOS));
    // the first of them is a progressive frame, or there is more than one scan
    scans.next() != Some(SOS) || scans.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_marker_inside_of_a_segment_does_not_count() {
        let mut file = vec![0xff, SOI, 0xff, 0xe1, 0, 6, 0xff, EOI, 0, 0];
        file.extend([0xff, SOS, 0, 2, 1, 2, 0xff, 0, 3, 0xff, 0xd0, 4]);
        assert!(!is_complete(&file));
        file.extend([0xff, 0xff, EOI]);
        assert!(is_complete(&file));
        file.extend(b"trailing junk");
        assert!(is_complete(&file));
    }
}
