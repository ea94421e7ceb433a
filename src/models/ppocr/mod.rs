//! The text reader: PP-OCR in three graphs.
//!
//! ```text
//! bitmap     pictures in BGR, resampled as the reference does
//! detect     picture → probability of text → quads       (borders, rectangle)
//! warp       quad → straightened line
//! recognize  which way up a line is, and what it says
//! ```
//!
//! The graphs are those of the Python package rapidocr-onnxruntime 1.4.4 (PP-OCRv4, Apache-2.0),
//! and so is every step between them: the same picture gives the same lines, with quads within two
//! pixels. What differs on purpose: a quad starts at the top left of the *text*, so for text that
//! runs down the picture or stands on its head it is the reference's quad turned. Lines of
//! nothing but blanks are left out. Wide and low pictures get no black margins, which make
//! the reference misread them: it is the reference with `width_height_ratio = -1` and
//! `min_height = 0`. And pictures more than eight times as tall as wide, or 32 times as wide as
//! tall, are enlarged less.

mod bitmap;
mod borders;
mod detect;
mod graph;
mod recognize;
mod rectangle;
mod warp;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use vila2_actors::{
    annotation::{ModelFacts, Quad, TextLine},
    error::ModelError,
    image::Image,
    ports::{BatchModel, Load, TextReader},
};

use super::{ModelSettings, SessionSettings};
use bitmap::Bitmap;
use detect::{detect, strided};
use graph::{Files, Graph};
use recognize::{Alphabet, recognize, upside_down};
use warp::{Corners, straightened};

/// Lines that are less sure than this are not reported.
const MIN_SCORE: f32 = 0.5;

/// Larger pictures are scaled down to this longest side first, pixels.
const MAX_SIDE: usize = 2000;

/// Smaller pictures are scaled up to this shortest side first, pixels.
const MIN_SIDE: usize = 30;

/// Where the reader's graphs are and how they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderSettings {
    /// Its name in the configuration.
    pub name: String,
    /// The folder with the three graphs (`*_det_*.onnx`, `*_cls_*.onnx`, `*_rec_*.onnx`).
    pub folder: PathBuf,
    /// Providers and threads.
    pub session: SessionSettings,
}

impl From<ModelSettings> for ReaderSettings {
    fn from(model: ModelSettings) -> Self {
        Self {
            session: model.plain_session(),
            name: model.name,
            folder: model.path,
        }
    }
}

/// Looks for the reader's graphs in a folder, and opens none.
///
/// # Errors
/// Every graph that is missing or not the only one of its kind, with what to do.
pub fn check(folder: &Path) -> Result<(), Vec<String>> {
    Files::of(folder).map(|_| ())
}

/// The revision of the reader in a folder: see [`ModelFacts::revision`].
///
/// # Errors
/// As [`check`].
pub fn revision(folder: &Path) -> Result<String, Vec<String>> {
    let revision = Files::of(folder)?.revision();
    revision.map_err(|error| vec![error.to_string()])
}

/// How to load the reader: on the engine's thread, and again to rebuild it.
///
/// # Errors
/// What it returns fails with [`ModelError::Broken`] where a graph is missing or cannot be opened.
#[must_use]
pub fn load(settings: &ReaderSettings) -> Load<TextReader> {
    let settings = settings.clone();
    Arc::new(move || Ok(Box::new(PpOcr::open(&settings)?) as Box<TextReader>))
}

/// PP-OCR, ready to read.
#[derive(Debug)]
pub struct PpOcr {
    detect: Graph,
    orient: Graph,
    recognize: Graph,
    alphabet: Alphabet,
    facts: ModelFacts,
}

impl PpOcr {
    /// Opens the three graphs and reads a drawn line with them.
    ///
    /// # Errors
    /// [`ModelError::Broken`] where a graph is missing, cannot be opened or cannot read.
    pub fn open(settings: &ReaderSettings) -> Result<Self, ModelError> {
        let files =
            Files::of(&settings.folder).map_err(|faults| ModelError::Broken(faults.join("; ")))?;
        let recognize = Graph::open(&files.recognize, settings)?;
        let mut reader = Self {
            detect: Graph::open(&files.detect, settings)?,
            orient: Graph::open(&files.orient, settings)?,
            alphabet: Alphabet::of(&recognize)?,
            recognize,
            facts: ModelFacts {
                model: settings.name.clone(),
                revision: files.revision()?,
                prompt: None,
            },
        };
        (reader.self_check()).map_err(|error| ModelError::Broken(error.to_string()))?;
        Ok(reader)
    }

    /// Reads one picture: lines from top to bottom, ids `t0`, `t1`, …, quads in pixels of the
    /// original image.
    ///
    /// # Errors
    /// [`ModelError::Run`] where a graph fails, [`ModelError::Broken`] where it answers nonsense.
    pub fn read(&mut self, image: &Image) -> Result<Vec<TextLine>, ModelError> {
        if image.width == 0 || image.height == 0 {
            return Err(ModelError::Input(
                "the picture has no pixels: send one that has".to_owned(),
            ));
        }
        let picture = prepared(Bitmap::of(image));
        let frame = Frame::new(image, &picture);
        let (mut quads, mut lines) = (Vec::new(), Vec::new());
        for quad in detect(&mut self.detect, &picture)? {
            if let Some((line, turned)) = straightened(&picture, &quad) {
                quads.push(if turned { started_at(quad, 1) } else { quad });
                lines.push(line);
            }
        }
        let over = upside_down(&mut self.orient, &lines)?;
        for ((line, quad), over) in lines.iter_mut().zip(&mut quads).zip(over) {
            if over {
                *line = line.turned_over();
                *quad = started_at(*quad, 2);
            }
        }
        let readings = recognize(&mut self.recognize, &self.alphabet, &lines)?;
        let sure = readings
            .into_iter()
            .zip(quads)
            .filter(|(reading, _)| reading.score >= MIN_SCORE && !reading.text.trim().is_empty());
        Ok(sure
            .enumerate()
            .map(|(number, (reading, quad))| TextLine {
                id: format!("t{number}"),
                text: reading.text,
                quad: Quad(quad.map(|corner| frame.original(corner))),
                score: reading.score.min(1.0),
            })
            .collect())
    }
}

impl BatchModel for PpOcr {
    type Question = Arc<Image>;
    type Answer = Vec<TextLine>;

    /// One: pictures differ in size, and a larger batch would only let the first wait for the last.
    /// The lines of one picture are read together.
    fn max_batch(&self) -> usize {
        1
    }

    fn run(
        &mut self,
        batch: &[Arc<Image>],
    ) -> Result<Vec<Result<Vec<TextLine>, ModelError>>, ModelError> {
        Ok(batch.iter().map(|image| self.read(image)).collect())
    }

    /// Through all three graphs, whatever the first one finds.
    fn self_check(&mut self) -> Result<(), ModelError> {
        let picture = Bitmap::of(&drawn());
        detect(&mut self.detect, &picture)?;
        upside_down(&mut self.orient, std::slice::from_ref(&picture))?;
        recognize(&mut self.recognize, &self.alphabet, &[picture])?;
        Ok(())
    }

    fn facts(&self) -> ModelFacts {
        self.facts.clone()
    }
}

/// The picture of the self-check: `HI` in dark strokes on light ground.
fn drawn() -> Arc<Image> {
    const SIDE: u32 = 64;
    let stroke = |x: u32, y: u32| {
        let upright = matches!(x, 8..=13 | 26..=31 | 46..=51) && (16..48).contains(&y);
        upright || ((8..32).contains(&x) && (29..35).contains(&y))
    };
    let pixels: Vec<u8> = (0..SIDE * SIDE)
        .flat_map(|at| {
            [if stroke(at % SIDE, at / SIDE) {
                30
            } else {
                230
            }; 3]
        })
        .collect();
    Image::new(SIDE, SIDE, pixels.into(), (SIDE, SIDE))
}

/// The quad with another of its corners as the first.
fn started_at(mut quad: Corners, corner: usize) -> Corners {
    quad.rotate_left(corner);
    quad
}

/// Brings a picture to a size the detector can work on.
fn prepared(mut picture: Bitmap) -> Bitmap {
    let scaled = |picture: &Bitmap, ratio: f64| {
        let side = |side: usize| strided((side as f64 * ratio) as usize);
        picture.resized(side(picture.width), side(picture.height))
    };
    let longest = picture.width.max(picture.height);
    if longest > MAX_SIDE {
        picture = scaled(&picture, MAX_SIDE as f64 / longest as f64);
    }
    let (longest, shortest) = (
        picture.width.max(picture.height),
        picture.width.min(picture.height),
    );
    if shortest < MIN_SIDE {
        // A thread of pixels is not blown up beyond what any other picture may measure.
        let most = (MAX_SIDE as f64 / longest as f64).max(1.0);
        picture = scaled(&picture, (MIN_SIDE as f64 / shortest as f64).min(most));
    }
    picture
}

/// From the pixels the reader worked on to those of the original image.
#[derive(Debug, Clone, Copy)]
struct Frame {
    scale: [f32; 2],
    size: [f32; 2],
}

impl Frame {
    fn new(image: &Image, picture: &Bitmap) -> Self {
        let size = [image.original.0 as f32, image.original.1 as f32];
        Self {
            scale: [
                size[0] / picture.width as f32,
                size[1] / picture.height as f32,
            ],
            size,
        }
    }

    fn original(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [
            (x * self.scale[0]).clamp(0.0, self.size[0]),
            (y * self.scale[1]).clamp(0.0, self.size[1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_ordinary_size_stay_as_they_are() {
        for (width, height) in [(640, 480), (1600, 60), (240, 30)] {
            let picture = prepared(Bitmap::black(width, height));
            assert_eq!((picture.width, picture.height), (width, height));
        }
    }

    #[test]
    fn large_pictures_shrink_and_thin_ones_grow() {
        let large = prepared(Bitmap::black(4000, 3000));
        assert_eq!((large.width, large.height), (1984, 1504));
        let thin = prepared(Bitmap::black(60, 15));
        assert_eq!((thin.width, thin.height), (128, 32));
    }

    #[test]
    fn quads_are_those_of_the_original_and_lie_in_it() {
        let image = Image::new(900, 60, vec![0; 900 * 60 * 3].into(), (1800, 120));
        let frame = Frame::new(&image, &prepared(Bitmap::of(&image)));
        assert_eq!(frame.original([450.0, 30.0]), [900.0, 60.0]);
        assert_eq!(frame.original([901.0, -5.0]), [1800.0, 0.0]);
    }

    #[test]
    fn a_hair_of_a_picture_is_not_blown_up_without_end() {
        let picture = prepared(Bitmap::black(3, 1900));
        assert!(picture.width * picture.height < 4_000_000);
        let picture = prepared(Bitmap::black(60_000, 1));
        assert!(picture.width * picture.height < 4_000_000);
    }

    #[test]
    fn a_folder_without_graphs_cannot_be_loaded() {
        let settings = ReaderSettings {
            name: "ppocr".into(),
            folder: std::env::temp_dir().join("no such folder"),
            session: SessionSettings::default(),
        };
        assert!(matches!(load(&settings)(), Err(ModelError::Broken(_))));
    }
}
