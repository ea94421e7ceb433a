//! The long form of `tests/kafka_faults.rs`: two engines of one group on a real Apache Kafka, struck
//! again and again in an order drawn from the seed. Needs JDK 17 and Maven.
//!
//! ```text
//! cargo bench --profile release --bench chaos -- --messages 2000 --kills 10 --broker-kills 2
//! ```
//!
//! Prints one table of figures and ends with 1 where something does not hold.

#![allow(clippy::unwrap_used)] // what it shares with the tests ends where it must not go on

#[path = "../tests/support/mod.rs"]
mod support;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use support::faults::{self, Fault, Plan};
use vila2::scenes::random::SceneRng;

#[derive(Debug, Parser)]
struct Arguments {
    /// Of requests, of the order of strikes and of their moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests in all
    #[arg(long, default_value_t = 2000)]
    messages: usize,
    /// `kill -9` of an engine
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// `kill -9` of the broker
    #[arg(long, default_value_t = 2)]
    broker_kills: usize,
    /// SIGTERM to an engine
    #[arg(long, default_value_t = 3)]
    terminations: usize,
    /// Of a hundred requests, how many are bad
    #[arg(long, default_value_t = 10)]
    bad_percent: u32,
    /// The program
    #[arg(long, default_value = env!("CARGO_BIN_EXE_vila2"))]
    program: PathBuf,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        seed: arguments.seed,
        messages: arguments.messages,
        bad_percent: arguments.bad_percent,
        faults: order(&arguments),
        program: arguments.program,
    };
    let report = faults::run(plan, |said| eprintln!("{said}"));
    println!("{report}");
    let faults = report.faults();
    for fault in &faults {
        println!("FAULT {fault}");
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The strikes in an order drawn from the seed.
fn order(arguments: &Arguments) -> Vec<Fault> {
    let mut dice = SceneRng::new(arguments.seed, 2);
    let mut faults = vec![Fault::Broker; arguments.broker_kills];
    for _ in 0..arguments.kills {
        faults.push(Fault::Kill(dice.below(2)));
    }
    for _ in 0..arguments.terminations {
        faults.push(Fault::Terminate(dice.below(2)));
    }
    for last in (1..faults.len()).rev() {
        faults.swap(last, dice.below(last + 1));
    }
    faults
}
