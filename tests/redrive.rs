//! Dead letters given back once the cause is mended, on Apache Kafka with the shipped program and
//! model.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::AtomicBool,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use serde_json::{Value, json};
use support::{
    apache_kafka::ApacheKafka,
    on_topics::{done, said, vila2},
    relay,
    web::Web,
};
use vila2::kafka::{
    Embedded, Error, KafkaSettings,
    dead::redrive::{BATCH, Redriven, Wanted, redrive},
    feeder::Feeder,
    read::{self, Received},
};
use vila2_actors::error::Reason;

const IMAGES: usize = 6;

fn everything(settings: &KafkaSettings, topic: &str) -> Vec<Received> {
    let bounds = read::bounds(settings, topic).unwrap();
    let mut all = Vec::new();
    read::read_to_end(settings, topic, &bounds, |record| {
        all.push(record);
        true
    })
    .unwrap();
    all
}

fn count(settings: &KafkaSettings, topic: &str) -> usize {
    everything(settings, topic).len()
}

fn run_until_end(settings: &KafkaSettings, web: &Web) -> Value {
    let mut run = vila2(settings, &["run", "--until-end", "--json"]);
    run.args([
        "--set",
        &format!("fetch.allow_addresses=['{}']", web.address()),
    ])
    .args(["--set", "http.listen='off'"]);
    said(run)
}

#[test]
fn dead_letters_given_back_after_the_cause_is_mended_come_out_as_captions() {
    let kafka = ApacheKafka::start();
    let settings = relay::settings(&kafka.brokers(), "vila2");
    let topics = &settings.topics;
    kafka.create_topics(&[&topics.images, &topics.captions, &topics.dead], 3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let web = runtime.block_on(Web::start(7, IMAGES as u64));

    // The pictures are not there, and two requests will never be any good.
    web.set_there(false);
    let trace = |n: usize| format!("{n:032x}", n = n + 1);
    let mut feeder = Feeder::new(&settings, &topics.images).unwrap();
    let mut originals = BTreeMap::new();
    for (n, url) in web.urls().iter().enumerate() {
        let (key, value) = (
            format!("shard-{n}"),
            format!(r#"{{"url": "{url}", "id": "i{n}"}}"#),
        );
        let parent = format!("00-{}-00f067aa0ba902b7-01", trace(n));
        let headers = [("traceparent", parent.as_str())];
        (feeder.send(Some(key.as_bytes()), Some(value.as_bytes()), &headers)).unwrap();
        originals.insert(key, (value, trace(n)));
    }
    for _ in 0..2 {
        feeder.send(None, Some(b"not a URL"), &[]).unwrap();
    }
    feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
    let closing = run_until_end(&settings, &web);
    assert_eq!(closing["captions"], 0);
    assert_eq!(
        closing["dead_letters"],
        json!({"bad_request": 2, "fetch_status": IMAGES})
    );
    assert_eq!(count(&settings, &topics.dead), IMAGES + 2);

    // What there is, and what would be done: nothing moves.
    let listed = said(vila2(&settings, &["dead", "list", "--json"]));
    let reasons = listed["reasons"].as_array().unwrap();
    assert_eq!(reasons[0]["reason"], "fetch_status");
    assert_eq!(reasons[0]["waiting"], IMAGES);
    assert_eq!(reasons[0]["example"]["detail"], "the server answered 404");
    let arguments = ["dead", "redrive", "--reason", "fetch_status", "--json"];
    let tried = said(vila2(&settings, &[&arguments[..], &["--dry-run"]].concat()));
    assert_eq!(tried["redriven"], json!({"fetch_status": IMAGES}));
    assert_eq!(count(&settings, &topics.images), IMAGES + 2);

    // The cause is mended: each original goes back once, whatever is asked how often.
    web.set_there(true);
    let given = said(vila2(&settings, &arguments));
    assert_eq!(given["redriven"], json!({"fetch_status": IMAGES}));
    assert_eq!(given["left"], json!({"bad_request": 2}));
    let again = said(vila2(&settings, &arguments));
    assert_eq!(again["redriven"], json!({}));
    let images = everything(&settings, &topics.images);
    assert_eq!(images.len(), 2 * IMAGES + 2);
    for (key, (value, trace)) in &originals {
        let sent: Vec<_> = images
            .iter()
            .filter(|record| record.key.as_deref() == Some(key.as_bytes()))
            .collect();
        assert_eq!(sent.len(), 2, "{key}: the original, and once more");
        let back = sent.iter().max_by_key(|record| record.offset).unwrap();
        assert_eq!(back.value.as_deref(), Some(value.as_bytes()));
        assert_eq!(&back.header("traceparent").unwrap()[3..35], trace);
        let names: BTreeSet<_> = back.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            names.iter().all(|name| !name.starts_with("vila2-")),
            "{names:?}"
        );
    }

    let closing = run_until_end(&settings, &web);
    assert_eq!(
        (&closing["captions"], &closing["dead_lettered"]),
        (&IMAGES.into(), &0.into())
    );
    assert_eq!(closing["stages"]["fetch"]["count"], IMAGES);
    let ids: BTreeSet<_> = everything(&settings, &topics.captions)
        .iter()
        .map(|record| record.header("vila2-id").unwrap().to_owned())
        .collect();
    assert_eq!(ids, (0..IMAGES).map(|n| format!("i{n}")).collect());

    // Another reason was not lost meanwhile, and nothing goes back a second time.
    let rest = said(vila2(&settings, &["dead", "redrive", "--json"]));
    assert_eq!(rest["redriven"], json!({"bad_request": 2}));
    let nothing = done(vila2(&settings, &["dead", "redrive"]));
    assert_eq!(nothing.stdout, b"nothing to give back\n");
    assert_eq!(count(&settings, &topics.images), 2 * IMAGES + 4);
    run_until_end(&settings, &web);
    assert_eq!(count(&settings, &topics.captions), IMAGES);
    assert_eq!(count(&settings, &topics.dead), IMAGES + 4);
}

/// A broker in the process with dead letters of two reasons.
fn letters(count: usize) -> (Embedded, KafkaSettings) {
    let broker = Embedded::start().unwrap();
    let settings = relay::settings(broker.brokers(), "vila2");
    broker.create_topics(&settings.topics, 3).unwrap();
    let mut feeder = Feeder::new(&settings, &settings.topics.dead).unwrap();
    for n in 0..count {
        let (value, source) = (format!("http://images/{n}"), format!("images/0/{n}"));
        let reason = if n % 3 == 0 { "stuck" } else { "fetch_timeout" };
        let headers = [("vila2-reason", reason), ("vila2-source", source.as_str())];
        feeder
            .send(Some(value.as_bytes()), Some(value.as_bytes()), &headers)
            .unwrap();
    }
    feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
    (broker, settings)
}

fn give(settings: &KafkaSettings, wanted: Wanted) -> Result<Redriven, Error> {
    redrive(settings, wanted, &AtomicBool::new(false), |_| {})
}

fn values(settings: &KafkaSettings) -> Vec<String> {
    let mut values: Vec<_> = everything(settings, &settings.topics.images)
        .into_iter()
        .map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap())
        .collect();
    values.sort();
    values
}

#[test]
fn a_call_that_is_stopped_is_taken_up_where_it_was() {
    let count = 3 * BATCH;
    let (_broker, settings) = letters(count);
    let stop = AtomicBool::new(false);
    let first = redrive(&settings, Wanted::default(), &stop, |step| {
        use vila2::kafka::dead::redrive::Step;
        if matches!(step, Step::Given(given) if given > 0) {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    })
    .unwrap();
    assert!(first.stopped);
    assert_eq!(first.by_reason.values().sum::<u64>(), BATCH as u64);
    assert_eq!(first.left.values().sum::<u64>(), (count - BATCH) as u64);
    let second = give(&settings, Wanted::default()).unwrap();
    assert_eq!(
        second.by_reason.values().sum::<u64>(),
        (count - BATCH) as u64
    );
    let values = values(&settings);
    let different: BTreeSet<_> = values.iter().collect();
    assert_eq!((values.len(), different.len()), (count, count));
}

#[test]
fn two_calls_at_the_same_time_send_nothing_twice() {
    let (_broker, settings) = letters(900);
    let other = settings.clone();
    let second = std::thread::spawn(move || give(&other, Wanted::default()));
    let results = [give(&settings, Wanted::default()), second.join().unwrap()];
    // Whoever found the other at work says so, even both; then once more is enough.
    for fault in results.into_iter().filter_map(Result::err) {
        assert!(fault.to_string().contains("another redrive"), "{fault}");
    }
    give(&settings, Wanted::default()).unwrap();
    let values = values(&settings);
    let different: BTreeSet<_> = values.iter().collect();
    assert_eq!((values.len(), different.len()), (900, 900));
}

#[test]
fn letters_that_arrive_later_wait_for_the_next_call() {
    let (_broker, settings) = letters(30);
    let stuck = Wanted {
        reason: Some(Reason::Stuck),
        ..Wanted::default()
    };
    assert_eq!(
        give(&settings, stuck).unwrap().by_reason,
        BTreeMap::from([("stuck", 10)])
    );
    let mut feeder = Feeder::new(&settings, &settings.topics.dead).unwrap();
    let headers = [("vila2-reason", "stuck"), ("vila2-source", "images/2/7")];
    feeder
        .send(Some(b"k"), Some(b"http://new"), &headers)
        .unwrap();
    // At-least-once delivery: an old letter is written again.
    let headers = [("vila2-reason", "stuck"), ("vila2-source", "images/0/3")];
    feeder
        .send(None, Some(b"http://images/3"), &headers)
        .unwrap();
    feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
    let next = give(&settings, Wanted::default()).unwrap();
    assert_eq!(
        next.by_reason,
        BTreeMap::from([("fetch_timeout", 20), ("stuck", 1)])
    );
    assert_eq!(values(&settings).len(), 31);
}

/// What a broker of its own would do: the topic is deleted and made again.
fn make_anew(kafka: &ApacheKafka, settings: &KafkaSettings, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .create()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let deleted = runtime.block_on(admin.delete_topics(&[topic], &AdminOptions::new()));
    assert!(deleted.unwrap().iter().all(Result::is_ok));
    relay::eventually("the topic is gone", || {
        matches!(read::bounds(settings, topic), Err(Error::Topic { .. }))
    });
    kafka.create_topics(&[topic], 1);
}

/// Writes requests, and for each a letter whose source it is.
fn requests_that_died(settings: &KafkaSettings, values: &[&str]) {
    let topics = &settings.topics;
    for value in values {
        let at = read::bounds(settings, &topics.images).unwrap()[&0].1;
        let source = format!("{}/0/{at}", topics.images);
        let headers = [("vila2-reason", "stuck"), ("vila2-source", source.as_str())];
        for (topic, headers) in [(&topics.images, &[][..]), (&topics.dead, &headers[..])] {
            let mut feeder = Feeder::new(settings, topic).unwrap();
            (feeder.send(None, Some(value.as_bytes()), headers)).unwrap();
            feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
        }
    }
}

fn given(settings: &KafkaSettings) -> u64 {
    let redriven = give(settings, Wanted::default()).unwrap();
    assert!(redriven.left.is_empty(), "{redriven:?}");
    redriven.by_reason.values().sum()
}

#[test]
fn letters_of_topics_made_anew_are_not_taken_for_those_given_back_before() {
    let kafka = ApacheKafka::start();
    let settings = relay::settings(&kafka.brokers(), "anew");
    let topics = &settings.topics;
    kafka.create_topics(&[&topics.images, &topics.captions, &topics.dead], 1);
    let list = ["http://a/1.png", "http://a/2.png", "http://a/3.png"];
    requests_that_died(&settings, &list);
    assert_eq!((given(&settings), given(&settings)), (3, 0));

    // The input topic begins again, and the same list is published to it: same sources, same
    // values, other requests.
    make_anew(&kafka, &settings, &topics.images);
    requests_that_died(&settings, &list);
    assert_eq!((given(&settings), given(&settings)), (3, 0));

    // The topic of dead letters begins again. The broker forgets positions of a deleted topic; one
    // that does not, or a call that was under way, leaves them.
    let longer = [
        "http://b/1",
        "http://b/2",
        "http://b/3",
        "http://b/4",
        "http://b/5",
    ];
    for more in [&list[..1], &list, &longer] {
        let group = KafkaSettings {
            group: vila2::kafka::dead::group(&settings.group),
            ..settings.clone()
        };
        let (offset, metadata) = read::committed(&group, &topics.dead).unwrap()[&0].clone();
        assert!(offset > 0);
        make_anew(&kafka, &settings, &topics.dead);
        commit(&group, offset, &metadata);
        requests_that_died(&settings, more);
        let listed = said(vila2(&settings, &["dead", "list", "--json"]));
        assert_eq!(listed["reasons"][0]["waiting"], more.len(), "{listed}");
        assert_eq!((given(&settings), given(&settings)), (more.len() as u64, 0));
    }
}

/// Commits a position on the dead letters' only partition.
fn commit(settings: &KafkaSettings, offset: i64, metadata: &str) {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", &settings.group)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(&settings.topics.dead, 0);
    element.set_offset(Offset::Offset(offset)).unwrap();
    element.set_metadata(metadata);
    client.commit(&list, CommitMode::Sync).unwrap();
}
