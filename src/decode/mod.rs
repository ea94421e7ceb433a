//! Decoding: a file's bytes to upright RGB pixels, within bounds known from the header.
//!
//! The format is told by its first bytes, never by a name or a `Content-Type`. The header is read
//! first: what is too big is refused before anything is decoded. Then the first frame is decoded,
//! scaled down where it is larger than `max_side`, and turned upright.
//!
//! Pixels are what `ImageOps.exif_transpose(Image.open(f))` of Pillow gives, as RGB:
//!
//! - **what is clear** shows [`DecodeSettings::background`]; what is half clear is blended with it;
//! - **16 bits** per sample keep their high byte (also in grey pictures, where Pillow's `convert`
//!   clips to 255 and leaves white);
//! - **CMYK and YCCK** JPEGs are read the Adobe way (stored inverted), without a colour profile;
//! - **ICC profiles are ignored**: samples are taken for sRGB;
//! - **animations** (GIF, APNG, WebP) give their first frame; the rest is not read;
//! - **orientation** 1–8 is applied, from EXIF (JPEG, PNG, WebP), the own tag of TIFF, or XMP where
//!   those do not say.
//!
//! A file that ends too early is refused as truncated even where a decoder would fill in grey. (A
//! JPEG that somebody cut and closed again with an end marker looks whole, here and to Pillow.)
//! PNG, GIF and BMP files that lack only an end mark are read. TIFF with a palette is not supported.
//!
//! **Side chunks** (profiles, texts, EXIF) reach no decoder that would unpack them: of what may
//! say which way is up, the first [`SIDE_CHUNK`] bytes are read, the rest is passed over.

mod background;
mod bmp;
mod exif;
mod foreign;
mod gif;
mod jpeg;
mod mapped;
mod pieces;
mod pixels;
mod png;
mod raster;
mod sniff;
#[cfg(test)]
mod tests;
mod tiff;
mod webp;

use bytes::Bytes;
use image::metadata::Orientation;
use sha2::{Digest as _, Sha256};
use vila2_actors::{
    error::DecodeError,
    image::{Decoded, Image, ImageFacts, ImageHeader},
    ports::Decoder,
};

pub use self::{
    background::Background,
    sniff::{Format, sniff},
};

/// The most that is read of one side chunk, unpacked.
const SIDE_CHUNK: usize = 1 << 20;

/// Bumped whenever the same file gives other pixels.
const PIXELS: &str = "pixels/2";

/// How to decode; the `[decode]` section of the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeSettings {
    /// Most pixels (width × height) that a header may claim.
    pub max_pixels: u64,
    /// Longest side, in pixels, that the stages get; larger pictures are scaled down to it.
    pub max_side: u32,
    /// Pixels that the shorter side must have at least.
    pub min_side: u32,
    /// Most that the longer side may be, as a multiple of the shorter; 0: anything.
    pub max_ratio: f64,
    /// What clear pixels show.
    pub background: Background,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        Self {
            max_pixels: 1 << 26,
            max_side: 2048,
            min_side: 16,
            max_ratio: 0.0,
            background: Background::default(),
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
    /// Bytes held at the peak of decoding to RGB: samples in the file's own layout, the decoder's
    /// buffers, side chunks.
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
            Format::Png => png::claim(body)?,
            Format::WebP => webp::claim(body)?,
            Format::Gif => gif::claim(body)?,
            Format::Bmp => bmp::claim(body)?,
            Format::Tiff => tiff::claim(body)?,
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
        self.large_enough(width, height)?;
        Ok(claim)
    }

    fn large_enough(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        let DecodeSettings {
            min_side,
            max_ratio,
            ..
        } = self.settings;
        let (shorter, longer) = (width.min(height), width.max(height));
        let ratio = f64::from(longer) / f64::from(shorter);
        if shorter < min_side {
            return Err(DecodeError::TooSmall(format!(
                "{width}x{height} pixels: the shorter side is below decode.min_side = {min_side}"
            )));
        }
        if max_ratio > 0.0 && ratio > max_ratio {
            return Err(DecodeError::TooSmall(format!(
                "{width}x{height} pixels: the longer side is {ratio:.2} times the shorter, above \
                 decode.max_ratio = {max_ratio}"
            )));
        }
        Ok(())
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
        let upright = pixels::upright_bytes(width, height, self.settings.max_side);
        Ok(ImageHeader {
            format: format.name(),
            width,
            height,
            decoded_bytes: bytes.max(upright),
        })
    }

    fn decode(&self, body: Bytes) -> Result<Decoded, DecodeError> {
        let format = sniff(&body)?;
        self.claim(format, &body)?;
        let background = self.settings.background;
        let frame = match format {
            Format::Jpeg => jpeg::decode(&body)?,
            Format::Png => png::decode(&body, background)?,
            Format::WebP => webp::decode(&body, background)?,
            Format::Gif => gif::decode(&body, background)?,
            Format::Bmp => bmp::decode(&body, background)?,
            Format::Tiff => tiff::decode(&body, background)?,
        };
        let original = pixels::upright_size(frame.width, frame.height, frame.orientation);
        let (width, height, rgb) = pixels::upright(frame, self.settings.max_side);
        Ok(Decoded {
            image: Image::new(width, height, mapped::mapped(rgb), original),
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
            min_side: _,
            max_ratio: _,
            max_side,
            background,
        } = self.settings;
        format!("{PIXELS} max_side={max_side} background={background:?}")
    }
}
