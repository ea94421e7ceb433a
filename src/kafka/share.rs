//! A member of a group that reads a topic together with others, each partition by one of them, and
//! keeps a note beside each position it commits.
//!
//! Partitions come and go as events, on the caller's thread: what was taken from the caller is
//! given back to the group only when it says so ([`Share::give_back`]), so that its files are
//! closed before another member begins.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::Offset,
    types::RDKafkaRespErr,
};

use super::{
    Error, KafkaSettings, client,
    election::outlast,
    read::{self, Received},
    rebalance, status,
};

/// How long the broker is waited for.
const CONNECT: Duration = Duration::from_secs(10);
/// After so long without a sign of life a member is gone, where `kafka.options` says nothing else.
const SESSION: (&str, &str) = ("session.timeout.ms", "10000");
/// How long a caller may work between two polls: pictures are fetched in between.
const BETWEEN_POLLS: (&str, &str) = ("max.poll.interval.ms", "3600000");

/// The member.
pub struct Share {
    consumer: BaseConsumer<Member>,
    topic: String,
    events: VecDeque<Event>,
}

/// What came.
#[derive(Debug)]
pub enum Event {
    /// Partitions to begin with, by [`Share::take`].
    Assigned(Vec<i32>),
    /// Partitions to end with, by [`Share::give_back`].
    Revoked(Vec<i32>),
    /// A record of a partition that was taken.
    Record(Received),
    /// Nothing more is in this partition.
    End(i32),
    /// Nothing for a while.
    Nothing,
}

/// A position and the note beside it; `None` where nothing was committed.
pub type Committed = Option<(i64, String)>;

impl Share {
    /// Joins.
    ///
    /// # Errors
    /// [`Error::Options`], [`Error::Client`].
    pub fn join(settings: &KafkaSettings, topic: &str, group: &str) -> Result<Self, Error> {
        let mut config = client::group_member(settings)?;
        for (name, value) in [SESSION, BETWEEN_POLLS] {
            if !settings.options.contains_key(name) {
                config.set(name, value);
            }
        }
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("statistics.interval.ms", "0");
        let client = |fault: KafkaError| Error::Client(fault.to_string());
        let consumer: BaseConsumer<Member> = config
            .create_with_context(Member::default())
            .map_err(client)?;
        consumer.subscribe(&[topic]).map_err(client)?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            events: VecDeque::new(),
        })
    }

    /// The next event, at the latest after `wait`.
    ///
    /// # Errors
    /// [`Error::Broker`]; connections that come and go are none.
    pub fn next(&mut self, wait: Duration) -> Result<Event, Error> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        let polled = match self.consumer.poll(wait) {
            None => Event::Nothing,
            Some(Ok(message)) => Event::Record(read::received(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => Event::End(partition),
            Some(Err(fault)) if read::is_passing(&fault) => Event::Nothing,
            Some(Err(fault)) => return Err(Error::Broker(read::cluster_error(&fault))),
        };
        // What was polled belongs to partitions as they were before.
        let happened = self.consumer.context().take();
        self.events.extend(happened);
        Ok(polled)
    }

    /// How far the group is in these partitions.
    ///
    /// # Errors
    /// [`Error::Broker`].
    pub fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, Committed>, Error> {
        let list = self.list(partitions);
        let list = outlast(CONNECT, || {
            self.consumer.committed_offsets(list.clone(), CONNECT)
        })
        .map_err(|fault| Error::Broker(read::cluster_error(&fault)))?;
        let elements = list.elements();
        let mut found: BTreeMap<i32, Committed> = elements
            .iter()
            .filter_map(rebalance::position)
            .map(|(partition, at)| (partition, Some((at.offset, at.metadata))))
            .collect();
        for partition in partitions {
            found.entry(*partition).or_default();
        }
        Ok(found)
    }

    /// Begins to read partitions that were assigned, each at an offset.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn take(&self, from: &BTreeMap<i32, i64>) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for (&partition, &offset) in from {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|fault| Error::Client(fault.to_string()))?;
        }
        self.consumer
            .incremental_assign(&list)
            .map_err(|fault| Error::Client(fault.to_string()))
    }

    /// Gives back partitions that were revoked.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn give_back(&self, partitions: &[i32]) -> Result<(), Error> {
        self.consumer
            .incremental_unassign(&self.list(partitions))
            .map_err(|fault| Error::Client(fault.to_string()))
    }

    /// Reads no more of a partition, and keeps it.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn rest(&self, partition: i32) -> Result<(), Error> {
        self.consumer
            .pause(&self.list(&[partition]))
            .map_err(|fault| Error::Client(fault.to_string()))
    }

    /// Commits the position of a partition and the note beside it. False where the group is being
    /// arranged anew, or this member is out of it: to be tried again, unless the partition is
    /// revoked meanwhile.
    ///
    /// # Errors
    /// [`Error::Broker`].
    pub fn commit(&self, partition: i32, offset: i64, note: &str) -> Result<bool, Error> {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&self.topic, partition);
        element
            .set_offset(Offset::Offset(offset))
            .map_err(|fault| Error::Client(fault.to_string()))?;
        element.set_metadata(note);
        match self.consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => Ok(true),
            Err(fault) if read::is_passing(&fault) || is_of_the_group(&fault) => Ok(false),
            Err(fault) => Err(Error::Broker(format!(
                "the position could not be committed: {}",
                read::cluster_error(&fault)
            ))),
        }
    }

    fn list(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        list
    }
}

impl Drop for Share {
    /// Nobody asks for events any more: what is taken from us while we leave is given back at once.
    fn drop(&mut self) {
        let context = self.consumer.context();
        context.lock().leaves = true;
        self.events.extend(context.take());
        for event in std::mem::take(&mut self.events) {
            if let Event::Revoked(partitions) = event {
                let _ = self.give_back(&partitions);
            }
        }
    }
}

/// Answers that say who is in the group, not that something is broken.
fn is_of_the_group(fault: &KafkaError) -> bool {
    matches!(
        fault.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::AssignmentLost
                | RDKafkaErrorCode::WaitingForCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::NotCoordinator
        )
    )
}

#[derive(Default)]
struct Member(Mutex<State>);

#[derive(Default)]
struct State {
    happened: Vec<Event>,
    leaves: bool,
}

impl Member {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().happened)
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        status::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let elements = list.elements();
        let partitions: Vec<_> = elements.iter().map(|one| one.partition()).collect();
        let mut state = self.lock();
        let is_assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if state.leaves {
            if !is_assigned && let Err(fault) = consumer.incremental_unassign(list) {
                tracing::debug!(%fault, "leaving");
            }
            return;
        }
        state.happened.push(if is_assigned {
            Event::Assigned(partitions)
        } else {
            Event::Revoked(partitions)
        });
    }
}
