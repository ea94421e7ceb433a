//! What the whole-process comparisons share: the same work for every contender.

pub mod adapter;
pub mod bare;
pub mod chain;
pub mod clock;
pub mod spread;
pub mod workload;
