//! Output topics that are away, model calls that hang, and what counts as alive.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::{
    error::PublishError,
    ports::Destination,
    testkit::{Harness, Publishing, World},
};

/// So short that anything that waits exceeds it at once.
const BOUND: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(600);

async fn until(chain: &Harness, what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    chain.patiently(what, wait).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_topic_that_is_away_holds_writes_and_the_intake_and_ends_nothing() {
    let away = Arc::new(AtomicBool::new(true));
    let world = World {
        publish: {
            let away = Arc::clone(&away);
            Arc::new(move |outgoing| {
                if outgoing.destination == Destination::Captions && away.load(Ordering::Relaxed) {
                    let answer = String::from("Unknown topic");
                    return Publishing::Fails(PublishError::Unavailable(answer));
                }
                Publishing::Confirms
            })
        },
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(3);
    let feeding = chain.feeding();
    until(&chain, "writes are held", || {
        !chain.handle.outages().is_empty()
    })
    .await;
    let outage = chain.handle.outages().remove(0);
    assert_eq!((&*outage.topic, outage.writes), ("captions", 3));
    assert_eq!(outage.answer.as_deref(), Some("Unknown topic"));
    until(&chain, "the intake pauses", || {
        chain.handle.intake().free_records() == 0
    })
    .await;
    assert_eq!(chain.handle.wedged(BOUND), None, "the broker's fault");
    let fetched = chain.fetched.count();
    chain.push(4);
    feeding.abort();
    let feeding = chain.feeding();
    // A write of another topic is confirmed; that the first is away stays true.
    assert_eq!(chain.handle.in_flight(), 3);
    assert!(!chain.handle.has_failed());
    away.store(false, Ordering::Relaxed);
    chain.patiently("the rest", feeding).await.expect("fed");
    assert_eq!((fetched, chain.fetched.count()), (3, 7));
    assert!(chain.handle.outages().is_empty());
    assert_eq!(chain.captions().len(), 7);
    chain.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_which_none_is_settled_are_a_sign_of_a_wedged_process() {
    let world = World {
        publish: Arc::new(|_| Publishing::Holds),
        ..World::default()
    };
    let mut chain = world.start().await;
    assert_eq!(chain.handle.wedged(Duration::ZERO), None, "idle");
    chain.push(2);
    let feeding = chain.feeding();
    until(&chain, "wedged", || chain.handle.wedged(BOUND).is_some()).await;
    let why = chain.handle.wedged(BOUND).expect("wedged");
    assert!(
        why.contains("2 records are in flight and none was settled"),
        "{why}"
    );
    assert!(chain.handle.is_live(LONG));
    chain.publisher.release();
    chain.patiently("the rest", feeding).await.expect("fed");
    assert_eq!(chain.handle.wedged(Duration::ZERO), None);
    chain.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_call_that_hangs_is_a_sign_of_a_wedged_process() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let world = World {
        generate: Arc::new(move |(number, prompt)| {
            // Ends when the sender is dropped.
            let _ = (released.lock().unwrap_or_else(PoisonError::into_inner)).recv();
            World::generated(number, &prompt)
        }),
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(1);
    let feeding = chain.feeding();
    let hangs =
        || (chain.handle.wedged(BOUND)).is_some_and(|why| why.contains("engine `captioner`"));
    until(&chain, "wedged", hangs).await;
    assert!(chain.handle.is_live(LONG));
    drop(release);
    chain.patiently("the rest", feeding).await.expect("fed");
    assert!(chain.handle.is_live(BOUND));
    chain.finish().await;
}
