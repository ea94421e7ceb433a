//! Signals: the first asks for a drain, the second stops at once.

use tokio::sync::watch;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: the orderly end of a service.
    Terminate,
    /// SIGINT: a person's Ctrl-C.
    Interrupt,
}

impl Signal {
    /// The exit code of a process that drained after this signal.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 0,
            Self::Interrupt => INTERRUPTED,
        }
    }
}

/// The exit code of an interrupted process.
pub const INTERRUPTED: u8 = 130;

/// Ends the process without the exit handlers of libraries: those of ONNX Runtime take down what
/// its threads may still work with.
pub fn leave(code: u8) -> ! {
    use std::io::Write;
    let _ = std::io::stdout().flush();
    #[cfg(unix)]
    signal_hook::low_level::exit(i32::from(code));
    #[cfg(not(unix))]
    std::process::exit(i32::from(code));
}

/// The first signal, for as many as want to wait for it.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Option<Signal>>);

impl Shutdown {
    /// Listens from now on, inside a tokio runtime. The second signal ends the process at once.
    ///
    /// # Errors
    /// The operating system refuses the handlers.
    pub fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(None);
        let mut signals = Signals::new()?;
        tokio::spawn(async move {
            let first = signals.next().await;
            tracing::info!("draining; a second signal stops at once");
            sender.send_replace(Some(first));
            signals.next().await;
            leave(INTERRUPTED);
        });
        Ok(Self(receiver))
    }

    /// Never asked for, unless through the sender.
    #[must_use]
    pub fn by_hand() -> (watch::Sender<Option<Signal>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// Waits for the first signal; for ever where none can come any more.
    pub async fn requested(&mut self) -> Signal {
        loop {
            if let Some(signal) = *self.0.borrow_and_update() {
                return signal;
            }
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The first signal, if it came.
    #[must_use]
    pub fn seen(&self) -> Option<Signal> {
        *self.0.borrow()
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_holder_sees_the_first_signal() {
        let (sender, mut first) = Shutdown::by_hand();
        let mut second = first.clone();
        assert_eq!(first.seen(), None);
        sender.send_replace(Some(Signal::Terminate));
        assert_eq!(first.requested().await, Signal::Terminate);
        assert_eq!(second.requested().await, Signal::Terminate);
        assert_eq!(second.seen(), Some(Signal::Terminate));
    }

    #[test]
    fn a_drained_service_ends_well_and_an_interrupted_one_says_so() {
        assert_eq!(Signal::Terminate.exit_code(), 0);
        assert_eq!(Signal::Interrupt.exit_code(), 130);
    }
}
