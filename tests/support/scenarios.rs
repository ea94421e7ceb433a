//! What delivery must hold on any broker. Each scenario wants fresh topics of three partitions.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use vila2::kafka::{KafkaSettings, read};

use super::relay::{Relay, captions, eventually, is_committed, publish};

/// 200 records: each published exactly once, committed offsets = end.
pub async fn every_record_once(settings: &KafkaSettings) {
    publish(settings, 0..200);
    let relay = Relay::start(settings, 64, |_| false);
    eventually("the group has committed the end", || is_committed(settings));
    eventually("ready", || relay.status.ready().is_ok());
    assert_eq!(relay.ledger.in_flight(), 0);
    assert_each_once(settings, 200);
    eventually("nothing is behind", || {
        let ends = relay.status.ends();
        let mut open = (ends.iter())
            .map(|(number, end)| (relay.ledger).unsettled(&settings.topics.images, *number, *end));
        ends.values().sum::<i64>() == 200 && open.all(|open| open == Some(0))
    });
    relay.stop().await;
}

/// Commits keep up with what is settled: ten times one record more, each committed before the next
/// is published, in a fraction of the time in which an unanswered commit is waited for.
pub async fn commits_keep_up(settings: &KafkaSettings) {
    let relay = Relay::start(settings, 64, |_| false);
    let begun = Instant::now();
    for number in 0..10 {
        publish(settings, number..number + 1);
        eventually("the group has committed the end", || is_committed(settings));
    }
    let taken = begun.elapsed();
    assert!(
        taken < Duration::from_secs(45),
        "ten commits took {taken:?}"
    );
    relay.stop().await;
}

/// An intake with room for four records, full for longer than it takes to pause.
pub async fn a_full_intake(settings: &KafkaSettings) {
    publish(settings, 0..500);
    let relay = Relay::start(settings, 4, |_| true);
    eventually("the intake is full", || relay.seen().len() == 4);
    // While this waits in vain, the consumer pauses its partitions.
    let topic = &settings.topics.captions;
    let reader = read::Reader::new(settings, topic, read::Start::Beginning).unwrap();
    assert_eq!(reader.next(Duration::from_millis(700)).unwrap(), None);
    assert_eq!(relay.seen().len(), 4);
    relay.release();
    eventually("the group has committed the end", || is_committed(settings));
    assert_each_once(settings, 500);
    relay.stop().await;
}

/// What finished above a stuck record is remembered in the commit and not run again.
pub async fn the_map_survives_a_restart(settings: &KafkaSettings) {
    publish(settings, 0..120);
    let first = Relay::start(settings, 200, |id| id.offset % 7 == 3);
    let stuck = |settings: &KafkaSettings| -> usize {
        let bounds = read::bounds(settings, &settings.topics.images).unwrap();
        bounds
            .values()
            .map(|(_, end)| (0..*end).filter(|offset| offset % 7 == 3).count())
            .sum()
    };
    let stuck = stuck(settings);
    eventually("all but the stuck are published", || {
        first.ledger.in_flight() == stuck
    });
    eventually("they are seen", || first.seen().len() == 120);
    first.stop().await;
    assert_eq!(captions(settings).len(), 120 - stuck);

    let second = Relay::start(settings, 200, |_| false);
    eventually("the group has committed the end", || is_committed(settings));
    let again: BTreeSet<i64> = second.seen().iter().map(|id| id.offset % 7).collect();
    assert_eq!(again, BTreeSet::from([3]), "only the stuck ones come again");
    assert_eq!(second.seen().len(), stuck);
    assert_each_once(settings, 120);
    second.stop().await;
}

/// A second member comes, both work, the first leaves: nothing is lost.
pub async fn two_members(settings: &KafkaSettings) {
    publish(settings, 0..100);
    let first = Relay::start(settings, 64, |_| false);
    eventually("the first works", || first.seen().len() >= 30);
    let second = Relay::start(settings, 64, |_| false);
    let mut published = 100;
    eventually("the second works too", || {
        publish(settings, published..published + 20);
        published += 20;
        !second.seen().is_empty()
    });
    eventually("the group has committed the end", || is_committed(settings));
    first.stop().await;
    publish(settings, published..published + 100);
    published += 100;
    eventually("the second has the rest", || is_committed(settings));
    second.stop().await;

    let captions = captions(settings);
    assert_eq!(captions.len(), published, "every source is there");
    let values: BTreeSet<&String> = captions.values().flatten().collect();
    assert_eq!(values.len(), published, "every image is there");
}

/// After a rewind everything unsettled comes again, and nothing else.
pub async fn a_rewind(settings: &KafkaSettings) {
    publish(settings, 0..90);
    let relay = Relay::start(settings, 200, |id| id.offset % 5 == 4);
    eventually("all are seen", || relay.seen().len() == 90);
    eventually("the others are settled", || {
        relay.seen().iter().filter(|id| id.offset % 5 == 4).count() == relay.ledger.in_flight()
    });
    let stuck = relay.ledger.in_flight();
    // As the supervisor does: epochs first, then the source. What hung is stale from here on.
    relay.ledger.rewind();
    relay.release();
    relay.consumer.source().rewind();
    eventually("the group has committed the end", || is_committed(settings));
    assert_eq!(relay.seen().len(), 90 + stuck);
    assert_each_once(settings, 90);
    relay.stop().await;
}

fn assert_each_once(settings: &KafkaSettings, count: usize) {
    let captions = captions(settings);
    assert_eq!(captions.len(), count);
    let repeated: Vec<_> = captions
        .iter()
        .filter(|(_, values)| values.len() != 1)
        .collect();
    assert!(
        repeated.is_empty(),
        "published more than once: {repeated:?}"
    );
    let values: BTreeSet<&String> = captions.values().flatten().collect();
    assert_eq!(values.len(), count, "every image is there");
}
