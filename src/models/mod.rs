//! ONNX Runtime sessions, hub folders, one folder per architecture, and servers that have a model.
//!
//! ```text
//! settings    the settings of one model
//! error       why one cannot be had
//! runtime     the library and the one Environment of the process
//! session     the only Session::builder: providers, threads, memory
//! beside      weights that lie in another folder than their graph
//! disk        a folder of our own, for what is not to be worked out twice
//! hub         a model folder as the Hugging Face hub publishes it
//! adapter     what every architecture offers of a folder
//! registry    the one table of architectures, and opening a folder by it
//! describe    what a folder is, without loading it
//! card        what its card says of it
//! photographs published folders for photographs
//! inspect     what is inside of it
//! trial       whether a generator answers, and how fast
//! pull        fetching a folder from a hub
//! generation  greedy decoding with continuous batching, for any decoder of that convention
//! endpoint    a model behind a server, which has no folder
//! vlm         what every vision-language model does: tiles, features, waiting for a batch
//! answers     how models write places in a picture
//! florence2   the adapter for Florence-2
//! smolvlm     the adapter for SmolVLM and Idefics3
//! relate      the relater: spatial relations from the geometry of boxes alone
//! ppocr       the text reader: detection, direction, recognition
//! ```
//!
//! Adding an architecture = one folder here, one line in [`registry::ADAPTERS`].

pub mod adapter;
pub mod answers;
mod beside;
pub mod card;
pub mod describe;
mod disk;
pub mod endpoint;
pub mod error;
pub mod florence2;
pub mod generation;
pub mod hub;
pub mod inspect;
pub mod photographs;
pub mod ppocr;
pub mod pull;
pub mod registry;
pub mod relate;
pub mod runtime;
pub mod session;
pub mod settings;
pub mod smolvlm;
pub mod trial;
pub mod vlm;

pub use describe::overview;
pub use endpoint::{EndpointSettings, Key};
pub use error::LoadError;
pub use florence2::{Florence2, Florence2Folder};
pub use hub::{FolderError, Graph, HubFolder, Variant};
pub use registry::{GeneratorFolder, load_generator, open_generator};
pub use runtime::{Runtime, RuntimeError};
pub use session::{Provider, SessionError, SessionSettings, open_session, try_provider};
pub use settings::{ModelSettings, Options};
pub use smolvlm::{SmolVlm, SmolVlmFolder};
