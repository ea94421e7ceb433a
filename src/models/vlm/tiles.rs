//! What a vision encoder sees of a picture.

use std::fmt;

use serde_json::Value;
use vila2_actors::image::Image;

use super::{Filter, resample};
use crate::models::hub::Values;

/// A picture ready for the vision encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiles {
    /// f32 `[count, 3, tile, tile]`, RGB, normalised; the tiles row by row, the whole picture
    /// last.
    pub pixels: Vec<f32>,
    /// How many, the whole picture included.
    pub count: usize,
}

/// The kernel that `resample` names among an image processor's settings; `default` where it names
/// none, or none that is known.
pub fn filter(values: &mut Values<'_>, default: Filter) -> Filter {
    let wanted = "1 (Lanczos), 2 (bilinear) or 3 (bicubic)";
    let known = |value: &Value| Filter::from_pillow(value.as_u64()?);
    values.read("resample", wanted, known).unwrap_or(default)
}

/// How the pictures of one model folder become tiles. Called from many threads at once.
pub trait Cut: fmt::Debug + Send + Sync + 'static {
    /// The tiles of a picture.
    fn tiles(&self, image: &Image) -> Tiles;

    /// Side of a tile, in pixels.
    fn side(&self) -> usize;

    /// Bytes of one tile.
    fn tile_bytes(&self) -> u64 {
        3 * (self.side() * self.side() * size_of::<f32>()) as u64
    }

    /// The most tiles that a picture is cut into.
    fn most_tiles(&self) -> u64;

    /// The most bytes of a picture while it is cut: its tiles, and the sizes it goes through.
    fn most_bytes(&self) -> u64;
}

/// Per channel: the normalised value of each of the 256 levels of a pixel.
#[derive(Debug, Clone)]
pub struct Levels(Box<[[f32; 256]; 3]>);

impl Levels {
    /// Reads `image_mean`, `image_std`, `rescale_factor`, `do_rescale` and `do_normalize` of an
    /// image processor's settings; `default` are mean and deviation where it has none.
    pub fn read(values: &mut Values<'_>, default: [[f32; 3]; 2]) -> Self {
        let mean = values.numbers("image_mean").unwrap_or(default[0]);
        let deviation = values.numbers("image_std").unwrap_or(default[1]);
        if deviation.contains(&0.0) {
            values.fault("image_std", "has a 0, by which nothing can be divided");
        }
        let rescaled = values.flag("do_rescale").unwrap_or(true);
        let normalised = values.flag("do_normalize").unwrap_or(true);
        let factor = values.number("rescale_factor").unwrap_or(1.0 / 255.0);
        let mut levels = Box::new([[0.0; 256]; 3]);
        for (channel, levels) in levels.iter_mut().enumerate() {
            for (level, value) in levels.iter_mut().enumerate() {
                // Rescaled in double, normalised in single precision, as the original does.
                let mut x = level as f32;
                if rescaled {
                    x = (level as f64 * factor) as f32;
                }
                if normalised {
                    x = (x - mean[channel]) / deviation[channel];
                }
                *value = x;
            }
        }
        Self(levels)
    }

    /// A whole picture as one square tile, whatever its proportions.
    #[must_use]
    pub fn square(&self, image: &Image, side: usize, filter: Filter) -> Tiles {
        let size = (image.width as usize, image.height as usize);
        let pixels = resample(&image.pixels, size, (side, side), filter);
        let mut tile = vec![0.0; 3 * side * side];
        self.cut(&pixels, side, (0, 0), side, &mut tile);
        Tiles {
            pixels: tile,
            count: 1,
        }
    }

    /// Cuts one tile out of `u8[_, width, 3]` into f32 `[3, side, side]`.
    pub fn cut(
        &self,
        pixels: &[u8],
        width: usize,
        (top, left): (usize, usize),
        side: usize,
        to: &mut [f32],
    ) {
        for y in 0..side {
            let start = ((top + y) * width + left) * 3;
            let row = &pixels[start..start + side * 3];
            for channel in 0..3 {
                let start = (channel * side + y) * side;
                let (to, levels) = (&mut to[start..start + side], &self.0[channel]);
                for x in 0..side {
                    to[x] = levels[usize::from(row[x * 3 + channel])];
                }
            }
        }
    }
}
