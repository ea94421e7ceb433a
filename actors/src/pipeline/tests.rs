//! The whole chain on fakes. Every test ends with nothing in flight.

mod faults;
mod limits;
mod outages;
mod path;
mod telemetry;
