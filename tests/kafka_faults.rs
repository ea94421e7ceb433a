//! Two engines of one group on a real Apache Kafka, terminated, killed and left without a broker in
//! the middle of their work. The long form is `benches/chaos.rs`.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::path::PathBuf;

use support::faults::{self, Fault, Plan};

#[test]
#[allow(clippy::print_stdout)]
fn two_engines_under_fire_lose_nothing_and_repeat_only_what_was_exposed() {
    let report = faults::run(
        Plan {
            seed: 4,
            messages: 360,
            bad_percent: 10,
            faults: vec![Fault::Terminate(0), Fault::Kill(1), Fault::Broker],
            program: PathBuf::from(env!("CARGO_BIN_EXE_vila2")),
        },
        |_| {},
    );
    println!("{report}");
    let faults = report.faults();
    assert!(faults.is_empty(), "{}\n{report}", faults.join("\n"));
}
