//! Topics that change under a running member: partitions added, records deleted before they were
//! read, the topic deleted and made anew. Nothing is skipped without a word.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use support::{
    apache_kafka::ApacheKafka,
    relay::{self, Relay, eventually},
};
use vila2::kafka::{Error, KafkaSettings, read};

/// What was logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn says(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap()).contains(text)
    }
}

struct Bench {
    kafka: ApacheKafka,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    log: Log,
}

impl Bench {
    fn settings(&self, name: &str) -> KafkaSettings {
        let mut settings = relay::settings(&self.kafka.brokers(), name);
        settings.topics.images = format!("{name}.images");
        settings.topics.captions = format!("{name}.captions");
        settings.topics.dead = format!("{name}.dead");
        // Five minutes by default, and for the test half a second.
        let refresh = ("topic.metadata.refresh.interval.ms", "500");
        settings.options.insert(refresh.0.into(), refresh.1.into());
        let topics = settings.topics.clone();
        let names = [&*topics.images, &topics.captions, &topics.dead];
        self.kafka.create_topics(&names, 3);
        settings
    }

    fn relay(&self, settings: &KafkaSettings) -> Relay {
        let _inside = self.runtime.enter();
        Relay::start(settings, 100, |_| false)
    }
}

fn values(settings: &KafkaSettings) -> BTreeSet<String> {
    relay::captions(settings).into_values().flatten().collect()
}

fn urls(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range
        .map(|n| format!("http://images/image-{n}.png"))
        .collect()
}

fn partitions_are_added(bench: &Bench) {
    let settings = bench.settings("added");
    relay::publish(&settings, 0..30);
    let relay = bench.relay(&settings);
    eventually("the first are settled", || relay::is_committed(&settings));
    let more = NewPartitions::new(&settings.topics.images, 5);
    let options = AdminOptions::new();
    let added = bench.admin.create_partitions([&more], &options);
    bench.runtime.block_on(added).unwrap();
    let mut published = 30;
    eventually("a new partition is written to", || {
        relay::publish(&settings, published..published + 20);
        published += 20;
        let bounds = read::bounds(&settings, &settings.topics.images).unwrap();
        bounds
            .iter()
            .any(|(partition, (_, end))| *partition > 2 && *end > 0)
    });
    eventually("the group has committed every end", || {
        relay::is_committed(&settings)
    });
    assert_eq!(values(&settings), urls(0..published));
    bench.runtime.block_on(relay.stop());
}

fn records_are_deleted_before_they_are_read(bench: &Bench) {
    let settings = bench.settings("deleted");
    relay::publish(&settings, 0..60);
    let relay = bench.relay(&settings);
    eventually("the first are settled", || relay::is_committed(&settings));
    bench.runtime.block_on(relay.stop());
    relay::publish(&settings, 60..120);
    let images = &settings.topics.images;
    let end = read::bounds(&settings, images).unwrap()[&0].1;
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(images, 0, Offset::Offset(end - 3))
        .unwrap();
    let options = AdminOptions::new();
    bench
        .runtime
        .block_on(bench.admin.delete_records(&cut, &options))
        .unwrap();
    let gone: i64 = read::bounds(&settings, images).unwrap()[&0].0
        - read::committed_offsets(&settings, images).unwrap()[&0];
    assert!(gone > 0);
    let relay = bench.relay(&settings);
    eventually("what is there is settled", || {
        relay::is_committed(&settings)
    });
    assert_eq!(values(&settings).len(), 120 - gone as usize);
    assert!(
        bench
            .log
            .says("were deleted before they were read (retention)")
    );
    bench.runtime.block_on(relay.stop());
}

/// The chain is restarted, and the records it should go back to were deleted meanwhile: those behind
/// them are read, and what is gone is named.
fn a_rewind_finds_its_watermark_deleted(bench: &Bench) {
    let settings = bench.settings("vanished");
    relay::publish(&settings, 0..60);
    let relay = {
        let _inside = bench.runtime.enter();
        Relay::start(&settings, 100, |id| id.offset < 3)
    };
    eventually("all but the first are settled", || {
        relay.seen().len() == 60 && relay.ledger.in_flight() == 9
    });
    let images = &settings.topics.images;
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(images, 0, Offset::Offset(2))
        .unwrap();
    let options = AdminOptions::new();
    let deleted = bench.admin.delete_records(&cut, &options);
    bench.runtime.block_on(deleted).unwrap();
    relay.ledger.rewind();
    relay.release();
    relay.consumer.source().rewind();
    relay::publish(&settings, 60..90);
    eventually("the group has committed every end", || {
        relay::is_committed(&settings)
    });
    let values = values(&settings);
    assert_eq!(values.len(), 88, "two are gone");
    assert!(values.is_superset(&urls(60..90)));
    assert!(
        bench
            .log
            .says("records 0 to 1 were read, not settled, and are gone")
    );
    bench.runtime.block_on(relay.stop());
}

fn the_topic_is_deleted_and_made_anew(bench: &Bench) {
    let settings = bench.settings("anew");
    relay::publish(&settings, 0..60);
    let relay = bench.relay(&settings);
    eventually("the first are settled", || relay::is_committed(&settings));
    let images = &settings.topics.images;
    let options = AdminOptions::new();
    let deleted = bench.admin.delete_topics(&[images], &options);
    bench.runtime.block_on(deleted).unwrap();
    eventually("the topic is gone", || {
        matches!(read::bounds(&settings, images), Err(Error::Topic { .. }))
    });
    bench.kafka.create_topics(&[images], 3);
    relay::publish(&settings, 100..130);
    eventually("the new ones are settled", || {
        values(&settings).is_superset(&urls(100..130))
    });
    assert!(values(&settings).is_superset(&urls(0..60)));
    bench.runtime.block_on(relay.stop());
}

#[test]
fn topics_that_change_lose_nothing_without_a_word() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let kafka = ApacheKafka::start();
    let admin = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    let bench = Bench {
        kafka,
        admin,
        runtime: tokio::runtime::Runtime::new().unwrap(),
        log,
    };
    partitions_are_added(&bench);
    records_are_deleted_before_they_are_read(&bench);
    a_rewind_finds_its_watermark_deleted(&bench);
    the_topic_is_deleted_and_made_anew(&bench);
}
