//! What is held of pictures beside their pixels: tiles before the encoder, features behind it.

use vila2_actors::ports::Footprint;

use super::{Preprocess, vision::TILES};
use crate::models::ModelSettings;

/// Pictures that an engine announces before it admits them, at most.
const ANNOUNCED: usize = 4;

/// How many pictures are cut into tiles ahead of their turn: as many as `ahead_bytes` hold, two at
/// least, and no more than can wait for their turn.
pub(super) fn cut_ahead(preprocess: &Preprocess, settings: &ModelSettings) -> usize {
    let waiting = settings.max_running.max(1) + ANNOUNCED;
    let room = settings.ahead_bytes / preprocess.most_bytes().max(1);
    usize::try_from(room).unwrap_or(waiting).clamp(2, waiting)
}

/// The most there can be; `feature` are the bytes of one tile's features.
pub(super) fn footprint(preprocess: &Preprocess, cut_ahead: usize, feature: u64) -> Footprint {
    let (tile, tiles) = (preprocess.tile_bytes(), TILES as u64);
    // Cut ahead, and one beyond; taken for one run of the encoder; that run's input, at worst in
    // single and half precision.
    let ahead = (cut_ahead as u64 + 1) * preprocess.most_bytes();
    let taken = preprocess.most_tiles().max(tiles) * tile;
    let input = tiles * tile * 3 / 2;
    Footprint {
        preparing: ahead + taken + input,
        // Once as features, once more in the embeddings of a prompt.
        per_image: 2 * preprocess.most_tiles() * feature,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let cut_ahead = cut_ahead(&preprocess, &settings);
        assert_eq!(cut_ahead, 2);
        let footprint = footprint(&preprocess, cut_ahead, 64 * 960 * 4);
        assert_eq!(footprint.per_image, 8_355_840);
        assert_eq!(footprint.preparing, 364_904_448);
        assert!(footprint.preparing < limit / 2);
    }
}
