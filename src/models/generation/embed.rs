//! Token embeddings. They are a table: read once, looked up on the host ever after, so that a
//! decode step costs one run of ONNX Runtime and not two.

use ort::{session::Session, value::Tensor};
use vila2_actors::error::ModelError;

use super::{run_error, tensors::append_f32};

/// Largest table kept on the host, in numbers (f32): 256 MiB.
const LARGEST_TABLE: usize = 64 << 20;

/// Ids per run while the table is read.
const BLOCK: usize = 4096;

/// The `embed_tokens` graph.
#[derive(Debug)]
pub struct Embedder {
    session: Session,
    hidden: usize,
    table: Option<Vec<f32>>,
}

impl Embedder {
    /// `vocabulary` is the number of ids the graph knows; 0 where that is not known, then nothing
    /// is kept and every look-up runs the graph.
    ///
    /// # Errors
    /// [`ModelError::Run`] where the graph does not do what its name says.
    pub fn new(session: Session, hidden: usize, vocabulary: usize) -> Result<Self, ModelError> {
        let mut embedder = Self {
            session,
            hidden,
            table: None,
        };
        if vocabulary > 0 && vocabulary * hidden <= LARGEST_TABLE {
            let ids: Vec<u32> = (0..vocabulary as u32).collect();
            let mut table = Vec::with_capacity(vocabulary * hidden);
            for block in ids.chunks(BLOCK) {
                embedder.run(block, &mut table)?;
            }
            embedder.table = Some(table);
        }
        Ok(embedder)
    }

    /// Appends the embeddings of `ids` to `to`, `hidden` numbers each.
    ///
    /// # Errors
    /// [`ModelError::Run`], also for an id beyond the vocabulary.
    pub fn append(&mut self, ids: &[u32], to: &mut Vec<f32>) -> Result<(), ModelError> {
        let Some(table) = &self.table else {
            return self.run(ids, to);
        };
        for id in ids {
            let start = *id as usize * self.hidden;
            let row = table.get(start..start + self.hidden).ok_or_else(|| {
                ModelError::Run(format!("token {id} is beyond the embedding table"))
            })?;
            to.extend_from_slice(row);
        }
        Ok(())
    }

    fn run(&mut self, ids: &[u32], to: &mut Vec<f32>) -> Result<(), ModelError> {
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let (count, hidden) = (ids.len(), self.hidden);
        let input = Tensor::from_array(([1, count], ids)).map_err(run_error("token ids"))?;
        let outputs = self
            .session
            .run(ort::inputs!["input_ids" => input])
            .map_err(run_error("embed_tokens failed"))?;
        let before = to.len();
        append_f32(&outputs[0], to)?;
        if to.len() - before == count * hidden {
            Ok(())
        } else {
            Err(ModelError::Run(format!(
                "embed_tokens gave {:?} for {count} tokens of width {hidden}",
                &outputs[0].shape()[..]
            )))
        }
    }
}
