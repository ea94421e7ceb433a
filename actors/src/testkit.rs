//! Fakes for every port, and a harness that fails if anything is left in flight.
//!
//! An image is a number here: `http://fake/7` is fetched as the body `7`, decoded into one pixel
//! that holds 7, and every fake is told what to do by a script of that number.

mod fakes;
mod harness;

#[cfg(test)]
pub(crate) use self::harness::header;

pub use self::{
    fakes::{
        Answering, Decoding, FakePublisher, Fetching, Generating, Publishing, Seen, number_of,
    },
    harness::{Harness, Script, World, asking},
};

/// Lets a test put a panic into a stage: the bug that restarts the chain.
#[cfg(test)]
pub(crate) fn panic_in_the_stage(request: &crate::record::Request) {
    use std::sync::{Mutex, PoisonError};

    /// Requests that have panicked once.
    static ONCE: Mutex<Vec<String>> = Mutex::new(Vec::new());

    match request.meta.as_ref().map(crate::record::Meta::json) {
        Some("\"panic always\"") => panic!("a bug in the stage"),
        Some(meta) if meta.starts_with("\"panic once") => {
            let mut once = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
            if !once.contains(&meta.to_owned()) {
                once.push(meta.to_owned());
                drop(once);
                panic!("a bug in the stage");
            }
        }
        _ => {}
    }
}
