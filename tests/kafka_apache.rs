//! Delivery on a real Apache Kafka: the oracle for groups, rebalances and commits.
//!
//! One broker serves all scenarios, each with topics and a group of its own.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use support::{apache_kafka::ApacheKafka, relay, scenarios};
use vila2::kafka::{Error, KafkaSettings, read};

/// Settings with fresh topics of three partitions.
fn fresh(kafka: &ApacheKafka, name: &str) -> KafkaSettings {
    let mut settings = relay::settings(&kafka.brokers(), name);
    settings.topics.images = format!("{name}.images");
    settings.topics.captions = format!("{name}.captions");
    settings.topics.dead = format!("{name}.dead");
    let topics = settings.topics.clone();
    kafka.create_topics(&[&topics.images, &topics.captions, &topics.dead], 3);
    settings
}

#[test]
fn delivery_holds_on_apache_kafka() {
    let kafka = ApacheKafka::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();

    let missing = read::bounds(&relay::settings(&kafka.brokers(), "nobody"), "nowhere");
    assert!(matches!(missing, Err(Error::Topic { topic, .. }) if topic == "nowhere"));

    let once = fresh(&kafka, "once");
    runtime.block_on(scenarios::every_record_once(&once));
    let commits = fresh(&kafka, "commits");
    runtime.block_on(scenarios::commits_keep_up(&commits));
    let full = fresh(&kafka, "full");
    runtime.block_on(scenarios::a_full_intake(&full));
    let map = fresh(&kafka, "map");
    runtime.block_on(scenarios::the_map_survives_a_restart(&map));
    let members = fresh(&kafka, "members");
    runtime.block_on(scenarios::two_members(&members));
    let rewind = fresh(&kafka, "rewind");
    runtime.block_on(scenarios::a_rewind(&rewind));
    markers_of_transactions_are_no_records(&fresh(&kafka, "markers"));
}

/// A partition that ends in the marker of a transaction has nothing to read before its end.
fn markers_of_transactions_are_no_records(settings: &KafkaSettings) {
    let topic = &settings.topics.images;
    let wait = Duration::from_secs(30);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("transactional.id", "markers")
        .create()
        .unwrap();
    producer.init_transactions(wait).unwrap();
    producer.begin_transaction().unwrap();
    for partition in [0, 2] {
        let record = BaseRecord::<str, str>::to(topic).partition(partition);
        producer
            .send(record.payload("http://images/1.png"))
            .unwrap();
    }
    producer.commit_transaction(wait).unwrap();

    // The markers are written after the commit was answered.
    let bounds = || read::bounds(settings, topic).unwrap();
    relay::eventually("a record and a marker in each", || {
        bounds()[&0] == (0, 2) && bounds()[&2] == (0, 2)
    });
    let bounds = bounds();
    let read = BTreeMap::from([(0, 1), (2, 1)]);
    assert!(!read::is_settled(&bounds, &read));
    assert!(read::is_void(settings, topic, &bounds, &read).unwrap());
    let unread = BTreeMap::from([(0, 1)]);
    assert!(!read::is_void(settings, topic, &bounds, &unread).unwrap());
}

#[test]
fn a_broker_that_is_killed_and_comes_back_loses_nothing() {
    let mut kafka = ApacheKafka::start();
    let settings = fresh(&kafka, "outage");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    relay::publish(&settings, 0..100);
    let relay = relay::Relay::start(&settings, 16, |id| id.offset >= 20);
    relay::eventually("records are stuck", || relay.ledger.in_flight() == 16);
    kafka.kill();
    relay.release();
    relay::eventually("the outage is noticed", || relay.status.ready().is_err());
    kafka.restart();
    relay::eventually("the group has committed the end", || {
        relay::is_committed(&settings)
    });
    relay::eventually("ready again", || relay.status.ready().is_ok());
    let captions = relay::captions(&settings);
    assert_eq!(captions.len(), 100);
    runtime.block_on(relay.stop());
}
