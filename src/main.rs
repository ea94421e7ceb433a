//! The `vila2` command.

fn main() {}
