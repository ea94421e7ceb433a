use serde_json::json;

use super::{
    forecast::Forecast,
    pairs::{self, Comparison, Paired},
    shares::Shares,
    simulated::{Random, World, numbered},
    *,
};

/// Forecasts of `runs` seeded samples against a run of everything: how many intervals of the time
/// hold it, the widest of them (its farther end, relative), and how far off they are on average.
fn held(world: World, sample: usize, inputs: usize, runs: u64) -> (usize, f64, f64) {
    let (mut held, mut widest, mut off) = (0, 0.0_f64, 0.0);
    for seed in 0..runs {
        let mut random = Random::new(seed);
        let pictures = numbered(&world.pictures(inputs, &mut random));
        let chosen: Vec<_> = random
            .sample(inputs, sample)
            .into_iter()
            .map(|at| (at as u64, pictures[&(at as u64)]))
            .collect();
        let all: Vec<_> = pictures.into_iter().collect();
        let (phase, other) = (seed as f64, seed as f64 * 1.7);
        let forecast = Forecast::of(&world.run(&chosen, inputs, phase), None, seed);
        let right = world.run(&all, inputs, other).seconds / 3600.0;
        let hours = forecast.hours.expect("a forecast");
        assert!(forecast.is_steady, "{world:?}");
        held += usize::from(hours.holds(right));
        let wide = (hours.high / hours.value - 1.0).max(1.0 - hours.low / hours.value);
        widest = widest.max(wide);
        off += (hours.value / right - 1.0) / runs as f64;
    }
    (held, widest, off)
}

const PLAIN: World = World {
    places: 8,
    spread: 0.5,
    bad: 0.05,
    before: 0.05,
    drift: 0.0,
    sorted: false,
};

#[test]
fn the_time_of_the_whole_is_in_the_interval_and_the_interval_is_narrow() {
    let worlds = [
        ("a model of eight places", PLAIN),
        ("one picture at a time", World { places: 1, ..PLAIN }),
        (
            "even work",
            World {
                spread: 0.1,
                bad: 0.0,
                ..PLAIN
            },
        ),
        (
            "very uneven work",
            World {
                spread: 0.9,
                ..PLAIN
            },
        ),
        ("many dead letters", World { bad: 0.3, ..PLAIN }),
        (
            "sorted by work",
            World {
                sorted: true,
                ..PLAIN
            },
        ),
        (
            "a machine that breathes",
            World {
                drift: 0.15,
                ..PLAIN
            },
        ),
    ];
    for (name, world) in worlds {
        let (held, widest, off) = held(world, 100, 2000, 40);
        assert!(held >= 36, "{name}: {held} of 40");
        // A hundred pictures that differ by 90 % are a small sample, whatever the machine does.
        let most = if world.spread > 0.8 { 0.28 } else { 0.25 };
        assert!(widest <= most, "{name}: ± {widest:.3}");
        assert!(off.abs() <= 0.05, "{name}: off by {off:+.3}");
    }
}

#[test]
fn a_bottleneck_before_the_model_is_found() {
    let world = World {
        before: 0.6,
        ..PLAIN
    };
    let (held, widest, off) = held(world, 100, 2000, 40);
    assert!(
        held >= 36 && widest <= 0.25 && off.abs() <= 0.05,
        "{held} {widest} {off}"
    );
}

#[test]
fn a_sample_of_everything_is_no_forecast_but_a_report() {
    let mut random = Random::new(3);
    let pictures: Vec<_> = numbered(&PLAIN.pictures(200, &mut random))
        .into_iter()
        .collect();
    let sampled = PLAIN.run(&pictures, 200, 0.0);
    let forecast = Forecast::of(&sampled, Some(2.0), 0);
    let hours = sampled.seconds / 3600.0;
    assert_eq!(forecast.hours, Some(crate::stats::Estimate::exact(hours)));
    assert_eq!(forecast.price.expect("a price").value, hours * 2.0);
    let fetched: u64 = sampled.fetched.values().sum();
    assert_eq!(forecast.bytes_fetched.high, fetched as f64);
    assert_eq!(forecast.captions.low, sampled.captions.len() as f64);
    assert_eq!(forecast.dead.value + forecast.captions.value, 200.0);
}

#[test]
fn counts_and_bytes_of_the_whole_are_in_their_intervals() {
    let world = World { bad: 0.1, ..PLAIN };
    let (mut dead_held, mut bytes_held) = (0, 0);
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let pictures = numbered(&world.pictures(2000, &mut random));
        let chosen: Vec<_> = random
            .sample(2000, 100)
            .into_iter()
            .map(|at| (at as u64, pictures[&(at as u64)]))
            .collect();
        let forecast = Forecast::of(&world.run(&chosen, 2000, 0.0), None, seed);
        let all: Vec<_> = pictures.into_iter().collect();
        let whole = world.run(&all, 2000, 0.0);
        dead_held += usize::from(forecast.dead.holds(whole.dead.len() as f64));
        let fetched: u64 = whole.fetched.values().sum();
        bytes_held += usize::from(forecast.bytes_fetched.holds(fetched as f64));
    }
    assert!(dead_held >= 36, "{dead_held} of 40");
    assert!(bytes_held >= 36, "{bytes_held} of 40");
}

#[test]
fn a_sample_that_never_fills_the_chain_gives_an_upper_end_and_says_so() {
    // As many places as pictures: all are done at once, and a long run is faster than it looks.
    let world = World {
        places: 100,
        before: 0.0,
        ..PLAIN
    };
    let mut random = Random::new(1);
    let pictures = numbered(&world.pictures(2000, &mut random));
    let chosen: Vec<_> = pictures
        .iter()
        .take(20)
        .map(|(at, one)| (*at, *one))
        .collect();
    let forecast = Forecast::of(&world.run(&chosen, 2000, 0.0), None, 1);
    assert!(
        !forecast.is_steady || forecast.measured >= 0.3,
        "{forecast:?}"
    );
    let all: Vec<_> = pictures.into_iter().collect();
    let right = world.run(&all, 2000, 0.0).seconds / 3600.0;
    let hours = forecast.hours.expect("a forecast");
    assert!(hours.high >= right, "{hours:?} {right}");
}

#[test]
fn nothing_captioned_is_no_time() {
    let sampled = Sampled {
        inputs: 10,
        asked: 2,
        ..Sampled::default()
    };
    let forecast = Forecast::of(&sampled, Some(1.0), 0);
    assert_eq!((forecast.hours, forecast.price), (None, None));
    assert_eq!(forecast.captions.value, 0.0);
}

#[test]
fn a_row_weighs_what_the_second_half_of_them_adds() {
    let written = Written::of((25, 57_500), (50, 70_000), (100, 90_000));
    assert_eq!((written.frame, written.row), (50_000.0, 400.0));
    // The quarter before added 500 a row: four fifths, and once more four fifths.
    assert_eq!((written.least, written.most), (320.0, 500.0));
    let one = Written::of((0, 10_000), (0, 10_000), (1, 12_000));
    assert_eq!((one.frame, one.row), (0.0, 12_000.0));
    let none = (0, 10_000);
    assert_eq!(Written::of(none, none, none), Written::default());
}

fn record(text: &str, finish: &str, verdicts: &[&str]) -> Record {
    let clauses: Vec<_> = (verdicts.iter())
        .map(|verdict| json!({"text": "x", "verdict": verdict, "evidence": []}))
        .collect();
    let record = json!({
        "id": "a", "url": "u", "caption": {"text": text, "tokens": 3, "finish": finish},
        "clauses": clauses, "enriched": text, "disputed": [{"id": "d0"}],
        "timings_ms": {"merge": 1.0, "caption": 5.0, "mine": 2.0, "fetch": 1.0, "total": 12.0},
        "queue_ms": {"caption": 3.0}, "models": {"caption": {"model": "m", "revision": "r"}},
        "somebody's own": {"later": true},
    });
    Record::read(record.to_string().as_bytes()).expect("a record")
}

#[test]
fn records_are_read_with_their_steps_in_the_order_of_the_chain() {
    let record = record("a b c", "stop", &["unverified", "grounded"]);
    let steps: Vec<_> = record
        .steps
        .iter()
        .map(|step| step.stage.as_str())
        .collect();
    assert_eq!(steps, ["fetch", "caption", "mine", "merge"]);
    assert_eq!(record.steps[1].resource(), "m");
    assert_eq!(
        (record.words(), record.supported(), record.disputed),
        (3, 1, Some(1))
    );
}

#[test]
fn refusals_are_told_by_how_they_begin() {
    for text in [
        "I'm sorry, but I can't help with that.",
        "I’m sorry",
        "  \"Sorry, no.\"",
        "I cannot describe this picture.",
        "As an AI, I do not see.",
        "I AM UNABLE TO",
    ] {
        assert!(is_refusal(text), "{text}");
    }
    for text in [
        "A sorry sight.",
        "I cannoted",
        "Sorrys",
        "",
        "A sign that reads “I'm sorry”.",
    ] {
        assert!(!is_refusal(text), "{text}");
    }
}

#[test]
fn shares_count_what_they_say() {
    let mut sampled = Sampled {
        inputs: 10,
        asked: 5,
        ..Sampled::default()
    };
    let records = [
        record("a", "stop", &["unverified", "unverified"]),
        record("b", "length", &["grounded", "unverified"]),
        record("I'm sorry.", "repeat", &["read"]),
        record("c", "stop", &["unverified"]),
    ];
    sampled.captions = (0..).zip(records).collect();
    let letter = DeadLetter {
        reason: "fetch_status".to_owned(),
        ..DeadLetter::default()
    };
    sampled.dead.insert(4, letter);
    let shares = Shares::of(&sampled, 0);
    let hits = |counted: shares::Counted| (counted.hits, counted.of);
    assert_eq!(hits(shares.truncated), (1, 4));
    assert_eq!(hits(shares.repeated), (1, 4));
    assert_eq!(hits(shares.refused), (1, 4));
    assert_eq!(hits(shares.unverified), (2, 4));
    assert_eq!(shares.unverified_clauses.value, 4.0 / 6.0);
    assert_eq!(hits(shares.dead), (1, 5));
    assert_eq!(hits(shares.dead_by_reason["fetch_status"]), (1, 5));
}

#[test]
fn differences_are_of_the_pictures_that_both_captioned() {
    let of = |texts: &[(u64, &str)]| Sampled {
        inputs: 9,
        asked: 9,
        captions: (texts.iter())
            .map(|(at, text)| (*at, record(text, "stop", &["grounded"])))
            .collect(),
        ..Sampled::default()
    };
    let a = of(&[
        (0, "one two"),
        (1, "one two"),
        (2, "one two three four five"),
    ]);
    let b = of(&[(0, "one two three"), (1, "one two three"), (7, "one")]);
    let comparison = Comparison::of(&a, &b, 5);
    let words = comparison.words.expect("words");
    assert_eq!(
        (comparison.both, comparison.only_a, comparison.only_b),
        (2, 1, 1)
    );
    assert_eq!((words.a, words.b), (2.0, 3.0));
    assert_eq!(words.difference, crate::stats::Estimate::exact(1.0));
    assert_eq!(comparison.grounded.expect("clauses").difference.value, 0.0);
    assert!(comparison.contradictions.is_some());
}

#[test]
fn a_limit_that_cuts_captions_short_shows_in_a_comparison() {
    let of = |records: [Record; 4]| Sampled {
        inputs: 4,
        asked: 4,
        captions: (0..).zip(records).collect(),
        ..Sampled::default()
    };
    let whole = || record("one two", "stop", &["grounded"]);
    let a = of([whole(), whole(), whole(), whole()]);
    let b = of([
        record("one", "length", &["unverified"]),
        record("one", "length", &["grounded"]),
        record("one one one", "repeat", &["unverified"]),
        record("I'm sorry.", "stop", &["unverified"]),
    ]);
    let comparison = Comparison::of(&a, &b, 5);
    let shares = |figure: &Option<Paired>| figure.as_ref().map(|paired| (paired.a, paired.b));
    assert_eq!(shares(&comparison.truncated), Some((0.0, 0.5)));
    assert_eq!(shares(&comparison.repeated), Some((0.0, 0.25)));
    assert_eq!(shares(&comparison.refusals), Some((0.0, 0.25)));
    assert_eq!(shares(&comparison.unverified), Some((0.0, 0.75)));
}

#[test]
fn sides_are_turned_for_about_half_of_the_pictures() {
    for seed in 0..5 {
        let turned = (0..400)
            .filter(|ordinal| pairs::is_turned(seed, *ordinal))
            .count();
        assert!(
            (160..=240).contains(&turned),
            "seed {seed}: {turned} of 400"
        );
    }
    let sides = |seed| {
        (0..64)
            .map(|at| pairs::is_turned(seed, at))
            .collect::<Vec<_>>()
    };
    assert_eq!(sides(1), sides(1));
    assert_ne!(sides(1), sides(2));
}

#[test]
fn votes_are_counted_and_others_refused() {
    let line = |pair: &str, ordinal: u64, winner: &str| {
        json!({"schema": votes::SCHEMA, "pair": pair, "ordinal": ordinal, "id": "x",
            "winner": winner})
        .to_string()
    };
    let text = [("a", 1), ("b", 2), ("b", 3), ("tie", 4), ("b", 1)]
        .map(|(winner, at)| line("p", at, winner))
        .join("\n");
    let tally = votes::tally(votes::read("votes.jsonl", &text, "p", "q").expect("votes"));
    assert_eq!((tally.a, tally.b, tally.ties), (0, 3, 1));
    assert!((tally.sign_test - 0.25).abs() < 1e-12);
    for (text, parts) in [
        (
            line("other", 1, "a"),
            ["line 1", "another pair of configurations", "give the"],
        ),
        (
            line("q", 1, "a"),
            ["line 1", "the other way round", "in the order"],
        ),
        (
            format!("{}\nno", line("p", 1, "a")),
            ["line 2", "not a vote", "as it is"],
        ),
        (line("p", 1, "c"), ["line 1", "not a vote", "as it is"]),
        (String::new(), ["votes.jsonl", "no votes", "save them"]),
    ] {
        let error = votes::read("votes.jsonl", &text, "p", "q").expect_err("refused");
        for part in parts {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}

#[test]
fn a_pair_has_one_name_in_one_order() {
    let of = |text: &str| BTreeMap::from([("stages.caption.prompts".to_owned(), text.to_owned())]);
    let (a, b) = (of("a"), of("b"));
    assert_eq!(votes::pair(&a, &b), votes::pair(&a, &b));
    assert_ne!(votes::pair(&a, &b), votes::pair(&b, &a));
    assert_eq!(votes::pair(&a, &b).len(), 16);
}
