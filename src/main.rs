//! The `vila2` command.

fn main() -> ! {
    vila2::shutdown::leave(vila2::cli::main())
}
