//! Poison, panics, restarts, broken machines.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    annotation::Status,
    config::Mode,
    error::{DecodeError, ModelError, PublishError},
    ports::Destination,
    testkit::{Answering, Decoding, Fetching, Generating, Publishing, World},
};

/// The first `times` requests of `number` go wrong.
fn poisoned(number: u64, times: usize, wrong: Generating) -> World {
    let count = AtomicUsize::new(0);
    World {
        generate: Arc::new(move |(got, prompt)| {
            if got == number && count.fetch_add(1, Ordering::Relaxed) < times {
                return wrong.clone();
            }
            World::generated(got, &prompt)
        }),
        ..World::default()
    }
}

#[tokio::test]
async fn poison_inside_a_batch_is_isolated_and_its_siblings_are_unharmed() {
    for wrong in [
        Generating::Refuses,
        Generating::Fails,
        Generating::FailsTheStep,
        Generating::Breaks,
        Generating::Panics,
    ] {
        let mut chain = poisoned(5, usize::MAX, wrong.clone()).start().await;
        chain.push(20);
        chain.run().await;
        let reason = match wrong {
            Generating::Refuses => "bad_request",
            _ => "model_failed",
        };
        let expected = [(5, String::from(reason))];
        assert_eq!(chain.reasons(), expected, "{wrong:?}");
        assert_eq!(chain.captions().len(), 19, "{wrong:?}");
        assert_eq!(chain.handle.restarts(), 0, "the chain never notices");
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_model_that_fails_once_loses_nothing() {
    for (wrong, rebuilds) in [
        (Generating::Fails, 0),
        (Generating::FailsTheStep, 0),
        (Generating::Breaks, 1),
        (Generating::Panics, 1),
    ] {
        let mut chain = poisoned(5, 1, wrong.clone()).start().await;
        chain.push(20);
        chain.run().await;
        assert_eq!(chain.captions().len(), 20, "{wrong:?}");
        let engines = chain.handle.engines();
        assert_eq!(engines[0].rebuilds, rebuilds, "{wrong:?}");
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_panic_in_any_port_is_the_error_of_that_record() {
    let world = World {
        fetch: Arc::new(|(number, attempt)| match (number, attempt) {
            (1, 1) => Fetching::Panics,
            (2, _) => Fetching::Panics,
            _ => Fetching::Body,
        }),
        decode: Arc::new(|number| match number {
            3 => Decoding::Panics,
            4 => Decoding::RefusesHeader(DecodeError::UnsupportedFormat(String::from("text"))),
            5 => Decoding::Refuses(DecodeError::Truncated(String::from("half"))),
            _ => Decoding::Picture,
        }),
        generate: Arc::new(|(number, prompt)| match (number, &*prompt.text) {
            (6, "caption") => Generating::Text(String::from("unmergeable"), 1),
            _ => World::generated(number, &prompt),
        }),
        publish: {
            let failed = Mutex::new(HashMap::new());
            Arc::new(move |outgoing| {
                let mut failed = failed.lock().expect("not poisoned");
                let times = failed.entry(outgoing.source.offset).or_insert(0);
                *times += 1;
                match (outgoing.source.offset, *times) {
                    (7, 1) => Publishing::Panics,
                    (8, 1..=3) => {
                        Publishing::Fails(PublishError::Unavailable(String::from("down")))
                    }
                    _ => Publishing::Confirms,
                }
            })
        },
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(10);
    chain.run().await;
    let expected = [
        (2, "fetch_failed"),
        (3, "corrupt_image"),
        (4, "unsupported_format"),
        (5, "truncated_image"),
        (6, "model_failed"),
    ];
    let reasons = chain.reasons();
    let reasons: Vec<_> = reasons
        .iter()
        .map(|(at, why)| (*at, why.as_str()))
        .collect();
    assert_eq!(reasons, expected);
    assert_eq!(chain.handle.restarts(), 0);
    chain.finish().await;
}

#[tokio::test]
async fn an_optional_specialist_that_fails_degrades_the_record() {
    let mut world = World {
        generate: Arc::new(|(number, prompt)| match (number, &*prompt.text) {
            (1, "ground") => Generating::Panics,
            _ => World::generated(number, &prompt),
        }),
        relate: Arc::new(|number| match number {
            2 => Answering::Panics,
            _ => Answering::With(Vec::new()),
        }),
        read_text: Arc::new(|number| match number {
            3 => Answering::FailsTheRun,
            4 => Answering::Refuses,
            _ => Answering::With(Vec::new()),
        }),
        ..World::default()
    };
    world.config.attempts = 2;
    let mut chain = world.start().await;
    chain.push(6);
    chain.run().await;
    let degraded: Vec<_> = (chain.captions().into_values())
        .filter(|record| record.status == Status::Degraded)
        .map(|record| {
            (
                record.url,
                record.degraded[0].stage.clone(),
                record.degraded.len(),
            )
        })
        .collect();
    let expected = [
        (1, "ground"),
        (2, "relate"),
        (3, "read_text"),
        (4, "read_text"),
    ];
    let expected = expected.map(|(n, stage)| (format!("http://fake/{n}"), stage.to_owned(), 1));
    assert_eq!(degraded, expected);
    chain.finish().await;
}

#[tokio::test]
async fn a_required_specialist_that_fails_is_the_records_failure() {
    let mut world = World {
        read_text: Arc::new(|number| match number {
            1 => Answering::FailsTheRun,
            _ => Answering::With(Vec::new()),
        }),
        ..World::default()
    };
    world.config.specialist_mut("read_text").mode = Mode::Required;
    let mut chain = world.start().await;
    chain.push(6);
    chain.run().await;
    assert_eq!(chain.reasons(), [(1, String::from("model_failed"))]);
    chain.finish().await;
}

#[tokio::test]
async fn a_panic_in_a_stage_restarts_the_chain_and_loses_nothing() {
    let mut chain = World::default().start().await;
    chain.push(30);
    chain.push_value(r#"{"url": "http://fake/30", "meta": "panic once, in the middle"}"#);
    chain.push(30);
    chain.run().await;
    assert_eq!(chain.captions().len(), 61);
    assert!(chain.handle.restarts() >= 1);
    chain.stop().await;
}

#[tokio::test]
async fn a_record_that_panics_a_stage_every_time_becomes_a_dead_letter() {
    let mut chain = World::default().start().await;
    chain.push(5);
    chain.push_value(r#"{"url": "http://fake/5", "meta": "panic always"}"#);
    chain.push(5);
    chain.run().await;
    assert_eq!(chain.reasons(), [(5, String::from("model_failed"))]);
    assert_eq!(chain.captions().len(), 10);
    assert!((3..=5).contains(&chain.handle.restarts()));
    chain.stop().await;
}

#[tokio::test]
async fn the_restart_budget_ends_in_giving_up() {
    let mut world = World::default();
    world.config.attempts = 100;
    world.config.tolerance.restarts = 2;
    let mut chain = world.start().await;
    chain.push_value(r#"{"url": "http://fake/0", "meta": "panic always"}"#);
    let reason = tokio::select! {
        reason = chain.handle.failed() => reason,
        () = chain.run() => panic!("settled what cannot be"),
    };
    assert!(reason.contains("restarts of the chain"), "{reason}");
    assert!(chain.publisher.written().is_empty());
    assert_eq!(
        chain.ledger.position("images", 0).map(|at| at.offset),
        Some(0)
    );
    chain.stop().await;
}

#[tokio::test]
async fn a_run_of_missing_pages_does_not_trip_the_breaker() {
    let mut world = World {
        fetch: Arc::new(|_| {
            Fetching::Fails(crate::error::FetchError::Status {
                status: 404,
                retry_after: None,
            })
        }),
        ..World::default()
    };
    world.config.tolerance.model_failed_run = 7;
    let mut chain = world.start().await;
    chain.push(100);
    chain.run().await;
    assert_eq!(chain.dead().len(), 100);
    assert!(!chain.handle.has_failed());
    chain.finish().await;
}

#[tokio::test]
async fn a_model_that_is_built_again_too_often_within_the_window_gives_up() {
    let every_image = |window| {
        let mut world = World {
            generate: Arc::new(|(number, prompt)| match (number % 2, &*prompt.text) {
                (0, "ground") => Generating::Breaks,
                _ => World::generated(number, &prompt),
            }),
            ..World::default()
        };
        world.config.attempts = 1;
        world.config.tolerance.rebuilds = 4;
        world.config.tolerance.window = window;
        world
    };
    let mut chain = every_image(Duration::from_secs(600)).start().await;
    chain.push(60);
    let reason = tokio::select! {
        reason = chain.handle.failed() => reason,
        () = chain.run() => panic!("built its model again without end"),
    };
    assert!(reason.contains("more than 4 times within 600s"), "{reason}");
    assert!(reason.contains("engine `captioner`"), "{reason}");
    assert!(reason.contains("session lost"), "{reason}");
    chain.handle.idle().await;
    chain.handle.stop().await;

    // The same rebuilds, none within the window of another.
    let mut chain = every_image(Duration::ZERO).start().await;
    chain.push(60);
    chain.run().await;
    assert_eq!(chain.captions().len(), 60);
    assert!(chain.handle.engines()[0].rebuilds > 4);
    chain.finish().await;
}

#[tokio::test]
async fn what_an_engine_is_follows_its_rebuilds_in_records_and_in_its_figures() {
    let mut chain = poisoned(1, 1, Generating::Breaks).start().await;
    for (number, revision) in [(0, "012345678901"), (1, "012345678902")] {
        chain.push(1);
        chain.run().await;
        assert_eq!(chain.handle.engines()[0].model.revision, revision);
        let caption = &chain.captions()[&number];
        assert_eq!(caption.models["caption"].revision, revision);
    }
    chain.finish().await;
}

#[tokio::test]
async fn an_engine_that_cannot_be_built_again_gives_up_and_settles_nothing_wrong() {
    let builds = AtomicUsize::new(0);
    let mut world = poisoned(1, usize::MAX, Generating::Breaks);
    world.load = Arc::new(move |()| match builds.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(ModelError::Broken(String::from("the device is gone"))),
    });
    world.config.tolerance.restarts = 2;
    let mut chain = world.start().await;
    chain.push(8);
    let reason = tokio::select! {
        reason = chain.handle.failed() => reason,
        () = chain.run() => panic!("settled what cannot be"),
    };
    assert!(reason.contains("cannot build its model again"), "{reason}");
    chain.handle.idle().await;
    assert!(chain.dead().is_empty());
    chain.handle.stop().await;
    assert_eq!(chain.handle.in_flight(), 0);
}

#[tokio::test]
async fn an_output_too_large_is_a_dead_letter() {
    let world = World {
        publish: Arc::new(
            |outgoing| match (outgoing.destination, outgoing.source.offset) {
                (Destination::Captions, 1) => Publishing::Fails(PublishError::TooLarge {
                    bytes: 9,
                    detail: String::from("the limit is 8"),
                }),
                _ => Publishing::Confirms,
            },
        ),
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(3);
    chain.run().await;
    assert_eq!(chain.reasons(), [(1, String::from("output_too_large"))]);
    chain.finish().await;
}

#[tokio::test]
async fn a_broken_producer_ends_the_process_and_settles_nothing() {
    let world = World {
        publish: Arc::new(|_| Publishing::Fails(PublishError::Fatal(String::from("fenced")))),
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(3);
    let reason = tokio::select! {
        reason = chain.handle.failed() => reason,
        () = chain.run() => panic!("settled what was not written"),
    };
    assert!(reason.contains("fenced"), "{reason}");
    chain.handle.idle().await;
    assert_eq!(
        chain.ledger.position("images", 0).map(|at| at.offset),
        Some(0)
    );
    chain.handle.stop().await;
}
