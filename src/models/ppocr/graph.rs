//! One graph of the reader: pictures in, one tensor out.

use std::path::{Path, PathBuf};

use ort::{session::Session, value::TensorRef};
use vila2_actors::error::ModelError;

use super::{ReaderSettings, bitmap::Bitmap};
use crate::models::{
    SessionSettings,
    generation::finite,
    hub::{Fault, content, digest::Revision},
    open_session,
};

/// A session with a single `f32[N, 3, H, W]` input and a single `f32` output.
#[derive(Debug)]
pub(super) struct Graph {
    session: Session,
    input: String,
    /// Of its file, for errors.
    name: String,
}

/// What a graph answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Graph {
    /// Opens a graph file.
    ///
    /// # Errors
    /// [`ModelError::Broken`].
    pub fn open(file: &Path, settings: &ReaderSettings) -> Result<Self, ModelError> {
        // Every picture has its own size: an arena would keep the largest of each buffer.
        let unkept = SessionSettings {
            arena: false,
            ..settings.session.clone()
        };
        let session =
            open_session(file, &unkept).map_err(|error| ModelError::Broken(error.to_string()))?;
        match (session.inputs(), session.outputs().len()) {
            ([input], 1) => Ok(Self {
                input: input.name().to_owned(),
                name: (file.file_name().unwrap_or_default().to_string_lossy()).into_owned(),
                session,
            }),
            (inputs, outputs) => Err(ModelError::Broken(format!(
                "{} has {} inputs and {outputs} outputs; a graph of PP-OCR has one of each",
                file.display(),
                inputs.len(),
            ))),
        }
    }

    /// A value of the graph's own metadata.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.session.metadata().ok()?.custom(key)
    }

    /// Runs a batch.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn run(&mut self, batch: &Batch) -> Result<Answer, ModelError> {
        let failed = |error: ort::Error| ModelError::Run(error.to_string());
        let shape = [batch.count, 3, batch.height, batch.width];
        let tensor = TensorRef::from_array_view((shape, &batch.values[..])).map_err(failed)?;
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => tensor])
            .map_err(failed)?;
        let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        if !finite(values) {
            return Err(ModelError::Run(format!(
                "{} gave probabilities that are no numbers (NaN or infinite)",
                self.name
            )));
        }
        Ok(Answer {
            shape: shape.iter().map(|&side| side as usize).collect(),
            values: values.to_vec(),
        })
    }
}

/// Pictures as one tensor `f32[count, 3, height, width]`: planes in BGR order, levels from −1 to
/// 1, zero to the right of a picture that is narrower than the tensor.
#[derive(Debug)]
pub(super) struct Batch {
    pub count: usize,
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl Batch {
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            count: 0,
            width,
            height,
            values: Vec::new(),
        }
    }

    /// Adds a picture of the tensor's height and at most its width.
    pub fn push(&mut self, picture: &Bitmap) {
        debug_assert!(picture.height == self.height && picture.width <= self.width);
        let scaled: [f32; 256] = std::array::from_fn(|level| (level as f32 / 255.0 - 0.5) / 0.5);
        self.count += 1;
        self.values.reserve(3 * self.height * self.width);
        for channel in 0..3 {
            for row in picture.levels.chunks_exact(picture.width * 3) {
                let levels = row[channel..].iter().step_by(3);
                self.values
                    .extend(levels.map(|&level| scaled[usize::from(level)]));
                let end = self.values.len() + self.width - picture.width;
                self.values.resize(end, 0.0);
            }
        }
    }
}

/// The three graph files of a folder, told apart by `det`, `cls` and `rec` in their names.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub detect: PathBuf,
    pub orient: PathBuf,
    pub recognize: PathBuf,
}

impl Files {
    /// Looks into a folder.
    ///
    /// # Errors
    /// Each of the three that is missing, not the only one, or not whole, with what to do.
    pub fn of(folder: &Path) -> Result<Self, Vec<String>> {
        let unreadable =
            |error: std::io::Error| vec![format!("{} cannot be read: {error}", folder.display())];
        let mut graphs = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|e| e == "onnx") {
                graphs.push(path);
            }
        }
        let mut faults = Vec::new();
        let mut one = |word: &str| {
            let named = |path: &&PathBuf| {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                name.split(['_', '-', '.']).any(|part| part == word)
            };
            let found: Vec<&PathBuf> = graphs.iter().filter(named).collect();
            match found[..] {
                [path] => path.clone(),
                _ => {
                    faults.push(format!(
                        "{} holds {} graphs named *_{word}_*.onnx, and the reader wants exactly \
                         one; `make runtime` brings PP-OCR's three graphs",
                        folder.display(),
                        found.len(),
                    ));
                    PathBuf::new()
                }
            }
        };
        let files = Self {
            detect: one("det"),
            orient: one("cls"),
            recognize: one("rec"),
        };
        if faults.is_empty() {
            for (_, path) in files.named() {
                let found = content::graph(Path::new(""), path).err();
                let found = found.into_iter().flatten();
                faults.extend(found.map(|Fault { file, what }| {
                    format!("{file}: {what}; `make runtime` brings PP-OCR's three graphs")
                }));
            }
        }
        if faults.is_empty() {
            Ok(files)
        } else {
            Err(faults)
        }
    }

    /// First 12 hex digits of a SHA-256 over the three files.
    ///
    /// # Errors
    /// [`ModelError::Broken`] where one cannot be read.
    pub fn revision(&self) -> Result<String, ModelError> {
        let mut revision = Revision::default();
        for (name, file) in self.named() {
            let unreadable =
                |error| ModelError::Broken(format!("{} cannot be read: {error}", file.display()));
            revision.add_file(name, file).map_err(unreadable)?;
        }
        Ok(revision.finish())
    }

    fn named(&self) -> [(&'static str, &Path); 3] {
        [
            ("det", &self.detect),
            ("cls", &self.orient),
            ("rec", &self.recognize),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_picture_is_followed_by_zeros_in_every_plane() {
        let picture = Bitmap {
            width: 1,
            height: 2,
            levels: vec![0, 255, 51, 255, 0, 51],
        };
        let mut batch = Batch::new(2, 2);
        batch.push(&picture);
        let expected = [
            -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, -0.6, 0.0, -0.6, 0.0,
        ];
        assert_eq!((batch.count, batch.values), (1, expected.to_vec()));
    }

    #[test]
    fn a_folder_that_lacks_a_graph_is_refused_with_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a_det_infer.onnx", "a_cls_infer.onnx", "notes_rec_.txt"] {
            let graph = crate::models::hub::onnx::tests::file("Conv", None);
            std::fs::write(folder.path().join(name), graph).unwrap();
        }
        let message = Files::of(folder.path()).unwrap_err().join("; ");
        assert!(message.contains("0 graphs named *_rec_*.onnx"), "{message}");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:46\nsize 77\n";
        let path = folder.path().join("a_rec_infer.onnx");
        std::fs::write(&path, pointer).unwrap();
        let message = Files::of(folder.path()).unwrap_err().join("; ");
        let words = "a_rec_infer.onnx: a Git LFS pointer in place of the file of 77 bytes";
        assert!(message.contains(words), "{message}");
        assert!(message.contains("`make runtime`"), "{message}");
        std::fs::copy(folder.path().join("a_det_infer.onnx"), &path).unwrap();
        let files = Files::of(folder.path()).unwrap();
        assert!(files.recognize.ends_with("a_rec_infer.onnx"));
        assert_eq!(files.revision().unwrap().len(), 12);
    }
}
