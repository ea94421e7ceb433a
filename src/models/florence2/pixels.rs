//! From a picture to what the vision encoder sees: one square, whatever the proportions.
//!
//! # Source
//! `CLIPImageProcessor` of transformers 5.24 with the settings of Florence-2, the slow (PIL) one.

use serde_json::Value;
use vila2_actors::image::Image;

use crate::models::{
    hub::Fault,
    vlm::{Cut, Filter, Levels, Tiles, resample},
};

/// Mean and deviation of each channel where the folder says nothing: those of ImageNet.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// Largest side that is believed.
const LARGEST: u64 = 4096;

/// How pictures become squares.
#[derive(Debug, Clone)]
pub struct Pixels {
    side: usize,
    filter: Filter,
    levels: Levels,
}

impl Pixels {
    /// Reads the settings of the image processor in `file`.
    ///
    /// # Errors
    /// Every fault found.
    pub fn read(config: &Value, file: &'static str) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let side = |key: &str| {
            config["size"][key]
                .as_u64()
                .filter(|n| (1..=LARGEST).contains(n))
        };
        let (height, width) = (side("height"), side("width"));
        if height.is_none() || height != width {
            let what = "`size` is not { height, width } of a square with sides of 1 to 4096";
            faults.push(Fault::new(file, what));
        }
        if config["do_center_crop"].as_bool() == Some(true) {
            let what = "`do_center_crop` is true; this adapter scales the whole picture";
            faults.push(Fault::new(file, what));
        }
        let number = config["resample"].as_u64().unwrap_or(3);
        let filter = Filter::from_pillow(number);
        if filter.is_none() {
            let what =
                format!("`resample` is {number}; accepted: 1 (Lanczos), 2 (bilinear), 3 (bicubic)");
            faults.push(Fault::new(file, what));
        }
        let levels = Levels::read(config, file, IMAGENET)
            .map_err(|more| faults.extend(more))
            .ok();
        match (height, filter, levels, faults.is_empty()) {
            (Some(side), Some(filter), Some(levels), true) => Ok(Self {
                side: side as usize,
                filter,
                levels,
            }),
            _ => Err(faults),
        }
    }

    /// Side of the square, in pixels.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }
}

impl Cut for Pixels {
    fn tiles(&self, image: &Image) -> Tiles {
        let (size, side) = ((image.width as usize, image.height as usize), self.side);
        let pixels = resample(&image.pixels, size, (side, side), self.filter);
        let mut tile = vec![0.0; 3 * side * side];
        self.levels.cut(&pixels, side, (0, 0), side, &mut tile);
        Tiles {
            pixels: tile,
            count: 1,
        }
    }

    fn tile_bytes(&self) -> u64 {
        3 * (self.side * self.side * size_of::<f32>()) as u64
    }

    fn most_tiles(&self) -> u64 {
        1
    }

    fn most_bytes(&self) -> u64 {
        // The square in bytes beside the square in numbers.
        self.tile_bytes() + 3 * (self.side * self.side) as u64
    }
}
