//! GIF: its first frame on its canvas. What the frame leaves out is clear.

use std::{num::NonZeroU64, ops::Range};

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};
use image::metadata::Orientation;
use vila2_actors::error::DecodeError;

use super::{
    Claim, Format, Frame,
    background::{Background, Weight},
    pieces::Pieces,
    raster,
};

/// Reads size and layout from the header.
pub(super) fn claim(body: &[u8]) -> Result<Claim, DecodeError> {
    let first = First::of(body)?;
    let indices = u64::from(first.size.0) * u64::from(first.size.1);
    let (width, height) = first.canvas();
    Ok(Claim {
        width,
        height,
        bytes: u64::from(width) * u64::from(height) * 3 + indices,
    })
}

/// Decodes the first frame to RGB.
pub(super) fn decode(body: &[u8], background: Background) -> Result<Frame, DecodeError> {
    let first = First::of(body)?;
    let indices = first.indices(body).map_err(|error| match error {
        _ if !first.whole => truncated(),
        DecodingError::UnexpectedEof => truncated(),
        error => DecodeError::Corrupt(error.to_string()),
    })?;
    let (width, height) = first.canvas();
    Ok(Frame {
        width,
        height,
        rgb: first.painted(&indices, background),
        orientation: Orientation::NoTransforms,
    })
}

/// The first frame, and where its parts lie in the file.
#[derive(Debug)]
struct First<'a> {
    screen: (u32, u32),
    at: (u32, u32),
    size: (u32, u32),
    /// RGB, the frame's own or the file's.
    palette: &'a [u8],
    clear: Option<u8>,
    /// Header and palette of the file.
    head: &'a [u8],
    /// From its descriptor to the end of its data, as far as it is there.
    frame: Range<usize>,
    whole: bool,
}

impl<'a> First<'a> {
    /// Walks the blocks up to the first frame.
    fn of(body: &'a [u8]) -> Result<Self, DecodeError> {
        let screen = body.get(6..13).ok_or_else(truncated)?;
        let mut at = 13 + table(screen[4]);
        let head = body.get(..at).ok_or_else(truncated)?;
        let mut clear = None;
        loop {
            match body.get(at).ok_or_else(truncated)? {
                // graphic control: flags, delay, index of the clear colour
                0x21 => {
                    if let Some([0xf9, 4, flags, _, _, index]) = body.get(at + 1..at + 7) {
                        clear = (flags & 1 == 1).then_some(*index);
                    }
                    at = blocks_end(body, at + 2).ok_or_else(truncated)?;
                }
                0x2c => {
                    let place = body.get(at + 1..at + 10).ok_or_else(truncated)?;
                    let number = |i: usize| u32::from(u16::from_le_bytes([place[i], place[i + 1]]));
                    let data = at + 10 + table(place[8]);
                    let own = body.get(at + 10..data).ok_or_else(truncated)?;
                    let end = blocks_end(body, data + 1);
                    let side = |i: usize| u32::from(u16::from_le_bytes([screen[i], screen[i + 1]]));
                    return Ok(Self {
                        screen: (side(0), side(2)),
                        at: (number(0), number(2)),
                        size: (number(4), number(6)),
                        palette: if own.is_empty() { &head[13..] } else { own },
                        clear,
                        head,
                        frame: at..end.unwrap_or(body.len()),
                        whole: end.is_some(),
                    });
                }
                0 => at += 1, // stray ends of blocks
                0x3b => return Err(DecodeError::Corrupt("a GIF without a frame".to_owned())),
                other => {
                    return Err(DecodeError::Corrupt(format!(
                        "a GIF with a block of kind {other:#04x}, which there is not"
                    )));
                }
            }
        }
    }

    /// The canvas holds the frame; where the file gives it no size, it has the frame's.
    fn canvas(&self) -> (u32, u32) {
        let (x, y) = self.place();
        (
            self.screen.0.max(x + self.size.0),
            self.screen.1.max(y + self.size.1),
        )
    }

    fn place(&self) -> (u32, u32) {
        match self.screen {
            (0, _) | (_, 0) => (0, 0),
            _ => self.at,
        }
    }

    /// Decodes the frame: one palette index a pixel, row by row.
    fn indices(&self, body: &[u8]) -> Result<Vec<u8>, DecodingError> {
        let count = u64::from(self.size.0) * u64::from(self.size.1);
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::Indexed);
        options.set_memory_limit(
            NonZeroU64::new(count).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes),
        );
        let mut pieces = vec![self.head, &body[self.frame.clone()]];
        if self.whole {
            pieces.push(b"\x3b"); // its own may be missing
        }
        let mut decoder = options.read_info(Pieces::new(pieces))?;
        if decoder.next_frame_info()?.is_none() {
            return Err(DecodingError::UnexpectedEof);
        }
        let mut indices = vec![0; count as usize];
        decoder.read_into_buffer(&mut indices)?;
        Ok(indices)
    }

    /// The frame on its canvas, RGB.
    fn painted(&self, indices: &[u8], background: Background) -> Vec<u8> {
        let colours = self.palette.as_chunks::<3>().0;
        let colour = |index: u8| colours.get(usize::from(index)).copied();
        let is_clear = |index: u8| self.clear == Some(index) || colour(index).is_none();
        let behind = background.behind(|| {
            let mut counts = [0u64; 256];
            for index in indices {
                counts[usize::from(*index)] += 1;
            }
            let mut weight = Weight::default();
            for (index, count) in (0..=255).zip(counts) {
                if let Some(rgb) = colour(index).filter(|_| !is_clear(index)) {
                    weight.add((rgb, 255), false, count);
                }
            }
            weight
        });
        let shown: Vec<[u8; 3]> = (0..=255)
            .map(|index| match behind {
                Some(grey) if is_clear(index) => [grey; 3],
                _ => colour(index).unwrap_or_default(),
            })
            .collect();
        let (width, height) = self.canvas();
        let (x, y) = self.place();
        let mut rgb = vec![behind.unwrap_or_default(); width as usize * height as usize * 3];
        let rows = rgb.chunks_exact_mut(width as usize * 3).skip(y as usize);
        for (row, indices) in rows.zip(indices.chunks_exact(self.size.0.max(1) as usize)) {
            let pixels = row[x as usize * 3..].as_chunks_mut::<3>().0;
            for (pixel, index) in pixels.iter_mut().zip(indices) {
                *pixel = shown[usize::from(*index)];
            }
        }
        rgb
    }
}

/// Bytes of the palette that these flags announce.
fn table(flags: u8) -> usize {
    match flags & 0x80 {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    }
}

/// Where the data blocks that begin at `at` end.
fn blocks_end(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *body.get(at)?;
        at += 1 + usize::from(length);
        if length == 0 {
            return Some(at);
        }
    }
}

fn truncated() -> DecodeError {
    raster::truncated(Format::Gif)
}
