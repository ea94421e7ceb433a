//! Why a model cannot be had.

use std::path::PathBuf;

use super::{hub::FolderError, runtime::RuntimeError};

/// A model that cannot be loaded, whatever is tried: wrong configuration, folder or library.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// No ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The folder has faults.
    #[error("models.{name}: {error}")]
    Folder {
        /// The model.
        name: String,
        /// Its faults.
        error: FolderError,
    },
    /// No adapter for this architecture.
    #[error(
        "models.{name}: {} is a `{model_type}`, which no adapter reads; accepted: {accepted}",
        path.display()
    )]
    Unsupported {
        /// The model.
        name: String,
        /// The folder.
        path: PathBuf,
        /// `config.json: model_type`.
        model_type: String,
        /// Those that adapters read.
        accepted: String,
    },
    /// An option that this architecture has no use for.
    #[error("models.{name}.{key} is set, and {} is a `{model_type}`, which has no use for it", path.display())]
    Option {
        /// The model.
        name: String,
        /// The folder.
        path: PathBuf,
        /// `config.json: model_type`.
        model_type: String,
        /// The option's key.
        key: &'static str,
        /// Those that it follows.
        accepted: String,
    },
}
