//! BMP: run-length data without its end code, and headers of OS/2, are made such as the decoder
//! knows.

use image::{
    ColorType, ImageDecoder as _, ImageError, codecs::bmp::BmpDecoder, metadata::Orientation,
};
use vila2_actors::error::DecodeError;

use super::{
    Claim, Format, Frame,
    background::Background,
    pieces::Pieces,
    pixels::{Alpha, Samples, copied_bytes},
    raster,
};

/// Ends run-length data.
const END_OF_BITMAP: &[u8] = &[0, 1];
/// A last row is filled up to four bytes; some files leave out what fills it.
const FILL: &[u8] = &[0, 0, 0];

/// Reads size and layout from the header.
pub(super) fn claim(body: &[u8]) -> Result<Claim, DecodeError> {
    let decoder = opened(body, vec![body])?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let each = u64::from(color.bytes_per_pixel()) + copied_bytes(color);
    Ok(Claim {
        width,
        height,
        bytes: u64::from(width) * u64::from(height) * each,
    })
}

/// Decodes to RGB.
pub(super) fn decode(body: &[u8], background: Background) -> Result<Frame, DecodeError> {
    let (width, height) = opened(body, vec![body])?.dimensions();
    let pieces = match Header::of(body) {
        Some(header) if matches!(header.compression, RLE8 | RLE4) => {
            let end = header.runs_end(body, width, height);
            let end = end.ok_or_else(|| raster::truncated(Format::Bmp))?;
            vec![&body[..end], END_OF_BITMAP]
        }
        Some(header) => vec![body, &FILL[..header.fill(width)]],
        None => vec![body],
    };
    let decoder = opened(body, pieces)?;
    let color = decoder.color_type();
    let mut bytes = vec![0; raster::length(&decoder)?];
    decoder.read_image(&mut bytes).map_err(meaning)?;
    let samples = Samples {
        color,
        alpha: alpha(color, &bytes),
        bytes,
    };
    Ok(Frame {
        width,
        height,
        rgb: raster::to_rgb(samples, background)?,
        orientation: Orientation::NoTransforms,
    })
}

/// Many programs announce alpha and write zeros: where all is clear, nothing is meant to be.
fn alpha(color: ColorType, bytes: &[u8]) -> Alpha {
    let all_clear = || bytes.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 0);
    if color == ColorType::Rgba8 && all_clear() {
        Alpha::Ignored
    } else {
        Alpha::Straight
    }
}

fn opened<'a>(body: &[u8], pieces: Vec<&'a [u8]>) -> Result<BmpDecoder<Pieces<'a>>, DecodeError> {
    if let Some(kind) = Header::of(body).and_then(|header| header.kind_not_decoded()) {
        return Err(DecodeError::UnsupportedFormat(format!(
            "a kind of BMP not decoded here: {kind}"
        )));
    }
    BmpDecoder::new(Pieces::new(pieces)).map_err(meaning)
}

fn meaning(error: ImageError) -> DecodeError {
    raster::meaning(Format::Bmp, error)
}

const RLE8: u32 = 1;
const RLE4: u32 = 2;

/// What decides the kind of a BMP.
#[derive(Debug, Clone, Copy)]
struct Header {
    /// Bytes of the second header.
    size: u32,
    /// Where the pixels begin.
    pixels: usize,
    bits: u16,
    compression: u32,
}

impl Header {
    fn of(body: &[u8]) -> Option<Self> {
        let four = |at: usize| {
            let bytes = body.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        let size = four(14)?;
        let (bits, compression) = match size {
            12 => (four(24)? & 0xffff, 0),
            _ => (four(26)? >> 16, four(30)?),
        };
        Some(Self {
            size,
            pixels: usize::try_from(four(10)?).ok()?,
            bits: bits as u16,
            compression,
        })
    }

    fn kind_not_decoded(&self) -> Option<String> {
        Some(match (self.size, self.compression, self.bits) {
            (16 | 64, 3, 1) => "Huffman 1D of OS/2".to_owned(),
            (16 | 64, 4, _) => "24 bits in runs (RLE24) of OS/2".to_owned(),
            (16 | 64, ..) => "with a header of OS/2 2.x".to_owned(),
            (12, ..) => return None,
            (_, 4, 24) => "24 bits in runs (RLE24)".to_owned(),
            (_, 3, 1) => "Huffman 1D".to_owned(),
            (_, 4, _) => "a JPEG inside".to_owned(),
            (_, 5, _) => "a PNG inside".to_owned(),
            (_, 6, _) => "bit masks with alpha of Windows CE".to_owned(),
            (_, 11..=13, _) => "CMYK".to_owned(),
            (_, 7.., _) => format!("compression {}", self.compression),
            (_, _, 64) => "64 bits a pixel".to_owned(),
            _ => return None,
        })
    }

    /// Bytes that fill up a row.
    fn fill(&self, width: u32) -> usize {
        let row = (u64::from(width) * u64::from(self.bits)).div_ceil(8);
        (row.next_multiple_of(4) - row) as usize
    }

    /// Where run-length data end: at their end code, or where every row is there. `None` where
    /// rows are missing.
    fn runs_end(&self, body: &[u8], width: u32, height: u32) -> Option<usize> {
        let (width, height) = (u64::from(width), u64::from(height));
        let (mut x, mut y) = (0, 0);
        let mut at = self.pixels;
        loop {
            let Some([count, value]) = body.get(at..at + 2) else {
                // The row begun last has no end code of its own.
                return (y + 1 == height && x >= width).then_some(at);
            };
            at += 2;
            match (count, value) {
                (0, 0) => (x, y) = (0, y + 1),
                (0, 1) => return Some(at - 2),
                (0, 2) => {
                    let [right, up] = body.get(at..at + 2)? else {
                        return None;
                    };
                    at += 2;
                    x += u64::from(*right);
                    y += u64::from(*up);
                }
                (0, literal) => {
                    let literal = usize::from(*literal);
                    let bytes = if self.compression == RLE4 {
                        literal.div_ceil(2)
                    } else {
                        literal
                    };
                    at += bytes.next_multiple_of(2);
                    x += literal as u64;
                }
                (run, _) => x += u64::from(*run),
            }
            if y >= height {
                return (at <= body.len()).then_some(at);
            }
            if at > body.len() {
                return None;
            }
        }
    }
}
