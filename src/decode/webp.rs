//! WebP: the decoder gets flags that are true of the file, and none of the chunks beside it.

use image::{ImageDecoder as _, codecs::webp::WebPDecoder, metadata::Orientation};
use vila2_actors::error::DecodeError;

use super::{
    Claim, Format, Frame, SIDE_CHUNK,
    background::Background,
    exif,
    pieces::Pieces,
    pixels::{Alpha, Samples},
    raster,
};

/// Reads size and layout from the header.
pub(super) fn claim(body: &[u8]) -> Result<Claim, DecodeError> {
    let outline = Outline::of(body);
    let decoder = outline.opened(body)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let each = u64::from(color.bytes_per_pixel()) + outline.bytes_beside(color.has_alpha());
    Ok(Claim {
        width,
        height,
        bytes: u64::from(width) * u64::from(height) * each,
    })
}

/// Decodes to RGB; of an animation the first frame.
pub(super) fn decode(body: &[u8], background: Background) -> Result<Frame, DecodeError> {
    if !is_complete(body) {
        return Err(raster::truncated(Format::WebP));
    }
    let outline = Outline::of(body);
    let decoder = outline.opened(body)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let mut bytes = vec![0; raster::length(&decoder)?];
    decoder
        .read_image(&mut bytes)
        .map_err(|error| meaning(error, body))?;
    let samples = Samples {
        color,
        alpha: Alpha::Straight,
        bytes,
    };
    Ok(Frame {
        width,
        height,
        rgb: raster::to_rgb(samples, background)?,
        orientation: outline.orientation(),
    })
}

const ANIMATED: u8 = 0x02;
const XMP: u8 = 0x04;
const EXIF: u8 = 0x08;
const ALPHA: u8 = 0x10;

/// Which chunks there are.
#[derive(Debug, Default)]
struct Outline<'a> {
    /// The flags of an extended file, as they are true of it: EXIF, XMP and a profile are not
    /// announced, for the decoder need not see them, and many files announce what is not there.
    flags: Option<u8>,
    lossy: bool,
    alpha: bool,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
}

impl<'a> Outline<'a> {
    fn of(body: &'a [u8]) -> Self {
        let mut outline = Self::default();
        let mut announced = 0;
        let mut rest = body.get(12..).unwrap_or_default();
        while let [n0, n1, n2, n3, a, b, c, d, data @ ..] = rest {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            let inside = &data[..length.min(data.len())];
            match &[*n0, *n1, *n2, *n3] {
                b"VP8X" => {
                    announced = inside.first().copied().unwrap_or_default();
                    outline.flags = outline.flags.or(Some(announced));
                }
                b"VP8 " => outline.lossy = true,
                b"ALPH" => outline.alpha = true,
                b"ANMF" => {
                    // behind 16 bytes of place and time, the frame's own chunks
                    let first = inside.get(16..20);
                    outline.lossy |= matches!(first, Some(b"VP8 " | b"ALPH"));
                }
                b"EXIF" => outline.exif = outline.exif.or(Some(inside)),
                b"XMP " => outline.xmp = outline.xmp.or(Some(inside)),
                _ => {}
            }
            let padded = length.saturating_add(length & 1);
            rest = data.get(padded..).unwrap_or_default();
        }
        // Pillow and libwebp read of these only what is announced.
        outline.exif = outline.exif.filter(|_| announced & EXIF != 0);
        outline.xmp = outline.xmp.filter(|_| announced & XMP != 0);
        outline.flags = outline.flags.map(|_| {
            // Around a frame smaller than its canvas it is clear, whatever is announced.
            let alpha = match announced & ANIMATED {
                0 if outline.lossy => outline.alpha,
                0 => announced & ALPHA != 0,
                _ => true,
            };
            announced & ANIMATED | if alpha { ALPHA } else { 0 }
        });
        outline
    }

    fn opened(&self, body: &'a [u8]) -> Result<WebPDecoder<Pieces<'a>>, DecodeError> {
        // the flags are the first byte of the first chunk's data
        let pieces = match (&self.flags, body.split_at_checked(20)) {
            (Some(flags), Some((head, [_, rest @ ..]))) if head[12..16] == *b"VP8X" => {
                return Self::decoder(vec![head, flag(*flags), rest], body);
            }
            _ => vec![body],
        };
        Self::decoder(pieces, body)
    }

    fn decoder(pieces: Vec<&'a [u8]>, body: &[u8]) -> Result<WebPDecoder<Pieces<'a>>, DecodeError> {
        WebPDecoder::new(Pieces::new(pieces)).map_err(|error| meaning(error, body))
    }

    /// Bytes a pixel that the decoder holds beside its result.
    fn bytes_beside(&self, has_alpha: bool) -> u64 {
        let animated = self.flags.is_some_and(|flags| flags & ANIMATED != 0);
        let frame = match (self.lossy, has_alpha) {
            (true, true) => 7, // luma and chroma, alpha packed as a picture and as a plane
            (true, false) => 2,
            (false, true) => 0, // into the result
            (false, false) => 4,
        };
        if animated { frame + 8 } else { frame } // the frame's pixels and the canvas
    }

    fn orientation(&self) -> Orientation {
        let bounded = |data: &'a [u8]| &data[..data.len().min(SIDE_CHUNK)];
        exif::orientation(self.exif.map(bounded), self.xmp.map(bounded))
    }
}

/// A byte that outlives the reader.
fn flag(flags: u8) -> &'static [u8] {
    match (flags & ANIMATED != 0, flags & ALPHA != 0) {
        (false, false) => &[0],
        (false, true) => &[ALPHA],
        (true, false) => &[ANIMATED],
        (true, true) => &[ANIMATED | ALPHA],
    }
}

/// Whether the file is as long as it says.
fn is_complete(body: &[u8]) -> bool {
    body.get(4..8)
        .and_then(|size| size.try_into().ok())
        .is_some_and(|size| body.len() as u64 >= 8 + u64::from(u32::from_le_bytes(size)))
}

fn meaning(error: image::ImageError, body: &[u8]) -> DecodeError {
    if is_complete(body) {
        raster::meaning(Format::WebP, error)
    } else {
        raster::truncated(Format::WebP)
    }
}
