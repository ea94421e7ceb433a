//! Shared by the tests of the outside, and by the benches that run the shipped program.

#![allow(dead_code)] // no test uses all of it

pub mod answers;
pub mod apache_kafka;
pub mod captions;
pub mod completions;
pub mod engine;
pub mod family;
pub mod faults;
pub mod flood;
pub mod graphs;
pub mod group;
pub mod hub;
pub mod impostor;
pub mod on_topics;
pub mod otlp;
pub mod outage;
pub mod page;
pub mod program;
pub mod relay;
pub mod requests;
pub mod scenarios;
pub mod slowed;
pub mod tls;
pub mod tls_front;
pub mod web;
