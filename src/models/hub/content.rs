//! What stands in the place of a model's file: the file itself, or what a clone without Git LFS, a
//! browser or a broken download left there.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{
    Fault,
    onnx::{self, Outline, Unreadable},
};

/// How a Git LFS pointer begins.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What to do about a file that is not whole.
pub(in crate::models) const AGAIN: &str = "fetch it again (`vila2 models pull` checks every file)";

/// How much of a file is looked at.
const HEAD: u64 = 1_024;

/// What a file is instead of what its name says, from its first bytes and its size; `None` where
/// nothing is suspicious.
pub(in crate::models) fn foreign(head: &[u8], size: u64) -> Option<String> {
    if size == 0 {
        return Some(format!("empty; {AGAIN}"));
    }
    if head.starts_with(LFS_POINTER) {
        let text = String::from_utf8_lossy(head);
        let real = text.lines().find_map(|line| line.strip_prefix("size "));
        let real = real.map_or_else(String::new, |real| format!(" of {} bytes", real.trim()));
        return Some(format!(
            "a Git LFS pointer in place of the file{real}; run `git lfs pull` where it was cloned, \
             or fetch the model with `vila2 models pull`"
        ));
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") {
        return Some(format!("an HTML page in place of the file; {AGAIN}"));
    }
    begins("<?xml").then(|| format!("an XML document in place of the file; {AGAIN}"))
}

/// The same of a file on disk.
///
/// # Errors
/// Where it cannot be read.
pub(in crate::models) fn foreign_file(path: &Path) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok(foreign(&head, size))
}

/// The outline of a graph file, and every fault of it and of the files with its weights. `folder`
/// is what the names in faults are relative to.
pub(in crate::models) fn graph(folder: &Path, path: &Path) -> Result<Outline, Vec<Fault>> {
    let name = |path: &Path| {
        let inside = path.strip_prefix(folder).unwrap_or(path);
        inside.display().to_string()
    };
    let one = |what: String| Err(vec![Fault::new(name(path), what)]);
    match foreign_file(path) {
        Ok(None) => {}
        Ok(Some(what)) => return one(what),
        Err(error) => return one(format!("cannot be read: {error}")),
    }
    let outline = match onnx::outline(path) {
        Ok(outline) => outline,
        Err(Unreadable::Io(error)) => return one(format!("cannot be read: {error}")),
        Err(Unreadable::Cut { found, wanted }) => return one(cut(found, wanted)),
        Err(Unreadable::NoGraph) => return one(format!("no ONNX graph; {AGAIN}")),
    };
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut faults = Vec::new();
    for (location, &wanted) in &outline.external {
        let file = beside.join(location);
        let mut fault = |what| faults.push(Fault::new(name(&file), what));
        let Ok(found) = file.metadata().map(|facts| facts.len()) else {
            let graph = name(path);
            fault(format!("missing, and {graph} has weights in it; {AGAIN}"));
            continue;
        };
        match foreign_file(&file) {
            Ok(None) if found < wanted => fault(cut(found, wanted)),
            Ok(None) => {}
            Ok(Some(what)) => fault(what),
            Err(error) => fault(format!("cannot be read: {error}")),
        }
    }
    if faults.is_empty() {
        Ok(outline)
    } else {
        Err(faults)
    }
}

fn cut(found: u64, wanted: u64) -> String {
    format!("cut off: {found} bytes of at least {wanted} are there; {AGAIN}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::onnx::tests::file, *};

    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
        oid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c1550b5a0002f74190d6caea8\n\
        size 541234567\n";

    #[test]
    fn what_stands_in_place_of_a_file_is_named() {
        for (head, words) in [
            ("", "empty"),
            (
                POINTER,
                "a Git LFS pointer in place of the file of 541234567 bytes; run `git lfs pull`",
            ),
            ("\n <!DOCTYPE HTML><p>", "an HTML page"),
            ("\u{feff}<html lang=en>", "an HTML page"),
            ("<?xml version='1.0'?><Error/>", "an XML document"),
        ] {
            let found = foreign(head.as_bytes(), head.len() as u64).expect(words);
            assert!(found.starts_with(words), "{found}");
            assert!(found.contains("vila2 models pull"), "{found}");
        }
        assert_eq!(foreign(b"{\"a\": 1}", 8), None);
    }

    #[test]
    fn weights_that_are_missing_cut_or_pointers_are_told_by_their_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.onnx");
        fs::write(&path, file("MatMul", Some(("m.onnx_data", 8, 92)))).expect("a file");
        let told = || {
            let faults = graph(folder.path(), &path).expect_err("a fault");
            assert_eq!((faults.len(), faults[0].file.as_str()), (1, "m.onnx_data"));
            faults[0].what.clone()
        };
        assert!(told().starts_with("missing, and m.onnx has weights in it"));
        fs::write(folder.path().join("m.onnx_data"), [0; 99]).expect("a file");
        assert!(told().starts_with("cut off: 99 bytes of at least 100 are there"));
        fs::write(folder.path().join("m.onnx_data"), POINTER).expect("a file");
        assert!(told().starts_with("a Git LFS pointer"));
        fs::write(folder.path().join("m.onnx_data"), [0; 100]).expect("a file");
        assert!(graph(folder.path(), &path).is_ok());
    }
}
