//! Places as tokens: `a red car<loc_52><loc_333><loc_932><loc_774>`.
//!
//! # Source
//! `Florence2PostProcessor` of transformers 5.24: a step stands for its middle. It rounds pixels down
//! and drops letters beyond ASCII; this does neither. What it reads of malformed places, this skips.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;
use vila2_actors::{
    annotation::{BoundingBox, Quad},
    ports::{Place, Placed},
};

/// Steps across a picture, and down.
const STEPS: f32 = 1000.0;

/// What a text's places are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Boxes: four steps each, x1 y1 x2 y2; one phrase may have several.
    Boxes,
    /// Corners of lines of text: eight steps each, x and y clockwise from the text's top left.
    Quads,
}

/// Marks that may stand between a phrase and its place.
const MARKS: [&str; 12] = [
    "<s>", "</s>", "<pad>", "<ground>", "<obj>", "<od>", "</od>", "<ocr>", "</ocr>", "<box>",
    "</box>", "<bbox>",
];

/// A phrase and the steps right behind it.
static PLACED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"([^<>]+)((?:<loc_\d{1,3}>)+)").expect("bug: no pattern"));

/// Reads every phrase with a place. `size` is (width, height) of the original picture in pixels, the
/// frame of what is found. Phrases in `banned` say nothing of what is there.
#[must_use]
pub fn read(text: &str, shape: Shape, size: (u32, u32), banned: &[String]) -> Vec<Placed> {
    let mut found = Vec::new();
    // Marks become blanks as long as they are, so that what is found stands where it stood.
    let mut plain = text.to_owned();
    for mark in MARKS {
        plain = plain.replace(mark, &" ".repeat(mark.len()));
    }
    for captures in PLACED.captures_iter(&plain) {
        let (words, steps) = (&captures[1], &captures[2]);
        let phrase = words.trim();
        if phrase.is_empty() || banned.iter().any(|banned| banned == phrase) {
            continue;
        }
        let whole = captures.get(0).map_or(0..0, |whole| whole.range());
        let blank = words.len() - words.trim_start().len();
        let stretch = whole.start + blank..whole.end;
        let steps: Vec<f32> = (steps.split("<loc_").skip(1))
            .filter_map(|step| step.trim_end_matches('>').parse().ok())
            .collect();
        let places = match shape {
            Shape::Boxes => boxes(&steps, size),
            Shape::Quads => quad(&steps, size).into_iter().collect(),
        };
        found.extend(places.into_iter().map(|place| Placed {
            text: phrase.to_owned(),
            place,
            stretch: Range::clone(&stretch),
        }));
    }
    found
}

/// (x, y) in pixels, of the middles of two steps.
fn point(steps: &[f32], (width, height): (u32, u32)) -> [f32; 2] {
    let pixels = |step: f32, side: u32| (step + 0.5) / STEPS * side as f32;
    [pixels(steps[0], width), pixels(steps[1], height)]
}

/// Four steps make a box; one without area is none, nor are fewer steps.
fn boxes(steps: &[f32], size: (u32, u32)) -> Vec<Place> {
    let one = |steps: &[f32]| {
        let ([x1, y1], [x2, y2]) = (point(&steps[..2], size), point(&steps[2..], size));
        (x1 < x2 && y1 < y2).then_some(Place::Box(BoundingBox([x1, y1, x2, y2])))
    };
    steps.chunks_exact(4).filter_map(one).collect()
}

fn quad(steps: &[f32], size: (u32, u32)) -> Option<Place> {
    let steps: &[f32; 8] = steps.try_into().ok()?;
    let mut corners = steps.chunks_exact(2).map(|pair| point(pair, size));
    let mut next = || corners.next();
    Some(Place::Quad(Quad([next()?, next()?, next()?, next()?])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(text: &str, shape: Shape) -> Vec<(String, Place)> {
        let found = read(text, shape, (1000, 500), &["it".to_owned()]);
        found.into_iter().map(|one| (one.text, one.place)).collect()
    }

    #[test]
    fn a_step_stands_for_its_middle_in_pixels_of_the_original() {
        let found = phrases(
            "</s><s>a café<loc_0><loc_100><loc_999><loc_200></s>",
            Shape::Boxes,
        );
        let place = Place::Box(BoundingBox([0.5, 50.25, 999.5, 100.25]));
        assert_eq!(found, [("a café".to_owned(), place)]);
    }

    #[test]
    fn one_phrase_may_have_several_boxes_and_a_line_of_text_has_four_corners() {
        let eight: String = (1..9).map(|step| format!("<loc_{}>", step * 10)).collect();
        let text = format!("two dogs{eight}");
        assert_eq!(phrases(&text, Shape::Boxes).len(), 2);
        let lines = phrases(&text, Shape::Quads);
        let corners = [[10.5, 10.25], [30.5, 20.25], [50.5, 30.25], [70.5, 40.25]];
        assert_eq!(lines, [("two dogs".to_owned(), Place::Quad(Quad(corners)))]);
    }

    #[test]
    fn a_stretch_is_a_phrase_and_its_place() {
        let text = "<s> a cat<loc_1><loc_2><loc_3><loc_4>";
        let found = read(text, Shape::Boxes, (10, 10), &[]);
        assert_eq!(
            &text[found[0].stretch.clone()],
            "a cat<loc_1><loc_2><loc_3><loc_4>"
        );
    }

    #[test]
    fn what_is_malformed_or_says_nothing_is_no_place() {
        for text in [
            "",
            "a cat",
            "a cat<loc_1><loc_2><loc_3>",
            "a cat<loc_5><loc_2><loc_3><loc_4>",
            "a cat<loc_1><loc_2><loc_1><loc_4>",
            "<loc_1><loc_2><loc_3><loc_4>",
            "it<loc_1><loc_2><loc_3><loc_4>",
            "a cat<loc_1000><loc_2><loc_3><loc_4>",
        ] {
            assert_eq!(phrases(text, Shape::Boxes), [], "{text}");
        }
        assert_eq!(
            phrases("STOP<loc_1><loc_2><loc_3><loc_4>", Shape::Quads),
            []
        );
    }
}
