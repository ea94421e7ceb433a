//! The whole chain on fakes. Every test ends with nothing in flight.

mod breaker;
mod faults;
mod limits;
mod lists;
mod observed;
mod outages;
mod path;
mod repeats;
mod rules;
mod specialists;
mod telemetry;
