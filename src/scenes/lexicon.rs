//! The words of the scenes world, in one place: what the generator draws and the scorer reads.

/// A form the generator draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Cross,
    Ring,
}

impl Shape {
    /// Every shape, in the order used for drawing lots.
    pub const ALL: [Self; 6] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Cross,
        Self::Ring,
    ];

    /// The noun in truth lines and captions.
    pub fn word(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Cross => "cross",
            Self::Ring => "ring",
        }
    }

    /// Whether a turn can be seen (circles and rings have none).
    pub fn turns(self) -> bool {
        !matches!(self, Self::Circle | Self::Ring)
    }
}

/// A colour of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Color {
    Red,
    Green,
    Blue,
    Yellow,
    Orange,
    Purple,
    White,
    Black,
}

impl Color {
    /// Every colour, in the order used for drawing lots.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::Orange,
        Self::Purple,
        Self::White,
        Self::Black,
    ];

    /// The adjective in truth lines and captions.
    pub fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Purple => "purple",
            Self::White => "white",
            Self::Black => "black",
        }
    }

    /// sRGB before jitter.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [214, 36, 40],
            Self::Green => [30, 150, 62],
            Self::Blue => [36, 74, 214],
            Self::Yellow => [246, 222, 38],
            Self::Orange => [244, 134, 22],
            Self::Purple => [134, 44, 168],
            Self::White => [247, 247, 247],
            Self::Black => [14, 14, 14],
        }
    }
}

/// One of two sizes with a clear gap between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// Radius 9–12 % of the shorter side.
    Small,
    /// Radius 15–22 % of the shorter side.
    Large,
}

impl Size {
    /// The adjective in truth lines and captions.
    pub fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    /// Radius as a share of the picture's shorter side, lowest and highest.
    pub fn radius_share(self) -> (f32, f32) {
        match self {
            Self::Small => (0.09, 0.12),
            Self::Large => (0.15, 0.22),
        }
    }
}

/// A shape noun as read in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noun {
    /// The singular, synonyms resolved: `disc` is read as `circle`.
    pub shape: &'static str,
    /// Whether the word was a plural.
    pub plural: bool,
}

/// Shape nouns: those that are drawn with their synonyms, and others a caption may invent.
const NOUNS: [(&str, &str); 26] = [
    ("circle", "circle"),
    ("disc", "circle"),
    ("disk", "circle"),
    ("square", "square"),
    ("triangle", "triangle"),
    ("star", "star"),
    ("cross", "cross"),
    ("ring", "ring"),
    ("hoop", "ring"),
    ("donut", "ring"),
    ("doughnut", "ring"),
    ("rectangle", "rectangle"),
    ("oval", "oval"),
    ("ellipse", "oval"),
    ("diamond", "diamond"),
    ("pentagon", "pentagon"),
    ("hexagon", "hexagon"),
    ("octagon", "octagon"),
    ("heart", "heart"),
    ("arrow", "arrow"),
    ("crescent", "crescent"),
    ("cube", "cube"),
    ("sphere", "sphere"),
    ("cylinder", "cylinder"),
    ("cone", "cone"),
    ("pyramid", "pyramid"),
];

/// Colour adjectives: those that are drawn with their synonyms, and others a caption may invent.
const COLORS: [(&str, &str); 18] = [
    ("red", "red"),
    ("green", "green"),
    ("blue", "blue"),
    ("yellow", "yellow"),
    ("orange", "orange"),
    ("purple", "purple"),
    ("violet", "purple"),
    ("white", "white"),
    ("black", "black"),
    ("gray", "gray"),
    ("grey", "gray"),
    ("pink", "pink"),
    ("brown", "brown"),
    ("cyan", "cyan"),
    ("teal", "cyan"),
    ("turquoise", "cyan"),
    ("magenta", "magenta"),
    ("beige", "beige"),
];

/// Size adjectives.
const SIZES: [(&str, &str); 10] = [
    ("small", "small"),
    ("little", "small"),
    ("tiny", "small"),
    ("large", "large"),
    ("big", "large"),
    ("huge", "large"),
    ("giant", "large"),
    ("enormous", "large"),
    ("medium", "medium"),
    ("mid", "medium"),
];

fn look_up(table: &[(&str, &'static str)], word: &str) -> Option<&'static str> {
    table
        .iter()
        .find(|(known, _)| *known == word)
        .map(|(_, meaning)| *meaning)
}

/// Reads a shape noun, singular or plural, in lower case.
pub fn noun(word: &str) -> Option<Noun> {
    let singular = |word: &str| look_up(&NOUNS, word);
    if let Some(shape) = singular(word) {
        return Some(Noun {
            shape,
            plural: false,
        });
    }
    ["s", "es"].iter().find_map(|ending| {
        let shape = singular(word.strip_suffix(ending)?)?;
        Some(Noun {
            shape,
            plural: true,
        })
    })
}

/// Reads a colour adjective in lower case, synonyms resolved.
pub fn color(word: &str) -> Option<&'static str> {
    look_up(&COLORS, word)
}

/// Reads a size adjective in lower case, synonyms resolved.
pub fn size(word: &str) -> Option<&'static str> {
    look_up(&SIZES, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawn_word_is_read_as_itself() {
        for word in Shape::ALL.map(Shape::word) {
            assert_eq!(
                noun(word),
                Some(Noun {
                    shape: word,
                    plural: false
                })
            );
            let plural = if word == "cross" {
                "crosses".into()
            } else {
                format!("{word}s")
            };
            assert_eq!(
                noun(&plural),
                Some(Noun {
                    shape: word,
                    plural: true
                })
            );
        }
        for word in Color::ALL.map(Color::word) {
            assert_eq!(color(word), Some(word));
        }
        for word in [Size::Small, Size::Large].map(Size::word) {
            assert_eq!(size(word), Some(word));
        }
    }

    #[test]
    fn synonyms_are_resolved_and_other_words_are_not_read() {
        assert_eq!(noun("discs").map(|n| n.shape), Some("circle"));
        assert_eq!((color("grey"), size("huge")), (Some("gray"), Some("large")));
        assert_eq!(
            (noun("across"), color("reddish"), size("wide")),
            (None, None, None)
        );
    }

    #[test]
    fn no_printed_word_is_a_word_of_the_lexicon() {
        for word in super::super::words::WORDS {
            assert!(noun(word).is_none() && color(word).is_none() && size(word).is_none());
        }
    }
}
