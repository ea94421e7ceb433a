//! Words as outlines: four faces of DejaVu, which ships inside the crate `dejavu`.

use ab_glyph::{Font as _, FontRef, InvalidFont, OutlineCurve};
use tiny_skia::{Path, PathBuilder, Transform};

/// The faces words are printed in, parsed once.
#[derive(Debug)]
pub struct Faces([FontRef<'static>; 4]);

/// A word as an outline whose ink begins at (0, 0), with its ink size in pixels.
#[derive(Debug, Clone)]
pub struct Word {
    /// The outline, y down, upright.
    pub path: Path,
    /// Ink width in pixels.
    pub width: f32,
    /// Ink height in pixels.
    pub height: f32,
}

impl Faces {
    /// How many faces there are.
    pub const COUNT: usize = 4;

    /// Parses the faces that ship with the crate.
    ///
    /// # Errors
    /// Only if the shipped font files were damaged.
    pub fn load() -> Result<Self, InvalidFont> {
        Ok(Self([
            FontRef::try_from_slice(dejavu::sans::regular())?,
            FontRef::try_from_slice(dejavu::sans::bold())?,
            FontRef::try_from_slice(dejavu::serif::bold())?,
            FontRef::try_from_slice(dejavu::sans_mono::bold())?,
        ]))
    }

    /// The outline of `word` in face `face` (modulo [`Faces::COUNT`]), so large that both its
    /// capitals and its own ink are at least `height` pixels high.
    ///
    /// `None` for a word without ink.
    pub fn outline(&self, face: usize, word: &str, height: f32) -> Option<Word> {
        let font = &self.0[face % Self::COUNT];
        let raw = raw_outline(font, word)?;
        let ink = raw.compute_tight_bounds()?;
        let capital = raw_outline(font, "H")?.compute_tight_bounds()?.height();
        let scale = height / ink.height().min(capital);
        let place = Transform::from_translate(-ink.left(), -ink.top()).post_scale(scale, scale);
        Some(Word {
            path: raw.transform(place)?,
            width: ink.width() * scale,
            height: ink.height() * scale,
        })
    }
}

/// The outline of a word in font units, y down, with kerning.
fn raw_outline(font: &FontRef<'_>, word: &str) -> Option<Path> {
    let mut path = PathBuilder::new();
    let (mut pen, mut previous) = (0.0, None);
    for letter in word.chars() {
        let glyph = font.glyph_id(letter);
        if let Some(previous) = previous {
            pen += font.kern_unscaled(previous, glyph);
        }
        if let Some(outline) = font.outline(glyph) {
            push(&mut path, &outline.curves, pen);
        }
        pen += font.h_advance_unscaled(glyph);
        previous = Some(glyph);
    }
    path.finish()
}

/// Appends a glyph's contours, moved right by `pen` and turned to y down.
fn push(path: &mut PathBuilder, curves: &[OutlineCurve], pen: f32) {
    let mut last = None;
    for curve in curves {
        let (start, end) = match *curve {
            OutlineCurve::Line(a, b) | OutlineCurve::Quad(a, _, b) => (a, b),
            OutlineCurve::Cubic(a, _, _, b) => (a, b),
        };
        if last != Some(start) {
            if last.is_some() {
                path.close();
            }
            path.move_to(start.x + pen, -start.y);
        }
        match *curve {
            OutlineCurve::Line(_, b) => path.line_to(b.x + pen, -b.y),
            OutlineCurve::Quad(_, c, b) => path.quad_to(c.x + pen, -c.y, b.x + pen, -b.y),
            OutlineCurve::Cubic(_, c, d, b) => {
                path.cubic_to(c.x + pen, -c.y, d.x + pen, -d.y, b.x + pen, -b.y);
            }
        }
        last = Some(end);
    }
    if last.is_some() {
        path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_at_least_the_asked_height_in_every_face() {
        let faces = Faces::load().unwrap();
        for face in 0..Faces::COUNT {
            for word in ["OPEN", "galaxy", "summer"] {
                let outline = faces.outline(face, word, 24.0).unwrap();
                assert!(outline.height >= 23.99, "{word}: {}", outline.height);
                let ink = outline.path.compute_tight_bounds().unwrap();
                assert!(ink.left().abs() < 0.01 && ink.top().abs() < 0.01);
                assert!((ink.right() - outline.width).abs() < 0.01);
            }
        }
    }

    #[test]
    fn a_word_without_ink_has_no_outline() {
        assert!(Faces::load().unwrap().outline(0, " ", 24.0).is_none());
    }
}
