//! From a picture to what the vision encoder sees: one square, whatever the proportions.
//!
//! # Source
//! `CLIPImageProcessor` of transformers 5.24 with the settings of Florence-2, the slow (PIL) one.

use serde_json::Value;
use vila2_actors::image::Image;

use crate::models::{
    hub::{Fault, Source, Values},
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
        let mut values = Values::new([Source::file(file, config)]);
        values.needed(&["size.height", "size.width"]);
        let (height, width) = (
            values.whole("size.height", 1..=LARGEST),
            values.whole("size.width", 1..=LARGEST),
        );
        if height != width && height.is_some() && width.is_some() {
            values.fault(
                "size",
                "is no square; this adapter makes squares of pictures",
            );
        }
        if values.flag("do_center_crop") == Some(true) {
            values.fault(
                "do_center_crop",
                "is true; this adapter scales the whole picture",
            );
        }
        let filter = filter(&mut values, Filter::Bicubic);
        let levels = Levels::read(&mut values, IMAGENET);
        match (height, values.faults()) {
            (Some(side), faults) if faults.is_empty() => Ok(Self {
                side,
                filter,
                levels,
            }),
            (_, faults) => Err(faults),
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
