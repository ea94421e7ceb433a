//! Where the files that travel with the program are found: the one place that knows the layouts of
//! a source tree, of the unpacked archive, and of a Python environment.
//!
//! ```text
//! source tree          target/release/vila2   models/…            target/runtime/{onnxruntime,rapidocr_onnxruntime}/…
//! archive              vila2                  models/…            libonnxruntime.so.…, rapidocr_onnxruntime/…
//! Python environment   bin/vila2              share/vila2/…       lib/python3.X/site-packages/{onnxruntime,…}/…
//! ```

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// What `make runtime` unpacks: packages of Python, laid out as in `site-packages`.
const PACKAGES: &str = "target/runtime";
/// The folder of the package `onnxruntime`, and of `onnxruntime-gpu`, that holds the library.
const CAPI: &str = "onnxruntime/capi";
/// What every name of the library begins with.
const STEM: &str = "libonnxruntime.so";

/// Finds a configured path. An absolute path stays; a relative one is looked for in the working
/// directory, in every folder above the program, nearest first, beside the program, and in the
/// Python environment that holds the program. What is found nowhere stays as it is.
#[must_use]
pub fn locate(path: &Path) -> PathBuf {
    let found = (Program::this().places(path).into_iter()).find(|place| place.exists());
    found.unwrap_or_else(|| path.to_owned())
}

/// That a configured path, as [`locate`] left it, is no folder; with every place searched.
#[must_use]
pub fn no_folder(path: &Path) -> String {
    let problem = format!("{} is no folder", path.display());
    match &Program::this().places(path)[..] {
        [_] => problem,
        searched => format!("{problem}; looked for {}", listed(searched)),
    }
}

/// Finds the ONNX Runtime library: below [`PACKAGES`] as [`locate`] looks for it, beside the
/// program, then in its Python environment. In each folder the one named `pinned` is taken, else
/// the one of the highest version.
///
/// # Errors
/// Every place searched, in order, with the name `pinned`.
pub fn library(pinned: &str) -> Result<PathBuf, Vec<PathBuf>> {
    Program::this().library(pinned)
}

/// Paths for people.
#[must_use]
pub fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    paths.join(", ")
}

/// From where is looked.
struct Program {
    /// The working directory; empty, so that what is found in it stays relative.
    working: PathBuf,
    /// The program's folder, links that lead to it resolved; `None`: it cannot be told.
    folder: Option<PathBuf>,
}

impl Program {
    fn this() -> Self {
        let program = env::current_exe().ok();
        Self {
            working: PathBuf::new(),
            folder: program.and_then(|program| program.parent().map(Path::to_owned)),
        }
    }

    /// Where a path may be, in the order of the search.
    fn places(&self, path: &Path) -> Vec<PathBuf> {
        if path.is_absolute() || path.as_os_str().is_empty() {
            return vec![path.to_owned()];
        }
        let mut places = self.around(path);
        match path.strip_prefix(PACKAGES) {
            Ok(inside) => {
                places.extend(self.folder.iter().map(|folder| folder.join(inside)));
                places.extend(self.in_python(inside));
            }
            Err(_) => places.extend(self.prefix().map(|p| p.join("share/vila2").join(path))),
        }
        places
    }

    /// In the working directory, and in the folders above the program.
    fn around(&self, path: &Path) -> Vec<PathBuf> {
        let above = self.folder.iter().flat_map(|folder| folder.ancestors());
        let above = above.map(|folder| folder.join(path));
        std::iter::once(self.working.join(path))
            .chain(above)
            .collect()
    }

    /// `sys.prefix` of the Python environment the program would be installed in, as `bin/vila2`.
    fn prefix(&self) -> Option<&Path> {
        self.folder.as_deref().and_then(Path::parent)
    }

    /// In the packages of the environment, newest Python first. `pip install --target` puts
    /// packages beside `bin`.
    fn in_python(&self, inside: &Path) -> Vec<PathBuf> {
        let Some(prefix) = self.prefix() else {
            return Vec::new();
        };
        let mut packages = Vec::new();
        for libraries in ["lib", "local/lib", "lib64"] {
            let libraries = prefix.join(libraries);
            // `lib64` of a virtual environment leads to its `lib`.
            if libraries.is_symlink() {
                continue;
            }
            for python in pythons(&libraries) {
                // Debian's own Pythons say `dist-packages`.
                let named = ["site-packages", "dist-packages"].map(|name| python.join(name));
                packages.extend(named.into_iter().filter(|folder| folder.is_dir()));
            }
        }
        if packages.is_empty() {
            packages.push(prefix.join("lib/python3.*/site-packages"));
        }
        packages.push(prefix.to_owned());
        packages.iter().map(|folder| folder.join(inside)).collect()
    }

    fn library(&self, pinned: &str) -> Result<PathBuf, Vec<PathBuf>> {
        let mut folders = self.around(&Path::new(PACKAGES).join(CAPI));
        if let Some(folder) = &self.folder {
            folders.push(folder.clone());
            folders.push(folder.join(CAPI));
        }
        folders.extend(self.in_python(Path::new(CAPI)));
        match folders.iter().find_map(|folder| library_in(folder, pinned)) {
            Some(found) => Ok(found),
            None => Err((folders.iter().map(|folder| folder.join(pinned))).collect()),
        }
    }
}

/// The folders `python3.X` of a folder of libraries, highest version first.
fn pythons(libraries: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(Vec<u64>, PathBuf)> = names(libraries)
        .filter_map(|(name, path)| Some((version(name.strip_prefix("python3.")?)?, path)))
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The library in a folder: the one named `pinned`, else the one of the highest version, else the
/// one without any.
fn library_in(folder: &Path, pinned: &str) -> Option<PathBuf> {
    let named = folder.join(pinned);
    if named.is_file() {
        return Some(named);
    }
    let versioned = names(folder).filter_map(|(name, path)| {
        let number = match name.strip_prefix(STEM)? {
            "" => Vec::new(),
            rest => version(rest.strip_prefix('.')?)?,
        };
        path.is_file().then_some((number, path))
    });
    versioned.max().map(|(_, path)| path)
}

/// The entries of a folder by name; none where it is not there.
fn names(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

/// `1.31.1` as numbers, so that 10 is above 9.
fn version(text: &str) -> Option<Vec<u64>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
