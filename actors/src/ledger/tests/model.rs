//! The ledger against the same rules written as sets.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// The same rules, written as sets.
#[derive(Default)]
struct Model {
    done: BTreeSet<i64>,
    in_flight: BTreeMap<i64, Epoch>,
    /// In flight when the epoch ended by a rewind.
    late: BTreeMap<i64, Epoch>,
    next: i64,
    /// Where the log begins.
    start: i64,
    seeking: bool,
    /// Admitted since the assignment.
    seen: BTreeSet<i64>,
}

impl Model {
    fn watermark(&self) -> i64 {
        (0..)
            .find(|offset| !self.done.contains(offset))
            .unwrap_or(0)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Admit {
        gap: i64,
    },
    Settle {
        nth: usize,
        abandoned: bool,
    },
    SettleLate {
        nth: usize,
    },
    Rewind,
    Seek,
    /// Retention moves the beginning of the log.
    Delete {
        beyond: i64,
    },
    Reassign,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3i64).prop_map(|gap| Step::Admit { gap }),
        6 => (any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(nth, abandoned)| Step::Settle { nth, abandoned }),
        2 => any::<usize>().prop_map(|nth| Step::SettleLate { nth }),
        1 => Just(Step::Rewind),
        2 => Just(Step::Seek),
        1 => (0..6i64).prop_map(|beyond| Step::Delete { beyond }),
        1 => Just(Step::Reassign),
    ]
}

proptest! {
    #[test]
    fn the_ledger_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..200)) {
        let ledger = Ledger::new();
        ledger.assign(&topic(), 0, Some(0), None);
        let mut model = Model::default();
        let mut seen = BTreeSet::new();
        for step in steps {
            match step {
                Step::Admit { gap } => {
                    // The gap of a transaction can only be where no record was ever seen.
                    let mut offset = model.next.max(model.start);
                    for _ in 0..gap {
                        if !seen.contains(&offset) {
                            offset += 1;
                        }
                    }
                    let (admission, gone) = ledger.lock().partition("images", 0).unwrap().admit(offset);
                    if model.seeking && offset == model.watermark() {
                        model.seeking = false;
                        model.next = offset;
                    } else if model.seeking {
                        prop_assert_eq!(admission, Admission::NotOurs);
                        prop_assert!(gone.is_empty());
                        continue;
                    }
                    let passed: BTreeSet<i64> = (model.next..offset).collect();
                    let lost: Vec<i64> = (passed.intersection(&model.seen).copied())
                        .filter(|offset| !model.done.contains(offset))
                        .collect();
                    let gone: Vec<i64> = gone.into_iter().flat_map(|(s, e)| s..e).collect();
                    prop_assert_eq!(gone, lost);
                    model.done.extend(passed);
                    seen.insert(offset);
                    model.seen.insert(offset);
                    let expected = !model.done.contains(&offset);
                    match admission {
                        Admission::New(epoch) => {
                            prop_assert!(expected);
                            model.in_flight.insert(offset, epoch);
                        }
                        Admission::Finished => prop_assert!(!expected),
                        Admission::NotOurs => prop_assert!(false, "refused {offset}"),
                    }
                    model.next = offset + 1;
                }
                Step::Settle { nth, abandoned } => {
                    let len = model.in_flight.len();
                    let chosen = model.in_flight.iter().nth(nth % len.max(1));
                    if let Some((&offset, &epoch)) = chosen {
                        let outcome = if abandoned { Outcome::Abandoned } else { Outcome::Published };
                        prop_assert!(ledger.settle(&id(offset), epoch, outcome));
                        prop_assert!(!ledger.settle(&id(offset), epoch, outcome));
                        model.in_flight.remove(&offset);
                        if !abandoned {
                            model.done.insert(offset);
                        }
                    }
                }
                Step::SettleLate { nth } => {
                    let len = model.late.len();
                    let chosen = model.late.iter().nth(nth % len.max(1));
                    if let Some((&offset, &epoch)) = chosen {
                        let open = !model.done.contains(&offset)
                            && !model.in_flight.contains_key(&offset);
                        prop_assert_eq!(ledger.settle(&id(offset), epoch, Outcome::Published), open);
                        if open {
                            model.done.insert(offset);
                        }
                    }
                }
                Step::Rewind => {
                    let seeks = ledger.rewind();
                    prop_assert_eq!(&seeks, &[(topic(), 0, model.watermark())]);
                    model.seeking |= model.watermark() < model.next;
                    model.next = model.watermark();
                    model.late.append(&mut model.in_flight);
                }
                Step::Seek => {
                    let (epoch, offset) = ledger.seek_to("images", 0).expect("assigned");
                    prop_assert_eq!(offset, model.watermark());
                    if model.seeking {
                        ledger.sought("images", 0, epoch);
                        model.seeking = false;
                        model.next = offset;
                    }
                }
                Step::Delete { beyond } => model.start = model.watermark() + beyond,
                Step::Reassign => {
                    let last = ledger.revoke("images", 0);
                    let last = last.expect("assigned");
                    ledger.assign(&topic(), 0, Some(last.offset), Some(&last.metadata));
                    model.next = model.watermark();
                    model.seeking = false;
                    model.in_flight.clear();
                    model.late.clear();
                    model.seen.clear();
                }
            }
            let position = position(&ledger);
            prop_assert_eq!(position.offset, model.watermark());
            prop_assert!(position.metadata.len() <= METADATA_BYTES);
            prop_assert_eq!(ledger.in_flight(), model.in_flight.len());
        }
    }

    #[test]
    fn metadata_reads_back_as_written(
        watermark in 0..i64::MAX / 4,
        runs in prop::collection::vec((1..5_000i64, 1..5_000i64), 0..300),
    ) {
        let mut finished = Finished::default();
        let mut at = watermark;
        for (gap, length) in runs {
            finished.insert(at + gap, at + gap + length);
            at += gap + length;
        }
        let (text, _) = finished.encode(watermark);
        prop_assert_eq!(Finished::decode(watermark, &text), finished);
    }

    #[test]
    fn runs_join_as_sets_do(inserts in prop::collection::vec((0..60i64, 0..8i64), 0..40)) {
        let mut finished = Finished::default();
        let mut set = BTreeSet::new();
        for (start, length) in inserts {
            finished.insert(start, start + length);
            set.extend(start..start + length);
        }
        prop_assert_eq!(finished.offsets(), set.clone());
        for offset in 0..70 {
            prop_assert_eq!(finished.contains(offset), set.contains(&offset));
        }
    }

    #[test]
    fn no_metadata_breaks_an_assignment(text in ".{0,200}", offset in 0..i64::MAX) {
        let ledger = Ledger::new();
        ledger.assign(&topic(), 0, Some(offset), Some(&text));
        prop_assert_eq!(position(&ledger).offset, offset);
    }
}
