//! The synthetic world and its truth metrics.
