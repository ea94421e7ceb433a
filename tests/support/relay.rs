//! A chain of no stages: every record is admitted, published as a caption and settled. With the
//! real consumer and producer around it, it shows what delivery does by itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};
use vila2::kafka::{
    Consumer, Gate, Inlet, KafkaPublisher, KafkaSettings, Status, feeder::Feeder, read,
};
use vila2_actors::{
    ledger::{Admission, Ledger, Outcome},
    ports::{Destination, Outgoing, Publisher as _},
    record::{Epoch, Record, RecordId},
};

/// Which records wait until they are released.
pub type Stuck = fn(&RecordId) -> bool;

/// One member of the group with its relay.
pub struct Relay {
    pub ledger: Arc<Ledger>,
    pub status: Arc<Status>,
    pub publisher: KafkaPublisher,
    pub consumer: Consumer,
    seen: Arc<Mutex<Vec<RecordId>>>,
    released: watch::Sender<bool>,
}

impl Relay {
    /// Joins with room for `capacity` records in flight. Records for which `stuck` holds are
    /// published after [`Relay::release`] only.
    pub fn start(settings: &KafkaSettings, capacity: usize, stuck: Stuck) -> Self {
        let ledger = Arc::new(Ledger::new());
        let gate = Arc::new(Gate::new(Arc::clone(&ledger)));
        let status = Arc::new(Status::new(&settings.brokers));
        let publisher =
            KafkaPublisher::new(settings, Arc::clone(&gate), Arc::clone(&status)).unwrap();
        let seen = Arc::default();
        let (released, waiting) = watch::channel(false);
        let inlet = Way {
            ledger: Arc::clone(&ledger),
            publisher: publisher.clone(),
            runtime: Handle::current(),
            permits: Arc::new(Semaphore::new(capacity)),
            seen: Arc::clone(&seen),
            stuck,
            released: waiting,
        };
        let consumer = Consumer::start(
            settings,
            inlet,
            Arc::clone(&ledger),
            gate,
            Arc::clone(&status),
        )
        .unwrap();
        Self {
            ledger,
            status,
            publisher,
            consumer,
            seen,
            released,
        }
    }

    /// Lets the stuck records go on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// The records that were admitted as new, in order.
    pub fn seen(&self) -> Vec<RecordId> {
        self.seen.lock().unwrap().clone()
    }

    /// Leaves the group in good order.
    pub async fn stop(self) {
        self.consumer.stop(Duration::from_secs(20)).await.unwrap();
    }
}

struct Way {
    ledger: Arc<Ledger>,
    publisher: KafkaPublisher,
    runtime: Handle,
    permits: Arc<Semaphore>,
    seen: Arc<Mutex<Vec<RecordId>>>,
    stuck: Stuck,
    released: watch::Receiver<bool>,
}

impl Inlet for Way {
    fn try_admit(&self, record: Record) -> Result<(), Record> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return Err(record);
        };
        let Admission::New(epoch) = self.ledger.admit(&record.id) else {
            return Ok(());
        };
        self.seen.lock().unwrap().push(record.id.clone());
        let (ledger, publisher) = (Arc::clone(&self.ledger), self.publisher.clone());
        let mut released = self.released.clone();
        let stuck = (self.stuck)(&record.id);
        self.runtime.spawn(async move {
            if stuck && released.wait_for(|released| *released).await.is_err() {
                return;
            }
            if publisher.publish(caption(&record, epoch)).await.is_ok() {
                ledger.settle(&record.id, epoch, Outcome::Published);
            }
            drop(permit);
        });
        Ok(())
    }

    fn free_records(&self) -> usize {
        self.permits.available_permits()
    }
}

/// The relay's answer to a record: its own value, with the source in the header.
pub fn caption(record: &Record, epoch: Epoch) -> Outgoing {
    Outgoing {
        destination: Destination::Captions,
        key: record.value.clone(),
        value: record.value.clone().or(Some(Bytes::new())),
        headers: vec![("vila2-source", record.id.to_string())],
        source: record.id.clone(),
        epoch,
    }
}

/// Settings for a test broker: quick to notice members that come and go.
pub fn settings(brokers: &str, group: &str) -> KafkaSettings {
    let mut settings = KafkaSettings::new(brokers);
    settings.group = group.into();
    settings.commit_every = Duration::from_millis(100);
    for (name, value) in [
        ("heartbeat.interval.ms", "300"),
        ("session.timeout.ms", "6000"),
    ] {
        settings.options.insert(name.into(), value.into());
    }
    settings
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Publishes `image-FROM` to `image-TO` (exclusive) as requests.
pub fn publish(settings: &KafkaSettings, range: std::ops::Range<usize>) {
    let urls: Vec<_> = range
        .map(|n| format!("http://images/image-{n}.png"))
        .collect();
    publish_urls(settings, &urls);
}

/// Publishes bare URLs, each under its own key, and waits for the confirmations.
pub fn publish_urls(settings: &KafkaSettings, urls: &[String]) {
    let mut feeder = Feeder::new(settings, &settings.topics.images).unwrap();
    for url in urls {
        let value = url.as_bytes();
        feeder.send(Some(value), Some(value), &[]).unwrap();
    }
    feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
}

/// Source → values of what is in the output topic now, in order of arrival.
pub fn captions(settings: &KafkaSettings) -> BTreeMap<String, Vec<String>> {
    let mut captions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let ends = read::bounds(settings, &settings.topics.captions).unwrap();
    let count: i64 = ends.values().map(|(first, end)| end - first).sum();
    let topic = &settings.topics.captions;
    let reader = read::Reader::new(settings, topic, read::Start::Beginning).unwrap();
    let read = reader.read(Some(count as usize), Duration::from_secs(20), |record| {
        let source = record.header("vila2-source").unwrap().to_owned();
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        captions.entry(source).or_default().push(value);
        true
    });
    assert_eq!(read.unwrap() as i64, count);
    captions
}

/// Whether the group has committed every partition's end; a broker that has just come back may not
/// answer yet, which is no yes.
pub fn is_committed(settings: &KafkaSettings) -> bool {
    let topic = &settings.topics.images;
    let bounds = read::bounds(settings, topic);
    let committed = read::committed_offsets(settings, topic);
    matches!((bounds, committed), (Ok(bounds), Ok(committed)) if read::is_settled(&bounds, &committed))
}
