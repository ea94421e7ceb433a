//! Trying again: for how long, and whose time it is.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use vila2_actors::error::ModelError;

/// Wait before the first further try; doubles with each.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait of our own: a server that is back must not wait for us.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest wait that a server's `Retry-After` gets.
const LONGEST_ASKED: Duration = Duration::from_secs(60);
/// How often it is said that a server is away.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// A try without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody took it: no connection, or no room. Says nothing of what was asked.
    Away {
        why: String,
        after: Option<Duration>,
    },
    /// It was taken, and failed.
    Failed {
        why: String,
        after: Option<Duration>,
    },
    /// The server will not answer this, whenever it is asked.
    Refused(String),
    /// Nothing will be answered until something is mended.
    Broken(String),
}

/// How long one call has waited for what is no fault of its record.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Waited>);

#[derive(Debug, Default)]
struct Waited {
    before: Duration,
    since: Option<Instant>,
}

impl Clock {
    pub(super) fn waited(&self) -> Duration {
        let waited = lock(&self.0);
        waited.before
            + waited
                .since
                .map(|since| since.elapsed())
                .unwrap_or_default()
    }

    /// Counts the time of `wait`.
    pub(super) async fn waits<T>(&self, wait: impl Future<Output = T>) -> T {
        lock(&self.0).since = Some(Instant::now());
        let done = wait.await;
        let mut waited = lock(&self.0);
        let since = waited.since.take();
        waited.before += since.map(|since| since.elapsed()).unwrap_or_default();
        done
    }

    fn add(&self, time: Duration) {
        lock(&self.0).before += time;
    }
}

/// Whether the server is there, as all calls together see it.
#[derive(Debug)]
pub(super) struct Presence(Mutex<State>);

#[derive(Debug)]
struct State {
    /// How long it may be away.
    bound: Duration,
    /// Since when nothing was answered.
    away: Option<Instant>,
    /// When that was said last.
    said: Option<Instant>,
    /// When something was answered last.
    answered: Option<Instant>,
}

impl Presence {
    pub(super) fn new(bound: Duration) -> Self {
        Self(Mutex::new(State {
            bound,
            away: None,
            said: None,
            answered: None,
        }))
    }

    pub(super) fn set_bound(&self, bound: Duration) {
        lock(&self.0).bound = bound;
    }

    /// The server answered, whatever it said.
    fn answered(&self, who: &str) {
        let mut state = lock(&self.0);
        state.answered = Some(Instant::now());
        let away = state.away.take();
        if let (Some(away), Some(_)) = (away, state.said.take()) {
            let seconds = away.elapsed().as_secs_f64();
            tracing::info!("{who} answers again, after {seconds:.0} s");
        }
    }

    /// A call that began at `first` was not taken.
    fn away(&self, who: &str, why: &str, first: Instant) -> Result<(), ModelError> {
        let mut state = lock(&self.0);
        let (now, bound) = (Instant::now(), state.bound);
        let away = *state.away.get_or_insert(now);
        if now.duration_since(away) >= bound {
            let tried = match bound {
                Duration::ZERO => String::new(),
                bound => format!(", for {} s now", bound.as_secs_f64()),
            };
            return Err(ModelError::Broken(format!("{who} {why}{tried}")));
        }
        // Others are answered all the while: it is this one that is not taken.
        if now.duration_since(first) >= bound && state.answered.is_some_and(|last| last > first) {
            let seconds = bound.as_secs_f64();
            return Err(ModelError::Input(format!(
                "{who} {why}: this one for {seconds} s, and others were answered meanwhile"
            )));
        }
        let due = |said: Instant| now.duration_since(said) >= SAY_EVERY;
        if state.said.is_none_or(due) {
            state.said = Some(now);
            tracing::warn!(
                "{who} {why}; what is to be asked waits, for {} s at most",
                bound.as_secs_f64()
            );
        }
        Ok(())
    }
}

/// The tries of one call.
#[derive(Debug)]
pub(super) struct Tries<'a> {
    who: &'a str,
    presence: &'a Presence,
    clock: &'a Clock,
    retries: u32,
    first: Instant,
    wait: Duration,
    failures: u32,
}

impl<'a> Tries<'a> {
    /// A call that may fail `retries` times; `who` is what messages begin with.
    pub(super) fn new(
        who: &'a str,
        presence: &'a Presence,
        clock: &'a Clock,
        retries: u32,
    ) -> Self {
        Self {
            who,
            presence,
            clock,
            retries,
            first: Instant::now(),
            wait: FIRST,
            failures: 0,
        }
    }

    /// There is an answer.
    pub(super) fn answered(&self) {
        self.presence.answered(self.who);
    }

    /// A try that began at `began` had none: ends when the next one is due.
    ///
    /// # Errors
    /// There is no sense in another: [`ModelError::Input`] where the server refuses what is asked,
    /// [`ModelError::Run`] where it failed on it too often, [`ModelError::Broken`] where it refuses
    /// everything, or was away for too long.
    pub(super) async fn failed(&mut self, began: Instant, fault: Fault) -> Result<(), ModelError> {
        let who = self.who;
        let after = match fault {
            Fault::Refused(why) => {
                self.presence.answered(who);
                return Err(ModelError::Input(format!("{who} {why}")));
            }
            Fault::Broken(why) => return Err(ModelError::Broken(format!("{who} {why}"))),
            Fault::Failed { why, after } => {
                self.failures += 1;
                if self.failures > self.retries {
                    let (failures, s) = (self.failures, if self.failures == 1 { "" } else { "s" });
                    let why = format!("{who} {why}; tried {failures} time{s}");
                    return Err(ModelError::Run(why));
                }
                tracing::debug!("{who} {why}; trying again");
                after
            }
            Fault::Away { why, after } => {
                self.clock.add(began.elapsed());
                self.presence.away(who, &why, self.first)?;
                after
            }
        };
        // A server that asks for no wait at all gets the shortest.
        let wait = after.map_or(self.wait, |asked| asked.clamp(FIRST, LONGEST_ASKED));
        self.clock.waits(tokio::time::sleep(wait)).await;
        self.wait = (self.wait * 2).min(LONGEST);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
