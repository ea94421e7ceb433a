//! The whole path on one machine, no broker needed.

pub mod server;
