//! Kafka: consumer, rebalance, commit, producer, codec, embedded broker.
//!
//! The data's way through here: [`consumer`] (a thread of its own) polls records and offers them
//! to the chain through [`Inlet`]; the chain hands its answers to [`producer`], which passes the
//! [`gate`] of the record's partition; the broker's confirmation settles the record; [`commit`]
//! stores the ledger's positions; [`rebalance`] gives partitions back without losing or repeating
//! more than it must. [`feeder`] and [`read`] are for the commands and for tests, [`share`] is for
//! an export that several processes make, [`inspect`] is for `doctor`, [`embedded`] is a broker
//! inside the process.
//!
//! Guarantee: at least once. For one transactional producer per process the producer is already
//! the only writer and the gate the only way to it: offsets would be sent through it in place of
//! [`commit`].

use std::{collections::BTreeMap, time::Duration};

mod client;

mod reason;

mod election;

mod watermarks;

pub mod codec;

pub mod status;

pub mod consumer;

mod flow;

mod rebalance;

mod commit;

pub mod gate;

pub mod producer;

pub mod embedded;

pub mod feeder;

pub mod read;

pub mod share;

pub mod create;

pub mod inspect;

pub mod dead;

pub use client::check_options;
pub use consumer::{Consumer, Inlet};
pub use embedded::Embedded;
pub use gate::Gate;
pub use producer::KafkaPublisher;
pub use status::Status;

/// Where Kafka is and what is read and written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `kafka.brokers`: `host:port`, separated by commas.
    pub brokers: String,
    /// `kafka.group`: the consumer group.
    pub group: String,
    /// `kafka.topics`.
    pub topics: Topics,
    /// `kafka.options`: librdkafka properties for every client of the process. They overrule the
    /// defaults of this module, except those that delivery rests on (see [`check_options`]).
    pub options: BTreeMap<String, String>,
    /// How often positions are committed.
    pub commit_every: Duration,
}

/// The three topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Requests, read.
    pub images: String,
    /// Enriched captions, written.
    pub captions: String,
    /// Dead letters, written.
    pub dead: String,
}

impl KafkaSettings {
    /// Settings with the defaults of the contract: group `vila2`, topics `images`, `captions` and
    /// `images.dead`, no options, one commit a second.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            group: "vila2".into(),
            topics: Topics::default(),
            options: BTreeMap::new(),
            commit_every: Duration::from_secs(1),
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            images: "images".into(),
            captions: "captions".into(),
            dead: "images.dead".into(),
        }
    }
}

/// What can go wrong outside the path of a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `kafka.options` that librdkafka refuses, each as `name: why`.
    #[error("kafka.options: {}", .0.join("; "))]
    Options(Vec<String>),
    /// A client could not be made.
    #[error("cannot make a Kafka client: {0}; check kafka.options, and the files it names")]
    Client(String),
    /// No broker answered, or TLS or SASL was refused.
    #[error("no Kafka broker answers at {brokers}: {detail}")]
    Unreachable {
        /// `kafka.brokers`.
        brokers: String,
        /// librdkafka's words, and what to do.
        detail: String,
    },
    /// A topic that is not there.
    #[error("topic `{topic}` {detail}")]
    Topic {
        /// Its name.
        topic: String,
        /// What the broker said, and what to do.
        detail: String,
    },
    /// The broker refused, or an answer did not come.
    #[error("{0}")]
    Broker(String),
    /// A record that no broker would take.
    #[error("a record of {0} bytes is larger than message.max.bytes (kafka.options)")]
    TooLarge(usize),
    /// More than the embedded broker holds.
    #[error("{0}")]
    Limit(String),
}

impl Error {
    /// The same, explained by what librdkafka said of the missing connection.
    fn because(self, told: Option<String>) -> Self {
        match (self, told) {
            (Self::Unreachable { brokers, .. }, Some(detail)) => {
                Self::Unreachable { brokers, detail }
            }
            (error, _) => error,
        }
    }
}
