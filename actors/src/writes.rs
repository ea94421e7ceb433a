//! The writes under way to each output topic, and whether one of the topics is away.
//!
//! A write is tried again until the broker confirms it, for as long as that takes. Where writes to
//! a topic are open and none was confirmed for [`HELD_AFTER`], they are held: the intake takes
//! nothing new until one is confirmed, since the answers could only pile up. What was admitted
//! before is finished and its answer kept; `limits.records` bounds that. It does not matter which
//! topic is away: records whose dead letters cannot be written keep offsets back just the same.
//!
//! The log says it once for each outage and then every [`SAY_EVERY`], not for each record.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{config::Names, ports::Destination};

/// How long writes may be open without any confirmation before they count as held. A change of
/// leader takes seconds, a confirmation milliseconds.
const HELD_AFTER: Duration = Duration::from_secs(5);
/// How often an outage is mentioned.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// An output topic that takes no writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Its name.
    pub topic: Arc<str>,
    /// Writes that are held.
    pub writes: usize,
    /// How long none was confirmed.
    pub since: Duration,
    /// What the last attempt was answered; `None`: nothing yet.
    pub answer: Option<String>,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            writes,
            since,
            answer,
        } = self;
        let answer = answer.as_deref().unwrap_or("no answer yet");
        write!(
            f,
            "topic `{topic}` takes no writes since {} s: {answer}; {writes} are held and tried \
             again, nothing new is read until one is confirmed",
            since.as_secs()
        )
    }
}

/// All writes of the chain.
#[derive(Debug)]
pub(crate) struct Writes {
    after: Duration,
    state: Mutex<State>,
    held: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    lanes: [Lane; 2],
    /// When writes were last seen to be held.
    last_held: Option<Instant>,
}

/// The writes to one topic.
#[derive(Debug)]
struct Lane {
    topic: Arc<str>,
    open: usize,
    /// The last confirmation, or the first open write after none was open.
    since: Instant,
    answer: Option<String>,
    /// When the present outage was mentioned last.
    said: Option<Instant>,
}

/// A write under way. Dropped, it is no longer waited for.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    writes: &'a Writes,
    to: Destination,
}

impl Writes {
    pub(crate) fn new(names: &Names) -> Self {
        Self::held_after(HELD_AFTER, names)
    }

    fn held_after(after: Duration, names: &Names) -> Self {
        let lane = |topic: &Arc<str>| Lane {
            topic: Arc::clone(topic),
            open: 0,
            since: Instant::now(),
            answer: None,
            said: None,
        };
        Self {
            after,
            state: Mutex::new(State {
                lanes: [lane(&names.captions), lane(&names.dead)],
                last_held: None,
            }),
            held: watch::channel(false).0,
        }
    }

    /// A write begins.
    pub(crate) fn begin(&self, to: Destination) -> Write<'_> {
        let mut state = self.lock();
        let lane = state.lane(to);
        if lane.open == 0 {
            lane.since = Instant::now();
            lane.answer = None;
        }
        lane.open += 1;
        Write { writes: self, to }
    }

    /// Turns true when writes are held, and false with the first confirmation.
    pub(crate) fn held(&self) -> watch::Receiver<bool> {
        self.held.subscribe()
    }

    pub(crate) fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// How long ago writes were held last: zero while they are.
    pub(crate) fn held_ago(&self) -> Option<Duration> {
        if self.is_held() {
            return Some(Duration::ZERO);
        }
        self.lock().last_held.map(|at| at.elapsed())
    }

    /// The topics that take no writes.
    pub(crate) fn outages(&self) -> Vec<Outage> {
        let state = self.lock();
        let held = state.lanes.iter().filter(|lane| lane.is_held(self.after));
        held.map(Lane::outage).collect()
    }

    /// Decides whether writes are held, and says so where it is time. Called every second, and
    /// whenever that may have ended.
    pub(crate) fn look(&self) {
        let mut state = self.lock();
        for lane in &mut state.lanes {
            lane.say(self.after);
        }
        let held = state.lanes.iter().any(|lane| lane.is_held(self.after));
        if held || self.is_held() {
            state.last_held = Some(Instant::now());
        }
        self.held
            .send_if_modified(|present| std::mem::replace(present, held) != held);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lane(&mut self, to: Destination) -> &mut Lane {
        match to {
            Destination::Captions => &mut self.lanes[0],
            Destination::Dead => &mut self.lanes[1],
        }
    }
}

impl Lane {
    fn is_held(&self, after: Duration) -> bool {
        self.open > 0 && self.since.elapsed() >= after
    }

    fn outage(&self) -> Outage {
        Outage {
            topic: Arc::clone(&self.topic),
            writes: self.open,
            since: self.since.elapsed(),
            answer: self.answer.clone(),
        }
    }

    fn say(&mut self, after: Duration) {
        if !self.is_held(after) {
            if self.said.take().is_some() {
                tracing::info!("topic `{}` takes writes again", self.topic);
            }
        } else if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!("{}", self.outage());
        }
    }
}

impl Write<'_> {
    /// An attempt failed; there will be another.
    pub(crate) fn failed(&self, answer: String) {
        self.writes.lock().lane(self.to).answer = Some(answer);
    }

    /// The broker took it, or refused it for good: it answers.
    pub(crate) fn answered(self) {
        let mut state = self.writes.lock();
        let lane = state.lane(self.to);
        lane.since = Instant::now();
        lane.answer = None;
        drop(state);
        if self.writes.is_held() {
            self.writes.look();
        }
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        self.writes.lock().lane(self.to).open -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1_000);

    fn aged(writes: &Writes, to: Destination) {
        let long_ago = Instant::now().checked_sub(LONG).expect("a clock that old");
        writes.lock().lane(to).since = long_ago;
    }

    #[test]
    fn writes_without_a_confirmation_are_held_until_one_comes() {
        let writes = Writes::held_after(LONG, &Names::default());
        let (first, second) = (
            writes.begin(Destination::Captions),
            writes.begin(Destination::Captions),
        );
        first.failed(String::from("Unknown topic"));
        writes.look();
        assert!(!writes.is_held(), "a moment is nothing");
        assert_eq!((writes.outages(), writes.held_ago()), (vec![], None));
        aged(&writes, Destination::Captions);
        writes.look();
        assert!(writes.is_held());
        assert_eq!(writes.held_ago(), Some(Duration::ZERO));
        let outages = writes.outages();
        let text = outages[0].to_string();
        assert!(outages.len() == 1 && outages[0].since >= LONG, "{text}");
        for part in ["`captions`", "1000 s", "Unknown topic", "2 are held"] {
            assert!(text.contains(part), "{text}");
        }
        first.answered();
        assert!(!writes.is_held(), "at once");
        assert!(writes.held_ago().is_some_and(|ago| ago < LONG));
        assert_eq!(writes.outages(), []);
        drop(second);
    }

    #[test]
    fn a_topic_that_answers_does_not_hide_one_that_is_away() {
        let writes = Writes::held_after(LONG, &Names::default());
        let away = writes.begin(Destination::Dead);
        aged(&writes, Destination::Dead);
        writes.begin(Destination::Captions).answered();
        writes.look();
        assert!(writes.is_held());
        assert_eq!(&*writes.outages()[0].topic, "images.dead");
        drop(away);
        writes.look();
        assert!(!writes.is_held(), "let go: nothing waits any more");
    }

    #[test]
    fn the_clock_of_a_topic_begins_with_its_first_open_write() {
        let writes = Writes::held_after(LONG, &Names::default());
        aged(&writes, Destination::Captions);
        let write = writes.begin(Destination::Captions);
        writes.look();
        assert!(!writes.is_held());
        drop(write);
    }
}
