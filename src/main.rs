//! The `vila2` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vila2::cli::main()
}
