//! Alt texts as the web has them: short, vague, and naming one object at most.

use super::compose::Item;
use super::random::SceneRng;

/// An alt text for a picture of these items.
pub(super) fn alt_text(rng: &mut SceneRng, items: &[Item]) -> String {
    let item = rng.pick(items);
    let (shape, color) = (item.figure.shape.word(), item.color.word());
    let article = if color == "orange" { "an" } else { "a" };
    match rng.below(10) {
        0 => format!("picture with a {shape}"),
        1 => format!("{color} {shape}"),
        2 => format!("{shape} graphic"),
        3 => format!("image of {article} {color} {shape}"),
        4 => format!("{article} {color} {shape} and more"),
        5 => format!("{shape} on gray background, free clipart"),
        6 => "some shapes".to_owned(),
        7 => "colorful shapes illustration".to_owned(),
        8 => format!("IMG_{:04}.jpg", rng.below(10_000)),
        _ => "abstract picture".to_owned(),
    }
}
