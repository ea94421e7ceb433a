//! The counts of one picture: its caption record against its truth. [`super::score`] adds them up
//! and says what each score means.

use std::collections::{BTreeMap, BTreeSet};

use vila2_actors::assignment::best_matching;

use super::geometry::{area, iou};
use super::lexicon::{color, noun, size};
use super::parse::{Mention, mentions};
use super::record::{CaptionRecord, Grounded};
use super::scene::{Scene, SceneObject};

/// Boxes that overlap at least this much are of the same thing.
pub const IOU: f32 = 0.5;

/// Right, given and expected: precision is `right / given`, recall `found / expected`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Predictions that are right.
    pub right: usize,
    /// Predictions.
    pub given: usize,
    /// Things of the truth that were predicted.
    pub found: usize,
    /// Things of the truth.
    pub expected: usize,
}

/// Everything counted on one picture, or summed over pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Mentions against objects.
    pub object: Counts,
    /// Colour and size words against those of the matched objects.
    pub attribute: Counts,
    /// Predicted relations, and pairs of objects with a relation.
    pub relation: Counts,
    /// Groundings against objects.
    pub grounding: Counts,
    /// Words that were read whole, and words there are.
    pub words: (usize, usize),
    /// Edited characters, and characters there are.
    pub characters: (usize, usize),
    /// Mentions of a shape the picture has none of, and all mentions.
    pub hallucinated: (usize, usize),
    /// Captions with such a mention, and captions.
    pub captions: (usize, usize),
}

impl Tally {
    /// Adds the counts of another picture.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: &mut Counts, b: &Counts| {
            a.right += b.right;
            a.given += b.given;
            a.found += b.found;
            a.expected += b.expected;
        };
        sum(&mut self.object, &other.object);
        sum(&mut self.attribute, &other.attribute);
        sum(&mut self.relation, &other.relation);
        sum(&mut self.grounding, &other.grounding);
        let sum = |a: &mut (usize, usize), b: (usize, usize)| *a = (a.0 + b.0, a.1 + b.1);
        sum(&mut self.words, other.words);
        sum(&mut self.characters, other.characters);
        sum(&mut self.hallucinated, other.hallucinated);
        sum(&mut self.captions, other.captions);
    }
}

/// Counts one picture; without a record everything of its truth is missing.
pub fn measure(truth: &Scene, record: Option<&CaptionRecord>) -> Tally {
    let mut tally = Tally::default();
    let empty = CaptionRecord::default();
    let answer = record.unwrap_or(&empty);
    let text = answer
        .caption
        .as_ref()
        .map_or("", |caption| caption.text.as_str());
    measure_caption(&mut tally, truth, &mentions(text));
    let invented = tally.hallucinated.0 > 0;
    tally.captions = (usize::from(invented), usize::from(record.is_some()));
    tally.grounding = measure_grounding(truth, &answer.grounding);
    tally.relation = measure_relations(truth, answer);
    measure_text(&mut tally, truth, answer);
    tally
}

/// Mentions are matched one to one with objects of their shape, so that colours and sizes agree
/// as far as they can.
fn measure_caption(tally: &mut Tally, truth: &Scene, mentions: &[Mention]) {
    let shape = |object: &SceneObject| noun(&object.shape).map(|noun| noun.shape);
    let agree = |mention: &Mention, object: &SceneObject| {
        let same = |said: Option<&str>, is: Option<&str>| said.is_some() && said == is;
        [
            same(mention.color, color(&object.color)),
            same(mention.size, size(&object.size)),
        ]
    };
    let matching = best_matching(mentions.len(), truth.objects.len(), |m, o| {
        let (mention, object) = (&mentions[m], &truth.objects[o]);
        if shape(object) != Some(mention.shape) {
            return 0.0;
        }
        let [color, size] = agree(mention, object).map(|same| f64::from(u8::from(same)));
        1.0 + 0.5 * color + 0.25 * size
    });
    let matched = matching.iter().flatten().count();
    tally.object = Counts {
        right: matched,
        given: mentions.len(),
        found: matched,
        expected: truth.objects.len(),
    };
    for (mention, object) in mentions.iter().zip(&matching) {
        let Some(object) = object else { continue };
        let right = agree(mention, &truth.objects[*object])
            .iter()
            .filter(|same| **same)
            .count();
        let given = usize::from(mention.color.is_some()) + usize::from(mention.size.is_some());
        tally.attribute.right += right;
        tally.attribute.given += given;
        tally.attribute.found += right;
        tally.attribute.expected += 2;
    }
    let shapes: BTreeSet<_> = truth.objects.iter().filter_map(shape).collect();
    let invented = mentions
        .iter()
        .filter(|m| !shapes.contains(m.shape))
        .count();
    tally.hallucinated = (invented, mentions.len());
}

/// Boxes matched one to one with objects, by the greatest total IoU of at least [`IOU`].
fn match_boxes(
    truth: &Scene,
    groundings: &[Grounded],
    allowed: impl Fn(&Grounded, &SceneObject) -> bool,
) -> Vec<Option<usize>> {
    best_matching(groundings.len(), truth.objects.len(), |g, o| {
        let (grounding, object) = (&groundings[g], &truth.objects[o]);
        let overlap = iou(&grounding.bounds, &object.bounds);
        // One more per pair: two matches at IoU 0.5 come before one at 1.
        if overlap >= IOU && allowed(grounding, object) {
            1.0 + f64::from(overlap)
        } else {
            0.0
        }
    })
}

/// A grounding is right when its first shape noun is that of the object its box is matched with.
fn measure_grounding(truth: &Scene, groundings: &[Grounded]) -> Counts {
    let shapes: BTreeMap<&str, Option<&str>> = groundings
        .iter()
        .map(|g| {
            (
                g.phrase.as_str(),
                mentions(&g.phrase).first().map(|m| m.shape),
            )
        })
        .collect();
    let matching = match_boxes(truth, groundings, |grounding, object| {
        let said = shapes.get(grounding.phrase.as_str()).copied().flatten();
        said.is_some() && said == noun(&object.shape).map(|noun| noun.shape)
    });
    let right = matching.iter().flatten().count();
    Counts {
        right,
        given: groundings.len(),
        found: right,
        expected: truth.objects.len(),
    }
}

/// Relations between matched boxes are looked up in the truth's list; each unordered pair of
/// objects that has a relation there is expected once.
fn measure_relations(truth: &Scene, answer: &CaptionRecord) -> Counts {
    let matching = match_boxes(truth, &answer.grounding, |grounding, _| {
        area(&grounding.bounds) > 0.0
    });
    let objects: BTreeMap<&str, &str> = answer
        .grounding
        .iter()
        .zip(&matching)
        .filter_map(|(g, o)| Some((g.id.as_str(), truth.objects[(*o)?].id.as_str())))
        .collect();
    let holds: BTreeSet<(&str, &str, &str)> = truth
        .relations
        .iter()
        .map(|r| (r.subject.as_str(), r.relation.words(), r.object.as_str()))
        .collect();
    let predicted: BTreeSet<(&str, &str, &str)> = answer
        .spatial
        .iter()
        .map(|s| (s.subject.as_str(), s.relation.as_str(), s.object.as_str()))
        .collect();
    let pair = |a, b| if a < b { (a, b) } else { (b, a) };
    let right: Vec<(&str, &str)> = predicted
        .iter()
        .filter_map(|(subject, relation, object)| {
            let (a, b) = (*objects.get(subject)?, *objects.get(object)?);
            holds.contains(&(a, relation, b)).then_some(pair(a, b))
        })
        .collect();
    let expected: BTreeSet<_> = holds.iter().map(|(a, _, b)| pair(*a, *b)).collect();
    Counts {
        right: right.len(),
        given: predicted.len(),
        found: right.iter().collect::<BTreeSet<_>>().len(),
        expected: expected.len(),
    }
}

/// Words are matched one to one with the fewest edits; case does not count.
fn measure_text(tally: &mut Tally, truth: &Scene, answer: &CaptionRecord) {
    let expected = words(truth.texts.iter().map(|text| text.text.as_str()));
    let read = words(answer.text.iter().map(|line| line.text.as_str()));
    let length = |words: &[Vec<char>]| words.iter().map(Vec::len).sum::<usize>();
    // What a pair saves over deleting one word and inserting the other.
    let saved = |e: usize, r: usize| {
        (expected[e].len() + read[r].len()).saturating_sub(edits(&expected[e], &read[r]))
    };
    let matching = best_matching(expected.len(), read.len(), |e, r| {
        // Among equal savings, whole words first.
        let whole = f64::from(u8::from(expected[e] == read[r]));
        saved(e, r) as f64 + 1e-3 * whole
    });
    let pairs: Vec<(usize, usize)> = matching
        .iter()
        .enumerate()
        .filter_map(|(e, r)| Some((e, (*r)?)))
        .collect();
    let saved: usize = pairs.iter().map(|(e, r)| saved(*e, *r)).sum();
    let whole = pairs
        .iter()
        .filter(|(e, r)| expected[*e] == read[*r])
        .count();
    tally.words = (whole, expected.len());
    tally.characters = (length(&expected) + length(&read) - saved, length(&expected));
}

fn words<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Vec<char>> {
    lines
        .flat_map(str::split_whitespace)
        .map(|word| word.chars().flat_map(char::to_lowercase).collect())
        .collect()
}

/// Levenshtein distance.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
