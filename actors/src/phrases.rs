//! Reads inline boxes: `phrase [xmin,ymin,xmax,ymax]`, integers 0–999.

use std::ops::Range;

use crate::annotation::{BoundingBox, Grounding};

/// The largest coordinate a model writes; it stands for the right and bottom edge.
const SCALE: f32 = 999.0;

/// What a text held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Phrases {
    /// Phrases with boxes, `g0`, `g1`, … in order of the text.
    pub groundings: Vec<Grounding>,
    /// Where each of them stands in the text, phrase and box, in bytes.
    pub stretches: Vec<Range<usize>>,
    /// Brackets that are no box, boxes without area, boxes without a phrase.
    pub skipped: usize,
}

/// Reads every box of `text`; `size` is (width, height) of the original image in pixels, the frame
/// of the boxes. Nothing is invented: a part that is malformed is skipped and counted.
#[must_use]
pub fn parse(text: &str, size: (u32, u32)) -> Phrases {
    let mut found = Phrases::default();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let (from, before, inside) = (text.len() - rest.len(), &rest[..open], &rest[open + 1..]);
        // An opening bracket before the closing one: the first was never closed.
        let Some(close) = inside.find([']', '[']) else {
            found.skipped += 1;
            break;
        };
        if inside.as_bytes()[close] == b'[' {
            found.skipped += 1;
            rest = &inside[close..];
            continue;
        }
        rest = &inside[close + 1..];
        match (phrase(before), coordinates(&inside[..close])) {
            (Some(phrase), Some(coordinates)) => {
                let id = format!("g{}", found.groundings.len());
                // It ends where the box begins, but for what joins the two.
                let start = from + before.rfind(phrase).unwrap_or_default();
                (found.stretches).push(start..text.len() - rest.len());
                found.groundings.push(Grounding {
                    id,
                    phrase: phrase.to_owned(),
                    bounding_box: scaled(coordinates, size),
                    score: None,
                });
            }
            _ => found.skipped += 1,
        }
    }
    found
}

/// The words right before a box, without what joins it to the box before.
fn phrase(before: &str) -> Option<&str> {
    let sentence = (before.rmatch_indices(['.', '!', '?', '\n', ']']))
        .find(|&(at, _)| {
            let after = before[at + 1..].chars().next();
            // A full stop inside a number or a name is not the end of a sentence.
            after.is_none_or(char::is_whitespace) && !before[at + 1..].trim().is_empty()
        })
        .map_or(before, |(at, _)| &before[at + 1..]);
    let joins = |c: char| c.is_whitespace() || matches!(c, ',' | '.' | ';' | ':');
    let mut words = sentence.trim_matches(joins);
    while let Some(after) = words
        .strip_prefix("and")
        .or_else(|| words.strip_prefix("And"))
        && after.starts_with(|c: char| joins(c))
    {
        words = after.trim_start_matches(joins);
    }
    let joint = words.eq_ignore_ascii_case("and");
    (words.chars().any(char::is_alphanumeric) && !joint).then_some(words)
}

/// Four integers 0–999 that span an area.
fn coordinates(inside: &str) -> Option<[u16; 4]> {
    let mut numbers = inside.split(',').map(|number| {
        let number = number.trim();
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (digits.then(|| number.parse::<u16>().ok()).flatten()).filter(|&number| number <= 999)
    });
    let mut next = || numbers.next().flatten();
    let found = [next()?, next()?, next()?, next()?];
    let [x1, y1, x2, y2] = found;
    (numbers.next().is_none() && x1 < x2 && y1 < y2).then_some(found)
}

fn scaled([x1, y1, x2, y2]: [u16; 4], (width, height): (u32, u32)) -> BoundingBox {
    let x = |v: u16| f32::from(v) / SCALE * width as f32;
    let y = |v: u16| f32::from(v) / SCALE * height as f32;
    BoundingBox([x(x1), y(y1), x(x2), y(y2)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn phrases(text: &str) -> (Vec<String>, usize) {
        let found = parse(text, (999, 999));
        let phrases = found.groundings.into_iter().map(|g| g.phrase).collect();
        (phrases, found.skipped)
    }

    #[test]
    fn boxes_are_in_pixels_of_the_original() {
        let found = parse("a red circle [000,100,999,500].", (1_998, 333));
        assert_eq!(found.groundings.len(), 1);
        let one = &found.groundings[0];
        assert_eq!(
            (one.id.as_str(), one.phrase.as_str()),
            ("g0", "a red circle")
        );
        let BoundingBox([x1, y1, x2, y2]) = one.bounding_box;
        assert!(x1 == 0.0 && x2 == 1_998.0);
        assert!((y1 - 33.333).abs() < 1e-2 && (y2 - 166.666).abs() < 1e-2);
        assert_eq!(one.score, None);
    }

    #[test]
    fn a_stretch_is_a_phrase_and_its_box() {
        let text = "It rains. A cat: [1,2,3,4], and a cat [x] [5,6,7,8] a cat [1,2,30,40].";
        let found = parse(text, (999, 999));
        let stretches: Vec<_> = found.stretches.iter().map(|at| &text[at.clone()]).collect();
        assert_eq!(stretches, ["A cat: [1,2,3,4]", "a cat [1,2,30,40]"]);
    }

    #[test]
    fn what_joins_two_phrases_belongs_to_neither() {
        let text = "a large red circle [1,2,3,4], a blue star [1,2,3,4], and a sign [1, 2, 3, 4]. \
                    and an androgynous cat [1,2,3,4] and two dogs [1,2,3,4].";
        let (found, skipped) = phrases(text);
        let expected = [
            "a large red circle",
            "a blue star",
            "a sign",
            "an androgynous cat",
            "two dogs",
        ];
        assert_eq!(
            (found.as_slice(), skipped),
            (&expected.map(String::from)[..], 0)
        );
    }

    #[test]
    fn a_phrase_starts_with_its_sentence() {
        let (found, _) = phrases("It rains. Nobody is here! A No.5 bus [1,2,3,4]");
        assert_eq!(found, ["A No.5 bus"]);
    }

    #[test]
    fn malformed_parts_are_skipped_and_counted() {
        for text in [
            "a cat [1,2,3]",
            "a cat [1,2,3,4,5]",
            "a cat [1,2,3,1000]",
            "a cat [1,2,3,x]",
            "a cat [1,2,3,-4]",
            "a cat [1,2,,4]",
            "a cat [3,2,1,4]",
            "a cat [1,4,3,4]",
            "a cat [1,2,3,4",
            "[1,2,3,4]",
            ", and [1,2,3,4]",
            "a cat []",
        ] {
            assert_eq!(phrases(text), (Vec::new(), 1), "{text}");
        }
        let (found, skipped) = phrases("a cat [1,2, a dog [1,2,3,4] [5,6,7,8] a cow [1,2,3,4]");
        assert_eq!(found, ["a cow"]);
        assert_eq!(skipped, 3);
    }

    #[test]
    fn text_without_boxes_holds_nothing() {
        assert_eq!(phrases("a quiet street"), (Vec::new(), 0));
    }

    proptest! {
        #[test]
        fn any_text_gives_boxes_inside_the_image(text in r"[a-z ,.\[\]0-9é]{0,120}") {
            for one in parse(&text, (640, 480)).groundings {
                let BoundingBox([x1, y1, x2, y2]) = one.bounding_box;
                prop_assert!(0.0 <= x1 && x1 < x2 && x2 <= 640.0);
                prop_assert!(0.0 <= y1 && y1 < y2 && y2 <= 480.0);
                prop_assert!(text.contains(&one.phrase) && !one.phrase.is_empty());
            }
        }

        #[test]
        fn what_is_well_formed_is_found(boxes in prop::collection::vec((0..500u16, 0..500u16), 0..6)) {
            let written: Vec<_> = (boxes.iter())
                .map(|(x, y)| format!("a thing [{x:03},{y:03},{:03},{:03}]", x + 1, y + 499))
                .collect();
            let found = parse(&written.join(", "), (999, 999));
            prop_assert_eq!(found.skipped, 0);
            prop_assert_eq!(found.groundings.len(), boxes.len());
            for (one, (x, y)) in found.groundings.iter().zip(boxes) {
                let BoundingBox([x1, y1, ..]) = one.bounding_box;
                prop_assert!((x1 - f32::from(x)).abs() < 0.01 && (y1 - f32::from(y)).abs() < 0.01);
            }
        }
    }
}
