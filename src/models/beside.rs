//! Graphs whose weights ONNX Runtime would not find: it opens external data only below the folder
//! where the graph really lies, links followed.
//!
//! A cache filled by `hf download` keeps every file once for all repositories, each in a folder by
//! its hash, and shows them as links: graph and weights then lie in different folders. Such a graph
//! is opened from a folder of our own, where both stand under their names. They are hard links, or
//! copies where the file system allows no links. The folder is gone once the session is open, and
//! nothing is written where the files come from.

use std::{
    env, fs, io,
    path::{Component, Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{disk, hub::onnx};

/// A graph at a place from which it can be opened.
#[derive(Debug)]
pub(super) struct Placed {
    path: PathBuf,
    /// Removed with it.
    folder: Option<PathBuf>,
}

impl Placed {
    /// The graph file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // What stays behind is a few names in a cache folder.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Sees to it that a graph's weights lie below the folder of the graph.
///
/// # Errors
/// What is in the way, and what to do about it.
pub(super) fn place(graph: &Path) -> Result<Placed, String> {
    let as_it_is = || Placed {
        path: graph.to_owned(),
        folder: None,
    };
    // Whatever is wrong with the file itself, ONNX Runtime says when it opens it.
    let Ok(outline) = onnx::outline(graph) else {
        return Ok(as_it_is());
    };
    let (Some(beside), Ok(real)) = (graph.parent(), graph.canonicalize()) else {
        return Ok(as_it_is());
    };
    let mut files = vec![(
        PathBuf::from(graph.file_name().unwrap_or_default()),
        real.clone(),
    )];
    let mut escapes = false;
    for name in outline.external.keys() {
        let inside = Path::new(name);
        if !inside
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(format!(
                "its weights are to lie at {name:?}, outside of the folder; export it again"
            ));
        }
        let Ok(weights) = beside.join(inside).canonicalize() else {
            return Ok(as_it_is());
        };
        escapes |= !real
            .parent()
            .is_some_and(|folder| weights.starts_with(folder));
        files.push((inside.to_owned(), weights));
    }
    if !escapes {
        return Ok(as_it_is());
    }
    together(&files).map_err(|error| {
        format!(
            "its weights lie in another folder than the graph (a cache shared by repositories), and \
             they cannot be brought together: {error}; set XDG_CACHE_HOME to a folder on the same \
             file system, or fetch the model with `vila2 models pull --out DIR`"
        )
    })
}

/// Puts files under their names into a folder of our own; the first of them is the graph.
fn together(files: &[(PathBuf, PathBuf)]) -> io::Result<Placed> {
    let roots: Vec<PathBuf> = disk::own_folder()
        .into_iter()
        .chain([env::temp_dir().join("vila2")])
        .collect();
    let mut last = io::Error::other("no folder to write to");
    type Put = fn(&Path, &Path) -> io::Result<()>;
    let ways: [Put; 2] = [
        |from, to| fs::hard_link(from, to),
        |from, to| fs::copy(from, to).map(|_| ()),
    ];
    for (put, root) in ways
        .iter()
        .flat_map(|way| roots.iter().map(move |root| (way, root)))
    {
        match fill(root, files, *put) {
            Ok(placed) => return Ok(placed),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn fill(
    root: &Path,
    files: &[(PathBuf, PathBuf)],
    put: fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<Placed> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = root.join(format!("graphs/{}-{number}", process::id()));
    // What a process of the same number left behind.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let placed = Placed {
        path: folder.join(&files[0].0),
        folder: Some(folder.clone()),
    };
    for (name, from) in files {
        let to = folder.join(name);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        put(from, &to)?;
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::models::hub::onnx::tests::file;

    /// `snapshot/m.onnx` and `snapshot/m.onnx_data` as links into folders of their own.
    fn shared() -> tempfile::TempDir {
        let cache = tempfile::tempdir().expect("a folder");
        let snapshot = cache.path().join("snapshot");
        fs::create_dir(&snapshot).expect("a folder");
        let graph = file("MatMul", Some(("m.onnx_data", 0, 7)));
        for (name, bytes) in [("m.onnx", graph.as_slice()), ("m.onnx_data", b"weights")] {
            let blob = cache.path().join("blobs").join(name).join("aa");
            fs::create_dir_all(blob.parent().expect("a folder")).expect("a folder");
            fs::write(&blob, bytes).expect("a file");
            symlink(&blob, snapshot.join(name)).expect("a link");
        }
        cache
    }

    #[test]
    fn weights_in_another_folder_come_to_the_graph_and_go_with_it() {
        let cache = shared();
        let placed = place(&cache.path().join("snapshot/m.onnx")).expect("placed");
        let folder = placed.path().parent().expect("a folder").to_owned();
        assert!(!folder.starts_with(cache.path()));
        let weights = fs::read(folder.join("m.onnx_data")).expect("the weights");
        assert_eq!(weights, b"weights");
        drop(placed);
        assert!(!folder.exists());
        assert!(cache.path().join("blobs/m.onnx_data/aa").is_file());
    }

    #[test]
    fn copies_do_where_links_are_refused() {
        let cache = shared();
        let root = tempfile::tempdir().expect("a folder");
        let from = cache.path().join("blobs/m.onnx/aa");
        let files = [(PathBuf::from("m.onnx"), from)];
        let placed = fill(root.path(), &files, |from, to| {
            fs::copy(from, to).map(|_| ())
        });
        let placed = placed.expect("placed");
        assert!(placed.path().is_file() && !placed.path().is_symlink());
    }

    #[test]
    fn a_graph_that_has_its_weights_beside_it_stays_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let graph = folder.path().join("m.onnx");
        fs::write(&graph, file("MatMul", Some(("m.onnx_data", 0, 7)))).expect("a file");
        fs::write(folder.path().join("m.onnx_data"), "weights").expect("a file");
        assert_eq!(place(&graph).expect("placed").path(), graph);
        // The classic cache: all blobs in one folder.
        let links = tempfile::tempdir().expect("a folder");
        for name in ["m.onnx", "m.onnx_data"] {
            symlink(folder.path().join(name), links.path().join(name)).expect("a link");
        }
        let link = links.path().join("m.onnx");
        assert_eq!(place(&link).expect("placed").path(), link);
    }

    #[test]
    fn weights_outside_of_the_folder_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let graph = folder.path().join("m.onnx");
        fs::write(&graph, file("MatMul", Some(("../secrets", 0, 7)))).expect("a file");
        let error = place(&graph).expect_err("refused");
        assert!(
            error.contains("../secrets") && error.contains("export"),
            "{error}"
        );
    }
}
