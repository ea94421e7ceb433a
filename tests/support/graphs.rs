//! Model folders with a fault in their weights: copies of whole ones, a tensor overwritten.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The shipped model.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenes")
}

/// PP-OCR, as `make runtime` brings it.
pub fn pp_ocr() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/runtime/rapidocr_onnxruntime/models")
}

/// A copy of a model folder, gone when dropped.
pub fn copy(folder: &Path) -> tempfile::TempDir {
    let target = tempfile::tempdir().expect("a model folder to change");
    copy_into(folder, target.path());
    target
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a model folder to change");
    for entry in fs::read_dir(from).expect("a model folder to change") {
        let path = entry.expect("a model folder to change").path();
        let target = to.join(path.file_name().expect("a model folder to change"));
        if path.is_dir() {
            copy_into(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a model folder to change");
        }
    }
}

/// Changes the numbers of one f32 tensor of a graph file.
pub fn change(file: &Path, tensor: &str, change: impl FnOnce(&mut [f32])) {
    let mut graph = fs::read(file).expect("a model folder to change");
    let raw = raw_data(&graph, tensor);
    let bytes = &mut graph[raw];
    let mut numbers: Vec<f32> = (bytes.chunks_exact(4))
        .map(|four| f32::from_le_bytes(four.try_into().expect("a model folder to change")))
        .collect();
    change(&mut numbers);
    for (four, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        four.copy_from_slice(&number.to_le_bytes());
    }
    fs::write(file, graph).expect("a model folder to change");
}

/// Where a tensor's numbers are: in a `TensorProto` its name (field 8) stands right before its
/// `raw_data` (field 9).
fn raw_data(graph: &[u8], tensor: &str) -> std::ops::Range<usize> {
    let mut named = vec![
        0x42,
        u8::try_from(tensor.len()).expect("a model folder to change"),
    ];
    named.extend(tensor.bytes());
    named.push(0x4a);
    let at = graph
        .windows(named.len())
        .position(|window| window == named);
    let mut at = at.unwrap_or_else(|| panic!("no tensor `{tensor}`")) + named.len();
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = graph[at];
        length |= usize::from(byte & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte < 0x80 {
            return at..at + length;
        }
    }
}
