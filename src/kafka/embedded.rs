//! A broker inside the process, for the demo: librdkafka's mock cluster.
//!
//! It speaks the protocol over loopback, groups and idempotence included, and keeps everything in
//! memory. It is no oracle for transactions, and it drops the oldest records of a partition beyond
//! [`Embedded::RECORDS`] or [`Embedded::BYTES`] without a word: whoever fills it must read along,
//! and asks [`Embedded::check`] first.

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{BaseProducer, Producer as _, ProducerContext},
};

use super::{Error, Topics, status};

/// A running embedded broker; it ends when dropped.
pub struct Embedded {
    host: BaseProducer<Quiet>,
    brokers: String,
}

impl Embedded {
    /// The most records a partition keeps.
    pub const RECORDS: usize = 100_000;
    /// The most bytes a partition keeps.
    pub const BYTES: usize = 5 * 1024 * 1024;

    /// Starts a broker on a free loopback port.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn start() -> Result<Self, Error> {
        let client = |fault: KafkaError| Error::Client(fault.to_string());
        let host: BaseProducer<Quiet> = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create_with_context(Quiet)
            .map_err(client)?;
        let brokers = host
            .client()
            .mock_cluster()
            .map(|cluster| cluster.bootstrap_servers())
            .ok_or_else(|| Error::Client("librdkafka was built without its mock cluster".into()))?;
        Ok(Self { host, brokers })
    }

    /// `kafka.brokers` for its clients.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`Error::Topic`], for example where it exists.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), Error> {
        let cluster = self.host.client().mock_cluster();
        let cluster = cluster.expect("bug: the host of the mock cluster has one");
        cluster
            .create_topic(topic, partitions, 1)
            .map_err(|fault| Error::Topic {
                topic: topic.into(),
                detail: format!("cannot be made: {fault}"),
            })
    }

    /// Creates the three topics with the same number of partitions.
    ///
    /// # Errors
    /// [`Error::Topic`].
    pub fn create_topics(&self, topics: &Topics, partitions: i32) -> Result<(), Error> {
        [&topics.images, &topics.captions, &topics.dead]
            .into_iter()
            .try_for_each(|topic| self.create_topic(topic, partitions))
    }

    /// Whether `records` records of `bytes` bytes each fit into one topic of `partitions`
    /// partitions, leaving half for an uneven spread.
    ///
    /// # Errors
    /// [`Error::Limit`], with the count that would fit.
    pub fn check(records: usize, bytes: usize, partitions: usize) -> Result<(), Error> {
        let each = Self::RECORDS.min(Self::BYTES / bytes.max(1));
        let most = each * partitions / 2;
        if records <= most {
            return Ok(());
        }
        Err(Error::Limit(format!(
            "the embedded broker holds about {most} records of {bytes} bytes in {partitions} \
             partitions, not {records}: use fewer, or an Apache Kafka"
        )))
    }
}

/// librdkafka's log goes where ours goes.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        status::log(level, facility, message);
    }
}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_beyond_what_a_partition_keeps_are_refused() {
        assert!(Embedded::check(1_000, 2_000, 3).is_ok());
        let fault = Embedded::check(10_000, 2_000, 3).unwrap_err().to_string();
        assert!(fault.contains("about 3931 records"), "{fault}");
        assert!(Embedded::check(200_000, 1, 2).is_err());
    }
}
