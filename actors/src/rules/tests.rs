use super::*;

fn rule(name: &str, test: Test, action: Action) -> Rule {
    Rule {
        name: Arc::from(name),
        test,
        action,
    }
}

/// What one rule that rejects says of a text, asked for with a prompt.
fn asked(test: Test, prompt: &str, text: &str) -> Option<String> {
    let rules = Rules {
        list: vec![rule("it", test, Action::Reject)],
        ..Rules::default()
    };
    let ruling = rules.judge(Judged {
        text,
        finish: Finish::Stop,
        prompt,
        tries: 1,
    });
    match ruling {
        Ruling::Reject(tripped) => Some(tripped.to_string()),
        Ruling::Pass(marks) if marks.is_empty() => None,
        other => panic!("{other:?}"),
    }
}

fn says(test: Test, text: &str) -> Option<String> {
    asked(test, "Describe this image in detail.", text)
}

#[test]
fn a_caption_without_a_word_is_empty_in_every_script() {
    for text in ["", " \n\t", "...", "。、！", "«—»", "🐱"] {
        assert!(says(Test::Empty, text).is_some(), "{text:?}");
    }
    for text in ["a", "7", "猫", "Кот.", "قطة", "แมว", "고양이"] {
        assert_eq!(says(Test::Empty, text), None, "{text:?}");
    }
    let said = says(Test::Empty, " ... ");
    assert_eq!(said.as_deref(), Some("it: no word in \" ... \""));
}

#[test]
fn words_are_counted_by_the_rules_of_unicode() {
    for (text, count) in [
        ("", 0),
        ("A red circle.", 3),
        ("It can't, it can’t, it canʼt and it can´t.", 9),
        ("a close-up of 3.5 apples", 6),
        ("Рыжий кот спит.", 3),
        ("قطة حمراء", 2),
        ("고양이가 잔다", 2),
        ("一只红猫", 4),
        ("猫がいる", 4),
        ("Ein Café — très chic", 4),
    ] {
        assert_eq!(count_words(text), count, "{text:?}");
    }
}

#[test]
fn a_caption_may_have_as_many_words_as_the_bounds_say() {
    assert_eq!(says(Test::TooShort(3), "A red circle."), None);
    assert_eq!(
        says(Test::TooShort(3), "A circle.").as_deref(),
        Some("it: 2 words, fewer than 3: \"A circle.\"")
    );
    assert_eq!(
        says(Test::TooShort(2), "猫").as_deref(),
        Some("it: 1 word, fewer than 2: \"猫\"")
    );
    assert_eq!(says(Test::TooLong(3), "A red circle."), None);
    assert_eq!(
        says(Test::TooLong(3), "A red circle on gray.").as_deref(),
        Some("it: 5 words, more than 3; the first too many is \"on\" in \"A red circle on gray.\"")
    );
    assert!(says(Test::TooLong(3), "一只红猫").is_some());
}

#[test]
fn a_refusal_is_known_by_its_opening_whatever_its_case_and_apostrophe() {
    let openings = [
        "I'm sorry",
        "I cannot",
        "As an AI",
        "Es tut mir leid",
        "Извините",
        "抱歉",
    ];
    let test = || Test::Refusal(openings.into_iter().collect());
    for text in [
        "I'm sorry, but I can't help with that.",
        "I’m sorry.",
        "iʼM SORRY",
        "I´m sorry",
        "  \"I’m  sorry,\" it says",
        "**I'm sorry**",
        "I cannot describe this.",
        "AS AN AI language model, I do not see.",
        "As an AI-based model",
        "ES TUT MIR LEID, das geht nicht.",
        "ИЗВИНИТЕ, я не могу.",
        "抱歉，我无法描述。",
    ] {
        assert!(says(test(), text).is_some(), "{text:?}");
    }
    for text in [
        "A sign reads \"I'm sorry\".",
        "As an aid to memory, a knot.",
        "As an air balloon rises, people wave.",
        "I cannotx",
        "Im sorry",
        "A card with 抱歉 on it",
        "I'm",
        "",
    ] {
        assert_eq!(says(test(), text), None, "{text:?}");
    }
    assert_eq!(
        says(test(), "I’m sorry, but no.").as_deref(),
        Some("it: \"I’m sorry\" in \"I’m sorry, but no.\"")
    );
}

#[test]
fn of_two_openings_the_longer_is_shown() {
    let openings = ["As an AI", "as an ai language model", "..."];
    let said = says(
        Test::Refusal(openings.into_iter().collect()),
        "As an AI language model, no.",
    );
    let shown = "it: \"As an AI language model\" in \"As an AI language model, no.\"";
    assert_eq!(said.as_deref(), Some(shown));
}

#[test]
fn a_prompt_that_comes_back_is_a_leak_as_a_whole_or_in_a_long_run() {
    let test = || Test::PromptLeak(Vec::new());
    let short = "Describe this image.";
    let said = asked(test(), short, "Sure! DESCRIBE  THIS\nIMAGE: a cat.");
    assert!(said.is_some_and(|said| said.contains("\"DESCRIBE  THIS\\nIMAGE\"")));
    assert_eq!(
        asked(test(), short, "I describe this. The image: a cat."),
        None
    );

    let long = "You see a picture. Elaborate on the visual elements of this image in detail.";
    for (text, leaks) in [
        (
            "Elaborate on the visual elements of this image in detail",
            true,
        ),
        ("… on the visual elements of this image in x", true),
        ("the visual elements of this image in", false),
        ("The visual elements of this image are red.", false),
        ("A cat on a mat.", false),
    ] {
        assert_eq!(asked(test(), long, text).is_some(), leaks, "{text:?}");
    }
    // Any caption may hold two words of it.
    assert_eq!(asked(test(), "A cat", "A cat on a mat."), None);
    assert_eq!(asked(test(), "", "A cat on a mat."), None);
    let chinese = "请详细描述这张图片。";
    assert!(asked(test(), chinese, "好的。请详细描述这张图片：一只猫").is_some());
    assert_eq!(asked(test(), chinese, "这张图片里有一只猫"), None);
    assert!(
        asked(
            test(),
            "What’s in this picture?",
            "what's in this picture? A cat"
        )
        .is_some()
    );
}

#[test]
fn a_chat_marker_is_a_leak_and_a_role_only_where_a_line_begins() {
    let markers = ["<|", "[INST]", "User:", "### Response"];
    let test = || {
        let markers = markers.into_iter().map(Pattern::marker);
        Test::PromptLeak(markers.collect::<Result<_, _>>().expect("markers"))
    };
    for text in [
        "A cat.<|im_end|>",
        "[inst] A cat",
        "User: what is it?",
        "A cat.\n  USER: and now?",
        "A cat. ### Response: a cat",
    ] {
        assert!(says(test(), text).is_some(), "{text:?}");
    }
    for text in [
        "A screen reads \"User: anna\".",
        "Users: three people at a table.",
        "2 < 3 | 4",
    ] {
        assert_eq!(says(test(), text), None, "{text:?}");
    }
    assert_eq!(
        says(test(), "A cat.\n  User: so?").as_deref(),
        Some("it: \"User:\" in \"A cat.\\n  User: so?\"")
    );
}

#[test]
fn a_literal_is_found_anywhere_and_its_characters_mean_themselves() {
    let test = |text| Test::Phrase(Pattern::literal(text).expect("a literal"));
    assert_eq!(
        says(test("stock photo"), "A Stock  Photo of a cat.").as_deref(),
        Some("it: \"Stock  Photo\" in \"A Stock  Photo of a cat.\"")
    );
    assert!(says(test("it's"), "It’s a cat").is_some());
    assert!(says(test("ФОТО"), "стоковое фото").is_some());
    assert!(says(test("猫"), "一只红猫").is_some());
    assert!(
        says(test("cat"), "a category").is_some(),
        "also inside of words"
    );
    assert_eq!(says(test("a.c"), "abc"), None);
    assert!(says(test("(c)"), "(C) 2024").is_some());
    assert!(Pattern::literal(" \n").is_err());
}

#[test]
fn a_regular_expression_is_found_as_it_is_written() {
    let test = |text| Test::Phrase(Pattern::regex(text).expect("an expression"));
    assert_eq!(
        says(test(r"\bcat\b"), "a cat.").as_deref(),
        Some("it: \"cat\" in \"a cat.\"")
    );
    assert_eq!(says(test(r"\bcat\b"), "a category, a Cat"), None);
    assert!(says(test("(?i)cat"), "a CAT").is_some());
    assert!(says(test(r"\p{Han}"), "一").is_some());
    // An empty text may be looked for, as long as not every caption is one.
    assert!(says(test(r"^\s*$"), "").is_some());
    for (text, words) in [
        ("(", "unclosed group"),
        ("a{1000}{1000}{1000}", "larger than"),
        ("a*", "matches every caption"),
        ("", "matches every caption"),
    ] {
        let error = Pattern::regex(text).expect_err(text);
        assert!(error.contains(words), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn what_is_shown_of_a_long_caption_is_what_stands_around_the_words() {
    let text = format!("{} a fake thing {}", "é".repeat(300), "ü".repeat(300));
    let fake = Test::Phrase(Pattern::literal("fake").expect("a literal"));
    let said = says(fake, &text).expect("tripped");
    let around = format!("…{} a fake thing {}…", "é".repeat(37), "ü".repeat(33));
    assert_eq!(said, format!("it: \"fake\" in {around:?}"));
    let all = Test::Phrase(Pattern::regex("(?s)é.*").expect("an expression"));
    let said = says(all, &text).expect("tripped");
    assert!(said.chars().count() < 300, "{said}");
}

fn judged(rules: &Rules, text: &str, finish: Finish, tries: u32) -> Ruling {
    rules.judge(Judged {
        text,
        finish,
        prompt: "",
        tries,
    })
}

#[test]
fn by_default_a_repetition_marks_and_nothing_else_is_looked_for() {
    let rules = Rules::default();
    let marked = judged(&rules, "a ring, a ring", Finish::Repeat, 1);
    assert_eq!(marked, Ruling::Pass(vec![Arc::from("repetition")]));
    for text in ["", "I'm sorry", "<|im_end|>"] {
        for finish in [Finish::Stop, Finish::Length] {
            assert_eq!(judged(&rules, text, finish, 1), Ruling::Pass(vec![]));
        }
    }
    assert_eq!(rules.identity(), None);
}

#[test]
fn a_repetition_shows_the_end_of_the_text_where_it_was_cut() {
    let mut rules = Rules::default();
    rules.list[0].action = Action::Reject;
    let text = format!("{} a ring", "x".repeat(100));
    let Ruling::Reject(tripped) = judged(&rules, &text, Finish::Repeat, 1) else {
        panic!("let through");
    };
    let end = format!("\"…{} a ring\"", "x".repeat(33));
    let said = format!("repetition: cut where it began to repeat itself: {end}");
    assert_eq!(tripped.to_string(), said);
}

#[test]
fn rejecting_comes_before_asking_again_and_that_before_marking() {
    let short = |action| rule("too_short", Test::TooShort(9), action);
    let empty = |action| rule("empty", Test::Empty, action);
    let of = |list: Vec<Rule>| Rules {
        list,
        ..Rules::default()
    };
    let name = |ruling: &Ruling| match ruling {
        Ruling::Retry(tripped) | Ruling::Reject(tripped) => tripped.rule.to_string(),
        Ruling::Pass(marks) => marks.join(" "),
    };
    use Action::{Mark, Reject, Retry};
    let ruling = |list| judged(&of(list), "", Finish::Stop, 1);
    let both = ruling(vec![short(Mark), empty(Reject)]);
    assert!(matches!(both, Ruling::Reject(_)) && name(&both) == "empty");
    let both = ruling(vec![short(Retry), empty(Reject)]);
    assert!(matches!(both, Ruling::Reject(_)) && name(&both) == "empty");
    let both = ruling(vec![short(Mark), empty(Retry)]);
    assert!(matches!(both, Ruling::Retry(_)) && name(&both) == "empty");
    let both = ruling(vec![short(Retry), empty(Retry)]);
    assert!(matches!(both, Ruling::Retry(_)) && name(&both) == "too_short");
    assert_eq!(
        name(&ruling(vec![short(Mark), empty(Mark)])),
        "too_short empty"
    );
}

#[test]
fn after_the_last_try_comes_the_fallback() {
    for (after_retries, retries) in [(Fallback::Mark, 2), (Fallback::Reject, 1)] {
        let rules = Rules {
            list: vec![rule("empty", Test::Empty, Action::Retry)],
            retries,
            after_retries,
        };
        for tries in 1..=retries {
            let ruling = judged(&rules, "", Finish::Stop, tries);
            assert!(matches!(ruling, Ruling::Retry(_)), "{tries}: {ruling:?}");
        }
        let last = judged(&rules, "", Finish::Stop, retries + 1);
        match after_retries {
            Fallback::Mark => assert_eq!(last, Ruling::Pass(vec![Arc::from("empty")])),
            Fallback::Reject => assert!(matches!(last, Ruling::Reject(_)), "{last:?}"),
        }
        let good = judged(&rules, "a cat", Finish::Stop, retries + 1);
        assert_eq!(good, Ruling::Pass(vec![]));
    }
}

#[test]
fn the_identity_is_that_of_the_rules_that_ask_again() {
    let with = |test, action, retries| {
        Rules {
            list: vec![rule("it", test, action)],
            retries,
            after_retries: Fallback::Mark,
        }
        .identity()
    };
    let phrase = |text| Test::Phrase(Pattern::literal(text).expect("a literal"));
    let openings = |text: &str| Test::Refusal([text].into_iter().collect());
    let identities = [
        with(Test::TooShort(3), Action::Retry, 2),
        with(Test::TooShort(4), Action::Retry, 2),
        with(Test::TooShort(3), Action::Retry, 3),
        with(Test::Empty, Action::Retry, 2),
        with(phrase("a"), Action::Retry, 2),
        with(phrase("b"), Action::Retry, 2),
        with(openings("I cannot"), Action::Retry, 2),
        with(openings("I can not"), Action::Retry, 2),
        with(Test::Empty, Action::Mark, 2),
    ];
    for (nth, identity) in identities.iter().enumerate() {
        assert!(!identities[..nth].contains(identity), "{nth}: {identity:?}");
    }
    assert_eq!(identities.last(), Some(&None));
    assert_eq!(with(Test::Empty, Action::Reject, 2), None);
    let again = with(phrase("a"), Action::Retry, 2);
    assert_eq!(again, identities[4], "the same every time");
}
