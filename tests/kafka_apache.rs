//! Delivery on a real Apache Kafka: the oracle for groups, rebalances and commits.
//!
//! One broker serves all scenarios, each with topics and a group of its own.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

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
    let full = fresh(&kafka, "full");
    runtime.block_on(scenarios::a_full_intake(&full));
    let map = fresh(&kafka, "map");
    runtime.block_on(scenarios::the_map_survives_a_restart(&map));
    let members = fresh(&kafka, "members");
    runtime.block_on(scenarios::two_members(&members));
    let rewind = fresh(&kafka, "rewind");
    runtime.block_on(scenarios::a_rewind(&rewind));
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
