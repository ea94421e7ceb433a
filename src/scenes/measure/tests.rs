use serde_json::{from_value, json};

use super::*;

/// Two red circles of different size, a blue star; `a` left of `b`, `c` below both.
fn truth() -> Scene {
    from_value(json!({
        "file": "x.jpg", "width": 400, "height": 400,
        "objects": [
            {"id": "a", "shape": "circle", "color": "red", "size": "large", "box": [0, 0, 100, 100]},
            {"id": "b", "shape": "circle", "color": "red", "size": "small", "box": [200, 0, 250, 50]},
            {"id": "c", "shape": "star", "color": "blue", "size": "small", "box": [100, 200, 150, 250]}
        ],
        "texts": [
            {"text": "OPEN", "quad": [[0, 300], [9, 300], [9, 320], [0, 320]]},
            {"text": "sale", "quad": [[0, 350], [9, 350], [9, 370], [0, 370]]}
        ],
        "relations": [
            {"subject": "a", "relation": "left of", "object": "b"},
            {"subject": "b", "relation": "right of", "object": "a"},
            {"subject": "a", "relation": "above", "object": "c"},
            {"subject": "c", "relation": "below", "object": "a"}
        ]
    }))
    .unwrap()
}

fn caption(text: &str) -> Tally {
    measure(
        &truth(),
        Some(&from_value(json!({"url": "x.jpg", "caption": {"text": text}})).unwrap()),
    )
}

fn counts(right: usize, given: usize, found: usize, expected: usize) -> Counts {
    Counts {
        right,
        given,
        found,
        expected,
    }
}

#[test]
fn mentions_are_matched_so_that_their_attributes_agree() {
    // In the order of the text the first mention would take the large circle.
    let tally = caption("A small circle, a large red circle and a small blue star.");
    assert_eq!(tally.object, counts(3, 3, 3, 3));
    assert_eq!(tally.attribute, counts(5, 5, 5, 6));
    assert_eq!(tally.hallucinated, (0, 3));
}

#[test]
fn a_mention_too_many_is_wrong_but_only_an_absent_shape_is_hallucinated() {
    let tally = caption("Three red circles and a green cross.");
    assert_eq!(tally.object, counts(2, 4, 2, 3));
    assert_eq!(tally.hallucinated, (1, 4));
    assert_eq!(tally.captions, (1, 1));
}

#[test]
fn a_wrong_colour_costs_attributes_not_objects() {
    let tally = caption("a large green star");
    assert_eq!(tally.object, counts(1, 1, 1, 3));
    assert_eq!(tally.attribute, counts(0, 2, 0, 2));
}

#[test]
fn without_a_record_everything_is_missing() {
    let tally = measure(&truth(), None);
    assert_eq!(tally.object, counts(0, 0, 0, 3));
    assert_eq!(tally.grounding, counts(0, 0, 0, 3));
    assert_eq!(tally.relation, counts(0, 0, 0, 2));
    assert_eq!((tally.words, tally.characters), ((0, 2), (8, 8)));
    assert_eq!(tally.captions, (0, 0));
}

fn grounded(groundings: &[(&str, [f32; 4])], spatial: &[(usize, &str, usize)]) -> Tally {
    let groundings: Vec<_> = groundings
        .iter()
        .enumerate()
        .map(
            |(i, (phrase, bounds))| json!({"id": format!("g{i}"), "phrase": phrase, "box": bounds}),
        )
        .collect();
    let spatial: Vec<_> = spatial
        .iter()
        .map(|(s, relation, o)| {
            json!({"subject": format!("g{s}"), "relation": relation, "object": format!("g{o}")})
        })
        .collect();
    let record = json!({"url": "x.jpg", "grounding": groundings, "spatial": spatial});
    measure(&truth(), Some(&from_value(record).unwrap()))
}

const A: [f32; 4] = [0.0, 0.0, 100.0, 100.0];
const B: [f32; 4] = [200.0, 0.0, 250.0, 50.0];
const C: [f32; 4] = [100.0, 200.0, 150.0, 250.0];

#[test]
fn groundings_need_shape_and_half_the_box() {
    // IoU of exactly one half is enough; a little less is not.
    let half = [0.0, 0.0, 50.0, 100.0];
    let less = [0.0, 0.0, 49.0, 100.0];
    assert_eq!(
        grounded(&[("a red circle", half)], &[]).grounding,
        counts(1, 1, 1, 3)
    );
    assert_eq!(
        grounded(&[("a red circle", less)], &[]).grounding,
        counts(0, 1, 0, 3)
    );
    assert_eq!(
        grounded(&[("a red square", A)], &[]).grounding,
        counts(0, 1, 0, 3)
    );
    assert_eq!(
        grounded(&[("something", A)], &[]).grounding,
        counts(0, 1, 0, 3)
    );
}

#[test]
fn an_object_is_grounded_once() {
    let tally = grounded(&[("a circle", A), ("a circle", A), ("the star", C)], &[]);
    assert_eq!(tally.grounding, counts(2, 3, 2, 3));
}

#[test]
fn relations_are_looked_up_in_the_truth_by_their_boxes() {
    let boxes = [("a circle", A), ("a circle", B), ("a star", C)];
    let tally = grounded(
        &boxes,
        &[(0, "left of", 1), (0, "right of", 1), (2, "below", 0)],
    );
    assert_eq!(tally.relation, counts(2, 3, 2, 2));
}

#[test]
fn both_directions_of_a_pair_are_two_right_relations_and_one_found_pair() {
    let boxes = [("a circle", A), ("a circle", B)];
    let tally = grounded(
        &boxes,
        &[(0, "left of", 1), (1, "right of", 0), (1, "right of", 0)],
    );
    assert_eq!(tally.relation, counts(2, 2, 1, 2));
}

#[test]
fn a_relation_of_a_box_that_is_no_object_is_wrong_whatever_it_says() {
    let nowhere = [300.0, 300.0, 310.0, 310.0];
    let tally = grounded(
        &[("a circle", A), ("a circle", nowhere)],
        &[(0, "left of", 1)],
    );
    assert_eq!(tally.relation, counts(0, 1, 0, 2));
    assert_eq!(
        grounded(&[("a circle", A)], &[(0, "left of", 7)]).relation,
        counts(0, 1, 0, 2)
    );
}

#[test]
fn relations_do_not_mind_a_phrase_with_the_wrong_shape() {
    let tally = grounded(&[("a square", A), ("a circle", B)], &[(0, "left of", 1)]);
    assert_eq!(tally.relation, counts(1, 1, 1, 2));
}

fn read(lines: &[&str]) -> ((usize, usize), (usize, usize)) {
    let lines: Vec<_> = lines.iter().map(|text| json!({"text": text})).collect();
    let record = from_value(json!({"url": "x.jpg", "text": lines})).unwrap();
    let tally = measure(&truth(), Some(&record));
    (tally.words, tally.characters)
}

#[test]
fn text_is_compared_word_by_word_without_case() {
    assert_eq!(read(&["Sale", "open"]), ((2, 2), (0, 8)));
    assert_eq!(read(&["OPEN SALE"]), ((2, 2), (0, 8)));
}

#[test]
fn edits_missing_and_added_words_are_counted_in_characters() {
    assert_eq!(read(&["OPFN", "sale"]), ((1, 2), (1, 8)));
    assert_eq!(read(&["sale"]), ((1, 2), (4, 8)));
    assert_eq!(read(&["OPEN", "sale", "xyz"]), ((2, 2), (3, 8)));
}

#[test]
fn edits_are_the_fewest() {
    let chars = |word: &str| word.chars().collect::<Vec<_>>();
    for (a, b, distance) in [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0)] {
        assert_eq!(edits(&chars(a), &chars(b)), distance);
        assert_eq!(edits(&chars(b), &chars(a)), distance);
    }
}
