use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;

fn goldens() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/goldens/pixels/goldens.json"
    );
    let text = std::fs::read_to_string(path).expect("the goldens are committed");
    serde_json::from_str(&text).expect("JSON")
}

/// The picture of the goldens: noise seeded with its width.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let mut state = width as u64;
    (0..width * height * 3)
        .map(|_| {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            (state >> 16) as u8
        })
        .collect()
}

fn pair(value: &Value) -> (usize, usize) {
    let number = |at: usize| value[at].as_u64().expect("a number") as usize;
    (number(0), number(1))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[test]
fn resampling_is_pillows_bit_for_bit() {
    let goldens = goldens();
    let cases = goldens["resampled"].as_array().expect("a list");
    assert!(cases.len() >= 40);
    for case in cases {
        let (size, to) = (pair(&case["size"]), pair(&case["to"]));
        let filter = Filter::from_pillow(case["resample"].as_u64().expect("a number"));
        let pixels = resample(
            &picture(size.0, size.1),
            size,
            to,
            filter.expect("a known filter"),
        );
        assert_eq!(digest(&pixels), case["sha256"], "{case}");
    }
}

#[test]
fn tiles_are_those_of_the_slow_processor_bit_for_bit() {
    let goldens = goldens();
    let cases = goldens["processed"].as_array().expect("a list");
    assert!(cases.len() >= 16);
    for case in cases {
        let (width, height) = pair(&case["size"]);
        let preprocess = Preprocess::read(&case["config"]).expect("whole");
        let size = (width as u32, height as u32);
        let image = Image::new(size.0, size.1, picture(width, height).into(), size);
        let grid = preprocess.grid(size.0, size.1);
        assert_eq!(json!(grid.0), case["rows"], "{case}");
        assert_eq!(json!(grid.1), case["columns"], "{case}");
        let tiles = preprocess.tiles(&image);
        assert_eq!(json!(tiles.count), case["count"], "{case}");
        let bytes: Vec<u8> = tiles.pixels.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(digest(&bytes), case["sha256"], "{case}");
    }
}

#[test]
fn every_fault_of_the_configuration_is_told() {
    let config = json!({"resample": 0, "image_mean": [0.5], "size": {"longest_edge": 0}});
    let faults = Preprocess::read(&config).unwrap_err();
    let told: Vec<&str> = faults.iter().map(|f| f.what.as_str()).collect();
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn a_picture_is_cut_into_no_more_tiles_than_allowed() {
    let config = json!({"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}});
    let grid = |options: Options, width, height| {
        let preprocess = Preprocess::read_from(&config, FILE, &options).expect("whole");
        let (rows, columns) = preprocess.grid(width, height);
        assert!(((rows * columns) as u64) < preprocess.most_tiles());
        (rows, columns)
    };
    let tiles = |max_tiles: Option<usize>| Options {
        max_tiles,
        ..Options::default()
    };
    assert_eq!(grid(tiles(None), 386, 386), (4, 4));
    assert_eq!(grid(tiles(Some(17)), 386, 386), (4, 4));
    assert_eq!(grid(tiles(Some(16)), 386, 386), (3, 3));
    assert_eq!(grid(tiles(Some(5)), 386, 386), (2, 2));
    assert_eq!(grid(tiles(Some(5)), 1000, 250), (1, 4));
    assert_eq!(grid(tiles(Some(4)), 386, 386), (0, 0));
    assert_eq!(grid(tiles(Some(1)), 4000, 10), (0, 0));
    let edge = Options {
        longest_edge: Some(512),
        ..Options::default()
    };
    assert_eq!(grid(edge, 386, 386), (0, 0));
}
