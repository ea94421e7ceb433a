//! Delivery on the broker inside the process.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use support::{
    relay::{self, Relay, eventually},
    scenarios,
};
use vila2::{
    app::feeding::Job,
    kafka::{
        Embedded, Error, Gate, KafkaPublisher, KafkaSettings, Status, feeder::Feeder,
        inspect::missing_topics, read,
    },
    requests::{self, Columns},
};
use vila2_actors::{
    error::PublishError,
    ledger::Ledger,
    ports::{Destination, Outgoing, Publisher as _},
    record::{Epoch, RecordId},
};

fn broker() -> (Embedded, KafkaSettings) {
    let broker = Embedded::start().unwrap();
    let settings = relay::settings(broker.brokers(), "vila2");
    broker.create_topics(&settings.topics, 3).unwrap();
    (broker, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_published_once_and_the_end_is_committed() {
    let (_broker, settings) = broker();
    scenarios::every_record_once(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_intake_loses_and_repeats_nothing() {
    let (_broker, settings) = broker();
    scenarios::a_full_intake(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finished_above_a_stuck_record_is_not_run_again_after_a_restart() {
    let (_broker, settings) = broker();
    scenarios::the_map_survives_a_restart(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_nothing_is_lost() {
    let (_broker, settings) = broker();
    scenarios::two_members(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rewind_everything_unsettled_comes_again() {
    let (_broker, settings) = broker();
    scenarios::a_rewind(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_member_offers_nothing_more_and_commits_what_settles() {
    let (_broker, settings) = broker();
    relay::publish(&settings, 0..30);
    let relay = Relay::start(&settings, 100, |_| true);
    eventually("all are seen", || relay.seen().len() == 30);
    relay.consumer.drain();
    relay::publish(&settings, 30..60);
    relay.release();
    eventually("what was in flight settles", || {
        relay.ledger.in_flight() == 0
    });
    let seen = relay.seen().len();
    relay.stop().await;
    assert_eq!(seen, 30);
    let committed = read::committed_offsets(&settings, &settings.topics.images).unwrap();
    assert_eq!(committed.values().sum::<i64>(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_beyond_the_end_is_not_used_and_nothing_is_skipped() {
    let (_broker, settings) = broker();
    commit(&settings, 1_000);
    relay::publish(&settings, 0..30);
    let relay = Relay::start(&settings, 100, |_| false);
    eventually("all are seen", || relay.seen().len() == 30);
    relay.stop().await;
    assert_eq!(relay::captions(&settings).len(), 30);
}

#[test]
fn bounds_are_had_through_an_election() {
    let cluster = MockCluster::new(1).unwrap();
    let settings = relay::settings(&cluster.bootstrap_servers(), "vila2");
    cluster.create_topic(&settings.topics.images, 1, 1).unwrap();
    relay::publish(&settings, 0..3);
    let elected = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::ListOffsets, &[elected; 3]);
    let bounds = read::bounds(&settings, &settings.topics.images).unwrap();
    assert_eq!(bounds, BTreeMap::from([(0, (0, 3))]));
}

/// Commits the same offset for all three partitions, as a client of the group might.
fn commit(settings: &KafkaSettings, offset: i64) {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", &settings.group)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..3 {
        let topic = &settings.topics.images;
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .unwrap();
    }
    client.commit(&list, CommitMode::Sync).unwrap();
}

struct Bench {
    settings: KafkaSettings,
    ledger: Arc<Ledger>,
    epoch: Epoch,
    publisher: KafkaPublisher,
    _broker: Embedded,
}

/// A publisher for partition 0 of the input.
fn bench(options: &[(&str, &str)]) -> Bench {
    let (broker, mut settings) = broker();
    for (name, value) in options {
        settings.options.insert((*name).into(), (*value).into());
    }
    let ledger = Arc::new(Ledger::new());
    let epoch = ledger.assign(&"images".into(), 0, Some(0), None);
    let gate = Arc::new(Gate::new(Arc::clone(&ledger)));
    let status = Arc::new(Status::new(&settings.brokers));
    let publisher = KafkaPublisher::new(&settings, gate, status).unwrap();
    Bench {
        settings,
        ledger,
        epoch,
        publisher,
        _broker: broker,
    }
}

impl Bench {
    fn outgoing(&self, destination: Destination, offset: i64, value: Vec<u8>) -> Outgoing {
        Outgoing {
            destination,
            key: Some(Bytes::from_static(b"key")),
            value: Some(value.into()),
            headers: vec![("vila2-source", format!("images/0/{offset}"))],
            source: RecordId {
                topic: "images".into(),
                partition: 0,
                offset,
            },
            epoch: self.epoch,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_beyond_the_limit_is_too_large_and_the_next_one_goes() {
    let bench = bench(&[]);
    let large = bench.outgoing(Destination::Captions, 0, vec![b'x'; 1_500_000]);
    let refused = bench.publisher.publish(large).await;
    assert!(matches!(refused, Err(PublishError::TooLarge { bytes, .. }) if bytes > 1_500_000));
    let small = bench.outgoing(Destination::Dead, 0, b"small".to_vec());
    bench.publisher.publish(small).await.unwrap();
    let reader = read::Reader::new(&bench.settings, "images.dead", read::Start::Beginning).unwrap();
    let record = reader.next(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(record.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(record.value.as_deref(), Some(&b"small"[..]));
    assert_eq!(record.header("vila2-source"), Some("images/0/0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_delivery_is_not_written() {
    let bench = bench(&[]);
    bench.ledger.revoke("images", 0);
    let stale = bench.outgoing(Destination::Captions, 0, b"stale".to_vec());
    let refused = bench.publisher.publish(stale).await;
    assert!(matches!(refused, Err(PublishError::Revoked)));
    let bounds = read::bounds(&bench.settings, "captions").unwrap();
    assert!(bounds.values().all(|(_, end)| *end == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_holds_writes_back_until_there_is_room() {
    let bench = bench(&[("queue.buffering.max.messages", "10")]);
    let writes: Vec<_> = (0..300)
        .map(|offset| bench.outgoing(Destination::Captions, offset, b"value".to_vec()))
        .map(|outgoing| tokio::spawn(bench.publisher.publish(outgoing)))
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let bounds = read::bounds(&bench.settings, "captions").unwrap();
    assert_eq!(bounds.values().map(|(_, end)| end).sum::<i64>(), 300);
    assert_eq!(bench.publisher.flush(Duration::from_secs(5)).await, Ok(()));
}

#[test]
fn lines_are_published_as_they_are_and_empty_ones_are_skipped() {
    let (_broker, settings) = broker();
    let input =
        b"http://a/1.png\r\n\n{\"url\": \"http://a/2.png\", \"id\": \"two\"}\n\xff\xfe\n  \n";
    let mut calls = 0;
    let topic = &settings.topics.images;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let inputs = requests::open(&[file.path().to_owned()], &Columns::default()).unwrap();
    let job = Job {
        settings: &settings,
        inputs: &inputs,
        resume: None,
        limit: None,
        stop: &AtomicBool::new(false),
    };
    let done = job.run(&mut |_| calls += 1).unwrap();
    assert_eq!((done.confirmed, done.bad), (3, 0));
    assert!(calls >= 3);
    let mut values = Vec::new();
    let reader = read::Reader::new(&settings, topic, read::Start::Beginning).unwrap();
    reader
        .read(Some(3), Duration::from_secs(20), |record| {
            values.push((record.key.unwrap().to_vec(), record.value.unwrap().to_vec()));
            true
        })
        .unwrap();
    values.sort();
    let json = br#"{"url": "http://a/2.png", "id": "two"}"#.to_vec();
    assert_eq!(
        values,
        [
            (b"http://a/1.png".to_vec(), b"http://a/1.png".to_vec()),
            (b"two".to_vec(), json),
            (vec![0xff, 0xfe], vec![0xff, 0xfe]),
        ]
    );
}

#[test]
fn a_missing_topic_and_a_missing_broker_say_so() {
    let broker = Embedded::start().unwrap();
    let mut settings = relay::settings(broker.brokers(), "vila2");
    settings
        .options
        .insert("socket.timeout.ms".into(), "1000".into());
    broker.create_topic("captions", 1).unwrap();
    let missing = |fault: Error| {
        assert!(
            matches!(&fault, Error::Topic { topic, .. } if topic == "images"),
            "{fault:?}"
        );
        let text = fault.to_string();
        for part in ["kafka.topics.images", "vila2 topics create"] {
            assert!(text.contains(part), "{text}");
        }
    };
    missing(read::bounds(&settings, "images").unwrap_err());
    missing(read::committed_offsets(&settings, "images").unwrap_err());
    let reader = read::Reader::new(&settings, "images", read::Start::Beginning);
    missing(reader.err().unwrap());
    missing(Feeder::new(&settings, "images").err().unwrap());
    let absent = missing_topics(&settings).unwrap();
    assert_eq!(absent.len(), 2, "{absent:?}");
    assert!(absent[0].contains("`images`") && absent[1].contains("`images.dead`"));

    drop(broker);
    let fault = read::bounds(&settings, "images").unwrap_err();
    assert!(matches!(&fault, Error::Unreachable { brokers, .. } if *brokers == settings.brokers));
}
