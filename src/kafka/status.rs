//! What the two clients know of the cluster: for `/readyz`, the log and the lag metric.
//!
//! All of it comes from librdkafka's statistics (once a second) and its error events.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{config::RDKafkaLogLevel, error::KafkaError};
use serde::Deserialize;
use vila2_actors::telemetry::LAG;

use super::reason;

/// How often an unreachable broker is mentioned.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long a client may be without a connection, or the group not joined, before that is mentioned.
const GRACE: Duration = Duration::from_secs(3);

/// The state of consumer and producer. One per process, shared by both.
#[derive(Debug)]
pub struct Status {
    brokers: String,
    state: Mutex<State>,
}

/// The two clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The member of the group.
    Consumer,
    /// The writer.
    Producer,
}

#[derive(Debug)]
struct State {
    consumer: Link,
    producer: Link,
    joined: bool,
    /// Since when, and when that it is not was mentioned.
    group: (Instant, Option<Instant>),
    /// Ends of the partitions held.
    ends: HashMap<i32, i64>,
    /// What is wrong with topics, each in words.
    topics: Vec<String>,
}

#[derive(Debug)]
struct Link {
    up: bool,
    since: Instant,
    said: Option<Instant>,
    error: Option<String>,
}

impl Status {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        let link = || Link {
            up: false,
            since: Instant::now(),
            said: None,
            error: None,
        };
        Self {
            brokers: brokers.into(),
            state: Mutex::new(State {
                consumer: link(),
                producer: link(),
                joined: false,
                group: (Instant::now(), None),
                ends: HashMap::new(),
                topics: Vec::new(),
            }),
        }
    }

    /// Whether records can flow.
    ///
    /// # Errors
    /// What is missing, in words for `/readyz`.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.lock();
        let mut missing = state.topics.clone();
        let unconnected = |who: &str, link: &Link| match &link.error {
            Some(error) => format!("the {who} has no connection to {}: {error}", self.brokers),
            None => format!("the {who} has no connection to {}", self.brokers),
        };
        if !state.consumer.up {
            missing.push(unconnected("consumer", &state.consumer));
        } else if !state.joined {
            missing.push("the group is not joined".to_owned());
        }
        if !state.producer.up {
            missing.push(unconnected("producer", &state.producer));
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing.join("; "))
        }
    }

    /// Whether the group is joined and its last rebalance done.
    #[must_use]
    pub fn joined(&self) -> bool {
        self.lock().joined
    }

    /// Where each partition held ends, as the broker said it last: the offset of the next record.
    #[must_use]
    pub fn ends(&self) -> HashMap<i32, i64> {
        self.lock().ends.clone()
    }

    /// Notes what is wrong with the topics, each in words; nothing where all are there.
    pub fn note_topics(&self, faults: Vec<String>) {
        self.lock().topics = faults;
    }

    pub(super) fn note_joined(&self, joined: bool) {
        self.lock().set_joined(joined);
    }

    /// Notes end and lag (the end minus what is settled without a gap) of the partitions held; the
    /// lag of those no longer held is set to 0.
    pub(super) fn note_ends(&self, held: HashMap<i32, (i64, i64)>) {
        let gauge = |partition: i32, lag: i64| {
            metrics::gauge!(LAG, "partition" => partition.to_string()).set(lag as f64);
        };
        let mut state = self.lock();
        for gone in state.ends.keys().filter(|old| !held.contains_key(old)) {
            gauge(*gone, 0);
        }
        for (partition, (_, lag)) in &held {
            gauge(*partition, *lag);
        }
        let ends = held.into_iter().map(|(number, (end, _))| (number, end));
        state.ends = ends.collect();
    }

    /// Notes what a client's statistics say.
    pub(super) fn note_statistics(&self, side: Side, statistics: &Statistics) {
        let mut state = self.lock();
        if let Some(group) = &statistics.cgrp {
            state.set_joined(group.state == "up" && group.join_state == "steady");
        }
        let up = statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP");
        let link = state.link(side);
        if link.up == up {
            return;
        }
        if up && link.said.is_some() {
            tracing::info!(client = ?side, "{} is back after {:?}", self.brokers, link.since.elapsed());
        }
        *link = Link {
            up,
            since: Instant::now(),
            said: None,
            error: if up { None } else { link.error.take() },
        };
    }

    /// Notes an error of a client; it is told when the connection stays away.
    pub(super) fn note_error(&self, side: Side, error: &KafkaError, reason: &str) {
        tracing::debug!(client = ?side, %error, reason, "kafka");
        if let Some(reason) = reason::of_error(error, reason) {
            self.lock().link(side).error = Some(reason);
        }
    }

    /// Notes a log line of a client, and passes it on to our log. A connection that ends in its
    /// first moments is only told there.
    pub(super) fn note_log(
        &self,
        side: Side,
        level: RDKafkaLogLevel,
        facility: &str,
        message: &str,
    ) {
        if let Some(reason) = reason::of_log(facility, message) {
            self.lock().link(side).error = Some(reason);
        }
        log(level, facility, message);
    }

    /// Says every 10 s that there is no connection, or that the group is not joined, if so.
    pub(super) fn say_waiting(&self) {
        let mut state = self.lock();
        let State {
            consumer,
            joined,
            group: (since, said),
            topics,
            ..
        } = &mut *state;
        let due = said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        let waits = consumer.up && !*joined && topics.is_empty();
        if waits && due && since.elapsed().min(consumer.since.elapsed()) >= GRACE {
            *said = Some(Instant::now());
            tracing::info!(
                "waiting for the group since {} s: the broker gives out partitions when all members \
                 have answered, or one that ended without a word has timed out \
                 (session.timeout.ms, 45 s unless kafka.options says otherwise)",
                since.elapsed().as_secs()
            );
        }
        // One line for both clients: the consumer's where both are away.
        let link = if state.consumer.up {
            &mut state.producer
        } else {
            &mut state.consumer
        };
        let due = link.said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if !link.up && due && link.since.elapsed() >= GRACE {
            link.said = Some(Instant::now());
            tracing::warn!(
                "no Kafka broker answers at {} since {} s, trying on: {}",
                self.brokers,
                link.since.elapsed().as_secs(),
                link.error
                    .as_deref()
                    .map_or_else(|| "no error reported yet".to_owned(), reason::told)
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set_joined(&mut self, joined: bool) {
        if self.joined != joined {
            self.joined = joined;
            self.group = (Instant::now(), None);
        }
    }

    fn link(&mut self, side: Side) -> &mut Link {
        match side {
            Side::Consumer => &mut self.consumer,
            Side::Producer => &mut self.producer,
        }
    }
}

/// A line of librdkafka's own log, at a level lower than its own: what matters of it is told by
/// [`Status`].
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        // The position was not there any more: retention deleted what was not read, or the topic
        // was made anew. `auto.offset.reset` decides where reading goes on.
        RDKafkaLogLevel::Warning if facility == "OFFSET" => {
            tracing::error!(
                "the position in the topic is gone, reading goes on elsewhere: {message}"
            );
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// The part of librdkafka's statistics that is used.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    pub brokers: HashMap<String, BrokerStatistics>,
    #[serde(default)]
    pub topics: HashMap<String, TopicStatistics>,
    pub cgrp: Option<GroupStatistics>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BrokerStatistics {
    pub state: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct GroupStatistics {
    pub state: String,
    pub join_state: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct TopicStatistics {
    #[serde(default)]
    pub partitions: HashMap<String, PartitionStatistics>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PartitionStatistics {
    pub hi_offset: i64,
}

impl Statistics {
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json)
            .inspect_err(|error| tracing::debug!(%error, "librdkafka's statistics"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(broker: &str, join_state: &str) -> Statistics {
        let json = format!(
            r#"{{"brokers": {{"b": {{"state": "{broker}"}}}}, "topics": {{}},
                 "cgrp": {{"state": "up", "join_state": "{join_state}"}}}}"#
        );
        Statistics::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn ready_needs_the_group_and_both_connections() {
        let status = Status::new("b:9092");
        assert!(
            status
                .ready()
                .unwrap_err()
                .contains("consumer has no connection to b:9092")
        );
        status.note_statistics(Side::Consumer, &statistics("UP", "wait-join"));
        assert!(status.ready().unwrap_err().contains("not joined"));
        status.note_statistics(Side::Consumer, &statistics("UP", "steady"));
        assert!(status.ready().unwrap_err().contains("producer"));
        status.note_statistics(
            Side::Producer,
            &Statistics {
                cgrp: None,
                ..statistics("UP", "")
            },
        );
        assert_eq!(status.ready(), Ok(()));
        status.note_statistics(Side::Consumer, &statistics("DOWN", "steady"));
        assert!(status.ready().is_err());
    }
}
