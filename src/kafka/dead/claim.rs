//! The right to give letters back: membership in a group of which one member holds everything.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::KafkaError,
    topic_partition_list::Offset,
    types::RDKafkaRespErr,
};

use super::positions::Positions;
use crate::kafka::{Error, KafkaSettings, client, read::cluster_error, status};

/// How long another call is waited for: longer than the broker needs to notice that one died. Of
/// calls that begin together, the one that was given the first partition waits longer and wins.
const OTHERS: Duration = Duration::from_secs(14);
/// See [`OTHERS`].
const OTHERS_FIRST: Duration = Duration::from_secs(22);
/// How long a call at work waits for others to give up: longer than they do.
const AT_WORK: Duration = Duration::from_secs(45);
/// After so long without a sign of life a member is gone.
const SESSION_MS: &str = "10000";
/// How long a poll lasts.
const POLL: Duration = Duration::from_millis(100);

/// A member of the group that holds every partition, or waits until it does.
pub(super) struct Claim {
    consumer: BaseConsumer<Member>,
    topic: String,
    group: String,
    partitions: usize,
}

impl Claim {
    /// Joins and waits until no other member holds anything.
    pub(super) fn take(settings: &KafkaSettings, partitions: usize) -> Result<Self, Error> {
        let group = super::group(&settings.group);
        let mut config = client::group_member(settings)?;
        config
            .set("group.id", &group)
            .set("session.timeout.ms", SESSION_MS)
            .set("heartbeat.interval.ms", "3000")
            .set("partition.assignment.strategy", "range")
            .set("statistics.interval.ms", "0");
        let client = |fault: KafkaError| Error::Client(fault.to_string());
        let consumer: BaseConsumer<Member> = config.create_with_context(Member).map_err(client)?;
        let topic = settings.topics.dead.clone();
        consumer.subscribe(&[&topic]).map_err(client)?;
        let claim = Self {
            consumer,
            topic,
            group,
            partitions,
        };
        claim.wait(OTHERS, OTHERS_FIRST)?;
        Ok(claim)
    }

    /// Polls, so that the group sees a living member; returns whether it holds everything.
    pub(super) fn is_held(&self) -> bool {
        self.poll(Duration::ZERO)
    }

    fn poll(&self, wait: Duration) -> bool {
        // What is read here is of no interest, and errors mend themselves or end the wait.
        let _ = self.consumer.poll(wait);
        let assigned = self.consumer.assignment();
        assigned.is_ok_and(|assigned| assigned.count() == self.partitions)
    }

    fn has_first(&self) -> bool {
        let assigned = self.consumer.assignment();
        assigned.is_ok_and(|assigned| assigned.find_partition(&self.topic, 0).is_some())
    }

    /// Waits until everything is held.
    fn wait(&self, limit: Duration, limit_of_first: Duration) -> Result<(), Error> {
        let since = Instant::now();
        let mut first = false;
        while !self.poll(POLL) {
            // While the others leave, nobody holds anything for a moment.
            first |= self.has_first();
            let limit = if first { limit_of_first } else { limit };
            if since.elapsed() >= limit {
                return Err(Error::Broker(format!(
                    "another redrive is at work in the group `{}` (or the broker does not let us \
                     join it); try again when it has ended",
                    self.group
                )));
            }
        }
        Ok(())
    }

    /// Commits positions. Where the group was disturbed meanwhile, again once it is ours.
    pub(super) fn commit(&self, positions: &BTreeMap<i32, Positions>) -> Result<(), Error> {
        let deadline = Instant::now() + AT_WORK;
        loop {
            let mut list = TopicPartitionList::new();
            for (partition, positions) in positions {
                let (offset, metadata) = positions.encode();
                let mut element = list.add_partition(&self.topic, *partition);
                element
                    .set_offset(Offset::Offset(offset))
                    .map_err(|fault| Error::Client(fault.to_string()))?;
                if !metadata.is_empty() {
                    element.set_metadata(&metadata);
                }
            }
            match self.consumer.commit(&list, CommitMode::Sync) {
                Ok(()) => return Ok(()),
                Err(fault) if Instant::now() >= deadline => {
                    return Err(Error::Broker(format!(
                        "the position could not be committed: {}",
                        cluster_error(&fault)
                    )));
                }
                Err(_) => self.wait(AT_WORK, AT_WORK)?,
            }
        }
    }
}

/// Starts partitions at their end: letters are read by another client.
struct Member;

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
        let told = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            list.set_all_offsets(Offset::End)
                .and_then(|()| consumer.assign(list))
        } else {
            consumer.unassign()
        };
        if let Err(fault) = told {
            tracing::debug!(%fault, "redrive: assignment");
        }
    }
}
