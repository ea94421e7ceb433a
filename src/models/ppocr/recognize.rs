//! Reading straightened lines: which way up they are, and what they say.
//!
//! # Source
//! PP-OCRv4 recognition and the PP-OCR v2 direction classifier, batched as rapidocr-onnxruntime
//! 1.4.4 does: widths of a batch follow its widest line, and what a line reads as may depend on it.

use vila2_actors::error::ModelError;

use super::{
    bitmap::Bitmap,
    graph::{Batch, Graph},
};

/// Height of a line in both graphs, pixels.
const LINE_HEIGHT: usize = 48;

/// Width of a line in the direction graph, pixels.
const DIRECTION_WIDTH: usize = 192;

/// Least width of a batch in the recognition graph, pixels.
const MIN_WIDTH: f64 = 320.0;

/// Lines in one run.
const MAX_LINES: usize = 6;

/// A line is turned over when its being upside down is more probable than this.
const TURN_THRESHOLD: f32 = 0.9;

/// Which of the lines stand on their heads.
///
/// # Errors
/// [`ModelError::Run`].
pub(super) fn upside_down(graph: &mut Graph, lines: &[Bitmap]) -> Result<Vec<bool>, ModelError> {
    let mut turned = Vec::with_capacity(lines.len());
    for group in lines.chunks(MAX_LINES) {
        let mut batch = Batch::new(DIRECTION_WIDTH, LINE_HEIGHT);
        for line in group {
            batch.push(&line.resized(line_width(line, DIRECTION_WIDTH), LINE_HEIGHT));
        }
        let answer = graph.run(&batch)?;
        if answer.shape != [group.len(), 2] {
            return Err(ModelError::Broken(format!(
                "the direction graph answered {} lines with shape {:?}",
                group.len(),
                answer.shape
            )));
        }
        let probabilities = answer.values.chunks_exact(2);
        turned.extend(probabilities.map(|p| p[1] > p[0] && p[1] > TURN_THRESHOLD));
    }
    Ok(turned)
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    pub text: String,
    /// Mean probability of its characters; 0 for an empty line.
    pub score: f32,
}

/// The characters the recogniser knows.
#[derive(Debug, Clone)]
pub(super) struct Alphabet(Vec<String>);

impl Alphabet {
    /// Takes the dictionary out of the graph's metadata (`character`, one a line), and a space.
    ///
    /// # Errors
    /// [`ModelError::Broken`] where it is missing.
    pub fn of(graph: &Graph) -> Result<Self, ModelError> {
        let characters = graph.metadata("character").ok_or_else(|| {
            ModelError::Broken(
                "the recognition graph has no `character` in its metadata, so its answers cannot \
                 be spelt"
                    .to_owned(),
            )
        })?;
        let mut all: Vec<String> = characters.lines().map(str::to_owned).collect();
        all.push(" ".to_owned());
        Ok(Self(all))
    }

    /// Spells the answer for one line, `f32[steps, classes]`: the best class of each step, repeats
    /// joined, class 0 (blank) left out.
    fn spell(&self, steps: &[f32]) -> Reading {
        let (mut text, mut sum, mut count) = (String::new(), 0.0f64, 0u32);
        let mut last = 0;
        for probabilities in steps.chunks_exact(self.classes()) {
            let (class, probability) = best(probabilities);
            if class != 0 && class != last {
                text.push_str(&self.0[class - 1]);
                sum += f64::from(probability);
                count += 1;
            }
            last = class;
        }
        let score = if count == 0 {
            0.0
        } else {
            (sum / f64::from(count)) as f32
        };
        Reading { text, score }
    }

    /// The blank and every character.
    fn classes(&self) -> usize {
        self.0.len() + 1
    }
}

/// The first of the largest values.
fn best(values: &[f32]) -> (usize, f32) {
    let mut found = (0, f32::NEG_INFINITY);
    for (i, &value) in values.iter().enumerate() {
        if value > found.1 {
            found = (i, value);
        }
    }
    found
}

/// Reads the lines of one picture; answers in their order.
///
/// # Errors
/// [`ModelError::Run`].
pub(super) fn recognize(
    graph: &mut Graph,
    alphabet: &Alphabet,
    lines: &[Bitmap],
) -> Result<Vec<Reading>, ModelError> {
    let ratio = |i: usize| lines[i].width as f64 / lines[i].height as f64;
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by(|&a, &b| ratio(a).total_cmp(&ratio(b)));
    let mut readings: Vec<Option<Reading>> = vec![None; lines.len()];
    for group in order.chunks(MAX_LINES) {
        let widest = group
            .iter()
            .map(|&i| ratio(i))
            .fold(MIN_WIDTH / LINE_HEIGHT as f64, f64::max);
        let width = (LINE_HEIGHT as f64 * widest) as usize;
        let mut batch = Batch::new(width, LINE_HEIGHT);
        for &i in group {
            batch.push(&lines[i].resized(line_width(&lines[i], width), LINE_HEIGHT));
        }
        let answer = graph.run(&batch)?;
        match answer.shape[..] {
            [count, steps, classes] if count == group.len() && classes == alphabet.classes() => {
                let answers = answer.values.chunks_exact(steps * classes);
                for (&i, steps) in group.iter().zip(answers) {
                    readings[i] = Some(alphabet.spell(steps));
                }
            }
            _ => {
                return Err(ModelError::Broken(format!(
                    "the recognition graph answered {} lines with shape {:?}; its dictionary has \
                     {} classes",
                    group.len(),
                    answer.shape,
                    alphabet.classes()
                )));
            }
        }
    }
    Ok(readings
        .into_iter()
        .map(|reading| reading.expect("bug: every line is in one group"))
        .collect())
}

/// Width of a line brought to [`LINE_HEIGHT`], at most `limit`.
fn line_width(line: &Bitmap, limit: usize) -> usize {
    let ratio = line.width as f64 / line.height as f64;
    ((LINE_HEIGHT as f64 * ratio).ceil() as usize).clamp(1, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(classes: &[usize]) -> Vec<f32> {
        classes
            .iter()
            .flat_map(|&class| (0..4).map(move |i| if i == class { 0.8 } else { 0.1 }))
            .collect()
    }

    fn alphabet() -> Alphabet {
        Alphabet(vec!["a".into(), "b".into(), " ".into()])
    }

    #[test]
    fn repeats_are_joined_unless_a_blank_stands_between() {
        let reading = alphabet().spell(&steps(&[0, 1, 1, 0, 1, 3, 2, 2, 0]));
        assert_eq!(reading.text, "aa b");
        assert!((reading.score - 0.8).abs() < 1e-6);
    }

    #[test]
    fn nothing_but_blanks_is_an_empty_line_with_score_zero() {
        let reading = alphabet().spell(&steps(&[0, 0, 0]));
        assert_eq!((reading.text.as_str(), reading.score), ("", 0.0));
    }

    #[test]
    fn lines_keep_their_proportions_up_to_the_batch() {
        assert_eq!(line_width(&Bitmap::black(100, 30), 320), 160);
        assert_eq!(line_width(&Bitmap::black(101, 30), 320), 162);
        assert_eq!(line_width(&Bitmap::black(400, 30), 320), 320);
        assert_eq!(line_width(&Bitmap::black(1, 500), 320), 1);
    }
}
