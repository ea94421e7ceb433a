//! The composition root: the one file where the outside's parts meet the chain.

use std::path::PathBuf;

use crate::config::{Config, Faults, Layers};

/// Finds what the configuration needs besides itself: model folders, and ONNX Runtime, whose path
/// is returned. Nothing is opened and nothing is reached over the network.
///
/// # Errors
/// Every fault at once.
pub fn check(config: &Config, layers: &Layers) -> Result<PathBuf, Faults> {
    config.check_files(layers)
}
