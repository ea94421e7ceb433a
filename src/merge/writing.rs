//! What was read: writing, or a thing that looks like a letter?

use vila2_actors::{
    annotation::{Grounding, TextLine},
    boxes::{bounds, iou},
};

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
            let around = bounds(&line.quad.0);
            groundings
                .iter()
                .all(|thing| iou(&around, &thing.bounding_box.0) < SAME_PLACE)
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
