//! From a picture to the tiles the vision encoder sees.
//!
//! # Source
//! `SmolVLMImageProcessor` / `Idefics3ImageProcessor` of transformers 4.57, the slow (PIL) one.

use serde_json::Value;
use vila2_actors::image::Image;

use crate::models::{
    hub::{Fault, Source, Values},
    settings::Options,
    vlm::{Cut, Filter, Levels, Tiles, filter, resample},
};

const FILE: &str = "preprocessor_config.json";

/// The processor's absolute maximum of the longest side.
const LARGEST: usize = 4096;

/// How pictures become tiles.
#[derive(Debug, Clone)]
pub struct Preprocess {
    /// Longest side before tiling; `None`: pictures keep their size.
    longest_edge: Option<usize>,
    tile: usize,
    /// Most tiles of a picture, the whole one's own among them.
    max_tiles: Option<usize>,
    filter: Filter,
    splitting: bool,
    levels: Levels,
}

impl Preprocess {
    /// Reads `preprocessor_config.json`.
    ///
    /// # Errors
    /// Every fault found.
    pub fn read(config: &Value) -> Result<Self, Vec<Fault>> {
        Self::read_from(config, FILE, &Options::default())
    }

    /// The same of any `file`, with what the configuration changes.
    ///
    /// # Errors
    /// Every fault found.
    pub fn read_from(
        config: &Value,
        file: &'static str,
        options: &Options,
    ) -> Result<Self, Vec<Fault>> {
        let mut values = Values::new([Source::file(file, config)]);
        let mut edge = |key: &str| values.whole(key, 1..=LARGEST as u64);
        let (own, tile) = (
            edge("size.longest_edge"),
            edge("max_image_size.longest_edge"),
        );
        let longest_edge = options.longest_edge.or(own);
        let resized = values.flag("do_resize").unwrap_or(true) || options.longest_edge.is_some();
        values.needed(&["max_image_size.longest_edge"]);
        if resized && options.longest_edge.is_none() {
            values.needed(&["size.longest_edge"]);
        }
        let splitting = values.flag("do_image_splitting").unwrap_or(true);
        let filter = filter(&mut values, Filter::Lanczos);
        let levels = Levels::read(&mut values, [[0.5; 3]; 2]);
        match (tile, values.faults()) {
            (Some(tile), faults) if faults.is_empty() => Ok(Self {
                longest_edge: longest_edge.filter(|_| resized),
                tile,
                max_tiles: options.max_tiles,
                filter,
                splitting,
                levels,
            }),
            (_, faults) => Err(faults),
        }
    }

    /// Longest side to which pictures are scaled first, in pixels; `None`: they keep their size.
    #[must_use]
    pub(super) fn longest_edge(&self) -> Option<usize> {
        self.longest_edge
    }

    /// Whether large pictures are cut into tiles.
    #[must_use]
    pub(super) fn splitting(&self) -> bool {
        self.splitting
    }

    /// Rows and columns of tiles for a picture of this size; (0, 0) where it is one tile alone.
    #[must_use]
    pub fn grid(&self, width: u32, height: u32) -> (usize, usize) {
        let (_, squared) = self.sizes(width as usize, height as usize);
        self.cells(squared)
    }

    /// The same of a picture whose sides are multiples of a tile.
    fn cells(&self, (width, height): (usize, usize)) -> (usize, usize) {
        if width > self.tile || height > self.tile {
            (height / self.tile, width / self.tile)
        } else {
            (0, 0)
        }
    }

    /// A picture as one tile, however many its size would make.
    #[must_use]
    pub fn whole(&self, image: &Image) -> Tiles {
        self.levels.square(image, self.tile, self.filter)
    }

    /// Sizes (width, height) after the first and the second resize. A picture that would make more
    /// tiles than allowed is scaled to fewer of them on its longest side.
    fn sizes(&self, width: usize, height: usize) -> ((usize, usize), (usize, usize)) {
        let sizes = self.sizes_for(width, height, self.longest_edge);
        let Some(most) = self.max_tiles else {
            return sizes;
        };
        let fits = |(_, squared): &((usize, usize), (usize, usize))| {
            let (rows, columns) = self.cells(*squared);
            rows * columns < most
        };
        if fits(&sizes) {
            return sizes;
        }
        let along = sizes.1.0.max(sizes.1.1) / self.tile;
        let fewer = (1..along).rev().map(|tiles| tiles * self.tile);
        fewer
            .map(|edge| self.sizes_for(width, height, Some(edge)))
            .find(fits)
            .unwrap_or(((self.tile, self.tile), (self.tile, self.tile)))
    }

    fn sizes_for(
        &self,
        width: usize,
        height: usize,
        longest: Option<usize>,
    ) -> ((usize, usize), (usize, usize)) {
        let scaled = match longest {
            Some(longest) => scale_to(width, height, longest),
            None => (width, height),
        };
        let squared = if self.splitting {
            tile_multiples(scaled.0, scaled.1, self.tile)
        } else {
            (self.tile, self.tile)
        };
        (scaled, squared)
    }
}

impl Cut for Preprocess {
    fn tiles(&self, image: &Image) -> Tiles {
        let size = (image.width as usize, image.height as usize);
        let (scaled, squared) = self.sizes(size.0, size.1);
        let scaled_pixels;
        let pixels = if scaled == size {
            &image.pixels[..]
        } else {
            scaled_pixels = resample(&image.pixels, size, scaled, self.filter);
            &scaled_pixels
        };
        let squared_pixels;
        let pixels = if squared == scaled {
            pixels
        } else {
            squared_pixels = resample(pixels, scaled, squared, self.filter);
            &squared_pixels
        };
        let (rows, columns) = self.grid(image.width, image.height);
        let count = rows * columns + 1;
        let mut out = vec![0.0; count * 3 * self.tile * self.tile];
        let mut tiles = out.chunks_exact_mut(3 * self.tile * self.tile);
        for row in 0..rows {
            for (column, tile) in (0..columns).zip(&mut tiles) {
                let at = (row * self.tile, column * self.tile);
                self.levels.cut(pixels, squared.0, at, self.tile, tile);
            }
        }
        for whole in tiles {
            if count == 1 {
                self.levels.cut(pixels, squared.0, (0, 0), self.tile, whole);
            } else {
                let small = resample(pixels, squared, (self.tile, self.tile), self.filter);
                self.levels.cut(&small, self.tile, (0, 0), self.tile, whole);
            }
        }
        Tiles { pixels: out, count }
    }

    fn side(&self) -> usize {
        self.tile
    }

    fn most_tiles(&self) -> u64 {
        let per_side = self.longest_edge.unwrap_or(LARGEST).div_ceil(self.tile);
        match self.splitting {
            true => {
                let most = per_side * per_side + 1;
                self.max_tiles.map_or(most, |max| most.min(max.max(1))) as u64
            }
            false => 1,
        }
    }

    fn most_bytes(&self) -> u64 {
        let side = self.longest_edge.unwrap_or(LARGEST).max(self.tile);
        let side = side.next_multiple_of(self.tile) as u64;
        self.most_tiles() * self.tile_bytes() + 2 * 3 * side * side
    }
}

/// Longest side to `longest`, also upwards; the other side in proportion, made even.
fn scale_to(width: usize, height: usize, longest: usize) -> (usize, usize) {
    let ratio = width as f64 / height as f64;
    let even = |n: usize| (n + n % 2).max(1);
    if width >= height {
        (longest, even((longest as f64 / ratio) as usize))
    } else {
        (even((longest as f64 * ratio) as usize), longest)
    }
}

/// Both sides up to multiples of `tile`, the longer one first.
fn tile_multiples(width: usize, height: usize, tile: usize) -> (usize, usize) {
    let ratio = width as f64 / height as f64;
    let up = |n: usize| n.max(1).div_ceil(tile) * tile;
    if width >= height {
        let width = up(width);
        (width, up((width as f64 / ratio) as usize))
    } else {
        let height = up(height);
        (up((height as f64 * ratio) as usize), height)
    }
}

#[cfg(test)]
mod tests;
