//! A backlog on a slow model: nothing is given up for having waited.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use support::{apache_kafka::ApacheKafka, page, relay, slowed, web::Web};
use vila2::{
    app::service::Service,
    config::{Config, Layers, Sources},
    kafka::{
        KafkaSettings,
        read::{Reader, Start, bounds},
    },
    telemetry,
};

/// A backlog of `images` that all come at once, and how fast the model is. The few `sequences` leave
/// each picture a small part of `record_ms` in the model, so that a busy machine does not matter.
struct Backlog {
    images: usize,
    per_second: f64,
    record_ms: u64,
    sequences: usize,
}

/// Two services at the same time, one with `limits.records` below the backlog, one far above.
fn captions_all(backlog: &Backlog) {
    let kafka = ApacheKafka::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let web = runtime.block_on(Web::start(11, backlog.images as u64));
    // A caption and a grounding each.
    let each = Duration::from_secs_f64(0.5 / backlog.per_second);
    let services: Vec<_> = [50, 4_000]
        .into_iter()
        .map(|records| {
            let settings = fresh(&kafka, &format!("backlog-{records}"));
            relay::publish_urls(&settings, &web.urls());
            let (config, layers) = configuration(&settings, &web, records, backlog);
            let page = telemetry::start_metrics().unwrap().page;
            let service =
                runtime.block_on(Service::start_with(&config, &layers, Some(page), |ports| {
                    slowed::slow_down(ports, each)
                }));
            (settings, service.unwrap())
        })
        .collect();

    let begun = Instant::now();
    let least = backlog.images as f64 / backlog.per_second;
    let patience = Duration::from_secs_f64(4.0 * least + 60.0);
    while !services
        .iter()
        .all(|(settings, _)| relay::is_committed(settings))
    {
        for (settings, service) in &services {
            let address = service.address().unwrap().to_string();
            let (status, body) = page::get(&address, "/livez");
            assert_eq!(status, 200, "{}: {body}", settings.group);
            let late = begun.elapsed() >= patience;
            assert!(!late, "{}: not done after {patience:?}", settings.group);
        }
        std::thread::park_timeout(Duration::from_millis(500));
    }
    let took = begun.elapsed().as_secs_f64();
    assert!(took >= 0.9 * least, "{took} s: the model was not slow");
    let spent = 1_000.0 * took / backlog.record_ms as f64;
    assert!(
        spent > 5.0,
        "the backlog lasted only {spent} times record_ms"
    );

    for (settings, service) in services {
        let drained = runtime.block_on(service.stop());
        assert_eq!(drained.left, 0, "{}", settings.group);
        let dead = dead_letters(&settings);
        assert!(dead.is_empty(), "{}: {dead:#?}", settings.group);
        assert_eq!(captioned(&settings, backlog.images), backlog.images);
    }
}

/// What the dead letters say.
fn dead_letters(settings: &KafkaSettings) -> Vec<String> {
    let bounds = bounds(settings, &settings.topics.dead).unwrap();
    let count: i64 = bounds.values().map(|(_, end)| end).sum();
    let reader = Reader::new(settings, &settings.topics.dead, Start::Beginning).unwrap();
    let mut dead = Vec::new();
    let wait = Duration::from_secs(30);
    if count > 0 {
        let read = reader.read(Some(count as usize), wait, |received| {
            dead.push(received.header("vila2-detail").unwrap().to_owned());
            true
        });
        read.unwrap();
    }
    dead
}

/// Pictures with a caption, each once.
fn captioned(settings: &KafkaSettings, count: usize) -> usize {
    let reader = Reader::new(settings, &settings.topics.captions, Start::Beginning).unwrap();
    let mut ids = BTreeSet::new();
    let wait = Duration::from_secs(30);
    let read = reader.read(Some(count), wait, |received| {
        ids.insert(received.header("vila2-id").unwrap().to_owned());
        true
    });
    read.unwrap();
    ids.len()
}

fn fresh(kafka: &ApacheKafka, name: &str) -> KafkaSettings {
    let mut settings = relay::settings(&kafka.brokers(), name);
    settings.topics.images = format!("{name}.images");
    settings.topics.captions = format!("{name}.captions");
    settings.topics.dead = format!("{name}.dead");
    let topics = settings.topics.clone();
    kafka.create_topics(&[&topics.images, &topics.captions, &topics.dead], 3);
    settings
}

fn configuration(
    settings: &KafkaSettings,
    web: &Web,
    records: usize,
    backlog: &Backlog,
) -> (Config, Layers) {
    let topics = &settings.topics;
    let sets = vec![
        format!("kafka.brokers='{}'", settings.brokers),
        format!("kafka.group='{}'", settings.group),
        format!("kafka.topics.images='{}'", topics.images),
        format!("kafka.topics.captions='{}'", topics.captions),
        format!("kafka.topics.dead='{}'", topics.dead),
        format!("fetch.allow_addresses=['{}']", web.address()),
        format!("limits.records={records}"),
        format!("limits.record_ms={}", backlog.record_ms),
        format!("limits.sequences={}", backlog.sequences),
        "stages.read_text.mode=off".to_owned(),
        "http.listen=127.0.0.1:0".to_owned(),
    ];
    Config::load(&Sources {
        file: None,
        environment: Vec::new(),
        sets,
    })
    .unwrap()
}

#[test]
fn a_backlog_of_ten_times_record_ms_is_captioned_whole() {
    captions_all(&Backlog {
        images: 240,
        per_second: 3.0,
        record_ms: 8_000,
        sequences: 2,
    });
}

#[test]
#[ignore = "the long form, 200 s: cargo test --release --test backlog -- --ignored"]
fn four_hundred_pictures_at_two_a_second_are_captioned_whole() {
    captions_all(&Backlog {
        images: 400,
        per_second: 2.0,
        record_ms: 20_000,
        sequences: 4,
    });
}
