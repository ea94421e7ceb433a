//! The tiny checkpoint of the Idefics3 family, put together in the shapes that public folders have.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use vila2_actors::{image::Image, ports::Prompt};

/// The files of the checkpoint, made by `trainer/family.py`.
pub fn family() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/family")
}

/// A shape: which files lie around the graphs, and in which form these are.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// `four` (every marker a token) or `five` (transformers 5, markers as plain text).
    pub files: &'static str,
    /// `plain` or `gqa`.
    pub decoder: &'static str,
    /// Whether the features are of rank 2.
    pub flat: bool,
}

/// A folder of that shape, gone when dropped.
pub fn folder(shape: Shape) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a model folder");
    let family = family();
    fs::create_dir(folder.path().join("onnx")).expect("a model folder");
    let copy = |from: PathBuf, name: &str| {
        fs::copy(from, folder.path().join(name)).expect("a model folder");
    };
    for file in inside(&family.join(shape.files)) {
        copy(family.join(shape.files).join(&file), &file);
    }
    for file in inside(&family.join("onnx").join(shape.decoder)) {
        let from = family.join("onnx").join(shape.decoder).join(&file);
        copy(from, &format!("onnx/{file}"));
    }
    let vision = match shape.flat {
        true => "vision_encoder_flat.onnx",
        false => "vision_encoder.onnx",
    };
    for (from, to) in [
        (vision, "vision_encoder.onnx"),
        ("vision_encoder.onnx_data", "vision_encoder.onnx_data"),
        ("embed_tokens.onnx", "embed_tokens.onnx"),
    ] {
        copy(family.join("onnx").join(from), &format!("onnx/{to}"));
    }
    folder
}

fn inside(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a model folder");
    let names = entries.map(|entry| entry.expect("a model folder").file_name());
    names
        .map(|name| name.into_string().expect("a model folder"))
        .collect()
}

/// Shows a folder as the hub's cache does, by links: the snapshot, inside of `cache`. `shared`: it
/// keeps every file once for all repositories, each in a folder by its hash.
pub fn cached(folder: &Path, cache: &Path, shared: bool) -> PathBuf {
    let repository = cache.join("models--test--family");
    let (snapshot, blobs) = (repository.join("snapshots/abc"), repository.join("blobs"));
    fs::create_dir_all(snapshot.join("onnx")).expect("a cache");
    fs::create_dir_all(&blobs).expect("a cache");
    let mut number = 0;
    for part in ["", "onnx"] {
        for name in inside(&folder.join(part)) {
            let from = folder.join(part).join(&name);
            if !from.is_file() {
                continue;
            }
            number += 1;
            let tag = blobs.join(format!("{number:040x}"));
            if shared {
                let store = cache.join(format!("blobs/{number:02x}"));
                fs::create_dir_all(&store).expect("a cache");
                let content = store.join(format!("{number:064x}"));
                fs::copy(from, &content).expect("a cache");
                symlink(&content, &tag).expect("a cache");
            } else {
                fs::copy(from, &tag).expect("a cache");
            }
            symlink(&tag, snapshot.join(part).join(name)).expect("a cache");
        }
    }
    snapshot
}

/// One question with the reference's prompt and answer.
#[derive(Debug, Clone)]
pub struct Question {
    pub image: Arc<Image>,
    pub prompt: Prompt,
    pub input: Vec<u32>,
    pub answer: Vec<u32>,
    pub margin: f64,
}

/// The questions of one list of the goldens: `four`, `five`, or `one_tile` (tokens as in `four`).
pub fn questions(list: &str) -> Vec<Question> {
    let text = fs::read_to_string(family().join("goldens.json")).expect("committed goldens");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).expect("ids") };
    let pictures = family().with_file_name("smolvlm").join("images");
    let mut questions = Vec::new();
    for picture in value["pictures"].as_array().expect("pictures") {
        let file = pictures.join(picture["file"].as_str().expect("a file"));
        let (width, height): (u32, u32) =
            serde_json::from_value(picture["size"].clone()).expect("a size");
        let whole = image::open(file).expect("a picture").to_rgb8();
        let part = image::imageops::crop_imm(&whole, 0, 0, width, height).to_image();
        let image = Image::new(width, height, part.into_raw().into(), (width, height));
        for answer in picture[list].as_array().into_iter().flatten() {
            questions.push(Question {
                image: Arc::clone(&image),
                prompt: Prompt {
                    text: answer["question"].as_str().expect("a question").into(),
                    max_tokens: value["max_new_tokens"].as_u64().expect("a number") as u32,
                    seed: 0,
                    sampling: vila2_actors::sampling::Sampling::default(),
                },
                input: ids(&answer["input_ids"]),
                answer: ids(&answer["generated_ids"]),
                margin: answer["margin"].as_f64().expect("a margin"),
            });
        }
    }
    questions
}
