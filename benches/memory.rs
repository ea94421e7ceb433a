//! Resident memory of small files that decode to 12 MB each, in front of a slower model.
//!
//! ```text
//! cargo bench --profile release --bench memory -- --files 10000 --image-mb 256
//! ```
//!
//! Prints the peak above what the process held before, and ends with 1 where that is more than the
//! limit.

#![allow(clippy::unwrap_used)] // what it shares with the tests ends where it must not go on

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use support::flood::{Flood, PIXELS};

#[derive(Debug, Parser)]
struct Arguments {
    /// Files to fetch, decode and caption
    #[arg(long, default_value_t = 10_000)]
    files: usize,
    /// limits.records
    #[arg(long, default_value_t = 2_000)]
    records: usize,
    /// limits.image_bytes, in MiB
    #[arg(long, default_value_t = 256)]
    image_mb: u64,
    /// What the model takes for one picture, in milliseconds
    #[arg(long, default_value_t = 20)]
    pace_ms: u64,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let limit = arguments.image_mb << 20;
    let pace = Duration::from_millis(arguments.pace_ms);
    let flood = runtime.block_on(Flood::start(arguments.records, limit, pace));
    // One picture first: threads, clients and the decoder's own tables are there.
    runtime.block_on(flood.run(1));
    let idle = resident("VmRSS:")?;
    fs::write("/proc/self/clear_refs", "5")?; // the peak starts anew
    let begun = Instant::now();
    let (captions, dead) = runtime.block_on(flood.run(arguments.files));
    let peak = resident("VmHWM:")?.saturating_sub(idle);
    println!(
        "{captions} captions, {dead} dead letters of files that decode to {} kB; {:.0} s; limit {} kB; \
         resident before {} kB, peak above that {} kB",
        PIXELS >> 10,
        begun.elapsed().as_secs_f64(),
        limit >> 10,
        idle >> 10,
        peak >> 10,
    );
    Ok(if peak <= limit {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A line of /proc/self/status, in bytes.
fn resident(name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.unwrap_or_default().parse::<u64>()? << 10)
}
