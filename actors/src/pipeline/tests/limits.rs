//! Overload, revocation, stuck records, shutdown.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    annotation::Status,
    error::FetchError,
    ports::{Footprint, Source},
    testkit::{Answering, Fetching, Generating, Publishing, World},
};

#[tokio::test]
async fn never_more_records_are_on_their_way_than_there_are_permits() {
    let mut world = World {
        publish: Arc::new(|_| Publishing::Holds),
        ..World::default()
    };
    world.config.limits.records = 4;
    let mut chain = world.start().await;
    chain.push(100);
    let feeding = chain.feeding();
    chain
        .patiently("four writes", chain.publisher.handed_over.reaches(4))
        .await;
    assert_eq!(chain.handle.in_flight(), 4);
    assert_eq!(chain.handle.intake().free_records(), 0);
    assert_eq!(chain.fetched.count(), 4);
    chain.publisher.release();
    chain.patiently("the rest", feeding).await.expect("fed");
    assert_eq!(chain.captions().len(), 100);
    chain.finish().await;
}

#[tokio::test]
async fn bodies_wait_for_bytes_and_a_revocation_gives_them_back() {
    let mut world = World {
        body_bytes: 90,
        fetch: Arc::new(|_| Fetching::Never),
        ..World::default()
    };
    world.config.limits.image_bytes = 1_000;
    let mut chain = world.start().await;
    chain.push(3);
    let feeding = chain.feeding();
    let (fetched, handle) = (chain.fetched.clone(), chain.handle.clone());
    let two = async move {
        // Bodies have a quarter, and a quarter of that is kept for growth.
        fetched.reaches(2).await;
        while handle.image_bytes() != 180 {
            tokio::task::yield_now().await;
        }
    };
    chain.patiently("two bodies", two).await;
    assert_eq!(
        (chain.handle.image_bytes(), chain.handle.in_flight()),
        (180, 3)
    );
    chain.ledger.revoke("images", 0);
    chain.patiently("all home", chain.handle.idle()).await;
    assert_eq!(chain.handle.image_bytes(), 0);
    feeding.abort();
    chain.stop().await;
}

#[tokio::test]
async fn a_byte_gate_far_below_the_work_lets_all_of_it_through() {
    let mut world = World {
        body_bytes: 400,
        // Each picture is above the share of pixels, so they go one by one.
        decoded_bytes: 900,
        ..World::default()
    };
    world.config.limits.image_bytes = 1_000;
    let mut chain = world.start().await;
    chain.push(60);
    chain.run().await;
    assert_eq!(chain.captions().len(), 60);
    chain.finish().await;
}

#[tokio::test]
async fn bodies_and_pixels_never_take_more_than_the_limit() {
    let mut world = World {
        body_bytes: 30,
        decoded_bytes: 300,
        slots: 64,
        ..World::default()
    };
    world.config.limits.image_bytes = 2_000;
    world.config.limits.decoders = 8;
    let mut chain = world.start().await;
    chain.push(400);
    chain.run().await;
    assert_eq!(chain.captions().len(), 400);
    let most = chain.handle.most_image_bytes();
    assert!((600..=2_000).contains(&most), "{most}");
    chain.finish().await;
}

#[tokio::test]
async fn what_models_keep_of_a_picture_counts_and_what_they_prepare_is_set_aside() {
    let mut world = World {
        decoded_bytes: 300,
        footprint: Footprint {
            preparing: 900,
            per_image: 600,
        },
        slots: 64,
        ..World::default()
    };
    world.config.limits.image_bytes = 2_000;
    let mut chain = world.clone().start().await;
    chain.push(50);
    chain.run().await;
    assert_eq!(chain.captions().len(), 50);
    let most = chain.handle.most_image_bytes();
    assert!((900..=1_100).contains(&most), "{most}");
    chain.finish().await;

    world.footprint.preparing = 1_001;
    let refused = world.try_start().await.expect_err("more than half");
    let text = refused.to_string();
    for part in [
        "limits.image_bytes: 2000",
        "model `captioner` 1001",
        "3003 or more",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn one_image_above_the_whole_budget_is_too_large() {
    let mut world = World {
        decoded_bytes: 2_000,
        ..World::default()
    };
    world.config.limits.image_bytes = 1_000;
    let mut chain = world.start().await;
    chain.push(2);
    chain.run().await;
    let reason = String::from("too_large");
    assert_eq!(chain.reasons(), [(0, reason.clone()), (1, reason)]);
    chain.finish().await;
}

#[tokio::test]
async fn a_revoked_partition_is_forgotten_at_once_and_comes_again() {
    let never = Arc::new(AtomicBool::new(true));
    let world = {
        let never = Arc::clone(&never);
        World {
            generate: Arc::new(move |(number, prompt)| {
                if number % 2 == 1 && never.load(Ordering::Relaxed) {
                    return Generating::Never;
                }
                World::generated(number, &prompt)
            }),
            fetch: {
                let first = AtomicBool::new(true);
                Arc::new(move |(number, _)| {
                    if number == 8 && first.swap(false, Ordering::Relaxed) {
                        return Fetching::Never;
                    }
                    Fetching::Body
                })
            },
            publish: Arc::new(|_| Publishing::Holds),
            slots: 16,
            ..World::default()
        }
    };
    let mut chain = world.start().await;
    chain.push(10);
    let feeding = chain.feeding();
    chain
        .patiently("four writes", chain.publisher.handed_over.reaches(4))
        .await;
    chain
        .patiently("all fetches", chain.fetched.reaches(10))
        .await;
    let last = chain.ledger.revoke("images", 0).expect("assigned");
    assert_eq!(last.offset, 0);
    // What was handed over is confirmed late; everything else is cancelled.
    chain.publisher.release();
    chain
        .patiently("all permits home", chain.handle.idle())
        .await;
    assert_eq!(chain.ledger.in_flight(), 0);
    feeding.abort();

    never.store(false, Ordering::Relaxed);
    let topic = Arc::from("images");
    chain
        .ledger
        .assign(&topic, 0, Some(last.offset), Some(&last.metadata));
    chain.source.rewind();
    chain.run().await;
    assert_eq!(chain.captions().len(), 10);
    assert_eq!(chain.handle.restarts(), 0, "a revocation is no bug");
    chain.stop().await;
}

#[tokio::test]
async fn a_stuck_record_becomes_a_dead_letter_and_the_others_finish() {
    let mut world = World {
        fetch: Arc::new(|(number, _)| match number {
            1 => Fetching::Never,
            _ => Fetching::Body,
        }),
        generate: Arc::new(|(number, prompt)| match (number, &*prompt.text) {
            (2, "caption") | (3, "ground") => Generating::Never,
            _ => World::generated(number, &prompt),
        }),
        ..World::default()
    };
    world.config.limits.record = Duration::from_millis(300);
    let mut chain = world.start().await;
    chain.push(20);
    chain.run().await;
    let stuck = String::from("stuck");
    assert_eq!(
        chain.reasons(),
        [(1, stuck.clone()), (2, stuck.clone()), (3, stuck)]
    );
    assert_eq!(chain.captions().len(), 17);
    assert_eq!(chain.handle.restarts(), 0);
    chain.finish().await;
}

/// Four records, one after the other, are worked on until their budgets are spent: those behind them
/// wait longer than a budget, in whatever order they come.
async fn only_the_first_four_are_stuck(world: World, what: &str) {
    let mut world = world;
    let budget = Duration::from_millis(400);
    world.config.limits.record = budget;
    let mut chain = world.start().await;
    chain.push(20);
    chain.run().await;
    let reasons: Vec<String> = (chain.reasons().into_iter())
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(reasons, ["stuck"; 4], "waiting for {what}");
    assert_eq!(chain.captions().len(), 16, "waiting for {what}");
    let waited = (chain.captions().values())
        .map(|caption| caption.queue_ms.values().sum::<f64>())
        .fold(0.0, f64::max);
    let budget = budget.as_secs_f64() * 1_000.0;
    assert!(waited > budget, "{waited} ms of waiting for {what}");
    chain.finish().await;
}

fn first_fetches_never_end() -> Arc<dyn Fn((u64, u32)) -> Fetching + Send + Sync> {
    Arc::new(|(number, _)| match number {
        0..4 => Fetching::Never,
        _ => Fetching::Body,
    })
}

#[tokio::test]
async fn waiting_for_an_engine_is_no_work_of_the_record() {
    // Decoding may change the order, so the first four are those that come to the engine first.
    let asked = AtomicUsize::new(0);
    let world = World {
        slots: 1,
        generate: Arc::new(move |(number, prompt)| {
            let caption = &*prompt.text == "caption";
            if caption && asked.fetch_add(1, Ordering::Relaxed) < 4 {
                return Generating::Never;
            }
            World::generated(number, &prompt)
        }),
        ..World::default()
    };
    only_the_first_four_are_stuck(world, "a slot").await;
}

#[tokio::test]
async fn waiting_for_a_socket_is_no_work_of_the_record() {
    let mut world = World {
        fetch: first_fetches_never_end(),
        ..World::default()
    };
    world.config.fetch.concurrency = 1;
    only_the_first_four_are_stuck(world, "a socket").await;
}

#[tokio::test]
async fn waiting_for_credit_is_no_work_of_the_record() {
    let mut world = World {
        fetch: first_fetches_never_end(),
        body_bytes: 900,
        ..World::default()
    };
    world.config.limits.image_bytes = 1_000;
    only_the_first_four_are_stuck(world, "credit").await;
}

#[tokio::test]
async fn waits_that_a_server_asks_for_are_work_of_the_record() {
    let mut world = World {
        fetch: Arc::new(|(number, _)| match number {
            0 => Fetching::Fails(FetchError::Status {
                status: 503,
                retry_after: Some(Duration::from_secs(20)),
            }),
            _ => Fetching::Body,
        }),
        ..World::default()
    };
    world.config.limits.record = Duration::from_millis(200);
    let mut chain = world.start().await;
    chain.push(3);
    chain.run().await;
    assert_eq!(chain.reasons(), [(0, String::from("stuck"))]);
    chain.finish().await;
}

#[tokio::test]
async fn a_body_that_outgrows_its_credit_is_asked_for_again_without_losing_an_attempt() {
    let mut world = World {
        body_bytes: 90,
        slots: 64,
        ..World::default()
    };
    world.config.limits.image_bytes = 1_000;
    world.config.fetch.retries = 0;
    let mut chain = world.start().await;
    chain.push(100);
    chain.run().await;
    assert_eq!(chain.captions().len(), 100);
    assert!(chain.fetched.count() > 100, "nothing was asked for again");
    assert!(chain.handle.most_image_bytes() <= 1_000);
    chain.finish().await;
}

#[tokio::test]
async fn a_specialist_waits_for_its_turn_as_long_as_it_takes() {
    let mut world = World {
        generate: Arc::new(|(number, prompt)| match (number, &*prompt.text) {
            (1, "ground") => Generating::Never,
            _ => World::generated(number, &prompt),
        }),
        slots: 1,
        ..World::default()
    };
    world.config.specialist_mut("ground").timeout = Some(Duration::from_millis(200));
    let mut chain = world.start().await;
    chain.push(10);
    chain.run().await;
    let captions = chain.captions();
    let degraded = captions
        .iter()
        .filter(|(_, one)| one.status == Status::Degraded);
    assert_eq!(degraded.map(|(offset, _)| *offset).collect::<Vec<_>>(), [1]);
    chain.finish().await;
}

#[tokio::test]
async fn a_run_that_took_longer_than_its_stage_allows_degrades_the_record() {
    let timeout = Duration::from_millis(20);
    let mut world = World {
        read_text: Arc::new(move |number| {
            let started = std::time::Instant::now();
            while number == 1 && started.elapsed() <= timeout {
                std::thread::park_timeout(timeout);
            }
            Answering::With(Vec::new())
        }),
        ..World::default()
    };
    world.config.specialist_mut("read_text").timeout = Some(timeout);
    let mut chain = world.start().await;
    chain.push(1);
    chain.run().await;
    chain.push(1);
    chain.run().await;
    let captions = chain.captions();
    assert_eq!(captions[&0].status, Status::Complete);
    assert_eq!(captions[&1].degraded[0].reason, "no answer in time");
    chain.finish().await;
}

#[tokio::test]
async fn a_specialist_that_takes_too_long_degrades_the_record() {
    let mut world = World {
        generate: Arc::new(|(number, prompt)| match (number, &*prompt.text) {
            (1, "ground") => Generating::Never,
            _ => World::generated(number, &prompt),
        }),
        ..World::default()
    };
    world.config.specialist_mut("ground").timeout = Some(Duration::from_millis(200));
    let mut chain = world.start().await;
    chain.push(3);
    chain.run().await;
    let captions = chain.captions();
    assert_eq!(captions[&1].status, Status::Degraded);
    assert_eq!(captions[&1].degraded[0].reason, "no answer in time");
    assert_eq!(captions[&0].status, Status::Complete);
    chain.finish().await;
}

#[tokio::test]
async fn a_drain_waits_until_every_permit_is_home() {
    let world = World {
        publish: Arc::new(|_| Publishing::Holds),
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(10);
    let feeding = chain.feeding();
    chain
        .patiently("ten writes", chain.publisher.handed_over.reaches(10))
        .await;
    let drained = chain.handle.drain(Duration::from_millis(20)).await;
    assert_eq!(drained.left, 10, "not confirmed yet");
    chain.publisher.release();
    let drained = chain.handle.drain(Duration::from_secs(30)).await;
    assert_eq!(drained.left, 0);
    chain.patiently("fed", feeding).await.expect("fed");
    chain.finish().await;
}

#[tokio::test]
async fn after_a_drain_nothing_is_admitted() {
    let mut chain = World::default().start().await;
    chain.push(1);
    chain.run().await;
    chain.handle.drain(Duration::from_secs(30)).await;
    let record = crate::record::Record {
        id: crate::record::RecordId {
            topic: Arc::from("images"),
            partition: 0,
            offset: 1,
        },
        key: None,
        value: None,
        parent: opentelemetry::Context::new(),
        received: std::time::Instant::now(),
    };
    assert!(chain.handle.intake().try_admit(record).is_err());
    chain.finish().await;
}

#[tokio::test]
async fn a_wedged_model_call_is_seen_from_outside() {
    let wedged = Arc::new(tokio::sync::watch::channel(true).0);
    let world = {
        let wedged = Arc::clone(&wedged);
        World {
            read_text: Arc::new(move |_| {
                let mut wedged = wedged.subscribe();
                let wait = wedged.wait_for(|wedged| !wedged);
                drop(futures_executor_block(wait));
                Answering::With(Vec::new())
            }),
            ..World::default()
        }
    };
    let mut chain = world.start().await;
    assert!(chain.handle.is_live(Duration::ZERO));
    chain.push(1);
    let feeding = chain.feeding();
    let busy = async {
        while chain.handle.is_live(Duration::from_millis(5)) {
            tokio::task::yield_now().await;
        }
    };
    chain.patiently("no longer live", busy).await;
    wedged.send_replace(false);
    chain.patiently("settled", feeding).await.expect("fed");
    assert!(chain.handle.is_live(Duration::ZERO));
    chain.finish().await;
}

/// Waits on an engine's own thread, as a native call would.
fn futures_executor_block<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}
