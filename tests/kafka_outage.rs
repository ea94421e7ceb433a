//! Output topics that are away while the engine works: writes are held and tried again, the intake
//! pauses, the process stays, and nothing that was not confirmed is missing afterwards.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{path::PathBuf, time::Duration};

use support::outage::{Counted, Field};

const TWELVE_MINUTES: Duration = Duration::from_secs(12 * 60);
/// Longer than the short time-outs below: writes are given up by librdkafka and tried again here.
const SHORT: Duration = Duration::from_secs(15);
const SHORT_TIMEOUTS: [(&str, &str); 3] = [
    ("message.timeout.ms", "4000"),
    ("topic.metadata.propagation.max.ms", "2000"),
    ("topic.metadata.refresh.interval.ms", "1000"),
];

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_vila2"))
}

/// The only broker is killed in the middle of the work, and started again after `away`.
#[allow(clippy::print_stdout)]
fn the_broker_is_gone(away: Duration, options: &[(&str, &str)]) -> Counted {
    let mut field = Field::start(program(), options);
    field.publish(80);
    field.wait_for_answers(10);
    field.kafka.kill();
    let mut last = String::new();
    field.outlast(away, |said| last = said.to_owned());
    for part in ["has no connection to", "are held and tried again"] {
        assert!(last.contains(part), "{part}: {last}");
    }
    field.kafka.restart();
    let before = Default::default();
    let counted = field.count(&before);
    assert_eq!(counted.answered, counted.sent);
    field.terminate();
    println!("the broker was gone for {away:?}: {counted:?}\n{last}");
    counted
}

/// The topic of captions is deleted in the middle of the work, and made again after `away`.
#[allow(clippy::print_stdout)]
fn the_topic_is_gone(away: Duration, options: &[(&str, &str)]) -> Counted {
    let mut field = Field::start(program(), options);
    field.publish(80);
    field.wait_for_answers(10);
    field.delete_captions();
    field.outlast(Duration::from_secs(6), |_| {});
    let before = field.settled();
    assert!(before.len() < 80, "nothing was under way");
    // Nothing new is taken in, although there is room for hundreds.
    let in_flight = field.engine.metric("vila2_in_flight_records").unwrap();
    field.publish(40);
    let mut last = String::new();
    field.outlast(away, |said| last = said.to_owned());
    assert_eq!(
        field.engine.metric("vila2_in_flight_records"),
        Some(in_flight)
    );
    for part in ["topic `captions`", "Unknown topic", "is not there at"] {
        assert!(last.contains(part), "{part}: {last}");
    }
    field.create_captions();
    let counted = field.count(&before);
    field.terminate();
    println!("the topic was gone for {away:?}: {counted:?}\n{last}");
    counted
}

#[test]
fn an_outage_of_the_only_broker_loses_nothing_and_the_process_stays() {
    the_broker_is_gone(SHORT, &SHORT_TIMEOUTS);
}

#[test]
fn a_topic_of_captions_that_is_deleted_and_made_again_has_every_caption_that_was_not_confirmed() {
    the_topic_is_gone(SHORT, &SHORT_TIMEOUTS);
}

#[test]
fn a_service_that_is_terminated_while_a_topic_is_away_ends_in_time_and_the_next_one_goes_on() {
    let mut field = Field::start(program(), &SHORT_TIMEOUTS);
    field.publish(60);
    field.wait_for_answers(10);
    field.delete_captions();
    field.outlast(Duration::from_secs(6), |_| {});
    field.terminate();
    let before = field.settled();
    assert!(before.len() < 60, "nothing was under way");
    field.create_captions();
    field.engine.restart();
    field.count(&before);
}

#[test]
#[ignore = "twelve minutes: cargo test --test kafka_outage -- --ignored"]
fn twelve_minutes_without_the_only_broker_lose_nothing() {
    the_broker_is_gone(TWELVE_MINUTES, &[]);
}

#[test]
#[ignore = "twelve minutes: cargo test --test kafka_outage -- --ignored"]
fn twelve_minutes_without_the_topic_of_captions_lose_nothing() {
    the_topic_is_gone(TWELVE_MINUTES, &[]);
}
