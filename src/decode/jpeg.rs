//! JPEG, straight through zune-jpeg: the `image` crate reads the same way but fills in what is
//! missing without a word.

use image::metadata::Orientation;
use vila2_actors::error::DecodeError;
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::{JpegDecoder, errors::DecodeErrors};

use super::{Claim, Frame};

/// Reads size and layout from the header.
pub(super) fn claim(body: &[u8]) -> Result<Claim, DecodeError> {
    let decoder = opened(body, false).map_err(|e| meaning(e, body))?;
    let (width, height) = size(&decoder);
    let components = decoder.info().map_or(3, |info| info.components);
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
        bytes: pixels * 3 + whole,
    })
}

/// Decodes to RGB.
pub(super) fn decode(body: &[u8]) -> Result<Frame, DecodeError> {
    if !is_complete(body) {
        return Err(truncated());
    }
    // Strict first: it is silent only about files without a fault. A file with a fault that every
    // viewer forgives (junk between headers, a wrong restart marker) is read again leniently.
    let (decoder, rgb) = match decoded(body, true) {
        Ok(done) => done,
        Err(error) if is_premature(&error) => return Err(truncated()),
        Err(_) => decoded(body, false).map_err(|e| meaning(e, body))?,
    };
    let (width, height) = size(&decoder);
    let orientation = decoder.exif().and_then(|e| Orientation::from_exif_chunk(e));
    Ok(Frame {
        width,
        height,
        rgb,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
    })
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

/// One marker of a JPEG file and where what follows it begins.
struct Markers<'a> {
    body: &'a [u8],
    at: usize,
}

impl Iterator for Markers<'_> {
    type Item = u8;

    /// The next marker. Segments are skipped by their length, so a thumbnail's markers inside of
    /// one do not count; entropy-coded data is skipped by its stuffing.
    fn next(&mut self) -> Option<u8> {
        loop {
            let rest = self.body.get(self.at..)?;
            self.at += rest.iter().position(|byte| *byte == 0xff)? + 1;
            let marker = *self.body.get(self.at)?;
            match marker {
                0xff => {}                                 // fill: look at this byte again
                0x00 | 0x01 | 0xd0..=0xd7 => self.at += 1, // stuffing, TEM, restart
                SOI | EOI => {
                    self.at += 1;
                    return Some(marker);
                }
                _ => {
                    let length = self.body.get(self.at + 1..self.at + 3)?;
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    self.at += 1 + length.max(2);
                    return Some(marker);
                }
            }
        }
    }
}

fn markers(body: &[u8]) -> Markers<'_> {
    Markers { body, at: 2 }
}

/// Whether the end marker follows the scans. What comes after it is nobody's business.
fn is_complete(body: &[u8]) -> bool {
    markers(body)
        .skip_while(|marker| *marker != SOS)
        .any(|marker| marker == EOI)
}

/// Whether the decoder keeps all coefficients: progressive, or components in scans of their own.
fn holds_coefficients(body: &[u8]) -> bool {
    let mut scans = markers(body).filter(|&m| matches!(m, 0xc2 | 0xc6 | 0xca | 0xce | SOS));
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
