//! The work: pictures as files, and how many tokens each answer may have.

use std::{
    fs,
    io::{self, Cursor},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use image::{ImageFormat, RgbImage};
use vila2::decode::{DecodeSettings, FileDecoder};
use vila2_actors::{image::Image, ports::Decoder as _};

/// Longest and shortest answer asked for; the mean of the skewed lengths is about 38.
const LENGTHS: (u32, u32) = (8, 128);

/// Mean of what a length has above the shortest.
const MEAN_ABOVE: f64 = 31.5;

/// What every contender works on.
pub struct Workload {
    /// The model folder.
    pub model: PathBuf,
    /// The question.
    pub prompt: Arc<str>,
    /// Sequences that run at the same time.
    pub sequences: usize,
    /// Threads of one operator; `None`: one per core.
    pub threads: Option<usize>,
    /// The pictures.
    pub pictures: Vec<Picture>,
}

/// One picture with its limit.
pub struct Picture {
    /// A JPEG or PNG file.
    pub file: Bytes,
    /// Most tokens of its answer.
    pub max_tokens: u32,
}

/// Numbers from a seed, the same everywhere.
struct Dice(u64);

impl Dice {
    /// In 0..1.
    fn roll(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Draws `count` pictures of 768 × 512 pixels, each a sum of a few waves, with answer lengths
/// skewed as captions are: many short, few long.
pub fn pictures(count: usize, seed: u64) -> Vec<Picture> {
    let mut dice = Dice(seed);
    (0..count)
        .map(|_| {
            let waves: Vec<[f64; 4]> = (0..6)
                .map(|_| [0.04, 0.04, 6.3, 40.0].map(|most| dice.roll() * most))
                .collect();
            let drawn = RgbImage::from_fn(768, 512, |x, y| {
                let mut pixel = [128.0; 3];
                for (at, [fx, fy, phase, height]) in waves.iter().enumerate() {
                    let wave = (f64::from(x) * fx + f64::from(y) * fy + phase).sin();
                    pixel[at % 3] += wave * height;
                }
                image::Rgb(pixel.map(|v: f64| v.clamp(0.0, 255.0) as u8))
            });
            let mut file = Cursor::new(Vec::new());
            drawn
                .write_to(&mut file, ImageFormat::Jpeg)
                .expect("a picture can be encoded into memory");
            let above = -MEAN_ABOVE * (1.0 - dice.roll()).ln();
            Picture {
                file: file.into_inner().into(),
                max_tokens: (LENGTHS.0 + above as u32).min(LENGTHS.1),
            }
        })
        .collect()
}

/// Reads `count` JPEG and PNG files of a folder, over and over where there are fewer. Their answers
/// end by themselves, or at the longest length.
pub fn files(folder: &Path, count: usize) -> io::Result<Vec<Picture>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = path.extension();
        if kind.is_some_and(|kind| kind == "jpg" || kind == "png") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let what = format!("{}: no JPEG or PNG files", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let read = |path: &PathBuf| {
        Ok(Picture {
            file: fs::read(path)?.into(),
            max_tokens: LENGTHS.1,
        })
    };
    paths.iter().cycle().take(count).map(read).collect()
}

/// A picture from its file, as the chain decodes it.
pub fn decoded(file: &Bytes) -> Arc<Image> {
    let settings = DecodeSettings {
        max_pixels: 1 << 26,
        max_side: 2048,
        ..DecodeSettings::default()
    };
    let decoded = FileDecoder::new(settings).decode(file.clone());
    decoded.expect("a picture").image
}
