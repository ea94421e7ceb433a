//! Every text, with its right value.

use super::*;

fn text(text: Text) -> String {
    let composed = text.compose(&parsed(&record("a", "file:///a", "00")), None);
    composed.expect("a text").text
}

#[test]
fn each_text_is_what_its_name_says() {
    let enriched = "A red ring and a star. The red ring is on the left. The red ring is left of the blue star. The text reads \"exit\".";
    assert_eq!(text(Text::Enriched), enriched);
    assert_eq!(text(Text::Caption), "A red ring and a star.");
    assert_eq!(text(Text::Original), "a ring");
    let joined = |template: &str| text(Text::OriginalCaption(template.to_owned()));
    assert_eq!(joined(TEMPLATE), "a ring A red ring and a star.");
    assert_eq!(
        joined("### Short description: \n{original} \n\n### Long description: \n{caption}"),
        "### Short description: \na ring \n\n### Long description: \nA red ring and a star."
    );
    assert_eq!(text(Text::Mix(0.0)), enriched);
    assert_eq!(text(Text::Mix(1.0)), "a ring");
}

#[test]
fn what_stands_in_a_text_is_not_filled_again() {
    let mut one = record("a", "file:///a", "00");
    one["original_caption"] = "{caption} {x".into();
    let composed = Text::OriginalCaption("{{original}: {caption}}".to_owned());
    let composed = composed.compose(&parsed(&one), None).expect("a text");
    assert_eq!(composed.text, "{{caption} {x: A red ring and a star.}");
}

#[test]
fn without_an_original_there_is_the_caption_and_it_is_counted() {
    for original in [Value::Null, "  ".into()] {
        let mut one = record("a", "file:///a", "00");
        one["original_caption"] = original;
        let one = parsed(&one);
        let both = Text::OriginalCaption(TEMPLATE.to_owned()).compose(&one, None);
        let both = both.expect("a text");
        assert_eq!(
            (both.text.as_str(), both.without_original),
            ("A red ring and a star.", true)
        );
        assert_eq!(Text::Original.compose(&one, None), Err(Reason::NoText));
        let mixed = Text::Mix(1.0).compose(&one, None).expect("a text");
        assert!(mixed.without_original && mixed.text.starts_with("A red ring"));
    }
}

#[test]
fn clauses_of_the_verdicts_alone() {
    let one = parsed(&record("a", "file:///a", "00"));
    let only = |verdicts: &[&str]| {
        let verdicts: Vec<_> = verdicts.iter().map(|name| (*name).to_owned()).collect();
        Text::Enriched
            .compose(&one, Some(&verdicts))
            .map(|composed| (composed.text, composed.clauses_left_out))
    };
    let others = |kept: usize| one.clauses.len() - kept;
    assert_eq!(
        only(&["grounded", "read"]),
        Ok((
            "The red ring is on the left. The text reads \"exit\".".to_owned(),
            others(2)
        ))
    );
    assert_eq!(
        only(&["inferred"]),
        Ok((
            "The red ring is left of the blue star.".to_owned(),
            others(1)
        ))
    );
    let whole = Text::Enriched.compose(&one, None).unwrap();
    assert_eq!(whole.clauses_left_out, 0);
    let verdicts = ["read".to_owned()];
    let original = Text::Mix(1.0).compose(&one, Some(&verdicts)).unwrap();
    assert_eq!(
        original.clauses_left_out, 0,
        "the original, drawn for certain"
    );
    let mut bare = record("a", "file:///a", "00");
    bare["clauses"] = json!([{ "text": "A ring.", "verdict": "unverified", "evidence": [] }]);
    let read = ["read".to_owned()];
    assert_eq!(
        Text::Enriched.compose(&parsed(&bare), Some(&read)),
        Err(Reason::Verdicts)
    );
}

#[test]
fn questions_and_answers_are_the_original_then_each_specialist() {
    let composed = Text::Qa.compose(&parsed(&record("a", "file:///a", "00")), None);
    let turns = composed.expect("turns").turns;
    let answers: Vec<_> = turns.iter().map(|turn| turn.answer.as_str()).collect();
    assert_eq!(answers[0], "a ring");
    let mut found = answers[1..].to_vec();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            // t1 is not stated in the merged text
            "\"exit\"",
            "A red ring is left of a blue star.",
            "a red ring [0.100, 0.100, 0.500, 0.500]; a blue star [0.600, 0.500, 1.000, 1.000]",
        ]
    );
}

#[test]
fn the_order_of_questions_and_their_words_are_the_records_own() {
    let turns = |id: &str| {
        let composed = Text::Qa.compose(&parsed(&record(id, "file:///a", "00")), None);
        composed.expect("turns").turns
    };
    assert_eq!(turns("7"), turns("7"));
    let orders: std::collections::BTreeSet<Vec<String>> = (0..60)
        .map(|id| {
            turns(&id.to_string())
                .into_iter()
                .map(|turn| turn.answer)
                .collect()
        })
        .collect();
    assert_eq!(orders.len(), 6, "all orders of three");
    let asked: std::collections::BTreeSet<_> = (0..60)
        .map(|id| turns(&id.to_string())[0].question.clone())
        .collect();
    assert_eq!(asked.len(), 4, "all templates of the first question");
}

#[test]
fn an_answer_of_another_specialist_comes_under_its_own_question() {
    let mut one = record("a", "file:///a", "00");
    one["answers"] = json!([{ "id": "a0", "specialist": "style", "question": "In what style?",
                              "text": "Drawn.", "tokens": 2, "finish": "stop" }]);
    let turns = Text::Qa.compose(&parsed(&one), None).expect("turns").turns;
    let style = Turn {
        question: "In what style?".to_owned(),
        answer: "Drawn.".to_owned(),
    };
    assert!(turns[1..].contains(&style), "{turns:?}");
}

#[test]
fn a_mix_has_its_share_and_no_order_changes_it() {
    let originals = |ids: &mut dyn Iterator<Item = u32>| -> Vec<u32> {
        let mut found: Vec<_> = ids
            .filter(|id| {
                let one = parsed(&record(&id.to_string(), "file:///a", "00"));
                Text::Mix(0.8).compose(&one, None).expect("a text").text == "a ring"
            })
            .collect();
        found.sort_unstable();
        found
    };
    let forward = originals(&mut (0..2000));
    assert_eq!(forward, originals(&mut (0..2000).rev()));
    // 2000 draws of 0.8: six deviations to either side
    assert!((1493..=1707).contains(&forward.len()), "{}", forward.len());
}
