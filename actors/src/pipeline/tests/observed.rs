//! What the chain says of itself while it runs, and shows to whoever looks on.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    config::Mode,
    error::{FetchError, Reason},
    image::Image,
    ports::{Destination, Observer, Outgoing},
    record::RecordId,
    stage::Stage,
    testkit::{Answering, Fetching, Generating, Harness, Publishing, World, number_of},
};

/// Notes what it is shown, in order.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Vec<(i64, Shown)>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Picture(u64),
    Caption,
    Dead,
}

impl Notes {
    fn note(&self, record: &RecordId, shown: Shown) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push((record.offset, shown));
    }

    fn of(&self, offset: i64) -> Vec<Shown> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = notes.iter().filter(|(of, _)| *of == offset);
        own.map(|(_, shown)| *shown).collect()
    }
}

impl Observer for Notes {
    fn seen(&self, record: &RecordId, image: &Arc<Image>) {
        self.note(record, Shown::Picture(number_of(image)));
    }

    fn written(&self, outgoing: &Outgoing) {
        let shown = match outgoing.destination {
            Destination::Captions => Shown::Caption,
            Destination::Dead => Shown::Dead,
        };
        self.note(&outgoing.source, shown);
    }
}

fn gone(number: u64) -> Fetching {
    match number {
        3 => Fetching::Fails(FetchError::Status {
            status: 404,
            retry_after: None,
        }),
        _ => Fetching::Body,
    }
}

#[tokio::test]
async fn an_observer_sees_each_picture_and_then_its_confirmed_caption() {
    for mode in [Mode::Optional, Mode::Off] {
        let mut world = World {
            fetch: Arc::new(|(number, _)| gone(number)),
            ..World::default()
        };
        world.config.specialist_mut("read_text").mode = mode;
        let mut chain = world.start().await;
        let notes = Notes::default();
        chain.handle.set_observer(Box::new(notes.clone()));
        chain.push(8);
        chain.run().await;
        for offset in 0..8 {
            let expected = match offset {
                3 => vec![Shown::Dead],
                _ => vec![Shown::Picture(offset as u64), Shown::Caption],
            };
            assert_eq!(notes.of(offset), expected, "{offset}, {mode:?}");
        }
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_write_that_is_not_confirmed_is_not_shown() {
    let mut chain = World {
        publish: Arc::new(|_| Publishing::Holds),
        ..World::default()
    }
    .start()
    .await;
    let notes = Notes::default();
    chain.handle.set_observer(Box::new(notes.clone()));
    chain.push(1);
    let feeding = chain.feeding();
    at(&chain, Stage::Publish, (0, 1)).await;
    assert_eq!(notes.of(0), [Shown::Picture(0)]);
    chain.publisher.release();
    chain.patiently("fed", feeding).await.expect("fed");
    assert_eq!(notes.of(0), [Shown::Picture(0), Shown::Caption]);
    chain.finish().await;
}

/// Waits until so many records wait for a stage and so many are worked on.
async fn at(chain: &Harness, stage: Stage, expected: (usize, usize)) {
    let there = async {
        loop {
            let stages = chain.handle.activity().stages;
            let mut found = stages.into_iter().filter(|one| one.stage == stage);
            let found = found.next().expect("one of its stages");
            if (found.waiting, found.working) == expected {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    chain.patiently("at the stage", there).await;
}

#[tokio::test]
async fn every_record_is_counted_at_the_stage_where_it_is() {
    let mut world = World {
        generate: Arc::new(|_| Generating::Never),
        fetch: Arc::new(|(number, _)| match number {
            0 | 1 => Fetching::Never,
            _ => Fetching::Body,
        }),
        slots: 3,
        ..World::default()
    };
    world.config.fetch.concurrency = 8;
    let mut chain = world.start().await;
    chain.push(9);
    let feeding = chain.feeding();
    at(&chain, Stage::Fetch, (0, 2)).await;
    at(&chain, Stage::Caption, (4, 3)).await;
    let activity = chain.handle.activity();
    let stages = activity.stages.iter();
    let all: usize = stages.map(|one| one.waiting + one.working).sum();
    assert_eq!((all, chain.handle.in_flight()), (9, 9));
    let engines = chain.handle.engines();
    let captioner = (engines.iter().find(|one| one.name == "captioner")).expect("an engine");
    assert_eq!((captioner.running, captioner.slots), (3, 3));
    feeding.abort();
    chain.handle.stop().await;
    chain.handle.idle().await;
    let left = chain.handle.activity().stages;
    assert!(
        left.iter().all(|one| (one.waiting, one.working) == (0, 0)),
        "{left:?}"
    );
}

#[tokio::test]
async fn what_was_done_is_counted_by_outcome_reason_and_stage() {
    let mut chain = World {
        fetch: Arc::new(|(number, _)| gone(number)),
        relate: Arc::new(|number| match number {
            5 => Answering::Refuses,
            _ => Answering::With(Vec::new()),
        }),
        ..World::default()
    }
    .start()
    .await;
    chain.push(8);
    chain.push_value("no url");
    chain.run().await;
    let activity = chain.handle.activity();
    assert_eq!(activity.published, 7);
    for (reason, count) in &activity.dead_letters {
        let expected = match reason {
            Reason::FetchStatus | Reason::BadRequest => 1,
            _ => 0,
        };
        assert_eq!(*count, expected, "{reason}");
    }
    let done = activity.stages.iter().map(|one| one.done);
    assert!(
        done.eq([0, 8, 7, 7, 7, 7, 7, 7, 9]),
        "{:?}",
        activity.stages
    );
    let degraded = activity.stages.iter().map(|one| one.degraded);
    assert!(
        degraded.eq([0, 0, 0, 0, 0, 1, 0, 0, 0]),
        "{:?}",
        activity.stages
    );
    let breaker = activity.breaker;
    assert_eq!(
        (breaker.asking, breaker.failed, breaker.in_a_row),
        (false, 0, 0)
    );
    chain.finish().await;
}
