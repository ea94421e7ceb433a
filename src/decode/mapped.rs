//! Pixels in memory that goes back to the system the moment they are dropped.
//!
//! The C allocator keeps freed buffers of up to 32 MB for itself, a part for every thread that
//! decodes: in front of a slow model that came to 125 MB beyond `limits.image_bytes`.

use bytes::Bytes;
use memmap2::MmapMut;

/// Smaller pictures are left where they are: asking the system costs more than it saves.
const LEAST: usize = 1 << 20;

/// The same bytes, in pages of their own where they are many.
pub(super) fn mapped(pixels: Vec<u8>) -> Bytes {
    if pixels.len() < LEAST {
        return pixels.into();
    }
    match MmapMut::map_anon(pixels.len()) {
        Ok(mut pages) => {
            pages.copy_from_slice(&pixels);
            Bytes::from_owner(pages)
        }
        // The system counts maps too; the heap will do.
        Err(_) => pixels.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_stay_the_same_wherever_they_lie() {
        for size in [0, 3, LEAST - 1, LEAST, LEAST + 3] {
            let pixels: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            assert_eq!(mapped(pixels.clone()), pixels, "{size}");
        }
    }
}
