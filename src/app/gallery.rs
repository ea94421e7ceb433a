//! A few pictures with their records, kept for the page at the end.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use vila2_actors::ports::Decoder as _;

use crate::{
    decode::{DecodeSettings, FileDecoder},
    inputs::Sample,
    report::Shown,
};

/// Pictures of one page.
pub const PICTURES: u64 = 48;
/// Longest side of a copy, in pixels, and its quality as JPEG.
const SIDE: u32 = 512;
const QUALITY: u8 = 85;

/// A folder of files `ORDINAL.json` (the record) and `ORDINAL.picture` (the file's bytes).
#[derive(Debug)]
pub struct Gallery {
    folder: PathBuf,
    chosen: Sample,
    /// Those whose pictures are kept, too.
    pictures: Sample,
    /// Pictures that are fetched now, by the URL that is asked for.
    wanted: Mutex<HashMap<String, u64>>,
    /// Bytes of those that were fetched.
    sizes: Mutex<BTreeMap<u64, u64>>,
}

impl Gallery {
    /// Keeps these ordinals.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: &Path, chosen: Sample) -> io::Result<Self> {
        Self::of_sample(folder, chosen.clone(), chosen)
    }

    /// Keeps the records of a sample, and the pictures of a part of it.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn of_sample(folder: &Path, chosen: Sample, pictures: Sample) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            chosen,
            pictures,
            wanted: Mutex::default(),
            sizes: Mutex::default(),
        })
    }

    /// Bytes that were fetched for each of the chosen ones.
    #[must_use]
    pub fn sizes(&self) -> BTreeMap<u64, u64> {
        (self.sizes.lock().unwrap_or_else(PoisonError::into_inner)).clone()
    }

    /// A picture is about to be fetched.
    pub fn announce(&self, ordinal: u64, request: &Bytes) {
        if !self.chosen.has(ordinal) {
            return;
        }
        if let Ok(request) = vila2_actors::request::parse(Some(request)) {
            self.lock().insert(request.url, ordinal);
        }
    }

    /// A picture's bytes are there. A disk that is full is for the folder to say.
    pub fn fetched(&self, url: &str, body: &[u8]) {
        let ordinal = self.lock().remove(url);
        let Some(ordinal) = ordinal else {
            return;
        };
        (self.sizes.lock().unwrap_or_else(PoisonError::into_inner))
            .insert(ordinal, body.len() as u64);
        if self.pictures.has(ordinal) {
            let _ = fs::write(self.folder.join(format!("{ordinal}.picture")), body);
        }
    }

    /// A record is there.
    pub(super) fn keep(&self, ordinal: u64, record: &[u8]) {
        if self.chosen.has(ordinal) {
            let _ = fs::write(self.folder.join(format!("{ordinal}.json")), record);
        }
    }

    /// Records with small copies of their pictures, by ordinal.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn shown(folder: &Path) -> io::Result<Vec<Shown>> {
        let mut shown = Vec::new();
        for (ordinal, record) in Self::records(folder)? {
            if let Ok(record) = serde_json::from_slice(&record) {
                let picture = Self::picture(folder, ordinal);
                shown.push(Shown { record, picture });
            }
        }
        Ok(shown)
    }

    /// The records that were kept, as JSON, by ordinal.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn records(folder: &Path) -> io::Result<BTreeMap<u64, Vec<u8>>> {
        let mut records = BTreeMap::new();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(records),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|ending| ending == "json")
                && let Some(ordinal) = stem.and_then(|stem| stem.parse::<u64>().ok())
            {
                records.insert(ordinal, fs::read(&path)?);
            }
        }
        Ok(records)
    }

    /// A small copy of a picture that was kept, as a `data:` URL.
    #[must_use]
    pub fn picture(folder: &Path, ordinal: u64) -> Option<String> {
        let file = fs::read(folder.join(format!("{ordinal}.picture")));
        file.ok().and_then(small)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A picture as a `data:` URL of a JPEG with at most [`SIDE`] pixels a side.
fn small(file: Vec<u8>) -> Option<String> {
    let decoder = FileDecoder::new(DecodeSettings {
        max_side: SIDE,
        min_side: 1,
        ..DecodeSettings::default()
    });
    let image = decoder.decode(file.into()).ok()?.image;
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(
            &image.pixels,
            image.width,
            image.height,
            ExtendedColorType::Rgb8,
        )
        .ok()?;
    Some(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)))
}
