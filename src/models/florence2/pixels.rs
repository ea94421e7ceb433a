//! From a picture to what the vision encoder sees: one square, whatever the proportions.
//!
//! # Source
//! `CLIPImageProcessor` of transformers 5.24 with the settings of Florence-2, the slow (PIL) one.

use serde_json::Value;
use vila2_actors::image::Image;

use crate::models::{
    hub::Fault,
    vlm::{Cut, Filter, Levels, Tiles, filter},
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
        let filter = filter(config, file, 3)
            .map_err(|fault| faults.push(fault))
            .ok();
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
}

impl Cut for Pixels {
    fn tiles(&self, image: &Image) -> Tiles {
        self.levels.square(image, self.side, self.filter)
    }

    fn side(&self) -> usize {
        self.side
    }

    fn most_tiles(&self) -> u64 {
        1
    }

    fn most_bytes(&self) -> u64 {
        // The square in bytes beside the square in numbers.
        self.tile_bytes() + 3 * (self.side * self.side) as u64
    }
}
