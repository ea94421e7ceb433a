//! Generation with continuous batching, over any decoder graph of the hub's convention.
//!
//! ```text
//! rules     what generation_config.json says: stop tokens, penalties
//! logits    argmax, penalties and probabilities over one row
//! search    the next token: the likeliest, or one that is drawn; or several texts side by side (beam)
//! text      the tokens of an answer as text, and how sure each part is
//! endings   texts that end an answer before the model does
//! repeats   when a text has begun to repeat itself
//! layout    on which side a batch is padded: masks, positions, where a row stands
//! kv        the KV cache of a batch: values owned, handed back to the graph, rows joined and evicted
//! decoder   the decoder session: its inputs and outputs read from the graph
//! seq2seq   an encoder with its decoder, in sessions of their own
//! embed     token embeddings, looked up on the host
//! tensors   floats of either precision
//! row       one row of a running batch
//! batch     what runs the requests of a decoder: prefill, step, join, evict
//! cohorts   the same of an encoder with its decoder: those that begin together go on together
//! check     a batch of two must equal two batches of one, and a question must have an answer
//! ```

pub mod batch;
pub mod check;
pub mod cohorts;
pub mod decoder;
pub mod embed;
pub mod endings;
pub mod kv;
pub mod layout;
pub mod logits;
pub mod repeats;
mod row;
pub mod rules;
pub mod search;
pub mod seq2seq;
pub(crate) mod tensors;
pub mod text;

pub use batch::{Batch, Ended, Outcome, Prepared};
pub use cohorts::Cohorts;
pub use decoder::{Decoder, TextSides};
pub use embed::Embedder;
pub use endings::Endings;
pub use layout::Layout;
pub use rules::Rules;
pub use search::{
    Search,
    beam::{BeamRules, beams},
};
pub use seq2seq::Seq2Seq;

use std::fmt;

use vila2_actors::{error::ModelError, ports::RequestId};

/// What runs prepared requests, many at a time.
pub trait Running: fmt::Debug {
    /// Lets a request begin with one of the next steps.
    ///
    /// # Errors
    /// [`ModelError::Input`] where there is no room for an answer.
    fn admit(&mut self, prepared: Prepared) -> Result<(), ModelError>;

    /// One token for every request that has begun; returns those that ended.
    ///
    /// # Errors
    /// [`ModelError::Run`]; the step does not count, and all are to be cancelled.
    fn step(&mut self) -> Result<Vec<Outcome>, ModelError>;

    /// Forgets a request.
    fn cancel(&mut self, request: RequestId);

    /// Requests that run or wait.
    fn running(&self) -> usize;

    /// Rows of a batch that one request takes.
    fn rows_each(&self) -> usize {
        1
    }
}

/// Whether every value is a number: neither NaN nor infinite. One pass without a branch, which
/// compiles to vector instructions.
pub(crate) fn finite(values: &[f32]) -> bool {
    values
        .iter()
        .fold(true, |all, value| all & value.is_finite())
}

/// A run of ONNX Runtime that failed: the batch, the machine, or one poisoned member.
pub(crate) fn run_error(what: &str) -> impl Fn(ort::Error) -> ModelError {
    move |error| ModelError::Run(format!("{what}: {error}"))
}
