//! Reading topics outside the group: for `tail`, the demo and tests; and where a group stands,
//! for `run --until-end`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientContext, Message, Timestamp, TopicPartitionList,
    client::Client,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    topic_partition_list::Offset,
};

use super::{
    Error, KafkaSettings, client, codec, election::outlast, reason::LastReason, rebalance, status,
    watermarks,
};

/// How long the broker is waited for.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the events that explain a missing connection may take.
const EVENTS: Duration = Duration::from_millis(500);
/// How long a stretch that is not read to its end may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
}

impl Received {
    /// The last header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest record.
    Beginning,
    /// What comes after [`Reader::new`] has returned.
    End,
}

/// Reads one topic, all partitions, without joining a group.
pub struct Reader {
    consumer: BaseConsumer<Onlooker>,
}

impl Reader {
    /// Starts reading. Blocks for the broker's answers, at most about 10 s.
    ///
    /// # Errors
    /// [`Error::Options`], [`Error::Client`], [`Error::Unreachable`], [`Error::Topic`].
    pub fn new(settings: &KafkaSettings, topic: &str, start: Start) -> Result<Self, Error> {
        let consumer = onlooker(settings, &format!("{}-reader", settings.group))?;
        let partitions = partitions(&consumer, settings, topic)?;
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let offset = match start {
                Start::Beginning => Offset::Beginning,
                Start::End => Offset::Offset(watermarks(&consumer, topic, partition)?.1),
            };
            list.add_partition_offset(topic, partition, offset)
                .map_err(|fault| Error::Client(fault.to_string()))?;
        }
        consumer
            .assign(&list)
            .map_err(|fault| Error::Client(fault.to_string()))?;
        Ok(Self { consumer })
    }

    /// The next record, or `None` after `idle` without one.
    ///
    /// # Errors
    /// [`Error::Broker`]; connections that come and go are none.
    pub fn next(&self, idle: Duration) -> Result<Option<Received>, Error> {
        let deadline = Instant::now() + idle;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left) {
                Some(Ok(message)) => return Ok(Some(received(&message))),
                Some(Err(fault)) if !is_passing(&fault) => {
                    return Err(Error::Broker(cluster_error(&fault)));
                }
                _ if left.is_zero() => return Ok(None),
                _ => {}
            }
        }
    }

    /// Calls `each` for every record until it returns `false`, or `count` were read, or none came
    /// for `idle`. Returns how many were read.
    ///
    /// # Errors
    /// See [`Reader::next`].
    pub fn read(
        &self,
        count: Option<usize>,
        idle: Duration,
        mut each: impl FnMut(Received) -> bool,
    ) -> Result<usize, Error> {
        let mut read = 0;
        while count.is_none_or(|count| read < count) {
            let Some(received) = self.next(idle)? else {
                break;
            };
            read += 1;
            if !each(received) {
                break;
            }
        }
        Ok(read)
    }
}

/// First offset and end (one above the last offset) of each partition.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Topic`], [`Error::Broker`].
pub fn bounds(settings: &KafkaSettings, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>, Error> {
    let consumer = onlooker(settings, &format!("{}-reader", settings.group))?;
    partitions(&consumer, settings, topic)?
        .into_iter()
        .map(|partition| Ok((partition, watermarks(&consumer, topic, partition)?)))
        .collect()
}

/// What the settings' group has committed on a topic; partitions without a commit are missing.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Topic`], [`Error::Broker`].
pub fn committed_offsets(
    settings: &KafkaSettings,
    topic: &str,
) -> Result<BTreeMap<i32, i64>, Error> {
    let committed = committed(settings, topic)?.into_iter();
    Ok(committed
        .map(|(partition, (offset, _))| (partition, offset))
        .collect())
}

/// The same with the commits' metadata; what is no UTF-8 counts as none.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Topic`], [`Error::Broker`].
pub fn committed(
    settings: &KafkaSettings,
    topic: &str,
) -> Result<BTreeMap<i32, (i64, String)>, Error> {
    let consumer = onlooker(settings, &settings.group)?;
    let mut list = TopicPartitionList::new();
    for partition in partitions(&consumer, settings, topic)? {
        list.add_partition(topic, partition);
    }
    let list = outlast(CONNECT, || {
        consumer.committed_offsets(list.clone(), CONNECT)
    })
    .map_err(|fault| Error::Broker(cluster_error(&fault)))?;
    let elements = list.elements();
    let committed = elements.iter().filter_map(rebalance::position);
    Ok(committed
        .map(|(partition, at)| (partition, (at.offset, at.metadata)))
        .collect())
}

/// Reads the stretch from the first offset to the end of each partition, or to the present end
/// where that comes first (control records have offsets too, but are never seen). `each` ends the
/// reading by `false`.
///
/// # Errors
/// [`Error::Client`], [`Error::Broker`].
pub fn read_to_end(
    settings: &KafkaSettings,
    topic: &str,
    stretch: &BTreeMap<i32, (i64, i64)>,
    mut each: impl FnMut(Received) -> bool,
) -> Result<(), Error> {
    let client = |fault: KafkaError| Error::Client(fault.to_string());
    let mut open: BTreeMap<i32, i64> = stretch
        .iter()
        .filter(|(_, (first, end))| first < end)
        .map(|(partition, (_, end))| (*partition, *end))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let group = format!("{}-reader", settings.group);
    let consumer: BaseConsumer<Onlooker> = client::onlooker(settings, &group)?
        .set("enable.partition.eof", "true")
        .create_with_context(Onlooker::default())
        .map_err(client)?;
    let mut list = TopicPartitionList::new();
    for partition in open.keys() {
        let first = Offset::Offset(stretch[partition].0);
        list.add_partition_offset(topic, *partition, first)
            .map_err(client)?;
    }
    consumer.assign(&list).map_err(client)?;
    let mut heard = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let (partition, offset) = (message.partition(), message.offset());
                let Some(&end) = open.get(&partition) else {
                    continue;
                };
                if offset < end && !each(received(&message)) {
                    return Ok(());
                }
                if offset + 1 >= end {
                    open.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                heard = Instant::now();
                open.remove(&partition);
            }
            Some(Err(fault)) if !is_passing(&fault) => {
                return Err(Error::Broker(cluster_error(&fault)));
            }
            _ if heard.elapsed() >= SILENCE => {
                return Err(Error::Broker(format!(
                    "`{topic}`: nothing came for {SILENCE:?} although there is more to read"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// True if only transaction markers remain up to `bounds`: they have offsets, but no consumer ever
/// sees them and no group commits past them. Partitions without a commit count from their first
/// offset.
///
/// # Errors
/// As [`read_to_end`].
pub fn is_void(
    settings: &KafkaSettings,
    topic: &str,
    bounds: &BTreeMap<i32, (i64, i64)>,
    committed: &BTreeMap<i32, i64>,
) -> Result<bool, Error> {
    let left: BTreeMap<i32, (i64, i64)> = bounds
        .iter()
        .map(|(partition, (first, end))| {
            let at = committed.get(partition).copied().unwrap_or(*first);
            (*partition, (at.max(*first), *end))
        })
        .collect();
    let mut found = false;
    read_to_end(settings, topic, &left, |_| {
        found = true;
        false
    })?;
    Ok(!found)
}

/// Whether a group that committed `committed` has settled everything up to the ends in `bounds`.
#[must_use]
pub fn is_settled(bounds: &BTreeMap<i32, (i64, i64)>, committed: &BTreeMap<i32, i64>) -> bool {
    bounds.iter().all(|(partition, &(first, end))| {
        committed
            .get(partition)
            .copied()
            .unwrap_or(first)
            .max(first)
            >= end
    })
}

pub(super) fn received(message: &BorrowedMessage<'_>) -> Received {
    Received {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: match message.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(at) | Timestamp::LogAppendTime(at) => Some(at),
        },
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: codec::texts(message.headers()),
    }
}

/// A client that looks at topics and joins no group.
pub(super) fn onlooker(
    settings: &KafkaSettings,
    group: &str,
) -> Result<BaseConsumer<Onlooker>, Error> {
    client::onlooker(settings, group)?
        .create_with_context(Onlooker::default())
        .map_err(|fault| Error::Client(fault.to_string()))
}

/// The partitions of a topic that must exist; where the broker cannot be reached, with the reason.
pub(super) fn partitions(
    consumer: &BaseConsumer<Onlooker>,
    settings: &KafkaSettings,
    topic: &str,
) -> Result<Vec<i32>, Error> {
    require_topic(consumer.client(), settings, topic, CONNECT)
        .map_err(|error| explained(consumer, error))
}

/// The reason of a missing connection, which librdkafka tells in events.
pub(super) fn explained(consumer: &BaseConsumer<Onlooker>, error: Error) -> Error {
    if !matches!(error, Error::Unreachable { .. }) {
        return error;
    }
    let deadline = Instant::now() + EVENTS;
    while consumer.poll(Duration::from_millis(10)).is_some() && Instant::now() < deadline {}
    error.because(consumer.context().reason.told())
}

fn watermarks(
    consumer: &BaseConsumer<Onlooker>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), Error> {
    outlast(CONNECT, || {
        watermarks::ask(consumer, topic, partition, CONNECT)
    })
    .map_err(|fault| Error::Broker(cluster_error(&fault)))
}

/// The partitions of a topic that must exist.
pub(super) fn require_topic<C: ClientContext>(
    client: &Client<C>,
    settings: &KafkaSettings,
    topic: &str,
    limit: Duration,
) -> Result<Vec<i32>, Error> {
    let metadata =
        client
            .fetch_metadata(Some(topic), limit)
            .map_err(|fault| Error::Unreachable {
                brokers: settings.brokers.clone(),
                detail: cluster_error(&fault),
            })?;
    let absent = |code: Option<RDKafkaErrorCode>| Error::Topic {
        topic: topic.into(),
        detail: absence(settings, topic, code),
    };
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.ok_or_else(|| absent(None))?;
    if let Some(code) = found.error() {
        return Err(absent(Some(RDKafkaErrorCode::from(code))));
    }
    if found.partitions().is_empty() {
        return Err(absent(None));
    }
    Ok(found
        .partitions()
        .iter()
        .map(rdkafka::metadata::MetadataPartition::id)
        .collect())
}

/// What is wrong with a topic that cannot be used, and what to do.
pub(super) fn absence(
    settings: &KafkaSettings,
    topic: &str,
    code: Option<RDKafkaErrorCode>,
) -> String {
    let brokers = &settings.brokers;
    let topics = &settings.topics;
    let keys = [
        (&topics.images, " (kafka.topics.images)"),
        (&topics.captions, " (kafka.topics.captions)"),
        (&topics.dead, " (kafka.topics.dead)"),
    ];
    let key = keys.iter().find(|(name, _)| *name == topic);
    let key = key.map_or("", |(_, key)| key);
    match code {
        None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            format!(
                "is not there at {brokers}{key}; create it (vila2 topics create), or name another in \
                 kafka.topics"
            )
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => format!(
            "may not be seen by this user at {brokers}{key}; grant it READ and WRITE, or sign in as \
             another user (kafka.options \"sasl.username\")"
        ),
        Some(code) => format!("cannot be used at {brokers}{key}: {code}; see the broker's log"),
    }
}

/// librdkafka's words, without rdkafka's wrapping.
pub(super) fn cluster_error(fault: &KafkaError) -> String {
    fault
        .rdkafka_error_code()
        .map_or_else(|| fault.to_string(), |code| code.to_string())
}

/// Faults that librdkafka mends by itself.
pub(super) fn is_passing(fault: &KafkaError) -> bool {
    matches!(
        fault.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// Remembers why there is no connection.
#[derive(Default)]
pub(super) struct Onlooker {
    pub(super) reason: LastReason,
}

impl ClientContext for Onlooker {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reason.note_log(facility, message);
        status::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reason.note_error(&error, reason);
        tracing::debug!(%error, reason, "kafka");
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Onlooker {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_settled_when_every_partition_is() {
        let bounds = BTreeMap::from([(0, (0, 5)), (1, (0, 0)), (2, (7, 7))]);
        assert!(!is_settled(&bounds, &BTreeMap::new()));
        assert!(!is_settled(&bounds, &BTreeMap::from([(0, 4)])));
        assert!(
            is_settled(&bounds, &BTreeMap::from([(0, 5)])),
            "empty partitions need no commit"
        );
        assert!(is_settled(&bounds, &BTreeMap::from([(0, 9), (2, 3)])));
    }
}
