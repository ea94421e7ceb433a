//! stderr, shared by log lines and a live line that is drawn over and over.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// Clears what is drawn, runs the write, and draws it again.
type StepAside = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

static LIVE: Mutex<Option<StepAside>> = Mutex::new(None);

/// What steps aside while a log line is written; `None`: nothing is drawn any more.
pub fn beside(live: Option<StepAside>) {
    *LIVE.lock().unwrap_or_else(PoisonError::into_inner) = live;
}

/// Where log lines go; each is one write.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(step_aside) = live else {
            return io::stderr().write(line);
        };
        let mut written = Ok(line.len());
        step_aside(&mut || written = io::stderr().write_all(line).map(|()| line.len()));
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
