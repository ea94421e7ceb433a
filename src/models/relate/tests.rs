use bytes::Bytes;
use proptest::prelude::*;
use vila2_actors::{annotation::BoundingBox, boxes::gap, image::Image};

use super::*;

fn found(number: usize, phrase: &str, bounds: [f32; 4]) -> Grounding {
    Grounding {
        id: format!("g{number}"),
        phrase: phrase.into(),
        bounding_box: BoundingBox(bounds),
        score: None,
    }
}

fn said(boxes: &[[f32; 4]]) -> Vec<String> {
    let groundings: Vec<_> = boxes
        .iter()
        .enumerate()
        .map(|(i, b)| found(i, &format!("thing {i}"), *b))
        .collect();
    relate(&groundings, "", (400, 400))
        .iter()
        .map(|r| format!("{} {} {}", r.subject, r.relation.words(), r.object))
        .collect()
}

#[test]
fn the_axis_with_the_larger_offset_gives_the_direction() {
    let left = [20.0, 100.0, 80.0, 160.0];
    assert_eq!(
        said(&[left, [200.0, 120.0, 260.0, 180.0]]),
        ["g0 left of g1"]
    );
    assert_eq!(said(&[left, [30.0, 300.0, 90.0, 360.0]]), ["g0 above g1"]);
}

#[test]
fn the_first_in_reading_order_is_the_subject_whatever_the_order_of_the_groundings() {
    let (left, right) = ([20.0, 10.0, 80.0, 70.0], [300.0, 10.0, 360.0, 70.0]);
    assert_eq!(said(&[right, left]), ["g1 left of g0"]);
    // The right one is in a higher third: it comes first, so the mirrored word is said.
    let low = [20.0, 150.0, 80.0, 210.0];
    assert_eq!(said(&[low, right]), ["g1 right of g0"]);
}

#[test]
fn a_thing_whose_box_collides_with_another_is_not_spoken_of_where_two_others_lie_apart() {
    let hidden = [20.0, 20.0, 100.0, 100.0];
    let hiding = [40.0, 40.0, 120.0, 120.0];
    let (low, far) = ([20.0, 300.0, 80.0, 360.0], [300.0, 300.0, 360.0, 360.0]);
    assert_eq!(said(&[hidden, hiding, low, far]), ["g2 left of g3"]);
    // With one thing apart only, all are spoken of.
    let some = said(&[hidden, hiding, low]);
    assert!(some.contains(&"g0 above g2".to_owned()), "{some:?}");
}

#[test]
fn centres_within_the_band_give_no_direction() {
    // 25 px on x, 20 px on y: both within 8 % of 400.
    assert_eq!(
        said(&[[100.0, 100.0, 120.0, 120.0], [125.0, 120.0, 145.0, 140.0]]),
        ["g0 near g1"]
    );
}

#[test]
fn the_band_grows_with_the_boxes() {
    // 60 px apart on x: clear for small things, not for two that are 300 px wide.
    let small = said(&[[100.0, 100.0, 120.0, 120.0], [160.0, 100.0, 180.0, 120.0]]);
    assert_eq!(small, ["g0 left of g1"]);
    let wide = said(&[
        [20.0, 100.0, 320.0, 120.0],
        [80.0, 112.0, 380.0, 132.0],
        [20.0, 330.0, 320.0, 390.0],
    ]);
    assert_eq!(wide, ["g0 near g1", "g0 above g2"]);
}

#[test]
fn a_contained_box_is_inside_and_nothing_else() {
    let outer = [50.0, 50.0, 250.0, 250.0];
    assert_eq!(said(&[outer, [60.0, 60.0, 110.0, 110.0]]), ["g1 inside g0"]);
    // Nearly as large: one thing under two names rather than one in the other.
    assert_eq!(
        said(&[outer, [60.0, 60.0, 240.0, 240.0]]),
        Vec::<String>::new()
    );
}

#[test]
fn touching_boxes_are_near_and_distant_ones_are_not() {
    let first = [10.0, 10.0, 90.0, 90.0];
    assert_eq!(
        said(&[first, [95.0, 10.0, 175.0, 90.0]]),
        ["g0 left of g1", "g0 near g1"]
    );
    assert_eq!(
        said(&[first, [110.0, 10.0, 190.0, 90.0]]),
        ["g0 left of g1"]
    );
}

#[test]
fn one_thing_found_twice_is_not_related_to_itself() {
    let groundings = [
        found(0, "a red circle", [10.0, 10.0, 90.0, 90.0]),
        found(1, "a red circle", [12.0, 10.0, 92.0, 90.0]),
        found(2, "a blue star", [300.0, 10.0, 380.0, 90.0]),
    ];
    let all = relate(&groundings, "", (400, 400));
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].subject.as_str(), all[0].object.as_str()),
        ("g0", "g2")
    );
}

#[test]
fn a_picture_without_a_clear_pair_gets_its_best_guess_with_a_low_score() {
    // 30 px apart on x where the band is 32; too far apart on neither axis to be near by gap.
    let boxes = [[100.0, 100.0, 104.0, 104.0], [130.0, 100.0, 134.0, 104.0]];
    let groundings: Vec<_> = boxes.iter().map(|b| found(0, "dot", *b)).collect();
    let all = relate(&groundings, "", (400, 400));
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].relation, Relation::LeftOf);
    assert!(all[0].score < 0.5);
}

#[test]
fn boxes_without_area_and_single_boxes_have_no_relations() {
    assert!(said(&[[10.0, 10.0, 60.0, 60.0]]).is_empty());
    assert!(said(&[[10.0, 10.0, 60.0, 60.0], [200.0, 10.0, 200.0, 60.0]]).is_empty());
    assert!(said(&[[10.0, 10.0, 60.0, 60.0], [f32::NAN, 10.0, 200.0, 60.0]]).is_empty());
}

#[test]
fn everything_is_related_to_the_first_thing() {
    let boxes: Vec<[f32; 4]> = (0..5)
        .map(|i| {
            let x = 80.0 * i as f32;
            [x, 0.0, x + 40.0, 40.0]
        })
        .collect();
    assert_eq!(
        said(&boxes),
        [
            "g0 left of g1",
            "g0 left of g2",
            "g0 left of g3",
            "g0 left of g4"
        ]
    );
}

#[test]
fn only_things_that_the_caption_names_too_are_related() {
    let groundings = [
        found(0, "a red ring", [10.0, 10.0, 90.0, 90.0]),
        found(1, "a red circle", [150.0, 10.0, 190.0, 90.0]),
        found(2, "a red circle", [200.0, 10.0, 240.0, 90.0]),
        found(3, "a blue star", [300.0, 10.0, 380.0, 90.0]),
    ];
    let ends = |caption: &str| {
        relate(&groundings, caption, (400, 400))
            .into_iter()
            .map(|r| (r.subject, r.object))
            .collect::<Vec<_>>()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        ends("Two objects: a Red circle, and a blue star."),
        [pair("g1", "g3")]
    );
    // Fewer than two agree: all are related rather than none.
    assert_eq!(ends("A dark red circle-like thing.").len(), 3);
}

#[test]
fn the_port_answers_every_question_in_order() {
    let image = Image::new(1, 1, Bytes::from_static(&[0; 3]), (400, 400));
    let question = |boxes: &[[f32; 4]]| Located {
        image: image.clone(),
        caption: "".into(),
        groundings: boxes
            .iter()
            .enumerate()
            .map(|(i, b)| found(i, &i.to_string(), *b))
            .collect(),
    };
    let batch = [
        question(&[]),
        question(&[[0.0, 0.0, 9.0, 9.0], [300.0, 0.0, 309.0, 9.0]]),
    ];
    let mut relater = load()().expect("always loads");
    let answers = relater.run(&batch).expect("always runs");
    let counts: Vec<_> = answers.iter().map(|a| a.as_ref().unwrap().len()).collect();
    assert_eq!(counts, [0, 1]);
    assert_eq!(relater.facts().revision.len(), 12);
}

fn any_box() -> impl Strategy<Value = [f32; 4]> {
    (0.0f32..350.0, 0.0f32..250.0, 5.0f32..150.0, 5.0f32..150.0)
        .prop_map(|(x, y, w, h)| [x, y, x + w, y + h])
}

proptest! {
    #[test]
    fn what_is_said_holds_by_centres_and_is_said_once(
        boxes in prop::collection::vec(any_box(), 0..7)
    ) {
        let groundings: Vec<_> =
            boxes.iter().enumerate().map(|(i, b)| found(i, &i.to_string(), *b)).collect();
        let all = relate(&groundings, "", (400, 300));
        let bounds = |id: &str| groundings.iter().find(|g| g.id == id).unwrap().bounding_box.0;
        let mut pairs = std::collections::HashSet::new();
        for r in &all {
            let (a, b) = (bounds(&r.subject), bounds(&r.object));
            let dx = (b[0] + b[2] - a[0] - a[2]) / 2.0;
            let dy = (b[1] + b[3] - a[1] - a[3]) / 2.0;
            let holds = match r.relation {
                Relation::LeftOf => dx > 0.0,
                Relation::RightOf => dx < 0.0,
                Relation::Above => dy > 0.0,
                Relation::Below => dy < 0.0,
                Relation::Inside => area(&a) < area(&b),
                Relation::Near => gap(&a, &b) <= 12.0,
                other => panic!("{other:?} cannot be had from boxes"),
            };
            prop_assert!(holds, "{r:?}");
            prop_assert!((0.0..=1.0).contains(&r.score));
            let near = r.relation == Relation::Near;
            let mut key = [r.subject.clone(), r.object.clone()];
            key.sort();
            prop_assert!(pairs.insert((key, near)), "{r:?} comes twice");
        }
    }
}
