//! Where words go: on the background, clear of everything, or on a large object.

use super::compose::{Item, TEXT_MARGIN, inside};
use super::draw::Print;
use super::font::{Faces, Word};
use super::geometry::{Quad, bounds, grown, hundredths, intersection, turned};
use super::lexicon::{Shape, Size};
use super::random::SceneRng;
use super::words::WORDS;

/// A placed word.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub text: String,
    pub quad: Quad,
    /// The place of its object in the list of items.
    pub on: Option<usize>,
    pub print: Print,
}

/// Ink heights on the background and on objects, in pixels.
const HEIGHT: (f32, f32) = (23.0, 36.0);
const HEIGHT_ON_OBJECT: (f32, f32) = (22.2, 27.0);

/// Pixels between a word and the edge of the object it is printed on.
const INSET: f32 = 4.0;

/// A word on the background, clear of `labels` and `items`; `None` when 40 places did not fit.
pub(super) fn on_background(
    faces: &Faces,
    rng: &mut SceneRng,
    [width, height]: [u32; 2],
    gray: f32,
    labels: &[Label],
    items: &[Item],
) -> Option<Label> {
    (0..40).find_map(|_| {
        let (text, word) = word(faces, rng, HEIGHT)?;
        let at = [rng.range(0.0, width as f32), rng.range(0.0, height as f32)];
        let label = label(rng, text, &word, at, gray >= 128.0);
        let wide = grown(&bounds(&label.quad), TEXT_MARGIN);
        let clear = inside(&bounds(&label.quad), width, height, 6.0)
            && labels
                .iter()
                .all(|l| intersection(&wide, &bounds(&l.quad)) == 0.0)
            && items.iter().all(|i| intersection(&wide, &i.bounds) == 0.0);
        clear.then_some(label)
    })
}

/// A word on a large circle or square that no other object touches; `None` when none has room.
pub(super) fn on_object(
    faces: &Faces,
    rng: &mut SceneRng,
    labels: &[Label],
    items: &[Item],
) -> Option<Label> {
    let open: Vec<usize> = (0..items.len())
        .filter(|&i| is_open(i, items, labels))
        .collect();
    if open.is_empty() {
        return None;
    }
    (0..40).find_map(|_| {
        let on = *rng.pick(&open);
        let figure = &items[on].figure;
        let (text, word) = word(faces, rng, HEIGHT_ON_OBJECT)?;
        let [r, g, b] = figure.rgb.map(f32::from);
        let dark = 0.299 * r + 0.587 * g + 0.114 * b > 118.0;
        let shift = figure.radius * 0.15;
        let at = [
            figure.center[0] + rng.range(-shift, shift),
            figure.center[1] + rng.range(-shift, shift),
        ];
        let label = Label {
            on: Some(on),
            ..label(rng, text, &word, at, dark)
        };
        let within = label.quad.iter().all(|corner| {
            let upright = turned(*corner, figure.center, -figure.degrees);
            let [x, y] = [upright[0] - figure.center[0], upright[1] - figure.center[1]];
            match figure.shape {
                Shape::Circle => x.hypot(y) <= figure.radius - INSET,
                _ => x.abs().max(y.abs()) <= figure.radius * 0.88 - INSET,
            }
        });
        within.then_some(label)
    })
}

/// Whether a word may be printed on this item: large, solid, untouched, and without a word yet.
fn is_open(index: usize, items: &[Item], labels: &[Label]) -> bool {
    let item = &items[index];
    let solid = matches!(item.figure.shape, Shape::Circle | Shape::Square);
    let touched = items
        .iter()
        .enumerate()
        .any(|(i, other)| i != index && intersection(&item.bounds, &other.bounds) > 0.0);
    let taken = labels.iter().any(|label| label.on == Some(index));
    item.size == Size::Large && solid && !touched && !taken
}

/// A word of the list in a random face, case and height.
fn word(faces: &Faces, rng: &mut SceneRng, (low, high): (f32, f32)) -> Option<(String, Word)> {
    let word = *rng.pick(&WORDS);
    let text = if rng.chance(0.6) {
        word.to_uppercase()
    } else {
        word.to_owned()
    };
    let face = rng.below(Faces::COUNT);
    let outline = faces.outline(face, &text, rng.range(low, high))?;
    Some((text, outline))
}

/// The word with its ink's centre at `at`, level in two of three cases, else turned by up to 8 degrees.
fn label(rng: &mut SceneRng, text: String, word: &Word, at: [f32; 2], dark: bool) -> Label {
    let degrees = if rng.chance(0.35) {
        rng.range(-8.0, 8.0)
    } else {
        0.0
    };
    let gray = if dark {
        rng.between(8, 36)
    } else {
        rng.between(228, 252)
    } as u8;
    let [x, y] = [at[0] - word.width / 2.0, at[1] - word.height / 2.0];
    let (right, bottom) = (x + word.width, y + word.height);
    let quad = [[x, y], [right, y], [right, bottom], [x, bottom]]
        .map(|corner| turned(corner, at, degrees).map(hundredths));
    let print = Print {
        path: word.path.clone(),
        origin: [x, y],
        pivot: at,
        degrees,
        gray,
    };
    Label {
        text,
        quad,
        on: None,
        print,
    }
}
