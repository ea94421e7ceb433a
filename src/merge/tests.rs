use proptest::prelude::*;
use vila2_actors::annotation::{
    BoundingBox, Caption, Finish, Grounding, Quad, Relation, SpatialRelation, TextLine,
};

use super::*;

fn caption(text: &str) -> Caption {
    Caption {
        text: text.to_owned(),
        tokens: 9,
        finish: Finish::Stop,
        score: None,
    }
}

fn grounding(id: &str, phrase: &str, bounding_box: [f32; 4]) -> Grounding {
    Grounding {
        id: id.to_owned(),
        phrase: phrase.to_owned(),
        bounding_box: BoundingBox(bounding_box),
        score: None,
    }
}

fn relation(subject: &str, relation: Relation, object: &str) -> SpatialRelation {
    SpatialRelation {
        id: "s0".to_owned(),
        subject: subject.to_owned(),
        relation,
        object: object.to_owned(),
        score: 1.0,
    }
}

fn line(text: &str) -> TextLine {
    let quad = Quad([[60.0, 80.0], [90.0, 80.0], [90.0, 95.0], [60.0, 95.0]]);
    TextLine {
        id: "t0".to_owned(),
        text: text.to_owned(),
        quad,
        score: 0.9,
    }
}

#[test]
fn caption_then_places_then_relations_then_text() {
    let merged = SentenceMerger.merge(MergeInput {
        size: (100, 100),
        original_caption: None,
        caption: &caption("Two objects on gray: a red circle and a blue star. It is  plain."),
        grounding: &[
            grounding("g0", "a red circle", [0.0, 0.0, 20.0, 20.0]),
            grounding("g1", "a blue star", [70.0, 40.0, 90.0, 60.0]),
        ],
        text: &[line("HELLO")],
        spatial: &[relation("g0", Relation::LeftOf, "g1")],
    });
    assert_eq!(
        merged.enriched,
        "Two objects on gray: a red circle and a blue star. It is plain. \
         The red circle is at the top left. The blue star is on the right. \
         The red circle is left of the blue star. The text at the bottom right reads \"HELLO\"."
    );
    let verdicts: Vec<Verdict> = merged.clauses.iter().map(|clause| clause.verdict).collect();
    use Verdict::{Grounded, Inferred, Read, Unverified};
    assert_eq!(
        verdicts,
        [Unverified, Unverified, Grounded, Grounded, Inferred, Read]
    );
    assert_eq!(merged.clauses[4].evidence, ["s0", "g0", "g1"]);
    assert_eq!(merged.clauses[5].evidence, ["t0"]);
}

#[test]
fn a_sentence_that_was_cut_off_is_left_out_unless_it_is_all_there_is() {
    let enriched = |text: &str, finish, grounding: &[Grounding]| {
        let merged = SentenceMerger.merge(MergeInput {
            size: (100, 100),
            original_caption: None,
            caption: &Caption {
                finish,
                ..caption(text)
            },
            grounding,
            text: &[],
            spatial: &[],
        });
        merged.enriched
    };
    let circle = [grounding("g0", "a red circle", [0.0, 0.0, 20.0, 20.0])];
    let place = "The red circle is at the top left.";
    for finish in [Finish::Length, Finish::Repeat] {
        assert_eq!(enriched("Two objects on a", finish, &circle), place);
        assert_eq!(enriched("One thing. It is", finish, &[]), "One thing.");
        assert_eq!(
            enriched("Two objects on a", finish, &[]),
            "Two objects on a"
        );
        assert_eq!(
            enriched("It says \"Stop!\"", finish, &circle),
            format!("It says \"Stop!\" {place}")
        );
    }
    assert_eq!(
        enriched("a red circle", Finish::Stop, &circle),
        format!("a red circle {place}")
    );
}

#[test]
fn things_with_the_same_phrase_are_told_apart() {
    let twins = [
        grounding("g0", "a red circle", [0.0, 0.0, 20.0, 20.0]),
        grounding("g1", "The red circle", [70.0, 40.0, 90.0, 60.0]),
    ];
    let names = Names::of(&twins);
    assert_eq!(names.get("g0"), Some("the first red circle"));
    assert_eq!(names.get("g1"), Some("the second red circle"));
}

#[test]
fn a_relation_to_an_unknown_grounding_is_left_out() {
    let merged = SentenceMerger.merge(MergeInput {
        size: (100, 100),
        original_caption: None,
        caption: &caption("A red circle."),
        grounding: &[grounding("g0", "a red circle", [0.0, 0.0, 20.0, 20.0])],
        text: &[],
        spatial: &[relation("g0", Relation::Above, "g7")],
    });
    assert_eq!(
        merged.enriched,
        "A red circle. The red circle is at the top left."
    );
}

#[test]
fn a_thing_that_looks_like_a_letter_is_not_said_to_be_text() {
    let ring = [grounding("g0", "a red ring", [58.0, 78.0, 92.0, 97.0])];
    assert!(!writing::is_writing(&line("★+"), &[]));
    assert!(!writing::is_writing(&line("O"), &ring));
    assert!(writing::is_writing(&line("O"), &[]));
    assert!(writing::is_writing(&line("OK"), &ring));
}

#[test]
fn what_was_read_with_doubt_is_not_stated() {
    let scored = |text: &str, score| TextLine {
        score,
        ..line(text)
    };
    // What a reader made of a banner it could not see.
    assert!(!writing::is_writing(&scored("         o ", 0.5057), &[]));
    assert!(!writing::is_writing(&scored("oW", 0.695), &[]));
    assert!(writing::is_writing(&scored("open", 0.75), &[]));
    // One letter is one guess, and has to be a sure one: a parking sign is, a stray edge is not.
    assert!(!writing::is_writing(&scored("l", 0.75), &[]));
    assert!(writing::is_writing(&scored("P", 0.97), &[]));
    for nothing in ["", "  ", "...", "— –", "★ ·"] {
        assert!(
            !writing::is_writing(&scored(nothing, 0.99), &[]),
            "{nothing:?}"
        );
    }
}

#[test]
fn text_is_quoted_on_one_line_in_marks_that_do_not_stand_in_it() {
    assert_eq!(writing::quoted(" Saturday "), "\"Saturday\"");
    assert_eq!(writing::quoted("OPEN\n  daily\u{7}"), "\"OPEN daily\"");
    assert_eq!(
        writing::quoted("say \"hi\", 6\" pipe"),
        "“say \"hi\", 6\" pipe”"
    );
    assert_eq!(writing::quoted("it's"), "\"it's\"");
}

#[test]
fn sentences_do_not_end_inside_numbers_or_after_initials() {
    let split: Vec<String> =
        sentences::split("A 3.5 m wall by J. Smith. \"Stop!\" it says. The end").collect();
    assert_eq!(
        split,
        [
            "A 3.5 m wall by J. Smith.",
            "\"Stop!\"",
            "it says.",
            "The end"
        ]
    );
}

#[test]
fn an_empty_caption_without_findings_gives_an_empty_text() {
    let merged = SentenceMerger.merge(MergeInput {
        size: (1, 1),
        original_caption: Some("alt"),
        caption: &caption("  "),
        grounding: &[],
        text: &[],
        spatial: &[],
    });
    assert!(merged.enriched.is_empty() && merged.clauses.is_empty());
}

proptest! {
    /// Clauses are the text, in order, and every id of evidence exists.
    #[test]
    fn clauses_make_up_the_text_and_evidence_exists(
        text in "[A-Za-z .!?\"0-9]{0,80}",
        phrases in prop::collection::vec(("[a-z]{1,8}( [a-z]{1,8}){0,3}", 0.0f32..500.0, 0.0f32..500.0), 0..5),
        lines in prop::collection::vec("[A-Za-z0-9]{1,12}", 0..4),
        pairs in prop::collection::vec((0usize..6, 0usize..6), 0..6),
    ) {
        let groundings: Vec<Grounding> = phrases.iter().enumerate()
            .map(|(n, (phrase, x, y))| grounding(&format!("g{n}"), phrase, [*x, *y, x + 10.0, y + 10.0]))
            .collect();
        let spatial: Vec<SpatialRelation> = pairs.iter().enumerate()
            .map(|(n, (a, b))| SpatialRelation {
                id: format!("s{n}"),
                ..relation(&format!("g{a}"), Relation::Near, &format!("g{b}"))
            })
            .collect();
        let read: Vec<TextLine> = lines.iter().enumerate()
            .map(|(n, text)| TextLine { id: format!("t{n}"), ..line(text) })
            .collect();
        let merged = SentenceMerger.merge(MergeInput {
            size: (510, 510),
            original_caption: None,
            caption: &caption(&text),
            grounding: &groundings,
            text: &read,
            spatial: &spatial,
        });
        let known: Vec<&str> = groundings.iter().map(|g| g.id.as_str())
            .chain(spatial.iter().map(|s| s.id.as_str()))
            .chain(read.iter().map(|t| t.id.as_str()))
            .collect();
        let mut rest = merged.enriched.as_str();
        for clause in &merged.clauses {
            let at = rest.find(&clause.text).expect("the clause is in the text, after the last one");
            rest = &rest[at + clause.text.len()..];
            prop_assert!(clause.evidence.iter().all(|id| known.contains(&id.as_str())));
            prop_assert_eq!(clause.evidence.is_empty(), clause.verdict == Verdict::Unverified);
        }
        prop_assert!(rest.is_empty());
    }
}
