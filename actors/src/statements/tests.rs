use super::*;
use crate::annotation::BoundingBox;

fn thing(at: usize, phrase: &str, bounding_box: [f32; 4]) -> Grounding {
    Grounding {
        id: format!("g{at}"),
        phrase: phrase.to_owned(),
        bounding_box: BoundingBox(bounding_box),
        score: None,
    }
}

/// A red ring on the left, a blue star on the right above it, two cats, and a ring that is large.
fn things() -> Vec<Grounding> {
    vec![
        thing(0, "a small red ring", [0.0, 50.0, 10.0, 60.0]),
        thing(1, "The blue star", [80.0, 0.0, 90.0, 10.0]),
        thing(2, "a cat", [40.0, 80.0, 50.0, 90.0]),
        thing(3, "a cat", [60.0, 80.0, 70.0, 90.0]),
        thing(4, "a large ring", [20.0, 50.0, 30.0, 60.0]),
    ]
}

/// Relations as `SUBJECT RELATION OBJECT`, and how much was skipped.
fn read(text: &str) -> (Vec<String>, usize) {
    let found = parse(text, &things());
    let stated = found.stated.iter();
    let stated = stated.map(|one| {
        assert!(text[one.stretch.clone()].contains(' '), "{one:?}");
        format!("{} {} {}", one.subject, one.relation.words(), one.object)
    });
    (stated.collect(), found.skipped)
}

#[test]
fn plain_statements_are_relations() {
    for (text, relation) in [
        (
            "The small red ring is left of the blue star.",
            "g0 left of g1",
        ),
        (
            "the red ring is located to the left of the star",
            "g0 left of g1",
        ),
        (
            "A blue star is positioned on the right side of the small red ring!",
            "g1 right of g0",
        ),
        ("There is a blue star above the red ring.", "g1 above g0"),
        (
            "The first cat sits directly beneath the blue star",
            "g2 below g1",
        ),
        (
            "**The second cat** is in front of the “star”.",
            "g3 in front of g1",
        ),
        (
            "- The large ring lies behind the first cat;",
            "g4 behind g2",
        ),
        ("The red ring is inside of the large ring.", "g0 inside g4"),
        ("The star is on top of the red ring.", "g1 on g0"),
        ("The star is on the red ring.", "g1 on g0"),
        ("The red ring is next to the large ring.", "g0 near g4"),
        (
            "The star is to the right of the red ring in the picture.",
            "g1 right of g0",
        ),
    ] {
        assert_eq!(read(text), (vec![relation.to_owned()], 0), "{text}");
    }
}

#[test]
fn several_statements_share_a_sentence_and_its_subject() {
    let (stated, skipped) = read(
        "The red ring is left of the blue star and below the star, and it shines.\n\
         The star, which is above the large ring, is above the first cat. A large ring and the red \
         ring are left of the star",
    );
    let wanted = [
        "g0 left of g1",
        "g0 below g1",
        "g1 above g4",
        "g1 above g2",
        "g0 left of g1",
    ];
    assert_eq!((stated, skipped), (wanted.map(str::to_owned).to_vec(), 0));
}

#[test]
fn what_is_denied_asked_guessed_unclear_or_ruled_out_by_boxes_is_none() {
    for text in [
        "The red ring is not left of the blue star.",
        "The red ring isn\u{2019}t left of the blue star.",
        "Is the red ring left of the blue star?",
        "The red ring may be left of the blue star.",
        "The red ring is left of the blue star or below the blue star.",
        "The cat is left of the star.",
        "The ring is left of the star.",
        "The man with the red ring is left of the star.",
        "The red ring is left of the star sign.",
        "The red ring is left of the dog.",
        "It is left of the star.",
        "The red ring near the large ring is left of the star.",
        "The star is left of the red ring.",
        "The star is below the red ring.",
        "The red ring is left of the red ring.",
        "The red ring is on the left.",
    ] {
        let (stated, skipped) = read(text);
        assert!(
            stated.is_empty() && skipped > 0,
            "{text}: {stated:?}, {skipped}"
        );
    }
    for text in [
        "",
        "A picture.",
        "The ring is red.",
        "left",
        "[0,0,10,10]",
        "…",
    ] {
        assert_eq!(read(text).0, [""; 0], "{text}");
    }
    assert_eq!(parse("The ring is left of the star.", &[]).stated, []);
}

proptest::proptest! {
    #[test]
    fn whatever_is_written_is_read_without_a_fault(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "the", "red", "ring", "star", "cat", "first", "left", "of", "to", "on", "and", ",", ".",
                "is", "in", "front", "not", "?", "\n", "ß", "…", "\u{130}", "I\u{307}", "top",
            ]),
            0..40,
        ),
        space in proptest::sample::select(vec![" ", "", "\u{a0}"]),
    ) {
        let text = words.join(space);
        for one in parse(&text, &things()).stated {
            proptest::prop_assert!(one.subject != one.object);
            proptest::prop_assert!(text.get(one.stretch).is_some());
        }
    }
}
