//! Publishing requests: lines of text, bare URLs or JSON objects, passed on as they are.
//!
//! The contract is checked by the engine, not here: what it refuses comes back as a dead letter
//! with its reason.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use vila2_actors::request::whole;

use super::{
    Error, KafkaSettings, client, codec,
    read::{cluster_error, require_topic},
    reason::LastReason,
    status,
};

/// How long the broker is waited for before publishing begins.
const CONNECT: Duration = Duration::from_secs(10);

/// How far publishing has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records handed over.
    pub sent: u64,
    /// Records the broker confirmed.
    pub confirmed: u64,
}

/// Writes records to one topic from a plain thread.
pub struct Feeder {
    producer: BaseProducer<Deliveries>,
    deliveries: Arc<Mutex<Tally>>,
    topic: String,
    sent: u64,
}

/// A record that was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its number, counted from 0 in the order of [`Feeder::send`].
    pub number: u64,
    /// The broker will never take it: it is too large. Others may be written another time.
    pub for_good: bool,
    /// librdkafka's words.
    pub fault: String,
}

#[derive(Default)]
struct Tally {
    confirmed: u64,
    refused: u64,
    first_fault: Option<String>,
    /// Refusals nobody has asked for yet.
    refusals: Vec<Refusal>,
    /// Every record below this number is answered.
    answered: u64,
    /// Whether those from there on are.
    above: VecDeque<bool>,
}

impl Tally {
    fn answer(&mut self, number: u64) {
        let place = usize::try_from(number - self.answered).unwrap_or(usize::MAX);
        if self.above.len() <= place {
            self.above.resize(place + 1, false);
        }
        self.above[place] = true;
        while self.above.front() == Some(&true) {
            self.above.pop_front();
            self.answered += 1;
        }
    }
}

impl Feeder {
    /// Connects and makes sure that the topic is there. Blocks for at most 10 s.
    ///
    /// # Errors
    /// [`Error::Options`], [`Error::Client`], [`Error::Unreachable`], [`Error::Topic`].
    pub fn new(settings: &KafkaSettings, topic: &str) -> Result<Self, Error> {
        let deliveries = Arc::new(Mutex::new(Tally::default()));
        let producer: BaseProducer<Deliveries> = client::writer(settings)?
            .set("statistics.interval.ms", "0")
            .create_with_context(Deliveries {
                tally: Arc::clone(&deliveries),
                reason: LastReason::default(),
            })
            .map_err(|fault| Error::Client(fault.to_string()))?;
        require_topic(producer.client(), settings, topic, CONNECT).map_err(|error| {
            producer.poll(Duration::from_millis(100));
            error.because(producer.context().reason.told())
        })?;
        Ok(Self {
            producer,
            deliveries,
            topic: topic.into(),
            sent: 0,
        })
    }

    /// Hands one record over; waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where no broker would take it, else [`Error::Broker`].
    pub fn send(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Result<(), Error> {
        loop {
            let number = usize::try_from(self.sent).unwrap_or(usize::MAX);
            let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, number);
            record.key = key;
            record.payload = value;
            if !headers.is_empty() {
                record = record.headers(codec::headers(headers));
            }
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                    return Err(Error::TooLarge(
                        key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len),
                    ));
                }
                Err((fault, _)) => return Err(Error::Broker(fault.to_string())),
            }
        }
        self.sent += 1;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            sent: self.sent,
            confirmed: self.tally().confirmed,
        }
    }

    /// How many records, from the first on and without a gap, are answered: confirmed, or refused.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.tally().answered
    }

    /// The refusals since the last call.
    #[must_use]
    pub fn take_refusals(&self) -> Vec<Refusal> {
        std::mem::take(&mut self.tally().refusals)
    }

    /// Serves confirmations, at most for `wait`.
    pub fn poll(&self, wait: Duration) {
        self.producer.poll(wait);
    }

    /// Waits until every record sent so far is answered.
    ///
    /// # Errors
    /// [`Error::Broker`] where records were refused, or not answered within `limit`.
    pub fn settle(&self, limit: Duration) -> Result<(), Error> {
        self.wait(limit, |_| {}).map(|_| ())
    }

    /// Waits until every record is confirmed; `progress` is called while waiting.
    ///
    /// # Errors
    /// [`Error::Broker`] where records were refused, or not confirmed within `limit`.
    pub fn finish(
        self,
        limit: Duration,
        progress: impl FnMut(Progress),
    ) -> Result<Progress, Error> {
        self.wait(limit, progress)
    }

    fn wait(&self, limit: Duration, mut progress: impl FnMut(Progress)) -> Result<Progress, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let (confirmed, refused, fault) = {
                let tally = self.tally();
                (tally.confirmed, tally.refused, tally.first_fault.clone())
            };
            let now = Progress {
                sent: self.sent,
                confirmed,
            };
            progress(now);
            if confirmed + refused == self.sent {
                return match fault {
                    None => Ok(now),
                    Some(fault) => Err(Error::Broker(format!(
                        "{refused} of {} records were not written: {fault}",
                        self.sent
                    ))),
                };
            }
            if Instant::now() >= deadline {
                return Err(Error::Broker(format!(
                    "{} of {} records were not confirmed within {limit:?}",
                    self.sent - confirmed,
                    self.sent
                )));
            }
            self.producer.poll(Duration::from_millis(100));
        }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a request: its id (of a number its digits), else its URL, else none.
#[must_use]
pub fn key(request: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        url: Option<Cow<'a, str>>,
    }
    if request.first() != Some(&b'{') {
        return Some(request.to_vec());
    }
    let named: Named<'_> = serde_json::from_slice(request).ok()?;
    let id = match named.id.map(RawValue::get) {
        None => None,
        Some(text) if text.starts_with('"') => Some(serde_json::from_str(text).ok()?),
        Some(number) => Some(Cow::Borrowed(whole(number)?)),
    };
    id.or(named.url).map(|name| name.as_bytes().to_vec())
}

struct Deliveries {
    tally: Arc<Mutex<Tally>>,
    /// Why there is no connection.
    reason: LastReason,
}

impl ClientContext for Deliveries {
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

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let number = number as u64;
        tally.answer(number);
        match result {
            Ok(_) => tally.confirmed += 1,
            Err((fault, _)) => {
                tally.refused += 1;
                let refusal = Refusal {
                    number,
                    for_good: matches!(
                        fault.rdkafka_error_code(),
                        Some(
                            RDKafkaErrorCode::MessageSizeTooLarge
                                | RDKafkaErrorCode::InvalidMessageSize
                        )
                    ),
                    fault: cluster_error(fault),
                };
                tally
                    .first_fault
                    .get_or_insert_with(|| refusal.fault.clone());
                tally.refusals.push(refusal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_is_answered_is_counted_without_a_gap() {
        let mut tally = Tally::default();
        for (number, answered) in [(2, 0), (0, 1), (3, 1), (1, 4), (4, 5)] {
            tally.answer(number);
            assert_eq!(tally.answered, answered, "after {number}");
        }
        assert!(tally.above.is_empty());
    }

    #[test]
    fn the_key_is_the_id_else_the_url_else_nothing() {
        let keys: HashMap<&str, Option<&str>> = HashMap::from([
            ("http://a/b.png", Some("http://a/b.png")),
            (r#"{"url": "http://a", "id": "7"}"#, Some("7")),
            (r#"{"url": "http:\/\/a"}"#, Some("http://a")),
            (
                r#"{"url": "http://a", "id": 18446744073709551616}"#,
                Some("18446744073709551616"),
            ),
            (r#"{"url": "http://a", "id": null}"#, Some("http://a")),
            (r#"{"url": "http://a", "id": [1]}"#, None),
            (r#"{"meta": 1}"#, None),
            ("{broken", None),
        ]);
        for (request, expected) in keys {
            assert_eq!(
                key(request.as_bytes()).as_deref(),
                expected.map(str::as_bytes),
                "{request}"
            );
        }
    }
}
