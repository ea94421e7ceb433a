//! The writer: idempotent, zstd, one for captions and dead letters.
//!
//! A write is settled by the broker's confirmation alone. Where librdkafka's queue is full, the
//! future of the write waits, and with it the record's credit; nothing blocks the runtime.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::BoxFuture;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};
use tokio::sync::{Notify, oneshot};
use vila2_actors::{
    error::PublishError,
    ports::{Destination, Outgoing, Publisher},
    record::RecordId,
};

use super::{
    Error, KafkaSettings, Topics, client, codec,
    gate::Gate,
    read::cluster_error,
    status::{Side, Statistics, Status},
};

/// How long a write waits for room in the queue before it looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Writes records to Kafka. Cheap to clone.
#[derive(Clone)]
pub struct KafkaPublisher {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    topics: Topics,
    gate: Arc<Gate>,
    status: Arc<Status>,
    room: Arc<Notify>,
    /// Replaced after a fatal error, which librdkafka's idempotent producer does not survive.
    writer: RwLock<Arc<Writer>>,
}

type Writer = ThreadedProducer<Callbacks>;

impl KafkaPublisher {
    /// Makes the producer; connecting goes on in the background.
    ///
    /// # Errors
    /// [`Error::Options`] or [`Error::Client`].
    pub fn new(
        settings: &KafkaSettings,
        gate: Arc<Gate>,
        status: Arc<Status>,
    ) -> Result<Self, Error> {
        let config = client::writer(settings)?;
        let room = Arc::new(Notify::new());
        let callbacks = Callbacks::new(&gate, &status, &room);
        let writer: Writer = config
            .create_with_context(callbacks)
            .map_err(|fault| Error::Client(fault.to_string()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                topics: settings.topics.clone(),
                gate,
                status,
                room,
                writer: RwLock::new(Arc::new(writer)),
            }),
        })
    }

    /// Waits until every write is confirmed or refused.
    ///
    /// # Errors
    /// How many were still open after `limit`.
    pub async fn flush(&self, limit: Duration) -> Result<(), usize> {
        let writer = self.shared.writer();
        let flushed = tokio::task::spawn_blocking(move || {
            writer
                .flush(limit)
                .map_err(|_| writer.in_flight_count().max(0).unsigned_abs() as usize)
        });
        flushed.await.unwrap_or(Err(0))
    }
}

impl Publisher for KafkaPublisher {
    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'static, Result<(), PublishError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let confirmed = loop {
                match shared.hand_over(&outgoing)? {
                    HandOver::Handed(confirmed) => break confirmed,
                    // A lost wake-up costs one interval.
                    HandOver::Full => {
                        let _ = tokio::time::timeout(LOOK_EVERY, shared.room.notified()).await;
                    }
                }
            };
            match confirmed.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(fault)) => Err(shared.refused(fault, &outgoing)),
                Err(_) => Err(PublishError::Unavailable("the producer was stopped".into())),
            }
        })
    }
}

enum HandOver {
    Handed(oneshot::Receiver<Result<(), KafkaError>>),
    Full,
}

impl Shared {
    fn writer(&self) -> Arc<Writer> {
        Arc::clone(&self.writer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands one write to librdkafka through the gate.
    fn hand_over(&self, outgoing: &Outgoing) -> Result<HandOver, PublishError> {
        let topic = match outgoing.destination {
            Destination::Captions => &self.topics.captions,
            Destination::Dead => &self.topics.dead,
        };
        let (done, confirmed) = oneshot::channel();
        let pending = Box::new(Pending {
            source: outgoing.source.clone(),
            done,
        });
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, pending)
            .headers(codec::headers(&outgoing.headers));
        record.key = outgoing.key.as_deref();
        record.payload = outgoing.value.as_deref();

        let writer = self.writer();
        let hand = || writer.send(record).map_err(|(fault, _)| fault);
        match self.gate.pass(&outgoing.source, outgoing.epoch, hand) {
            None => Err(PublishError::Revoked),
            Some(Ok(())) => Ok(HandOver::Handed(confirmed)),
            Some(Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull))) => {
                Ok(HandOver::Full)
            }
            Some(Err(fault)) => Err(self.refused(fault, outgoing)),
        }
    }

    /// What a refusal means for the record.
    fn refused(&self, fault: KafkaError, outgoing: &Outgoing) -> PublishError {
        match fault.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
                PublishError::TooLarge {
                    bytes: size(outgoing),
                    detail: fault.to_string(),
                }
            }
            Some(RDKafkaErrorCode::Fatal) => self.replace(fault),
            _ => match self.writer().client().fatal_error() {
                Some(_) => self.replace(fault),
                None => PublishError::Unavailable(cluster_error(&fault)),
            },
        }
    }

    /// Makes a new producer in place of one that had a fatal error; its open writes end as
    /// [`PublishError::Unavailable`] and may be tried again.
    fn replace(&self, fault: KafkaError) -> PublishError {
        let mut writer = self.writer.write().unwrap_or_else(PoisonError::into_inner);
        let Some((_, text)) = writer.client().fatal_error() else {
            return PublishError::Unavailable(fault.to_string());
        };
        tracing::error!("the Kafka producer had a fatal error and is made anew: {text}");
        match self
            .config
            .create_with_context(Callbacks::new(&self.gate, &self.status, &self.room))
        {
            Ok(new) => {
                let old = std::mem::replace(&mut *writer, Arc::new(new));
                // Dropping purges the queue and waits for callbacks: not on this thread.
                let _ = std::thread::Builder::new()
                    .name("kafka-writer-gone".into())
                    .spawn(move || drop(old));
                PublishError::Unavailable(text)
            }
            Err(again) => PublishError::Fatal(format!("{text}; and no new producer: {again}")),
        }
    }
}

fn size(outgoing: &Outgoing) -> usize {
    outgoing.key.as_ref().map_or(0, |key| key.len())
        + outgoing.value.as_ref().map_or(0, |value| value.len())
        + outgoing
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>()
}

/// One write on its way.
struct Pending {
    source: RecordId,
    done: oneshot::Sender<Result<(), KafkaError>>,
}

struct Callbacks {
    gate: Arc<Gate>,
    status: Arc<Status>,
    room: Arc<Notify>,
}

impl Callbacks {
    fn new(gate: &Arc<Gate>, status: &Arc<Status>, room: &Arc<Notify>) -> Self {
        Self {
            gate: Arc::clone(gate),
            status: Arc::clone(status),
            room: Arc::clone(room),
        }
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.status
            .note_log(Side::Producer, level, facility, message);
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(statistics) = Statistics::parse(json) {
            self.status.note_statistics(Side::Producer, &statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.status.note_error(Side::Producer, &error, reason);
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        let Pending { source, done } = *pending;
        let result = result
            .as_ref()
            .map(|_| ())
            .map_err(|(fault, _)| fault.clone());
        self.gate.answered(&source, result.is_ok());
        // The writer of this record may be gone: nothing to tell.
        let _ = done.send(result);
        self.room.notify_waiters();
    }
}
