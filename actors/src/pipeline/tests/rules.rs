//! Captions that trip a rule: dead letters, further tries, marks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};

use crate::{
    error::ModelError,
    ports::Prompt,
    rules::{Action, Fallback, Pattern, Rule, Rules, Test},
    testkit::{Generating, Harness, World, header},
};

/// The first caption of a bad picture holds this word.
const BAD: &str = "watermark";

fn rules(action: Action) -> Rules {
    Rules {
        list: vec![Rule {
            name: Arc::from("marked"),
            test: Test::Phrase(Pattern::literal(BAD).expect("a literal")),
            action,
        }],
        retries: 2,
        after_retries: Fallback::Reject,
    }
}

/// What was asked of the captioner, by picture, in order.
type Asked = Arc<Mutex<BTreeMap<u64, Vec<Prompt>>>>;

/// Three prompts; the caption of each third picture is bad in its first `bad` tries.
fn world(rules: Rules, bad: usize) -> (World, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let mut world = World {
        generate: Arc::new(move |(number, prompt)| {
            let steps = 1 + (number % 5) as u32;
            if &*prompt.text == "ground" {
                return World::generated(number, &prompt);
            }
            let mut asked = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let tries = asked.entry(number).or_default();
            tries.push(prompt.clone());
            if number % 3 == 0 && tries.len() <= bad {
                Generating::Text(format!("a {BAD} on image {number}"), steps)
            } else {
                Generating::Text(format!("image {number} by {}", prompt.text), steps)
            }
        }),
        ..World::default()
    };
    world.config.caption.prompts = ["a", "b", "c"].map(Arc::from).to_vec();
    world.config.rules = rules;
    (world, asked)
}

/// How often the captioner was asked of each picture, a check that each answer was asked for with
/// the prompt after the one before, and with a seed of its own.
fn tries(asked: &Asked) -> BTreeMap<u64, usize> {
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    for prompts in asked.values() {
        for pair in prompts.windows(2) {
            let next = match &*pair[0].text {
                "a" => "b",
                "b" => "c",
                _ => "a",
            };
            assert_eq!(&*pair[1].text, next);
            assert_ne!(pair[0].seed, pair[1].seed);
        }
    }
    let counts = asked.iter().map(|(number, tries)| (*number, tries.len()));
    counts.collect()
}

/// Counters of the thread that runs a test.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counts {
    /// Of `vila2_rules_total`, by rule and action.
    fn of_rules(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.iter())
            .filter_map(|(name, count)| {
                let labels = name.strip_prefix("vila2_rules_total ")?;
                Some((labels.to_owned(), count.load(Ordering::Relaxed)))
            })
            .collect()
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Counter::from_arc(Arc::clone(counts.entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Runs so many pictures through the chain.
async fn run(world: World, count: usize) -> Harness {
    let mut chain = world.start().await;
    chain.push(count);
    chain.run().await;
    chain
}

fn counted(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let counts = expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count));
    counts.collect()
}

#[tokio::test]
async fn a_rejected_caption_is_a_dead_letter_that_shows_the_words() {
    let counts = Counts::default();
    let _here = set_default_local_recorder(&counts);
    let (world, asked) = world(rules(Action::Reject), 1);
    let chain = run(world, 30).await;
    let dead = chain.dead();
    assert!(dead.keys().copied().eq((0..30).step_by(3)), "{dead:?}");
    for (offset, letter) in &dead {
        assert_eq!(header(letter, "vila2-reason"), "rule");
        assert_eq!(header(letter, "vila2-stage"), "caption");
        assert_eq!(header(letter, "vila2-attempts"), "1");
        let detail = format!("marked: \"{BAD}\" in \"a {BAD} on image {offset}\"");
        assert_eq!(header(letter, "vila2-detail"), detail);
        let url = format!("http://fake/{offset}");
        assert_eq!(letter.value.as_deref(), Some(url.as_bytes()));
    }
    assert!(
        chain
            .captions()
            .values()
            .all(|record| record.marks.is_empty())
    );
    assert!(tries(&asked).values().all(|tries| *tries == 1));
    assert_eq!(counts.of_rules(), counted(&[("marked reject", 10)]));
    chain.finish().await;
}

#[tokio::test]
async fn a_marked_caption_goes_on_with_the_rules_name() {
    let counts = Counts::default();
    let _here = set_default_local_recorder(&counts);
    let (world, asked) = world(rules(Action::Mark), 1);
    let chain = run(world, 30).await;
    let captions = chain.captions();
    assert_eq!(captions.len(), 30);
    for (offset, record) in &captions {
        let marks: &[&str] = if offset % 3 == 0 { &["marked"] } else { &[] };
        assert_eq!(record.marks, marks, "{offset}");
        assert_eq!(record.caption.text.contains(BAD), offset % 3 == 0);
        assert_eq!(record.grounding.len(), 2, "the specialists have seen it");
    }
    assert!(tries(&asked).values().all(|tries| *tries == 1));
    assert_eq!(counts.of_rules(), counted(&[("marked mark", 10)]));
    chain.finish().await;
}

#[tokio::test]
async fn a_caption_is_asked_for_again_with_the_next_prompt_and_its_neighbours_do_not_notice() {
    let counts = Counts::default();
    let _here = set_default_local_recorder(&counts);
    let (world, asked) = world(rules(Action::Retry), 2);
    let chain = run(world, 60).await;
    let captions = chain.captions();
    assert_eq!(captions.len(), 60);
    for (number, tries) in tries(&asked) {
        assert_eq!(tries, if number % 3 == 0 { 3 } else { 1 }, "{number}");
        let record = &captions[&(number as i64)];
        let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &asked[&number][tries - 1].text;
        assert_eq!(record.caption.text, format!("image {number} by {last}"));
        assert_eq!(record.models["caption"].prompt.as_deref(), Some(&**last));
        assert!(record.marks.is_empty());
        assert_eq!(record.grounding[0].phrase, format!("thing {number}"));
    }
    let expected = counted(&[("marked reject", 0), ("marked retry", 40)]);
    assert_eq!(counts.of_rules(), expected);
    chain.finish().await;
}

#[tokio::test]
async fn after_the_last_try_a_caption_is_rejected() {
    let counts = Counts::default();
    let _here = set_default_local_recorder(&counts);
    let (world, asked) = world(rules(Action::Retry), usize::MAX);
    let chain = run(world, 9).await;
    assert_eq!(chain.captions().len(), 6);
    let dead = chain.dead();
    assert!(dead.keys().copied().eq([0, 3, 6]), "{dead:?}");
    for letter in dead.values() {
        assert_eq!(header(letter, "vila2-reason"), "rule");
        assert_eq!(header(letter, "vila2-attempts"), "3");
        assert!(header(letter, "vila2-detail").starts_with("marked: "));
    }
    for (number, tries) in tries(&asked) {
        assert_eq!(tries, if number % 3 == 0 { 3 } else { 1 }, "{number}");
    }
    let expected = counted(&[("marked reject", 3), ("marked retry", 6)]);
    assert_eq!(counts.of_rules(), expected);
    chain.finish().await;
}

#[tokio::test]
async fn after_the_last_try_a_caption_is_marked_where_that_is_the_fallback() {
    let counts = Counts::default();
    let _here = set_default_local_recorder(&counts);
    let rules = Rules {
        retries: 1,
        after_retries: Fallback::Mark,
        ..rules(Action::Retry)
    };
    let (world, asked) = world(rules, usize::MAX);
    let chain = run(world, 9).await;
    let captions = chain.captions();
    assert_eq!(captions.len(), 9);
    for (number, tries) in tries(&asked) {
        let bad = number % 3 == 0;
        assert_eq!(tries, if bad { 2 } else { 1 }, "{number}");
        let record = &captions[&(number as i64)];
        assert_eq!(record.marks.is_empty(), !bad);
        assert_eq!(record.caption.text.contains(BAD), bad);
    }
    let expected = counted(&[("marked mark", 3), ("marked retry", 3)]);
    assert_eq!(counts.of_rules(), expected);
    chain.finish().await;
}

#[tokio::test]
async fn by_default_a_repetition_is_marked_and_an_empty_caption_goes_through() {
    let world = World {
        generate: Arc::new(|(number, prompt)| match (number, &*prompt.text) {
            (0, "caption") => Generating::Repeats(String::from("a ring and"), 4),
            (1, "caption") => Generating::Text(String::new(), 2),
            _ => World::generated(number, &prompt),
        }),
        ..World::default()
    };
    let chain = run(world, 3).await;
    let captions = chain.captions();
    let marks: Vec<_> = captions
        .values()
        .map(|record| record.marks.clone())
        .collect();
    assert_eq!(marks, [vec!["repetition".to_owned()], vec![], vec![]]);
    assert_eq!(captions[&1].caption.text, "");
    chain.finish().await;
}

#[tokio::test]
async fn rejected_captions_never_count_as_failures_of_the_model() {
    let checks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&checks);
    for action in [Action::Reject, Action::Retry] {
        let mut world = World {
            generate: Arc::new(|(_, _)| Generating::Text(format!("a {BAD}"), 1)),
            ..World::default()
        };
        let count = Arc::clone(&count);
        world.check = Arc::new(move |()| {
            count.fetch_add(1, Ordering::Relaxed);
            Err(ModelError::Broken(String::from("must not be asked")))
        });
        world.config.tolerance.model_failed_run = 5;
        world.config.rules = rules(action);
        let chain = run(world, 250).await;
        assert_eq!(chain.dead().len(), 250);
        chain.finish().await;
    }
    assert_eq!(checks.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn further_tries_are_work_of_the_record_and_end_with_its_time() {
    // Each try takes longer than a third of the record's time, so the last of a hundred never comes.
    let mut world = World {
        generate: Arc::new(|(number, prompt)| {
            if number > 0 {
                return World::generated(number, &prompt);
            }
            std::thread::sleep(Duration::from_millis(30));
            Generating::Text(format!("a {BAD}"), 1)
        }),
        ..World::default()
    };
    world.config.limits.record = Duration::from_millis(200);
    world.config.rules = Rules {
        retries: 1_000,
        ..rules(Action::Retry)
    };
    let chain = run(world, 1).await;
    assert_eq!(chain.reasons(), [(0, String::from("stuck"))]);
    let tries = chain.admitted.count();
    assert!((2..20).contains(&tries), "{tries}");
    chain.finish().await;
}

#[tokio::test]
async fn the_time_of_all_tries_stands_in_the_record() {
    let mut world = World {
        generate: Arc::new(|(number, prompt)| match &*prompt.text {
            "a" | "b" => {
                std::thread::sleep(Duration::from_millis(25));
                Generating::Text(format!("a {BAD}"), 1)
            }
            _ => World::generated(number, &prompt),
        }),
        ..World::default()
    };
    world.config.caption.prompts = ["a", "b", "c"].map(Arc::from).to_vec();
    world.config.rules = rules(Action::Retry);
    let chain = run(world, 30).await;
    let captions = chain.captions();
    assert_eq!(captions.len(), 30);
    // Those that began with `a` were asked three times, those with `b` twice.
    let caption = |record: &crate::annotation::EnrichedCaption| record.timings_ms["caption"];
    let longest = captions.values().map(caption).fold(0.0, f64::max);
    assert!(longest >= 50.0, "{longest}");
    for record in captions.values() {
        let sum = |times: &BTreeMap<String, f64>| -> f64 {
            (times.iter().filter(|(stage, _)| *stage != "total"))
                .map(|(_, time)| time)
                .sum()
        };
        let (work, queue) = (sum(&record.timings_ms), sum(&record.queue_ms));
        assert!(work + queue <= record.timings_ms["total"] + 0.1);
    }
    chain.finish().await;
}

#[tokio::test]
async fn a_replay_is_asked_for_in_the_same_way() {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for asked_for in [&mut first, &mut second] {
        let (world, asked) = world(rules(Action::Retry), 2);
        let chain = run(world, 12).await;
        {
            let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked_for.extend(asked.values().cloned());
        }
        chain.finish().await;
    }
    assert_eq!(first, second);
}

#[tokio::test]
async fn the_fingerprint_changes_where_a_rule_may_ask_again_and_only_there() {
    let mut fingerprints = Vec::new();
    let off = Rules {
        list: Vec::new(),
        ..Rules::default()
    };
    let mark = rules(Action::Mark);
    let again = rules(Action::Retry);
    let more = Rules {
        retries: 3,
        ..rules(Action::Retry)
    };
    for rules in [off, mark, again, more] {
        let mut world = World::default();
        world.config.rules = rules;
        let chain = run(world, 1).await;
        let written = chain.publisher.written();
        fingerprints.push(header(&written[0], "vila2-dedup"));
        chain.finish().await;
    }
    assert_eq!(fingerprints[0], fingerprints[1], "marking changes no text");
    assert_ne!(fingerprints[0], fingerprints[2]);
    assert_ne!(fingerprints[2], fingerprints[3]);
}
