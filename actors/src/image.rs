//! The decoded picture as the stages see it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

/// Identity of one decoded image in this process; engines key their vision features by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageId(u64);

/// A decoded image: `u8[height, width, 3]`, sRGB, RGB order, row-major, upright (EXIF applied).
///
/// Stages pass it as `Arc<Image>`. Where decoding scaled the picture down, `width × height` are
/// the size of these pixels and [`Image::original`] the size that output coordinates refer to.
#[derive(Debug)]
pub struct Image {
    id: ImageId,
    /// Width of `pixels`.
    pub width: u32,
    /// Height of `pixels`.
    pub height: u32,
    /// `height × width × 3` bytes.
    pub pixels: Bytes,
    /// (width, height) of the original upright image, in pixels: the frame of every coordinate
    /// that leaves a stage.
    pub original: (u32, u32),
}

impl Image {
    /// Wraps pixels.
    ///
    /// # Panics
    /// When `pixels` is not `height × width × 3` bytes long: a bug of the caller.
    #[must_use]
    pub fn new(width: u32, height: u32, pixels: Bytes, original: (u32, u32)) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        assert_eq!(
            pixels.len() as u64,
            u64::from(width) * u64::from(height) * 3,
            "bug: pixel buffer does not match {width}x{height}x3"
        );
        let id = ImageId(NEXT.fetch_add(1, Ordering::Relaxed));
        Arc::new(Self {
            id,
            width,
            height,
            pixels,
            original,
        })
    }

    /// Identity in this process.
    #[must_use]
    pub fn id(&self) -> ImageId {
        self.id
    }

    /// Factors (x, y) from coordinates in `pixels` to coordinates in the original image.
    #[must_use]
    pub fn scale(&self) -> (f32, f32) {
        (
            self.original.0 as f32 / self.width as f32,
            self.original.1 as f32 / self.height as f32,
        )
    }
}

/// What `fetch` brought: the body and what the server said of it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The whole body.
    pub body: Bytes,
    /// The URL after redirects.
    pub final_url: String,
    /// `Content-Type` as sent, if any. Never trusted: formats are sniffed.
    pub content_type: Option<String>,
}

/// What the file's header claims, read without decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// Container format, lower case: `jpeg`, `png`, `webp`, `gif`, `bmp`, `tiff`.
    pub format: &'static str,
    /// Width in pixels, before EXIF orientation.
    pub width: u32,
    /// Height in pixels, before EXIF orientation.
    pub height: u32,
    /// Bytes that decoding will need at its peak (decoder buffers and result).
    pub decoded_bytes: u64,
}

/// A decoded image with what the output record says of its file.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The pixels.
    pub image: Arc<Image>,
    /// `image` member of the output record.
    pub facts: ImageFacts,
}

/// The `image` member of the output record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageFacts {
    /// SHA-256 of the file's bytes, lower-case hex.
    pub sha256: String,
    /// Width of the original upright image, pixels.
    pub width: u32,
    /// Height of the original upright image, pixels.
    pub height: u32,
    /// `jpeg`, `png`, `webp`, `gif`, `bmp`, `tiff`.
    pub format: String,
    /// Size of the file.
    pub bytes: u64,
}
