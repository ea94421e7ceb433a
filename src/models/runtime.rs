//! ONNX Runtime itself: where the library is found, and the one environment of the process.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use ort::{environment::Environment, logging::LogLevel};

use crate::places::{self, listed};

/// File name of the library as the PyPI package `onnxruntime` carries it.
const LIBRARY: &str = "libonnxruntime.so.1.31.1";

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// ONNX Runtime, loaded; one per process, kept until the process ends.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// ONNX Runtime cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// No library at any of the places.
    #[error(
        "no ONNX Runtime library found; looked for {}; run `make runtime` in the source tree, \
         install onnxruntime by pip beside the program, or set runtime.onnxruntime or \
         ORT_DYLIB_PATH to the path of {LIBRARY}",
        listed(searched)
    )]
    NotFound {
        /// The places, in the order they were tried.
        searched: Vec<PathBuf>,
    },
    /// The configured file is missing. Nothing else is tried then.
    #[error(
        "{key} names {}, which is no file; set it to the path of {LIBRARY}, or remove it to use \
         the one that `make runtime` brings", path.display()
    )]
    Missing {
        /// Who named it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is there and cannot be used.
    #[error(
        "{} cannot be used as ONNX Runtime: {detail}; name {LIBRARY} or a later one, such as \
         `make runtime` brings", path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        detail: String,
    },
}

impl Runtime {
    /// Loads the library on the first call; later calls return the same runtime, whatever they ask
    /// for, because a process can hold only one. `configured` is `runtime.onnxruntime`.
    ///
    /// # Errors
    /// [`RuntimeError`], with what to do about it.
    pub fn get(configured: Option<&Path>) -> Result<&'static Self, RuntimeError> {
        if let Some(runtime) = RUNTIME.get() {
            return Ok(runtime);
        }
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = RUNTIME.get() {
            return Ok(runtime);
        }
        let runtime = Self::load(find_library(configured)?)?;
        tracing::info!(library = %runtime.library.display(), "ONNX Runtime loaded");
        Ok(RUNTIME.get_or_init(|| runtime))
    }

    fn load(library: PathBuf) -> Result<Self, RuntimeError> {
        // The loader looks up relative paths beside the executable first.
        let library = library.canonicalize().unwrap_or(library);
        let unusable = |detail: String| RuntimeError::Unusable {
            path: library.clone(),
            detail,
        };
        let environment = ort::init_from(&library)
            .map_err(|e| unusable(e.to_string()))?
            .with_name("vila2")
            .with_telemetry(false)
            .with_logger(Arc::new(log))
            .build()
            .map_err(|e| unusable(e.to_string()))?;
        environment.set_log_level(LogLevel::Warning);
        Ok(Self {
            environment,
            library,
        })
    }

    /// The library's path.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// What the library says of its build: version, commit, compiler flags.
    #[must_use]
    pub fn build(&self) -> &'static str {
        ort::info()
    }

    /// The library's version as its file name or the build information tells it.
    #[must_use]
    pub fn version(&self) -> String {
        let name = self.library.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        match name.rsplit_once(".so.") {
            Some((_, version)) if version.contains('.') => version.to_owned(),
            _ => branch(self.build()).to_owned(),
        }
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// Finds the library: `runtime.onnxruntime`, `ORT_DYLIB_PATH`, then where [`places::library`]
/// looks.
///
/// # Errors
/// [`RuntimeError::Missing`] where a place is named and empty, else [`RuntimeError::NotFound`].
pub fn find_library(configured: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    let from_env = env::var_os("ORT_DYLIB_PATH")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    for (key, path) in [
        ("runtime.onnxruntime", configured.map(Path::to_path_buf)),
        ("ORT_DYLIB_PATH", from_env),
    ] {
        match path {
            Some(path) if path.is_file() => return Ok(path),
            Some(path) => return Err(RuntimeError::Missing { key, path }),
            None => {}
        }
    }
    places::library(LIBRARY).map_err(|searched| RuntimeError::NotFound { searched })
}

/// The branch in `… git-branch=rel-1.31.1, git-commit-id=…`, else the whole text.
fn branch(build: &str) -> &str {
    let found = build.split_once("git-branch=").map(|(_, rest)| rest);
    let found = found.and_then(|rest| rest.split(',').next());
    found.map_or(build, |branch| branch.trim_start_matches("rel-"))
}

fn log(level: LogLevel, category: &str, id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => {
            tracing::error!(target: "onnxruntime", category, id, location, "{message}");
        }
        LogLevel::Warning => {
            tracing::warn!(target: "onnxruntime", category, id, location, "{message}");
        }
        LogLevel::Info => {
            tracing::debug!(target: "onnxruntime", category, id, location, "{message}");
        }
        LogLevel::Verbose => {
            tracing::trace!(target: "onnxruntime", category, id, location, "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_library_that_is_missing_is_named_with_its_key() {
        let error = find_library(Some(Path::new("no/such/lib.so"))).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("runtime.onnxruntime"), "{message}");
        assert!(message.contains("no/such/lib.so"), "{message}");
    }

    #[test]
    fn the_version_is_read_from_the_build_information() {
        let build = "ORT Build Info: git-branch=rel-1.31.1, git-commit-id=26250ae, build type=x";
        assert_eq!(branch(build), "1.31.1");
        assert_eq!(branch("unknown"), "unknown");
        let runtime = Runtime::get(None).expect("`make runtime` has been run");
        assert_eq!(runtime.version(), "1.31.1");
    }

    #[test]
    fn the_runtime_is_loaded_once() {
        let first = Runtime::get(None).expect("`make runtime` has been run");
        let second = Runtime::get(None).expect("`make runtime` has been run");
        assert!(std::ptr::eq(first, second));
        assert!(first.library().is_absolute());
    }
}
