//! Shared by the tests of the outside.

#![allow(dead_code)] // no test uses all of it

pub mod apache_kafka;
pub mod hub;
pub mod impostor;
pub mod otlp;
pub mod page;
pub mod program;
pub mod relay;
pub mod scenarios;
pub mod shipped;
pub mod tls;
pub mod web;
