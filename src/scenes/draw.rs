//! Rasterising a composed scene: backgrounds, shapes, words. sRGB, anti-aliased.

use image::RgbImage;
use tiny_skia::{Color as Ink, FillRule, Mask, Paint, Path, PathBuilder, Pixmap, Transform};

use super::geometry::{Box2, turned};
use super::lexicon::Shape;
use super::random::SceneRng;

/// A background of grey tones.
#[derive(Debug, Clone, PartialEq)]
pub struct Background {
    /// Grey level in the middle of the picture, 0 to 255.
    pub gray: f32,
    /// Change of the grey level from the middle to the right and to the lower edge.
    pub slope: [f32; 2],
    /// Standard deviation of the noise, in grey levels.
    pub noise: f32,
    /// Seeds the noise.
    pub noise_seed: u64,
}

/// A shape to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its form.
    pub shape: Shape,
    /// sRGB.
    pub rgb: [u8; 3],
    /// Centre in pixels.
    pub center: [f32; 2],
    /// Nominal radius in pixels; corners of some shapes reach a little farther.
    pub radius: f32,
    /// Clockwise turn in degrees.
    pub degrees: f32,
}

/// A word to draw.
#[derive(Debug, Clone)]
pub struct Print {
    /// Outline whose ink begins at (0, 0).
    pub path: Path,
    /// Where that ink begins, before the turn, in pixels.
    pub origin: [f32; 2],
    /// The point the word is turned around, in pixels.
    pub pivot: [f32; 2],
    /// Clockwise turn in degrees.
    pub degrees: f32,
    /// Grey level of the ink.
    pub gray: u8,
}

/// Radius of a ring's hole as a share of its own.
pub const RING_HOLE: f32 = 0.6;

impl Figure {
    /// The corners in pixels; none for circles and rings.
    pub fn corners(&self) -> Vec<[f32; 2]> {
        let unit: Vec<[f32; 2]> = match self.shape {
            Shape::Circle | Shape::Ring => Vec::new(),
            Shape::Square => vec![[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]],
            Shape::Triangle => around(3, |_| 1.12),
            Shape::Star => around(10, |i| if i % 2 == 0 { 1.12 } else { 0.46 }),
            Shape::Cross => {
                let (a, b) = (0.34, 1.0);
                vec![
                    [-a, -b],
                    [a, -b],
                    [a, -a],
                    [b, -a],
                    [b, a],
                    [a, a],
                    [a, b],
                    [-a, b],
                    [-a, a],
                    [-b, a],
                    [-b, -a],
                    [-a, -a],
                ]
            }
        };
        let [cx, cy] = self.center;
        unit.into_iter()
            .map(|[x, y]| [cx + x * self.radius, cy + y * self.radius])
            .map(|corner| turned(corner, self.center, self.degrees))
            .collect()
    }

    /// The tight box in pixels.
    pub fn bounds(&self) -> Box2 {
        let corners = self.corners();
        if corners.is_empty() {
            let ([x, y], r) = (self.center, self.radius);
            return [x - r, y - r, x + r, y + r];
        }
        super::geometry::bounds(&corners)
    }

    /// The outline; to be filled by the even-odd rule.
    fn path(&self) -> Option<Path> {
        let mut path = PathBuilder::new();
        let corners = self.corners();
        if let Some((first, rest)) = corners.split_first() {
            path.move_to(first[0], first[1]);
            for corner in rest {
                path.line_to(corner[0], corner[1]);
            }
            path.close();
        } else {
            path.push_circle(self.center[0], self.center[1], self.radius);
            if self.shape == Shape::Ring {
                path.push_circle(self.center[0], self.center[1], self.radius * RING_HOLE);
            }
        }
        path.finish()
    }
}

/// Corners evenly around the centre, the first at the top.
fn around(count: usize, radius: impl Fn(usize) -> f32) -> Vec<[f32; 2]> {
    (0..count)
        .map(|i| {
            turned(
                [0.0, -radius(i)],
                [0.0, 0.0],
                360.0 * i as f32 / count as f32,
            )
        })
        .collect()
}

/// Draws a scene: the background, the figures in order (later ones in front), then the words.
///
/// # Panics
/// Never for sides of at least one pixel.
pub fn draw(
    width: u32,
    height: u32,
    background: &Background,
    figures: &[Figure],
    prints: &[Print],
) -> RgbImage {
    let mut canvas = Pixmap::new(width, height).expect("bug: a picture without pixels");
    paint_background(&mut canvas, background);
    for figure in figures {
        if let Some(path) = figure.path() {
            let [r, g, b] = figure.rgb;
            fill(
                &mut canvas,
                &path,
                Ink::from_rgba8(r, g, b, 255),
                Transform::identity(),
            );
        }
    }
    for print in prints {
        let [x, y] = print.origin;
        let [px, py] = print.pivot;
        let place = Transform::from_translate(x, y).post_concat(Transform::from_rotate_at(
            print.degrees,
            px,
            py,
        ));
        let gray = print.gray;
        fill(
            &mut canvas,
            &print.path,
            Ink::from_rgba8(gray, gray, gray, 255),
            place,
        );
    }
    let rgb = canvas
        .data()
        .chunks_exact(4)
        .flat_map(|p| [p[0], p[1], p[2]])
        .collect();
    RgbImage::from_raw(width, height, rgb).expect("bug: a canvas of another size")
}

fn fill(canvas: &mut Pixmap, path: &Path, ink: Ink, place: Transform) {
    let mut paint = Paint {
        anti_alias: true,
        ..Paint::default()
    };
    paint.set_color(ink);
    // Letters are wound so that both rules agree, except where kerned glyphs overlap.
    let rule = if place.is_identity() {
        FillRule::EvenOdd
    } else {
        FillRule::Winding
    };
    canvas.fill_path(path, &paint, rule, place, None::<&Mask>);
}

fn paint_background(canvas: &mut Pixmap, background: &Background) {
    let (width, height) = (canvas.width() as usize, canvas.height() as usize);
    let mut noise = SceneRng::new(background.noise_seed, 0);
    // The sum of four bytes has a standard deviation of 147.8 levels.
    let scale = background.noise / 147.8;
    for (i, pixel) in canvas.data_mut().chunks_exact_mut(4).enumerate() {
        let x = 2.0 * (i % width) as f32 / width as f32 - 1.0;
        let y = 2.0 * (i / width) as f32 / height as f32 - 1.0;
        let mut gray = background.gray + x * background.slope[0] + y * background.slope[1];
        if background.noise > 0.0 {
            let bytes = noise.bits().to_le_bytes();
            let sum: u32 = bytes[4..].iter().map(|b| u32::from(*b)).sum();
            gray += (sum as f32 - 510.0) * scale;
        }
        let level = gray.round().clamp(0.0, 255.0) as u8;
        pixel.copy_from_slice(&[level, level, level, 255]);
    }
}
