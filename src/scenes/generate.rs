//! Writing a data set: `images/*` and `truth.jsonl`, the same bytes for the same seed. Every picture
//! bears the [mark](super::mark) of this world.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ab_glyph::InvalidFont;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage};

use super::compose::{Composition, compose};
use super::font::Faces;
use super::mark::exif;
use super::random::SceneRng;

/// A file format of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JPEG, quality 90 to 95 drawn from the seed.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossless.
    WebP,
}

impl Format {
    /// The file name's extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::WebP => "webp",
        }
    }
}

/// Which formats a data set is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Formats {
    /// 60 % JPEG, 25 % PNG, 15 % WebP, drawn from the seed.
    #[default]
    Mixed,
    /// One format only.
    Only(Format),
}

impl std::str::FromStr for Formats {
    type Err = String;

    /// Reads `mixed`, `jpg`, `jpeg`, `png` or `webp`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "mixed" => Ok(Self::Mixed),
            "jpg" | "jpeg" => Ok(Self::Only(Format::Jpeg)),
            "png" => Ok(Self::Only(Format::Png)),
            "webp" => Ok(Self::Only(Format::WebP)),
            _ => Err(format!(
                "unknown format {word:?}: one of mixed, jpg, png, webp"
            )),
        }
    }
}

/// Why a data set could not be written.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A file or folder could not be written.
    #[error("{path}: {source}")]
    Write {
        /// What was being written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A picture could not be encoded.
    #[error("{file}: {source}")]
    Encode {
        /// The picture's file name.
        file: String,
        /// The encoder's answer.
        source: ImageError,
    },
    /// A truth line could not be written as JSON.
    #[error("{file}: {source}")]
    Truth {
        /// The picture's file name.
        file: String,
        /// The serialiser's answer.
        source: serde_json::Error,
    },
    /// The shipped fonts are damaged.
    #[error("the shipped fonts are damaged: {0}")]
    Fonts(#[from] InvalidFont),
}

/// Composes and encodes scenes of one data set, one at a time.
#[derive(Debug)]
pub struct Generator {
    faces: Faces,
    seed: u64,
    formats: Formats,
}

/// A picture in its file format, with what is true of it.
#[derive(Debug, Clone)]
pub struct EncodedScene {
    /// The truth, and how the picture is drawn.
    pub composition: Composition,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// The file's format.
    pub format: Format,
}

impl Generator {
    /// A generator for the data set with this seed.
    ///
    /// # Errors
    /// Only if the shipped fonts are damaged.
    pub fn new(seed: u64, formats: Formats) -> Result<Self, GenerateError> {
        Ok(Self {
            faces: Faces::load()?,
            seed,
            formats,
        })
    }

    /// Composes scene `index`, without drawing it.
    pub fn compose(&self, index: u64) -> Composition {
        let file = self.file_name(index, self.encoding(index).0);
        compose(&self.faces, self.seed, index, file)
    }

    /// Composes, draws and encodes scene `index`.
    ///
    /// # Errors
    /// What the encoder answers; it has no reason to.
    pub fn encode(&self, index: u64) -> Result<EncodedScene, GenerateError> {
        let (format, quality) = self.encoding(index);
        let composition = compose(&self.faces, self.seed, index, self.file_name(index, format));
        let bytes = encode(&composition.draw(), format, quality).map_err(|source| {
            GenerateError::Encode {
                file: composition.scene.file.clone(),
                source,
            }
        })?;
        Ok(EncodedScene {
            composition,
            bytes,
            format,
        })
    }

    fn file_name(&self, index: u64, format: Format) -> String {
        format!("scene-{}-{index:06}.{}", self.seed, format.extension())
    }

    /// The quality of scene `index` where it is a JPEG.
    #[cfg(test)]
    pub(super) fn quality(&self, index: u64) -> u8 {
        self.encoding(index).1
    }

    /// Format and quality come from a stream of their own: they never change what is drawn.
    fn encoding(&self, index: u64) -> (Format, u8) {
        let mut rng = SceneRng::new(!self.seed, index);
        let mixed = match rng.below(20) {
            0..12 => Format::Jpeg,
            12..17 => Format::Png,
            _ => Format::WebP,
        };
        let quality = rng.between(90, 95) as u8;
        match self.formats {
            Formats::Mixed => (mixed, quality),
            Formats::Only(format) => (format, quality),
        }
    }
}

/// Writes `count` scenes to `out/images/` and their truth, in the order of their indices, to
/// `out/truth.jsonl`; on every core. `progress` is called with the number of pictures written so far,
/// from several threads.
///
/// # Errors
/// The first folder or file that could not be written.
pub fn write_dataset(
    out: &Path,
    count: u64,
    seed: u64,
    formats: Formats,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), GenerateError> {
    let images = out.join("images");
    fs::create_dir_all(&images).map_err(write_error(&images))?;
    let generator = Generator::new(seed, formats)?;
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || -> Result<Vec<(u64, String)>, GenerateError> {
        let mut lines = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(lines);
            }
            let line = write_scene(&generator, index, &images).inspect_err(|_| {
                next.store(count, Ordering::Relaxed);
            })?;
            lines.push((index, line));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let parts = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    let mut lines: Vec<(u64, String)> = parts.into_iter().flatten().collect();
    lines.sort_unstable_by_key(|(index, _)| *index);
    let path = out.join("truth.jsonl");
    write_lines(&path, &lines).map_err(write_error(&path))
}

/// Writes one picture and returns its truth line.
fn write_scene(generator: &Generator, index: u64, images: &Path) -> Result<String, GenerateError> {
    let EncodedScene {
        composition, bytes, ..
    } = generator.encode(index)?;
    let path = images.join(&composition.scene.file);
    fs::write(&path, bytes).map_err(write_error(&path))?;
    serde_json::to_string(&composition.scene).map_err(|source| GenerateError::Truth {
        file: composition.scene.file.clone(),
        source,
    })
}

fn write_lines(path: &Path, lines: &[(u64, String)]) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for (_, line) in lines {
        writeln!(file, "{line}")?;
    }
    file.flush()
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> GenerateError {
    let path = path.to_owned();
    move |source| GenerateError::Write { path, source }
}

fn encode(picture: &RgbImage, format: Format, quality: u8) -> Result<Vec<u8>, ImageError> {
    let (mut bytes, rgb) = (Vec::new(), ExtendedColorType::Rgb8);
    let (data, width, height) = (picture.as_raw(), picture.width(), picture.height());
    match format {
        Format::Jpeg => marked(JpegEncoder::new_with_quality(&mut bytes, quality))?
            .write_image(data, width, height, rgb)?,
        Format::Png => {
            marked(PngEncoder::new(&mut bytes))?.write_image(data, width, height, rgb)?;
        }
        Format::WebP => {
            marked(WebPEncoder::new_lossless(&mut bytes))?.write_image(data, width, height, rgb)?
        }
    }
    Ok(bytes)
}

/// An encoder that writes the mark of this world beside the pixels.
fn marked<E: ImageEncoder>(mut encoder: E) -> Result<E, ImageError> {
    encoder
        .set_exif_metadata(exif())
        .map_err(ImageError::Unsupported)?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
        let generator = Generator::new(21, Formats::Mixed).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let calls = AtomicU64::new(0);
        let count = |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        write_dataset(folder.path(), 12, 21, Formats::Mixed, &count).unwrap();
        assert_eq!(calls.into_inner(), 12);
        let truth = fs::read_to_string(folder.path().join("truth.jsonl")).unwrap();
        assert_eq!(truth.lines().count(), 12);
        for (index, line) in truth.lines().enumerate() {
            let scene = generator.encode(index as u64).unwrap();
            assert_eq!(
                line,
                serde_json::to_string(&scene.composition.scene).unwrap()
            );
            let file = folder
                .path()
                .join("images")
                .join(&scene.composition.scene.file);
            assert_eq!(fs::read(file).unwrap(), scene.bytes);
        }
    }

    #[test]
    fn every_format_decodes_to_the_size_of_its_truth_and_none_changes_the_scene() {
        let mut scenes = Vec::new();
        for format in [Format::Jpeg, Format::Png, Format::WebP] {
            let generator = Generator::new(22, Formats::Only(format)).unwrap();
            let EncodedScene {
                composition, bytes, ..
            } = generator.encode(3).unwrap();
            let mut scene = composition.scene;
            let extension = format!(".{}", format.extension());
            assert!(scene.file.starts_with("scene-22-000003") && scene.file.ends_with(&extension));
            let picture = image::load_from_memory(&bytes).unwrap();
            assert_eq!(
                (picture.width(), picture.height()),
                (scene.width, scene.height)
            );
            scene.file = String::new();
            scenes.push(scene);
        }
        assert!(scenes.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn the_mix_is_mostly_jpeg_with_a_quarter_png() {
        let generator = Generator::new(23, Formats::Mixed).unwrap();
        let share = |format| {
            (0..2000)
                .filter(|&index| generator.encoding(index).0 == format)
                .count() as f32
                / 2000.0
        };
        assert!((share(Format::Jpeg) - 0.60).abs() < 0.05);
        assert!((share(Format::Png) - 0.25).abs() < 0.05);
        assert!((share(Format::WebP) - 0.15).abs() < 0.05);
        assert!((0..100).all(|index| (90..=95).contains(&generator.encoding(index).1)));
    }

    #[test]
    fn formats_are_read_by_name() {
        assert_eq!("jpeg".parse(), Ok(Formats::Only(Format::Jpeg)));
        assert_eq!("mixed".parse(), Ok(Formats::Mixed));
        assert!(
            "gif"
                .parse::<Formats>()
                .unwrap_err()
                .contains("one of mixed")
        );
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("taken");
        fs::write(&out, "a file").unwrap();
        let error = write_dataset(&out, 1, 1, Formats::Mixed, &|_| {}).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
    }
}
