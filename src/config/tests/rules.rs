use vila2_actors::rules::{Action, Fallback};

use super::*;

#[test]
fn by_default_a_repetition_marks_and_every_other_rule_is_off() {
    let rules = load(&Sources::default()).rules;
    assert_eq!(rules.repetition, Some(Action::Mark));
    let others = [
        rules.empty,
        rules.too_short,
        rules.too_long,
        rules.refusal,
        rules.prompt_leak,
    ];
    assert_eq!(others, [None; 5]);
    assert_eq!(rules.phrases, []);
    assert_eq!((rules.retries, rules.after_retries), (2, Fallback::Mark));
    for opening in ["I'm sorry", "I cannot", "As an AI"] {
        assert!(
            rules.openings.iter().any(|known| known == opening),
            "{opening}"
        );
    }
}

#[test]
fn rules_can_be_set_in_every_layer() {
    let (_folder, path) = file(
        "[rules]\nempty = 'reject'\nmin_words = 4\nmore_refusal_openings = ['Nope']\n\
         [rules.phrases.watermark]\nregex = '(?i)stock\\s+photo'\naction = 'reject'\n\
         [rules.phrases.brand-2]\nliteral = 'ACME'\naction = 'off'",
    );
    let rules = load(&sources(
        Some(path),
        &[
            ("VILA2_RULES__TOO_SHORT", "retry"),
            ("VILA2_RULES__PHRASES__WATERMARK__ACTION", "mark"),
        ],
        &[
            "rules.refusal=mark",
            "rules.repetition=off",
            "rules.after_retries=reject",
            "rules.phrases.year.literal=2024",
            "rules.phrases.year.action=retry",
        ],
    ))
    .rules;
    assert_eq!(rules.empty, Some(Action::Reject));
    assert_eq!(rules.too_short, Some(Action::Retry));
    assert_eq!(rules.min_words, 4);
    assert_eq!(rules.refusal, Some(Action::Mark));
    assert_eq!(rules.repetition, None);
    assert_eq!(rules.after_retries, Fallback::Reject);
    assert!(rules.openings.contains(&"Nope".to_owned()));
    assert!(
        rules.openings.contains(&"I cannot".to_owned()),
        "beside the table"
    );
    let phrase = |name: &str, wording, action| Phrase {
        name: name.to_owned(),
        wording,
        action,
    };
    let expected = [
        phrase("brand-2", Wording::Literal("ACME".to_owned()), None),
        phrase(
            "watermark",
            Wording::Regex(r"(?i)stock\s+photo".to_owned()),
            Some(Action::Mark),
        ),
        phrase(
            "year",
            Wording::Literal("2024".to_owned()),
            Some(Action::Retry),
        ),
    ];
    let mut phrases = rules.phrases;
    phrases.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(phrases, expected);
}

#[test]
fn every_fault_of_the_rules_is_told_with_its_origin() {
    let (_folder, path) = file(
        "[rules]\nempty = 'delete'\ntoo_short = 'mark'\ntoo_long = 'mark'\nmin_words = 9\n\
         refusal = 'mark'\nrefusal_openings = []\nchat_markers = ['<|', ' ']\nretries = 11\n\
         [rules.phrases.refusal]\nliteral = 'a'\naction = 'mark'\n\
         [rules.phrases.'Two Words']\nliteral = 'a'\naction = 'mark'\n\
         [rules.phrases.both]\nliteral = 'a'\nregex = 'b'\naction = 'mark'\n\
         [rules.phrases.neither]\naction = 'mark'\n\
         [rules.phrases.all]\nregex = 'a*'\naction = 'mark'\n\
         [rules.phrases.nothing]\nliteral = ' '\naction = 'mark'\n\
         [rules.phrases.silent]\nliteral = 'a'\ncolour = 'red'",
    );
    let found = faults(&sources(
        Some(path.clone()),
        &[("VILA2_RULES__PHRASES__OPEN__REGEX", "'(a'")],
        &[
            "rules.max_words=5",
            "rules.after_retries=retry",
            "rules.phrases.open.action=mark",
        ],
    ));
    let find = |key: &str| {
        let mut of_key = found.iter().filter(|fault| fault.key == key);
        let fault = of_key.next();
        fault.unwrap_or_else(|| panic!("no fault of {key} in {found:#?}"))
    };
    let file = Origin::File(path);
    let empty = find("rules.empty");
    assert_eq!(empty.problem, "\"delete\" is not known");
    assert_eq!(empty.accepted, "\"off\", \"reject\", \"retry\", \"mark\"");
    assert_eq!(empty.origin, file);
    let most = find("rules.max_words");
    let words = "5 is below rules.min_words = 9, so every caption would trip a rule";
    assert_eq!(most.problem, words);
    assert_eq!(most.origin, Origin::Flag("rules.max_words".to_owned()));
    assert_eq!(find("rules.after_retries").accepted, "\"mark\", \"reject\"");
    let open = find("rules.phrases.open.regex");
    assert_eq!(
        open.problem,
        "\"(a\" is no regular expression: unclosed group"
    );
    let origin = Origin::Env("VILA2_RULES__PHRASES__OPEN__REGEX".to_owned());
    assert_eq!(open.origin, origin);
    for (key, problem) in [
        ("rules.refusal_openings", "is empty, but"),
        ("rules.chat_markers", "is empty"),
        ("rules.retries", "11 is out of bounds"),
        ("rules.phrases.refusal", "built in"),
        ("rules.phrases.Two Words", "is no name"),
        ("rules.phrases.both", "has both"),
        ("rules.phrases.neither", "has neither"),
        ("rules.phrases.all.regex", "matches every caption"),
        ("rules.phrases.nothing.literal", "is empty"),
        ("rules.phrases.silent.action", "is missing"),
        ("rules.phrases.silent.colour", "is not a key"),
    ] {
        let fault = find(key);
        assert!(fault.problem.contains(problem), "{fault}");
        assert_eq!(fault.origin, file, "{fault}");
    }
    assert_eq!(found.len(), 15, "{found:#?}");
}

#[test]
fn bounds_that_cross_are_a_fault_only_where_both_are_looked_at() {
    let crossed = [
        "rules.min_words=9",
        "rules.max_words=5",
        "rules.too_short=mark",
    ];
    load(&sources(None, &[], &crossed));
    let both = [&crossed[..], &["rules.too_long=mark"]].concat();
    assert_eq!(faults(&sources(None, &[], &both)).len(), 1);
    let equal = [
        "rules.min_words=5",
        "rules.max_words=5",
        "rules.too_short=mark",
    ];
    load(&sources(
        None,
        &[],
        &[&equal[..], &["rules.too_long=mark"]].concat(),
    ));
    // One wrong value gives one fault.
    let wrong = [
        "rules.max_words=0",
        "rules.too_short=mark",
        "rules.too_long=mark",
    ];
    assert_eq!(faults(&sources(None, &[], &wrong)).len(), 1);
}

#[test]
fn an_opening_without_a_word_is_a_fault() {
    let found = faults(&sources(
        None,
        &[],
        &["rules.more_refusal_openings=['...']"],
    ));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].key, "rules.more_refusal_openings");
    assert_eq!(found[0].problem, "\"...\" has no word");
}

#[test]
fn rules_are_shown_with_where_they_came_from() {
    let (_, layers) = Config::load(&sources(
        None,
        &[],
        &[
            "rules.empty=reject",
            "rules.phrases.mine.literal=x",
            "rules.phrases.mine.action=mark",
        ],
    ))
    .expect("a good configuration");
    let shown = shown(&layers);
    let find = |key: &str| shown.iter().find(|one| one.key == key).expect("shown");
    assert_eq!(find("rules.empty").value.as_str(), Some("reject"));
    let origin = Origin::Flag("rules.empty".to_owned());
    assert_eq!(find("rules.empty").origin, origin);
    assert_eq!(find("rules.repetition").origin, Origin::Default);
    assert_eq!(find("rules.phrases.mine.literal").value.as_str(), Some("x"));
    assert!(
        find("rules.refusal_openings")
            .value
            .as_array()
            .is_some_and(|list| list.len() > 20)
    );
}
