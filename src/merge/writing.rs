//! What was read: writing, or a thing that looks like a letter?

use vila2_actors::annotation::{BoundingBox, Grounding, Quad, TextLine};

/// A single letter that covers a grounded thing this much (IoU) is that thing.
const SAME_PLACE: f32 = 0.5;

/// The least score (mean character probability, 0 to 1) of a line that the enriched text states.
/// The reader reports from 0.5 on, as its reference does, but what it is that unsure of is mostly
/// misread (`oW` for `low`, 0.70). Of PP-OCR's lines in 150 drawn scenes all 108 right ones had
/// 0.88 and more.
const MIN_SCORE: f32 = 0.7;

/// The same for a line with a single letter or digit, whose score is that of one guess instead of
/// the mean of several. In the same scenes rings, crosses and edges were read as `O`, `t` or `1`
/// with up to 0.73, and with a sign beside it up to 0.78; a letter that is really there (a parking
/// sign's `P`) has 0.95 and more.
const MIN_LETTER_SCORE: f32 = 0.8;

/// Whether a line is writing that was read surely enough to be stated. Text readers read rings as
/// `O`, stars as `★`, crosses as `+`: a line without any letter or digit is none, nor is a single
/// letter where a grounded thing stands. Such lines stay in the record's `text`; they are only left
/// out of the enriched text.
pub fn is_writing(line: &TextLine, groundings: &[Grounding]) -> bool {
    let mut letters = line.text.chars().filter(|letter| letter.is_alphanumeric());
    match (letters.next(), letters.next()) {
        (None, _) => false,
        (Some(_), Some(_)) => line.score >= MIN_SCORE,
        (Some(_), None) if line.score < MIN_LETTER_SCORE => false,
        (Some(_), None) => {
            let bounds = bounds(line.quad);
            groundings
                .iter()
                .all(|thing| iou(bounds, thing.bounding_box) < SAME_PLACE)
        }
    }
}

/// A line as a sentence quotes it: without blanks around it, on one line, in quotation marks that
/// do not stand in it. The text itself is never changed: an inch mark stays one.
pub fn quoted(text: &str) -> String {
    let words: Vec<&str> = (text.split(|c: char| c.is_whitespace() || c.is_control()))
        .filter(|word| !word.is_empty())
        .collect();
    let text = words.join(" ");
    if text.contains('"') {
        format!("“{text}”")
    } else {
        format!("\"{text}\"")
    }
}

/// The upright box around a quad.
fn bounds(quad: Quad) -> BoundingBox {
    let fold = |axis: usize, start: f32, pick: fn(f32, f32) -> f32| {
        quad.0.iter().map(|corner| corner[axis]).fold(start, pick)
    };
    BoundingBox([
        fold(0, f32::INFINITY, f32::min),
        fold(1, f32::INFINITY, f32::min),
        fold(0, f32::NEG_INFINITY, f32::max),
        fold(1, f32::NEG_INFINITY, f32::max),
    ])
}

/// Intersection over union; 0 where both are empty.
fn iou(a: BoundingBox, b: BoundingBox) -> f32 {
    let (a, b) = (a.0, b.0);
    let area = |b: [f32; 4]| (b[2] - b[0]).max(0.0) * (b[3] - b[1]).max(0.0);
    let common = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}
