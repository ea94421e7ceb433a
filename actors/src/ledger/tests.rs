mod model;

use super::{finished::METADATA_BYTES, *};

fn topic() -> Arc<str> {
    Arc::from("images")
}

fn id(offset: i64) -> RecordId {
    RecordId {
        topic: topic(),
        partition: 0,
        offset,
    }
}

fn admit(ledger: &Ledger, offset: i64) -> Epoch {
    match ledger.admit(&id(offset)) {
        Admission::New(epoch) => epoch,
        other => panic!("{offset}: {other:?}"),
    }
}

fn position(ledger: &Ledger) -> Position {
    ledger.position("images", 0).expect("assigned")
}

#[test]
fn the_watermark_waits_for_the_slowest_and_remembers_what_finished_above_it() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(5), None);
    let epochs: Vec<_> = (5..9).map(|offset| admit(&ledger, offset)).collect();
    for offset in [6, 8] {
        assert!(ledger.settle(&id(offset), epochs[0], Outcome::Published));
    }
    let held = position(&ledger);
    assert_eq!(held.offset, 5);
    // 5 and 7 are in flight, 9 to 19 are not read yet.
    assert_eq!(ledger.unsettled("images", 0, 20), Some(13));
    assert_eq!(ledger.unsettled("images", 1, 20), None);
    ledger.settle(&id(5), epochs[0], Outcome::DeadLettered(Reason::Stuck));
    assert_eq!(position(&ledger).offset, 7);

    let next = Ledger::new();
    next.assign(&topic(), 0, Some(held.offset), Some(&held.metadata));
    let again: Vec<_> = (5..9)
        .filter(|&offset| matches!(next.admit(&id(offset)), Admission::New(_)))
        .collect();
    assert_eq!(again, [5, 7]);
}

#[test]
fn offsets_that_are_passed_over_hold_nothing_back() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let epoch = admit(&ledger, 3);
    assert_eq!(position(&ledger).offset, 3);
    admit(&ledger, 10);
    ledger.settle(&id(3), epoch, Outcome::Published);
    assert_eq!(position(&ledger).offset, 10);
    ledger.settle(&id(10), epoch, Outcome::Published);
    assert_eq!(position(&ledger).offset, 11);
}

#[test]
fn without_a_committed_offset_the_first_record_decides() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, None, None);
    assert_eq!(ledger.position("images", 0), None);
    assert!(ledger.dirty().is_empty());
    let epoch = admit(&ledger, 42);
    assert_eq!(position(&ledger).offset, 42);
    ledger.settle(&id(42), epoch, Outcome::Published);
    assert_eq!(position(&ledger).offset, 43);
}

#[test]
fn a_delivery_settles_once_and_never_in_an_older_epoch() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let old = admit(&ledger, 0);
    assert!(ledger.is_current(&id(0), old));
    ledger.revoke("images", 0);
    assert!(!ledger.is_current(&id(0), old));
    assert!(!ledger.settle(&id(0), old, Outcome::Published));
    assert_eq!(ledger.admit(&id(0)), Admission::NotOurs);

    let new = ledger.assign(&topic(), 0, Some(0), None);
    assert!(new > old);
    admit(&ledger, 0);
    assert!(!ledger.settle(&id(0), old, Outcome::Published));
    assert!(ledger.settle(&id(0), new, Outcome::Published));
    assert!(!ledger.settle(&id(0), new, Outcome::Published));
    assert_eq!(ledger.in_flight(), 0);
}

#[test]
fn an_abandoned_record_is_out_of_flight_and_holds_the_watermark() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let epoch = admit(&ledger, 0);
    assert!(ledger.settle(&id(0), epoch, Outcome::Abandoned));
    assert_eq!(ledger.in_flight(), 0);
    assert_eq!(position(&ledger).offset, 0);
}

/// A ledger that was rewound with 0 and 2 in flight and 1 settled; returns the epoch that ended.
fn rewound() -> (Ledger, Epoch) {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let epoch = admit(&ledger, 0);
    admit(&ledger, 1);
    admit(&ledger, 2);
    ledger.settle(&id(1), epoch, Outcome::Published);
    assert_eq!(ledger.rewind(), [(topic(), 0, 0)]);
    assert_eq!(ledger.in_flight(), 0);
    (ledger, epoch)
}

fn go_back(ledger: &Ledger) -> i64 {
    let (epoch, offset) = ledger.seek_to("images", 0).expect("assigned");
    ledger.sought("images", 0, epoch);
    offset
}

#[test]
fn after_a_rewind_nothing_is_admitted_before_the_watermark_came_again() {
    let (ledger, _) = rewound();
    assert_eq!(ledger.admit(&id(3)), Admission::NotOurs);
    admit(&ledger, 0);
    assert_eq!(ledger.admit(&id(1)), Admission::Finished);
    admit(&ledger, 2);
    admit(&ledger, 3);
}

#[test]
fn after_a_rewind_nothing_is_admitted_before_the_source_went_back() {
    let (ledger, ended) = rewound();
    assert_eq!(
        ledger.admit(&id(3)),
        Admission::NotOurs,
        "the rest of a queue"
    );
    ledger.sought("images", 0, ended);
    assert_eq!(ledger.admit(&id(3)), Admission::NotOurs, "an older seek");
    assert_eq!(go_back(&ledger), 0);
    admit(&ledger, 0);
    assert_eq!(ledger.admit(&id(1)), Admission::Finished);
    admit(&ledger, 2);
    admit(&ledger, 3);
}

#[test]
fn a_watermark_that_vanished_before_it_came_again_silences_nothing() {
    let (ledger, _) = rewound();
    go_back(&ledger);
    let (next, gone) = (ledger.lock().partition("images", 0))
        .expect("assigned")
        .admit(5);
    // 3 and 4 were never seen: nobody knows whether they were records.
    assert_eq!(gone, [(0, 1), (2, 3)]);
    let Admission::New(epoch) = next else {
        panic!("{next:?}")
    };
    assert_eq!(position(&ledger).offset, 5);
    ledger.settle(&id(5), epoch, Outcome::Published);
    assert_eq!(position(&ledger).offset, 6);
    admit(&ledger, 6);
}

#[test]
fn a_write_confirmed_after_a_rewind_is_settled_and_its_record_does_not_run_again() {
    let (ledger, ended) = rewound();
    assert!(ledger.settle(&id(2), ended, Outcome::Published));
    assert!(!ledger.settle(&id(2), ended, Outcome::Published), "once");
    assert!(!ledger.settle(&id(1), ended, Outcome::Published));
    assert!(!ledger.settle(&id(0), ended, Outcome::Abandoned));
    go_back(&ledger);
    let epoch = admit(&ledger, 0);
    assert!(
        !ledger.settle(&id(0), ended, Outcome::Published),
        "in flight again: its second answer counts"
    );
    assert_eq!(ledger.admit(&id(2)), Admission::Finished);
    assert!(ledger.settle(&id(0), epoch, Outcome::Published));
    assert_eq!(position(&ledger).offset, 3);
}

#[test]
fn the_clock_of_none_settled_begins_after_idleness_and_anew_with_every_answer() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    assert_eq!(ledger.none_settled_for(), None);
    let epoch = admit(&ledger, 0);
    let long = Duration::from_secs(1_000);
    let age = |ledger: &Ledger| ledger.lock().moved = Instant::now().checked_sub(long);
    age(&ledger);
    admit(&ledger, 1);
    assert!(ledger.none_settled_for() >= Some(long), "1 came in later");
    ledger.settle(&id(0), epoch, Outcome::Abandoned);
    assert!(ledger.none_settled_for() >= Some(long), "no answer");
    admit(&ledger, 2);
    ledger.settle(&id(1), epoch, Outcome::DeadLettered(Reason::Stuck));
    assert!(ledger.none_settled_for() < Some(long));
    ledger.settle(&id(2), epoch, Outcome::Published);
    age(&ledger);
    assert_eq!(ledger.none_settled_for(), None, "idle");
    admit(&ledger, 3);
    assert!(ledger.none_settled_for() < Some(long));
}

#[test]
fn an_offer_ends_with_the_assignment() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let epoch = admit(&ledger, 0);
    ledger.settle(&id(0), epoch, Outcome::Published);
    assert!(!ledger.offers("images", 0, 1));
    assert_eq!(ledger.dirty().len(), 1);
    assert!(ledger.offers("images", 0, 1));
    ledger.revoke("images", 0);
    assert!(!ledger.offers("images", 0, 1));
    ledger.assign(&topic(), 0, Some(1), None);
    assert!(!ledger.offers("images", 0, 1), "of the assignment before");
}

#[test]
fn a_rewind_with_nothing_in_flight_goes_on_with_the_next_record() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let epoch = admit(&ledger, 0);
    ledger.settle(&id(0), epoch, Outcome::Published);
    ledger.rewind();
    admit(&ledger, 1);
}

#[test]
fn a_position_is_dirty_until_it_is_committed() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let epoch = admit(&ledger, 0);
    admit(&ledger, 1);
    assert!(ledger.dirty().is_empty());
    ledger.settle(&id(1), epoch, Outcome::Published);
    assert_eq!(ledger.dirty().len(), 1);
    assert_eq!(ledger.dirty().len(), 1, "offered, not yet committed");
    ledger.committed("images", 0, 0);
    assert!(ledger.dirty().is_empty());
    ledger.settle(&id(0), epoch, Outcome::Published);
    assert_eq!(ledger.dirty()[0].2.offset, 2);
}

#[test]
fn a_map_that_outgrows_the_metadata_is_cut_and_reported_full() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let epoch = (0..6_000).map(|offset| admit(&ledger, offset)).last();
    let epoch = epoch.expect("admitted");
    let mut grew_full = None;
    for offset in (1..6_000).step_by(2) {
        ledger.settle(&id(offset), epoch, Outcome::Published);
        if grew_full.is_none() && position(&ledger).full {
            grew_full = Some(position(&ledger).metadata.len());
        }
    }
    assert!(grew_full.is_some_and(|bytes| (3_000..3_200).contains(&bytes)));
    let cut = position(&ledger);
    assert!(cut.metadata.len() <= METADATA_BYTES && cut.metadata.len() > METADATA_BYTES - 4);
}

#[test]
fn metadata_of_others_is_not_trusted() {
    for text in [
        "",
        "1",
        "2AA",
        "1A",
        "1BA",
        "1AB",
        "1g",
        "1ggggggggggggggggg",
        "{}",
        "1é",
    ] {
        let ledger = Ledger::new();
        ledger.assign(&topic(), 0, Some(0), Some(text));
        for offset in 0..40 {
            admit(&ledger, offset);
        }
    }
}

#[test]
fn the_end_of_an_epoch_wakes_who_waits_for_it() {
    use futures_util::FutureExt;
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let epoch = admit(&ledger, 0);
    let record = id(0);
    let mut stale = Box::pin(ledger.stale(&record, epoch));
    assert!((&mut stale).now_or_never().is_none());
    let before = ledger.generation();
    ledger.revoke("images", 0);
    assert!(stale.now_or_never().is_some());
    assert!(ledger.generation() > before);
}

/// A suspended partition with 5 and 7 in flight, 6 and everything below settled; 5 and the map were
/// committed.
fn suspended() -> (Ledger, Epoch, Position) {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(5), None);
    let epoch = admit(&ledger, 5);
    admit(&ledger, 6);
    admit(&ledger, 7);
    ledger.settle(&id(6), epoch, Outcome::Published);
    let committed = position(&ledger);
    ledger.suspend("images", 0);
    assert_eq!(ledger.admit(&id(8)), Admission::NotOurs);
    assert_eq!(ledger.position("images", 0), None);
    assert!(ledger.dirty().is_empty() && ledger.is_current(&id(5), epoch));
    (ledger, epoch, committed)
}

#[test]
fn a_lost_partition_that_comes_back_untouched_goes_on_with_what_is_in_flight() {
    let (ledger, epoch, committed) = suspended();
    assert!(
        ledger.settle(&id(5), epoch, Outcome::Published),
        "confirmed meanwhile"
    );
    let again = ledger.assign(
        &topic(),
        0,
        Some(committed.offset),
        Some(&committed.metadata),
    );
    assert_eq!(again, epoch);
    assert_eq!(ledger.dirty()[0].2.offset, 7);
    for offset in 5..8 {
        assert_eq!(ledger.admit(&id(offset)), Admission::Finished, "{offset}");
    }
    admit(&ledger, 8);
    assert!(ledger.settle(&id(7), epoch, Outcome::Published));
    assert_eq!(position(&ledger).offset, 8);
    assert!(ledger.drop_suspended("images").is_empty());
}

#[test]
fn a_lost_partition_that_somebody_worked_on_begins_anew() {
    let other = |offset, metadata: &str| {
        let (ledger, epoch, _) = suspended();
        let again = ledger.assign(&topic(), 0, offset, Some(metadata));
        assert!(again > epoch && !ledger.is_current(&id(5), epoch));
        assert_eq!(ledger.in_flight(), 0);
    };
    other(Some(6), "");
    // 5 is open, 6 and 7 are settled.
    let mut finished = Finished::default();
    finished.insert(6, 8);
    other(Some(5), &finished.encode(5).0);
    // The topic was made anew.
    other(None, "");

    let (ledger, epoch, _) = suspended();
    assert_eq!(ledger.drop_suspended("images"), [0]);
    assert!(!ledger.is_current(&id(5), epoch));
    assert_eq!(ledger.in_flight(), 0);
}

#[test]
fn failed_attempts_outlive_a_rewind_and_end_with_the_record_or_with_the_partitions_term() {
    let ledger = Ledger::new();
    ledger.assign(&topic(), 0, Some(0), None);
    let attempts = |offset| ledger.attempts(&id(offset), Stage::Caption);
    let epoch = admit(&ledger, 0);
    admit(&ledger, 1);
    assert_eq!(ledger.blame(&id(0), epoch, Stage::Caption), 1);
    assert_eq!(ledger.blame(&id(0), epoch, Stage::Caption), 2);
    assert_eq!(ledger.blame(&id(0), epoch, Stage::GROUND), 1);
    assert_eq!(ledger.blame(&id(1), epoch, Stage::Caption), 1);
    ledger.rewind();
    assert_eq!((attempts(0), attempts(1)), (2, 1), "a restart resets none");
    let again = admit(&ledger, 0);
    ledger.blame(&id(0), epoch, Stage::Caption);
    assert_eq!(attempts(0), 2, "what an older epoch says does not count");
    assert_eq!(ledger.blame(&id(0), again, Stage::Caption), 3);
    ledger.settle(&id(0), again, Outcome::Published);
    assert_eq!((attempts(0), attempts(1)), (0, 1));
    // 1 was deleted before it could come again.
    admit(&ledger, 2);
    ledger.settle(&id(2), again, Outcome::Published);
    assert_eq!(attempts(1), 0);
    ledger.blame(&id(3), again, Stage::Caption);
    ledger.revoke("images", 0);
    assert_eq!(attempts(3), 0);
    ledger.assign(&topic(), 0, Some(3), None);
    assert_eq!(attempts(3), 0, "a new term begins with none");
    assert!(
        !format!("{ledger:?}").contains("Caption"),
        "nothing is kept"
    );
}
