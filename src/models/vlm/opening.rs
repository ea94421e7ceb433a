//! Opening the sessions of a folder, and what is told where that fails.

use ort::session::Session;
use vila2_actors::error::ModelError;

use crate::models::{
    generation::Embedder,
    hub::{Fault, FolderError, Graph, Graphs},
    session::open_session,
    settings::ModelSettings,
};

use super::{Sizes, VisionEncoder};

/// The graphs of a folder, opened one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) graphs: &'a Graphs,
    pub(crate) settings: &'a ModelSettings,
}

impl<'a> Opening<'a> {
    /// The session of a graph.
    ///
    /// # Panics
    /// Where the folder was opened without it: a bug of the caller.
    pub(crate) fn session(self, name: &str) -> Result<(Session, &'a Graph), ModelError> {
        let graph = self.graphs.get(name);
        let graph = graph.expect("bug: a folder opened without one of its graphs");
        open_session(&graph.path, &self.settings.session(graph))
            .map(|session| (session, graph))
            .map_err(broken)
    }

    /// `vision_encoder`.
    pub(crate) fn vision(self, sizes: Sizes) -> Result<VisionEncoder, ModelError> {
        let (session, graph) = self.session("vision_encoder")?;
        VisionEncoder::new(session, graph, sizes).map_err(|faults| self.faults(faults))
    }

    /// `embed_tokens`.
    pub(crate) fn embedder(self, hidden: usize, vocabulary: usize) -> Result<Embedder, ModelError> {
        let (session, _) = self.session("embed_tokens")?;
        Embedder::new(session, hidden, vocabulary).map_err(broken)
    }

    /// What is wrong with a graph.
    pub(crate) fn faults(self, faults: Vec<Fault>) -> ModelError {
        broken(FolderError::new(&self.settings.path, faults))
    }
}

/// Whatever keeps a model from being loaded.
pub(crate) fn broken(error: impl ToString) -> ModelError {
    ModelError::Broken(error.to_string())
}
