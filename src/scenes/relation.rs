//! When a relation between two objects of a scene holds.
//!
//! With `a` the subject and `b` the object, boxes as in the truth line, and a tie band of
//! [`DIRECTION_BAND`] of the picture's width (x) or height (y):
//!
//! | relation | holds when |
//! | --- | --- |
//! | `left of` / `right of` | the centre of `a` lies left / right of that of `b` by more than the band |
//! | `above` / `below` | the centre of `a` lies above / below that of `b` by more than the band |
//! | `inside` | the box of `a` lies wholly within the box of `b` |
//! | `in front of` / `behind` | the boxes overlap, neither lies within the other, and `a` is nearer / farther |
//! | `near` | neither lies within the other, and the gap between the boxes is at most [`NEAR_GAP`] of the shorter side |
//!
//! `on` is in the contract's list but holds for no two objects here: nothing rests on anything.
//! Several relations may hold at once; all are listed, so a relation is right exactly if it is
//! in the list.

use vila2_actors::annotation::Relation;

use super::geometry::{center, contains, gap, intersection};
use super::scene::{SceneObject, SceneRelation};

/// Centres closer than this share of the width (height) are neither left nor right (above nor below).
pub const DIRECTION_BAND: f32 = 0.05;

/// Boxes at most this share of the shorter side apart are near each other.
pub const NEAR_GAP: f32 = 0.08;

/// Every relation that holds in a picture, subject by subject, in the order of the table.
pub fn relations(objects: &[SceneObject], width: u32, height: u32) -> Vec<SceneRelation> {
    let mut all = Vec::new();
    for a in objects {
        for b in objects.iter().filter(|b| b.id != a.id) {
            all.extend(
                between(a, b, width, height)
                    .into_iter()
                    .map(|relation| SceneRelation {
                        subject: a.id.clone(),
                        relation,
                        object: b.id.clone(),
                    }),
            );
        }
    }
    all
}

/// The relations of `a` to `b`, in the order of the table.
pub fn between(a: &SceneObject, b: &SceneObject, width: u32, height: u32) -> Vec<Relation> {
    let ([ax, ay], [bx, by]) = (center(&a.bounds), center(&b.bounds));
    let band_x = DIRECTION_BAND * width as f32;
    let band_y = DIRECTION_BAND * height as f32;
    let inside = contains(&b.bounds, &a.bounds);
    let apart = !inside && !contains(&a.bounds, &b.bounds);
    let overlap = apart && intersection(&a.bounds, &b.bounds) > 0.0;
    let (nearer, farther) = match (a.depth, b.depth) {
        (Some(a), Some(b)) => (overlap && a > b, overlap && a < b),
        _ => (false, false),
    };
    let near = apart && gap(&a.bounds, &b.bounds) <= NEAR_GAP * width.min(height) as f32;
    let all = [
        (Relation::LeftOf, bx - ax > band_x),
        (Relation::RightOf, ax - bx > band_x),
        (Relation::Above, by - ay > band_y),
        (Relation::Below, ay - by > band_y),
        (Relation::InFrontOf, nearer),
        (Relation::Behind, farther),
        (Relation::Inside, inside),
        (Relation::Near, near),
    ];
    all.into_iter()
        .filter_map(|(relation, holds)| holds.then_some(relation))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(id: &str, bounds: [f32; 4], depth: f32) -> SceneObject {
        SceneObject {
            id: id.into(),
            shape: "circle".into(),
            color: "red".into(),
            size: "small".into(),
            bounds,
            depth: Some(depth),
        }
    }

    fn both(a: [f32; 4], b: [f32; 4]) -> (Vec<&'static str>, Vec<&'static str>) {
        let (a, b) = (object("a", a, 0.2), object("b", b, 0.8));
        let words = |relations: Vec<Relation>| relations.into_iter().map(Relation::words).collect();
        (
            words(between(&a, &b, 400, 400)),
            words(between(&b, &a, 400, 400)),
        )
    }

    #[test]
    fn directions_need_more_than_the_band() {
        // Centres 20 px apart on x: exactly 5 % of 400, so no direction; far apart on y.
        let (ab, ba) = both([0.0, 0.0, 40.0, 40.0], [20.0, 200.0, 60.0, 240.0]);
        assert_eq!((ab, ba), (vec!["above"], vec!["below"]));
        let (ab, _) = both([0.0, 0.0, 40.0, 40.0], [21.0, 200.0, 61.0, 240.0]);
        assert_eq!(ab, ["left of", "above"]);
    }

    #[test]
    fn overlapping_objects_are_in_front_and_behind_by_depth() {
        let (ab, ba) = both([0.0, 0.0, 100.0, 100.0], [90.0, 0.0, 190.0, 100.0]);
        assert_eq!(ab, ["left of", "behind", "near"]);
        assert_eq!(ba, ["right of", "in front of", "near"]);
    }

    #[test]
    fn a_contained_object_is_inside_and_neither_near_nor_in_front() {
        let (ab, ba) = both([40.0, 40.0, 60.0, 60.0], [0.0, 0.0, 100.0, 100.0]);
        assert_eq!((ab, ba), (vec!["inside"], vec![]));
    }

    #[test]
    fn near_ends_at_its_gap() {
        let near = |gap: f32| both([0.0, 0.0, 50.0, 50.0], [50.0 + gap, 0.0, 100.0 + gap, 50.0]).0;
        assert_eq!(near(32.0), ["left of", "near"]);
        assert_eq!(near(33.0), ["left of"]);
    }

    #[test]
    fn all_ordered_pairs_are_listed() {
        let objects = [
            object("a", [0.0, 0.0, 40.0, 40.0], 0.1),
            object("b", [200.0, 0.0, 240.0, 40.0], 0.2),
            object("c", [200.0, 200.0, 240.0, 240.0], 0.3),
        ];
        let all = relations(&objects, 400, 400);
        assert_eq!(all.len(), 2 * (1 + 1 + 2));
        assert!(
            all.iter()
                .any(|r| r.subject == "c" && r.relation == Relation::Below && r.object == "b")
        );
    }
}
