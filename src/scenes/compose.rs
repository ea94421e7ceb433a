//! Composition: what is in scene `index` of the data set with a given seed, and where.

use super::alt_text::alt_text;
use super::draw::{Background, Figure, Print, RING_HOLE, draw};
use super::font::Faces;
use super::geometry::{Box2, area, bounds, grown, hundredths, intersection};
use super::label::{Label, on_background, on_object};
use super::lexicon::{Color, Shape, Size};
use super::random::SceneRng;
use super::relation::relations;
use super::scene::{Scene, SceneObject, SceneText, reading_order};

/// Boxes overlap by at most this share of the smaller one's area.
pub const OVERLAP_LIMIT: f32 = 0.25;

/// All other boxes together cover at most this share of an object's box.
const COVER_LIMIT: f32 = 0.32;

/// Words keep this many pixels away from objects and from each other.
pub(super) const TEXT_MARGIN: f32 = 7.0;

/// A scene that can be drawn: its truth, and the instructions for the rasteriser.
#[derive(Debug, Clone)]
pub struct Composition {
    /// The truth line.
    pub scene: Scene,
    background: Background,
    figures: Vec<Figure>,
    prints: Vec<Print>,
}

impl Composition {
    /// Draws the picture, sRGB, `width` × `height` of the truth.
    pub fn draw(&self) -> image::RgbImage {
        let Scene { width, height, .. } = self.scene;
        draw(width, height, &self.background, &self.figures, &self.prints)
    }
}

/// An object before it has an id.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub color: Color,
    pub size: Size,
    pub figure: Figure,
    /// Tight around the figure.
    pub bounds: Box2,
}

/// Composes the scene of `(seed, index)`, to be saved under the name `file`.
pub fn compose(faces: &Faces, seed: u64, index: u64, file: String) -> Composition {
    let rng = &mut SceneRng::new(seed, index);
    let (width, height) = picture_size(rng);
    let (background, background_words) = background(rng);
    let (labels, items) = content(faces, rng, width, height, background.gray);
    let caption = alt_text(rng, &items);

    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|&a, &b| {
        let key = |i: usize| reading_order(&items[i].bounds, height);
        key(a)
            .partial_cmp(&key(b))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let id = |item: usize| {
        let place = order.iter().position(|&i| i == item).unwrap_or(item);
        format!("o{}", place + 1)
    };
    let objects: Vec<SceneObject> = order
        .iter()
        .map(|&i| SceneObject {
            id: id(i),
            shape: items[i].figure.shape.word().to_owned(),
            color: items[i].color.word().to_owned(),
            size: items[i].size.word().to_owned(),
            bounds: items[i].bounds,
            depth: Some(hundredths((i + 1) as f32 / items.len() as f32)),
        })
        .collect();
    let texts = labels
        .iter()
        .map(|l| SceneText {
            text: l.text.clone(),
            quad: l.quad,
            on: l.on.map(id),
        })
        .collect();
    let relations = relations(&objects, width, height);
    Composition {
        scene: Scene {
            file,
            width,
            height,
            background: background_words,
            caption,
            objects,
            texts,
            relations,
        },
        background,
        figures: items.into_iter().map(|item| item.figure).collect(),
        prints: labels.into_iter().map(|label| label.print).collect(),
    }
}

/// Sides of 320 to 512 pixels, aspect 3:4 to 4:3.
fn picture_size(rng: &mut SceneRng) -> (u32, u32) {
    let long = rng.between(352, 512);
    let short = rng.between((long * 3).div_ceil(4).max(320), long);
    if rng.chance(0.5) {
        (long, short)
    } else {
        (short, long)
    }
}

/// A grey background and the words for it. White and black stand out from every tone.
fn background(rng: &mut SceneRng) -> (Background, String) {
    let &(tone, low, high) = rng.pick(&[
        ("dark gray", 78.0, 98.0),
        ("gray", 116.0, 140.0),
        ("light gray", 160.0, 180.0),
    ]);
    let kind = *rng.pick(&["plain", "gradient", "noisy"]);
    let mut background = Background {
        gray: rng.range(low, high),
        slope: [0.0, 0.0],
        noise: 0.0,
        noise_seed: rng.bits(),
    };
    match kind {
        "gradient" => {
            let (sin, cos) = rng.range(0.0, std::f32::consts::TAU).sin_cos();
            let steep = rng.range(14.0, 24.0);
            background.slope = [steep * cos, steep * sin];
        }
        "noisy" => background.noise = rng.range(9.0, 20.0),
        _ => {}
    }
    (background, format!("{kind} {tone}"))
}

/// Words on the background, objects around them, words on objects. What does not fit is drawn
/// again; after many failures with fewer and smaller objects, in the end without words.
fn content(
    faces: &Faces,
    rng: &mut SceneRng,
    width: u32,
    height: u32,
    gray: f32,
) -> (Vec<Label>, Vec<Item>) {
    let objects = rng.between(1, 5) as usize;
    let words = *rng.pick(&[0, 0, 0, 1, 1, 1, 1, 1, 2, 2]);
    for attempt in 0.. {
        let objects = objects.saturating_sub(attempt / 40).max(1);
        let words = if attempt < 400 { words } else { 0 };
        let mut labels = Vec::new();
        let mut on_objects = 0;
        for _ in 0..words {
            if rng.chance(0.3) {
                on_objects += 1;
            } else if let Some(label) =
                on_background(faces, rng, [width, height], gray, &labels, &[])
            {
                labels.push(label);
            }
        }
        let small = if attempt % 40 < 20 { 0.5 } else { 0.75 };
        let Some(items) = place(rng, width, height, objects, small, &labels) else {
            continue;
        };
        for _ in 0..on_objects {
            if let Some(label) = on_object(faces, rng, &labels, &items)
                .or_else(|| on_background(faces, rng, [width, height], gray, &labels, &items))
            {
                labels.push(label);
            }
        }
        return (labels, items);
    }
    unreachable!("a single small object always fits")
}

/// Places objects one in front of the other; `None` when one finds no room.
fn place(
    rng: &mut SceneRng,
    width: u32,
    height: u32,
    count: usize,
    small: f32,
    labels: &[Label],
) -> Option<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    if count > 1 && rng.chance(0.05) {
        items = ring_with_content(rng, width, height);
        if !items
            .iter()
            .all(|item| free(item, &[], labels, width, height))
        {
            return None;
        }
    }
    while items.len() < count {
        let size = if rng.chance(small) {
            Size::Small
        } else {
            Size::Large
        };
        let radius = radius(rng, size, width, height);
        let (shape, color) = (*rng.pick(&Shape::ALL), *rng.pick(&Color::ALL));
        let close = !items.is_empty() && rng.chance(0.35);
        let found = (0..40).find_map(|_| {
            let at = if close {
                let other = &rng.pick(&items).figure;
                let reach = (other.radius + radius) * rng.range(0.8, 1.1);
                let (sin, cos) = rng.range(0.0, std::f32::consts::TAU).sin_cos();
                [other.center[0] + reach * cos, other.center[1] + reach * sin]
            } else {
                [rng.range(0.0, width as f32), rng.range(0.0, height as f32)]
            };
            let item = item(rng, shape, color, size, at, radius);
            free(&item, &items, labels, width, height).then_some(item)
        })?;
        items.push(found);
    }
    Some(items)
}

/// A large ring with a small object in its hole, somewhere in the picture.
fn ring_with_content(rng: &mut SceneRng, width: u32, height: u32) -> Vec<Item> {
    let side = width.min(height) as f32;
    let outer = side * rng.range(0.2, 0.22);
    let at = [
        rng.range(outer + 3.0, width as f32 - outer - 3.0),
        rng.range(outer + 3.0, height as f32 - outer - 3.0),
    ];
    let color = *rng.pick(&Color::ALL);
    let ring = item(rng, Shape::Ring, color, Size::Large, at, outer);
    let inner = (side * 0.12).min((outer * RING_HOLE - 4.0) / 1.12);
    let radius = rng.range(side * 0.09, inner.max(side * 0.0905));
    let shapes = [
        Shape::Circle,
        Shape::Square,
        Shape::Triangle,
        Shape::Star,
        Shape::Cross,
    ];
    let shape = *rng.pick(&shapes);
    let other = loop {
        let other = *rng.pick(&Color::ALL);
        if other != color {
            break other;
        }
    };
    let content = item(rng, shape, other, Size::Small, at, radius);
    vec![ring, content]
}

/// A radius within its size class, in pixels.
fn radius(rng: &mut SceneRng, size: Size, width: u32, height: u32) -> f32 {
    let (low, high) = size.radius_share();
    rng.range(low, high) * width.min(height) as f32
}

fn item(
    rng: &mut SceneRng,
    shape: Shape,
    color: Color,
    size: Size,
    center: [f32; 2],
    radius: f32,
) -> Item {
    let degrees = if shape.turns() {
        rng.range(-15.0, 15.0)
    } else {
        0.0
    };
    let rgb = color.rgb().map(|level| {
        let jitter = rng.range(-13.0, 13.0);
        (f32::from(level) + jitter).round().clamp(0.0, 255.0) as u8
    });
    let figure = Figure {
        shape,
        rgb,
        center,
        radius,
        degrees,
    };
    let bounds = figure.bounds().map(hundredths);
    Item {
        color,
        size,
        figure,
        bounds,
    }
}

/// Whether an object lies in the picture, clear of the words, and overlaps no other too much.
fn free(item: &Item, items: &[Item], labels: &[Label], width: u32, height: u32) -> bool {
    if !inside(&item.bounds, width, height, 2.0) {
        return false;
    }
    let wide = grown(&item.bounds, TEXT_MARGIN);
    if labels
        .iter()
        .any(|label| intersection(&wide, &bounds(&label.quad)) > 0.0)
    {
        return false;
    }
    let pairs_fit = items.iter().all(|other| {
        let common = intersection(&item.bounds, &other.bounds);
        let smaller = area(&item.bounds).min(area(&other.bounds));
        common == 0.0 || (common <= OVERLAP_LIMIT * smaller && distinct(item.color, other.color))
    });
    let covered = |i: &Item, others: &mut dyn Iterator<Item = &Item>| {
        let common: f32 = others.map(|o| intersection(&i.bounds, &o.bounds)).sum();
        common <= COVER_LIMIT * area(&i.bounds)
    };
    pairs_fit
        && covered(item, &mut items.iter())
        && items.iter().all(|i| {
            intersection(&i.bounds, &item.bounds) == 0.0
                || covered(
                    i,
                    &mut items.iter().filter(|o| o.bounds != i.bounds).chain([item]),
                )
        })
}

/// Whether two colours can be told apart where they touch.
fn distinct(a: Color, b: Color) -> bool {
    use Color::{Orange, Red};
    a != b && !matches!((a, b), (Red, Orange) | (Orange, Red))
}

/// Whether a box lies in the picture, at least `margin` pixels from its edges.
pub(super) fn inside(b: &Box2, width: u32, height: u32, margin: f32) -> bool {
    b[0] >= margin
        && b[1] >= margin
        && b[2] <= width as f32 - margin
        && b[3] <= height as f32 - margin
}

#[cfg(test)]
mod tests;
