//! Decoding: a file's bytes to upright RGB pixels, within bounds known from the header.
//!
//! The format is told by its first bytes, never by a name or a `Content-Type`. The header is read
//! first: what is too big is refused before anything is decoded. Then the first frame is decoded,
//! scaled down where it is larger than `max_side`, and turned upright.
//!
//! Pixels are what `ImageOps.exif_transpose(Image.open(f)).convert("RGB")` of Pillow gives, for
//! that is what the models' own processors were fed:
//!
//! - **alpha is dropped**, not blended: the colour stored under transparent pixels shows;
//! - **16 bits** per sample keep their high byte (also in grey pictures, where Pillow's `convert`
//!   clips to 255 and leaves white);
//! - **CMYK and YCCK** JPEGs are read the Adobe way (stored inverted), without a colour profile;
//! - **ICC profiles are ignored**: samples are taken for sRGB;
//! - **animations** (GIF, APNG, WebP) give their first frame; the rest is not read;
//! - **EXIF orientation** 1–8 is applied (JPEG, PNG, WebP, TIFF).
//!
//! A file that ends too early is refused as truncated even where a decoder would fill in grey. (A
//! JPEG that somebody cut and closed again with an end marker looks whole, here and to Pillow.)
//! TIFF with a palette is not supported.

mod jpeg;
mod pixels;
mod raster;
mod sniff;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use image::metadata::Orientation;
use sha2::{Digest as _, Sha256};
use vila2_actors::{
    error::DecodeError,
    image::{Decoded, Image, ImageFacts, ImageHeader},
    ports::Decoder,
};

pub use self::sniff::{Format, sniff};

/// Bumped whenever the same file gives other pixels.
const PIXELS: &str = "pixels/1";

/// How to decode; the `[decode]` section of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeSettings {
    /// Most pixels (width × height) that a header may claim.
    pub max_pixels: u64,
    /// Longest side, in pixels, that the stages get; larger pictures are scaled down to it.
    pub max_side: u32,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        Self {
            max_pixels: 1 << 26,
            max_side: 2048,
        }
    }
}

/// Decodes JPEG, PNG, WebP, GIF, BMP and TIFF files.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileDecoder {
    settings: DecodeSettings,
}

/// What a header says, before the bounds are applied.
#[derive(Debug, Clone, Copy)]
struct Claim {
    width: u32,
    height: u32,
    /// Bytes of the decoder's buffers and the RGB pixels before scaling.
    bytes: u64,
}

/// The decoded first frame, as stored (not upright).
#[derive(Debug)]
struct Frame {
    width: u32,
    height: u32,
    /// RGB, `height × width × 3`.
    rgb: Vec<u8>,
    orientation: Orientation,
}

impl FileDecoder {
    /// A decoder with these bounds.
    #[must_use]
    pub fn new(settings: DecodeSettings) -> Self {
        Self { settings }
    }

    fn claim(&self, format: Format, body: &[u8]) -> Result<Claim, DecodeError> {
        let claim = match format {
            Format::Jpeg => jpeg::claim(body)?,
            other => raster::claim(other, body)?,
        };
        let Claim { width, height, .. } = claim;
        if width == 0 || height == 0 {
            return Err(DecodeError::Corrupt(format!("{width}x{height} pixels")));
        }
        let limit = self.settings.max_pixels;
        if u64::from(width) * u64::from(height) > limit {
            return Err(DecodeError::TooManyPixels {
                width,
                height,
                limit,
            });
        }
        Ok(claim)
    }
}

impl Decoder for FileDecoder {
    fn header(&self, body: &[u8]) -> Result<ImageHeader, DecodeError> {
        let format = sniff(body)?;
        let Claim {
            width,
            height,
            bytes,
        } = self.claim(format, body)?;
        let (w, h) = pixels::fitted(width, height, self.settings.max_side);
        // scaling and turning hold a second copy, of the scaled size
        let turned = u64::from(w) * u64::from(h) * 3;
        Ok(ImageHeader {
            format: format.name(),
            width,
            height,
            decoded_bytes: bytes + turned,
        })
    }

    fn decode(&self, body: Bytes) -> Result<Decoded, DecodeError> {
        let format = sniff(&body)?;
        self.claim(format, &body)?;
        let frame = match format {
            Format::Jpeg => jpeg::decode(&body)?,
            other => raster::decode(other, &body, self.settings.max_pixels)?,
        };
        let original = pixels::upright_size(frame.width, frame.height, frame.orientation);
        let (width, height, rgb) = pixels::upright(frame, self.settings.max_side);
        Ok(Decoded {
            image: Image::new(width, height, rgb.into(), original),
            facts: ImageFacts {
                sha256: format!("{:x}", Sha256::digest(&body)),
                width: original.0,
                height: original.1,
                format: format.name().to_owned(),
                bytes: body.len() as u64,
            },
        })
    }

    fn identity(&self) -> String {
        // Every setting is named here, so that a new one is weighed: does it change pixels, or only
        // refuse some files?
        let DecodeSettings {
            max_pixels: _,
            max_side,
        } = self.settings;
        format!("{PIXELS} max_side={max_side}")
    }
}
