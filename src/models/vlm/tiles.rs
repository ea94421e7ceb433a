//! What a vision encoder sees of a picture.

use std::fmt;

use serde_json::Value;
use vila2_actors::image::Image;

use super::{Filter, resample};
use crate::models::hub::Fault;

/// A picture ready for the vision encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiles {
    /// f32 `[count, 3, tile, tile]`, RGB, normalised; the tiles row by row, the whole picture
    /// last.
    pub pixels: Vec<f32>,
    /// How many, the whole picture included.
    pub count: usize,
}

/// The kernel that `resample` names in an image processor's settings in `file`; `default` is its
/// number where it names none.
///
/// # Errors
/// A number that is none.
pub fn filter(config: &Value, file: &'static str, default: u64) -> Result<Filter, Fault> {
    let number = config["resample"].as_u64().unwrap_or(default);
    Filter::from_pillow(number).ok_or_else(|| {
        let what =
            format!("`resample` is {number}; accepted: 1 (Lanczos), 2 (bilinear), 3 (bicubic)");
        Fault::new(file, what)
    })
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
    /// image processor's settings in `file`; `default` are mean and deviation where it has none.
    ///
    /// # Errors
    /// Every fault found.
    pub fn read(
        config: &Value,
        file: &'static str,
        default: [[f32; 3]; 2],
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut triple = |key: &str, default: [f32; 3]| {
            let numbers: Option<Vec<f32>> = match &config[key] {
                Value::Null => Some(default.to_vec()),
                value => value
                    .as_array()
                    .map(|a| a.iter().filter_map(|n| Some(n.as_f64()? as f32)).collect()),
            };
            let three: Option<[f32; 3]> = numbers.and_then(|numbers| numbers.try_into().ok());
            if three.is_none() {
                faults.push(Fault::new(
                    file,
                    format!("`{key}` is no list of three numbers"),
                ));
            }
            three.unwrap_or_default()
        };
        let mean = triple("image_mean", default[0]);
        let deviation = triple("image_std", default[1]);
        if !faults.is_empty() {
            return Err(faults);
        }
        let flag = |key: &str| config[key].as_bool().unwrap_or(true);
        let (rescaled, normalised) = (flag("do_rescale"), flag("do_normalize"));
        let factor = config["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0);
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
        Ok(Self(levels))
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
