//! The inside of vila2: one envelope travels the chain
//! intake → fetch → decode → caption → ground → relate → read_text → merge → publish,
//! one owner at a time, and settles once.
//!
//! Nothing in here knows Kafka, ONNX Runtime, HTTP or the file system: see [`ports`].

pub mod record;

pub mod request;

pub mod image;

pub mod annotation;
pub mod assignment;

pub mod names;
pub mod phrases;
pub mod statements;

pub mod rules;

pub mod stage;

pub mod task;

pub mod message;

pub mod envelope;

pub mod delivery;

pub mod ledger;

pub mod boxes;
pub mod budget;

mod chain;

mod breaker;

pub mod error;

pub mod ports;

pub mod sampling;

pub mod certainty;

pub mod config;

pub mod intake;

pub mod writes;

mod stages;

pub mod engine;

pub mod fingerprint;

pub mod outgoing;

pub mod pipeline;

pub mod telemetry;

pub mod activity;

pub mod list;

pub mod testkit;
