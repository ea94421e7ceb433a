//! ONNX Runtime sessions, hub folders, and one folder per architecture.
//!
//! ```text
//! runtime   the library and the one Environment of the process
//! session   the only Session::builder: providers, threads, memory
//! geometry  the relater: spatial relations from boxes alone
//! ```

pub mod geometry;
pub mod runtime;
pub mod session;

pub use runtime::{Runtime, RuntimeError};
pub use session::{Provider, SessionError, SessionSettings, open_session};
