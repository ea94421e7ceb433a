//! Wall time and processor time of a stretch of work.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Ticks per second of `/proc/self/stat` on Linux.
const TICKS: f64 = 100.0;

/// Started at the beginning of the stretch.
pub struct Clock {
    wall: Instant,
    processor: f64,
}

/// What a stretch took.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// On the wall.
    pub wall: Duration,
    /// On all cores together, in seconds.
    pub processor: f64,
}

impl Clock {
    /// Starts.
    pub fn start() -> Self {
        Self {
            wall: Instant::now(),
            processor: processor_seconds(),
        }
    }

    /// Ends.
    pub fn taken(&self) -> Taken {
        Taken {
            wall: self.wall.elapsed(),
            processor: processor_seconds() - self.processor,
        }
    }
}

/// User and system time of this process so far; 0 where the system does not tell.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    fields.iter().sum::<f64>() / TICKS
}
