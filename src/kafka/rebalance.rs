//! Partitions that come and go. The callbacks run inside the consumer's poll, on its thread.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::KafkaError,
    topic_partition_list::{Offset, TopicPartitionListElem},
    types::RDKafkaRespErr,
};
use vila2_actors::ledger::{Ledger, Position};

use super::{
    commit::{self, Turn},
    gate::Gate,
    status::{Side, Statistics, Status},
    watermarks,
};

/// How long a revocation waits for confirmations of writes under way, and for the answer to a
/// commit under way.
const CONFIRMATIONS: Duration = Duration::from_millis(1_500);
/// How long an assignment waits for the committed offsets, and how often it asks.
const COMMITTED: (Duration, usize) = (Duration::from_secs(5), 3);
/// How long an assignment waits for the ends of a partition; without them it goes on.
const WATERMARKS: Duration = Duration::from_secs(2);

/// What the consumer's thread must know after a poll.
#[derive(Debug)]
pub(super) enum Event {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
}

/// The group member's callbacks.
pub(super) struct GroupCallbacks {
    /// The topic of requests; the only one subscribed.
    pub topic: Arc<str>,
    pub ledger: Arc<Ledger>,
    pub gate: Arc<Gate>,
    pub status: Arc<Status>,
    pub turn: Arc<Turn>,
    pub events: Mutex<Vec<Event>>,
}

impl GroupCallbacks {
    /// Takes what happened since the last call.
    pub(super) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, event: Event) {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }

    /// Reads committed offsets and metadata, tells the ledger, and starts fetching there.
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        let committed = self.committed(consumer, partitions);
        // After one timeout skip the check for the other partitions.
        let mut answers = true;
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            let found = committed.get(&partition);
            let found =
                found.and_then(|found| self.check(consumer, partition, found, &mut answers));
            let suspended = self.ledger.seek_to(&self.topic, partition);
            let epoch = self.ledger.assign(
                &self.topic,
                partition,
                found.as_ref().map(|found| found.offset),
                found.as_ref().map(|found| found.metadata.as_str()),
            );
            if suspended.is_some_and(|(before, _)| before == epoch) {
                tracing::info!(partition, "goes on where it was lost");
                self.gate.reopen(&self.topic, partition);
            } else {
                self.gate.open(&self.topic, &[partition]);
            }
            let mut element = list.add_partition(&self.topic, partition);
            // Without an offset librdkafka asks the group again and then applies
            // auto.offset.reset.
            if let Some(found) = &found {
                let _ = element.set_offset(Offset::Offset(found.offset));
            }
        }
        let assigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&list),
            _ => consumer.assign(&list),
        };
        if let Err(fault) = assigned {
            tracing::error!(?partitions, "assignment refused: {fault}");
        }
        self.drop_suspended();
        self.status.note_joined(true);
        self.tell(Event::Assigned(partitions.to_vec()));
    }

    /// Gives partitions back: no more writes for them, a bounded wait for those under way, a
    /// commit, the end of their epochs.
    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        let lost = consumer.assignment_lost();
        let deadline = Instant::now() + CONFIRMATIONS;
        self.gate.close(&self.topic, partitions);
        if !lost {
            let open = self.gate.wait(&self.topic, partitions, CONFIRMATIONS);
            if open > 0 {
                tracing::warn!(
                    ?partitions,
                    open,
                    "revoked with unconfirmed writes: they repeat"
                );
            }
        }
        let last = if lost {
            self.lose(partitions);
            Vec::new()
        } else {
            self.give_up(partitions, deadline)
        };
        if !last.is_empty() {
            // Asynchronous, so that a silent broker cannot hold the callback. librdkafka answers
            // the rebalance only when its commits are answered, so no new owner can be ahead.
            let topic = &*self.topic;
            let list = commit::list(last.iter().map(|(partition, at)| (topic, *partition, at)));
            if let Err(fault) = list.and_then(|list| consumer.commit(&list, CommitMode::Async)) {
                tracing::warn!(
                    ?partitions,
                    "the commit before a revocation failed: {fault}"
                );
            }
        }
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        let unassigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&list),
            _ => consumer.unassign(),
        };
        if let Err(fault) = unassigned {
            tracing::error!(?partitions, "unassignment refused: {fault}");
        }
        if !lost {
            self.gate.open(&self.topic, partitions);
        }
        self.tell(Event::Revoked(partitions.to_vec()));
    }

    /// Ends the epochs of partitions that are given back; returns what is to be committed last.
    fn give_up(&self, partitions: &[i32], deadline: Instant) -> Vec<(i32, Position)> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (last, answered) = self.turn.revoke(partitions, left, || {
            let last = partitions.iter().filter_map(|&partition| {
                Some((partition, self.ledger.revoke(&self.topic, partition)?))
            });
            last.collect()
        });
        if !answered {
            // It went out before the last one on the same connection.
            tracing::debug!(?partitions, "revoked before a commit was answered");
        }
        last
    }

    /// The session ended without a word, as when the broker is away. Nothing more is written or
    /// committed for these partitions; what is in flight is kept until the group says whose they
    /// are. The gate stays closed until then.
    fn lose(&self, partitions: &[i32]) {
        tracing::warn!(
            ?partitions,
            "partitions were lost; what is in flight waits for the next assignment"
        );
        self.status.note_joined(false);
        for &partition in partitions {
            self.ledger.suspend(&self.topic, partition);
        }
    }

    /// The group has given out its partitions: those that are suspended yet belong to others.
    pub(super) fn drop_suspended(&self) {
        let gone = self.ledger.drop_suspended(&self.topic);
        if !gone.is_empty() {
            tracing::warn!(partitions = ?gone, "another member has partitions that were lost");
            self.gate.open(&self.topic, &gone);
        }
    }

    /// What the group has committed. Empty where the broker does not say: librdkafka will ask
    /// again, and only what finished above the offsets is repeated.
    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[i32],
    ) -> HashMap<i32, Position> {
        let (limit, attempts) = COMMITTED;
        for attempt in 1..=attempts {
            let mut list = TopicPartitionList::new();
            for &partition in partitions {
                list.add_partition(&self.topic, partition);
            }
            match consumer.committed_offsets(list, limit) {
                Ok(list) => return list.elements().iter().filter_map(position).collect(),
                Err(fault) => {
                    tracing::warn!(attempt, "cannot read the committed offsets: {fault}");
                }
            }
        }
        HashMap::new()
    }

    /// Compares a committed offset with what the partition holds. Records that retention has
    /// deleted unread are told; an offset beyond the end (the topic was made anew) is not used:
    /// `auto.offset.reset` decides, by default the beginning.
    fn check(
        &self,
        consumer: &BaseConsumer<Self>,
        partition: i32,
        found: &Position,
        answers: &mut bool,
    ) -> Option<Position> {
        let topic = &*self.topic;
        let mut found = found.clone();
        if !*answers {
            return Some(found);
        }
        match watermarks::ask(consumer, topic, partition, WATERMARKS) {
            Ok((low, _)) if found.offset < low => {
                tracing::error!(
                    topic,
                    partition,
                    "records {} to {} were deleted before they were read (retention)",
                    found.offset,
                    low - 1
                );
                found = Position {
                    offset: low,
                    metadata: String::new(),
                    full: false,
                };
            }
            Ok((_, high)) if found.offset > high => {
                tracing::error!(
                    topic,
                    partition,
                    "the committed offset {} is beyond the end {high}: the topic was made anew or \
                     cut; starting where auto.offset.reset says",
                    found.offset
                );
                return None;
            }
            Ok(_) => {}
            Err(fault) => {
                *answers = false;
                tracing::warn!(
                    topic,
                    partition,
                    "no watermarks to check offsets with: {fault}"
                );
            }
        }
        Some(found)
    }

    fn own(&self, list: &TopicPartitionList) -> Vec<i32> {
        list.elements_for_topic(&self.topic)
            .iter()
            .map(TopicPartitionListElem::partition)
            .collect()
    }

    fn note_ends(&self, statistics: &Statistics) {
        let Some(topic) = statistics.topics.get(&*self.topic) else {
            return;
        };
        let held = topic.partitions.iter().filter_map(|(number, partition)| {
            let number: i32 = number.parse().ok()?;
            let at = self.ledger.position(&self.topic, number)?.offset;
            let end = partition.hi_offset;
            (end >= 0).then(|| (number, (end, (end - at).max(0))))
        });
        self.status.note_ends(held.collect());
    }
}

/// A committed offset with its metadata; rdkafka panics on metadata that is not UTF-8, which any
/// client of the group could have written.
pub(super) fn position(element: &TopicPartitionListElem<'_>) -> Option<(i32, Position)> {
    let Offset::Offset(offset) = element.offset() else {
        return None;
    };
    let metadata = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()));
    let metadata = metadata.unwrap_or_default();
    Some((
        element.partition(),
        Position {
            offset,
            metadata,
            full: false,
        },
    ))
}

impl ClientContext for GroupCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.status
            .note_log(Side::Consumer, level, facility, message);
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(statistics) = Statistics::parse(json) {
            self.status.note_statistics(Side::Consumer, &statistics);
            self.note_ends(&statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.status.note_error(Side::Consumer, &error, reason);
    }
}

impl ConsumerContext for GroupCallbacks {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = self.own(list);
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            tracing::info!(?partitions, "assigned");
            self.assign(consumer, &partitions);
        } else {
            tracing::info!(?partitions, "revoked");
            self.revoke(consumer, &partitions);
        }
    }
}
