//! What is held of pictures beside their pixels: tiles before the encoder, features behind it.

use vila2_actors::ports::Footprint;

use super::Cut;
use crate::models::settings::ModelSettings;

/// Pictures that an engine announces before it admits them, at most.
const ANNOUNCED: usize = 4;

/// Most tiles of one run of the encoder.
const TILES: usize = 16;

/// How much is prepared at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    /// Pictures that are cut into tiles ahead of their turn.
    pub(crate) pictures: usize,
    /// Tiles that go through the encoder at once.
    pub(crate) tiles: usize,
}

impl Ahead {
    /// As much as `ahead_bytes` hold, two pictures and one tile at least; no more pictures than can
    /// wait for their turn.
    pub(crate) fn new(cutter: &dyn Cut, settings: &ModelSettings) -> Self {
        let waiting = settings.max_running.max(1) + ANNOUNCED;
        let fit = |bytes: u64, most: usize| {
            let fit = settings.ahead_bytes / bytes.max(1);
            usize::try_from(fit).unwrap_or(most).min(most)
        };
        Self {
            pictures: fit(cutter.most_bytes(), waiting).max(2),
            tiles: fit(cutter.tile_bytes(), TILES).max(1),
        }
    }

    /// The most there can be; `feature` are the bytes of one tile's features.
    pub(crate) fn footprint(self, cutter: &dyn Cut, feature: u64) -> Footprint {
        let (tile, tiles) = (cutter.tile_bytes(), self.tiles as u64);
        // Cut ahead, and one beyond; taken for one run of the encoder; that run's input, at worst
        // in single and half precision.
        let ahead = (self.pictures as u64 + 1) * cutter.most_bytes();
        let taken = cutter.most_tiles().max(tiles) * tile;
        let input = tiles * tile * 3 / 2;
        Footprint {
            preparing: ahead + taken + input,
            // Once as features, once more in the embeddings of a prompt.
            per_image: 2 * cutter.most_tiles() * feature,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::smolvlm::Preprocess;

    /// SmolVLM-500M: 17 tiles of 512 pixels, 64 tokens each, 960 numbers a token.
    #[test]
    fn a_smolvlm_leaves_more_than_half_of_the_default_limit_to_files_and_pixels() {
        let config = json!({
            "size": { "longest_edge": 2048 },
            "max_image_size": { "longest_edge": 512 },
        });
        let preprocess = Preprocess::read(&config).expect("right");
        assert_eq!(
            preprocess.most_tiles() * preprocess.tile_bytes(),
            53_477_376
        );
        let limit: u64 = 1 << 30;
        let settings = ModelSettings {
            max_running: 16,
            ahead_bytes: limit / 8,
            ..ModelSettings::new("eyes", "nowhere")
        };
        let ahead = Ahead::new(&preprocess, &settings);
        assert_eq!((ahead.pictures, ahead.tiles), (2, 16));
        let footprint = ahead.footprint(&preprocess, 64 * 960 * 4);
        assert_eq!(footprint.per_image, 8_355_840);
        assert_eq!(footprint.preparing, 364_904_448);
        assert!(footprint.preparing < limit / 2);
    }
}
