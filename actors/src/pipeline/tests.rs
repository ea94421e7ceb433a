//! The whole chain on fakes. Every test ends with nothing in flight.

mod breaker;
mod faults;
mod limits;
mod outages;
mod path;
mod telemetry;
