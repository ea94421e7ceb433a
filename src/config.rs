//! Configuration: embedded default < file < environment < `--set`.
