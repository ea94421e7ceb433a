//! What the broker knows of a consumer group: who holds which partitions, and what is committed,
//! with what finished above the offsets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    topic_partition_list::Offset,
};
use vila2::kafka::{KafkaSettings, read::bounds};
use vila2_actors::{
    ledger::{Admission, Ledger},
    record::RecordId,
};

use super::answers::Answer;

const ASK: Duration = Duration::from_secs(10);

/// Member (by its `client.id`) → partitions, where the group is stable; else nothing.
pub fn holders(settings: &KafkaSettings) -> BTreeMap<String, Vec<i32>> {
    let Ok(list) = onlooker(settings)
        .client()
        .fetch_group_list(Some(&settings.group), ASK)
    else {
        return BTreeMap::new();
    };
    let group = list
        .groups()
        .iter()
        .find(|group| group.name() == settings.group);
    let Some(group) = group.filter(|group| group.state() == "Stable") else {
        return BTreeMap::new();
    };
    group
        .members()
        .iter()
        .map(|member| {
            let assignment = member.assignment().unwrap_or_default();
            (
                member.client_id().to_owned(),
                partitions(assignment).unwrap_or_default(),
            )
        })
        .collect()
}

/// What a group had settled at one moment.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Partition → offset below which everything is settled, and what is above.
    partitions: BTreeMap<i32, (i64, BTreeSet<i64>)>,
}

impl Settled {
    /// What is committed now, read with the ledger's own reader.
    pub fn now(settings: &KafkaSettings) -> Self {
        let topic: Arc<str> = settings.topics.images.as_str().into();
        let ends = bounds(settings, &topic).expect("a topic");
        let mut list = TopicPartitionList::new();
        for &partition in ends.keys() {
            list.add_partition(&topic, partition);
        }
        let list = onlooker(settings)
            .committed_offsets(list, ASK)
            .expect("committed offsets");
        let partitions = list.elements().into_iter().map(|element| {
            let partition = element.partition();
            let Offset::Offset(committed) = element.offset() else {
                return (partition, (0, BTreeSet::new()));
            };
            let ledger = Ledger::new();
            ledger.assign(&topic, partition, Some(committed), Some(element.metadata()));
            let id = |offset| RecordId {
                topic: Arc::clone(&topic),
                partition,
                offset,
            };
            let (_, end) = ends[&partition];
            let above =
                (committed..end).filter(|&offset| ledger.admit(&id(offset)) == Admission::Finished);
            (partition, (committed, above.collect()))
        });
        Self {
            partitions: partitions.collect(),
        }
    }

    /// Whether the request of this answer would not be read again.
    pub fn covers(&self, answer: &Answer) -> bool {
        self.has(answer.partition(), answer.offset())
    }

    /// Whether the request at this place would not be read again.
    pub fn has(&self, partition: i32, offset: i64) -> bool {
        (self.partitions.get(&partition))
            .is_some_and(|(committed, above)| offset < *committed || above.contains(&offset))
    }
}

fn onlooker(settings: &KafkaSettings) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", &settings.group)
        .set("enable.auto.commit", "false")
        .create()
        .expect("a client")
}

/// The partitions in a member's assignment, in the consumer protocol's format: version, then per
/// topic its name and partitions; one topic is subscribed.
fn partitions(assignment: &[u8]) -> Option<Vec<i32>> {
    let mut rest = assignment.get(2..)?;
    let mut bytes = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let topics = i32::from_be_bytes(bytes(4)?.try_into().ok()?);
    if topics == 0 {
        return Some(Vec::new());
    }
    let name = i16::from_be_bytes(bytes(2)?.try_into().ok()?);
    bytes(usize::try_from(name).ok()?)?;
    let count = i32::from_be_bytes(bytes(4)?.try_into().ok()?);
    (0..count)
        .map(|_| Some(i32::from_be_bytes(bytes(4)?.try_into().ok()?)))
        .collect()
}
