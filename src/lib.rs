//! The outside of vila2: everything that talks to the world, and [`app`], the one place where the
//! world and the chain of `vila2-actors` meet. Modules are listed along the data's path.

pub mod cli;

pub mod app;

pub mod places;

pub mod config;

pub mod telemetry;

pub mod health;

pub mod shutdown;

pub mod requests;

pub mod inputs;

pub mod dataset;

pub mod records;

pub mod export;

pub mod kafka;

pub mod fetch;

pub mod decode;

pub mod models;

pub mod merge;

pub mod scenes;

pub mod stats;

pub mod trial;

pub mod report;

pub mod demo;

pub mod doctor;
