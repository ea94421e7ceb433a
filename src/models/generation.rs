//! Generation with continuous batching, over any decoder graph of the hub's convention.
//!
//! ```text
//! rules     what generation_config.json says: stop tokens, penalties
//! logits    argmax, penalties and probabilities over one row
//! search    the next token: the likeliest, or one that is drawn
//! text      the tokens of an answer as text, and how sure each part is
//! endings   texts that end an answer before the model does
//! repeats   when a text has begun to repeat itself
//! layout    on which side a batch is padded: masks, positions, where a row stands
//! cache     the KV cache of a batch: values owned, handed back to the graph, rows joined and evicted
//! decoder   the decoder session: its inputs and outputs read from the graph
//! embed     token embeddings, looked up on the host
//! batch     the running batch: prefill, step, join, evict
//! check     a batch of two must equal two batches of one, and a question must have an answer
//! ```

pub mod batch;
pub mod cache;
pub mod check;
pub mod decoder;
pub mod embed;
pub mod endings;
pub mod layout;
pub mod logits;
pub mod repeats;
pub mod rules;
pub mod search;
pub mod text;

pub use batch::{Batch, Ended, Prepared};
pub use decoder::{Decoder, TextSides};
pub use embed::Embedder;
pub use endings::Endings;
pub use layout::Layout;
pub use rules::Rules;
pub use search::Search;

use vila2_actors::error::ModelError;

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
