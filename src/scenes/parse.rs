//! Reading object mentions out of English, within the words of the [lexicon](super::lexicon).
//!
//! A mention is a shape noun with the colours and sizes said of it. What is understood:
//! - `a large red circle`, `big`, `tiny`, modifiers between them (`a large bright red circle`);
//! - counts: `two red circles` are two mentions; a plural without a number counts as two;
//! - ellipsis: `a red and a blue circle`;
//! - what follows the noun: `a circle that is red`, `the circle is large and red`;
//! - `the red circle` after `a red circle` is the same object, not another one;
//! - `no circles`, `without a star` mention nothing; nor do quoted words, and nor does a shape
//!   that describes the picture (`a square picture`).

use super::lexicon::{color, noun, size};

/// One object that a text speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Shape noun, singular, synonyms resolved.
    pub shape: &'static str,
    /// Colour, if one was said.
    pub color: Option<&'static str>,
    /// Size, if one was said.
    pub size: Option<&'static str>,
}

/// A number in a text above this counts as this many objects.
pub const COUNT_CAP: usize = 20;

/// Words that may stand between an adjective and its noun.
const MODIFIERS: [&str; 19] = [
    "bright",
    "dark",
    "light",
    "pale",
    "deep",
    "solid",
    "filled",
    "hollow",
    "shiny",
    "flat",
    "very",
    "single",
    "other",
    "more",
    "colored",
    "coloured",
    "sized",
    "simple",
    "identical",
];

/// Nouns that a shape before them describes, instead of naming an object.
const PICTURE: [&str; 10] = [
    "picture",
    "image",
    "photo",
    "photograph",
    "background",
    "canvas",
    "frame",
    "format",
    "grid",
    "pattern",
];

const NUMBERS: [&str; 10] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];

/// Every object a text mentions, in the order of the nouns.
pub fn mentions(text: &str) -> Vec<Mention> {
    let tokens = tokens(text);
    let mut reader = Reader::default();
    let mut at = 0;
    while at < tokens.len() {
        at += reader.read(&tokens[at..]);
    }
    reader.found
}

/// The words before a noun.
#[derive(Debug, Clone, Default)]
struct Phrase {
    count: Option<usize>,
    color: Option<&'static str>,
    size: Option<&'static str>,
    /// Begun by `the`, `this` or the like.
    definite: bool,
}

impl Phrase {
    fn described(&self) -> bool {
        self.color.is_some() || self.size.is_some()
    }
}

#[derive(Debug, Default)]
struct Reader {
    found: Vec<Mention>,
    phrase: Phrase,
    /// `a red` of `a red and a blue circle`.
    waiting: Vec<Phrase>,
    negated: bool,
}

impl Reader {
    /// Reads the first token, and perhaps some after it; returns how many.
    fn read(&mut self, tokens: &[String]) -> usize {
        let word = tokens[0].as_str();
        if let Some(noun) = noun(word) {
            if tokens
                .get(1)
                .is_some_and(|next| PICTURE.contains(&next.as_str()))
            {
                self.forget();
                return 2;
            }
            let fresh = self.take(noun.shape, noun.plural);
            let (used, said) = predicate(&tokens[1..]);
            for mention in &mut self.found[fresh..] {
                mention.color = mention.color.or(said.color);
                mention.size = mention.size.or(said.size);
            }
            return 1 + used;
        }
        if let Some(color) = color(word) {
            self.phrase.color.get_or_insert(color);
        } else if let Some(size) = size(word) {
            self.phrase.size.get_or_insert(size);
        } else if let Some(count) = number(word) {
            self.begin(Phrase {
                count: Some(count),
                ..Phrase::default()
            });
        } else {
            match word {
                "a" | "an" | "another" | "each" | "every" => {
                    self.begin(Phrase {
                        count: Some(1),
                        ..Phrase::default()
                    });
                }
                "the" | "this" | "that" | "these" | "those" | "its" => {
                    self.begin(Phrase {
                        definite: true,
                        ..Phrase::default()
                    });
                }
                "pair" | "couple" => {
                    self.begin(Phrase {
                        count: Some(2),
                        ..Phrase::default()
                    });
                    return 1 + usize::from(tokens.get(1).is_some_and(|next| next == "of"));
                }
                "no" | "without" | "not" => {
                    self.forget();
                    self.negated = true;
                }
                "and" | "or" | "nor" | "," => {}
                _ if MODIFIERS.contains(&word) => {}
                _ => self.forget(),
            }
        }
        1
    }

    fn forget(&mut self) {
        self.phrase = Phrase::default();
        self.waiting.clear();
        self.negated = false;
    }

    fn begin(&mut self, phrase: Phrase) {
        let before = std::mem::replace(&mut self.phrase, phrase);
        if before.described() {
            self.waiting.push(before);
        }
    }

    /// Turns what was read into mentions of `shape`; returns where the new ones begin.
    fn take(&mut self, shape: &'static str, plural: bool) -> usize {
        let fresh = self.found.len();
        let mut phrases = std::mem::take(&mut self.waiting);
        phrases.push(std::mem::take(&mut self.phrase));
        if self.negated {
            return fresh;
        }
        for Phrase {
            count,
            color,
            size,
            definite,
        } in phrases
        {
            let mention = Mention { shape, color, size };
            let known = self.found[..fresh]
                .iter_mut()
                .find(|old| same_object(old, &mention));
            if let (true, Some(old)) = (definite, known) {
                old.color = old.color.or(color);
                old.size = old.size.or(size);
                continue;
            }
            let count = count.unwrap_or(if plural { 2 } else { 1 }).min(COUNT_CAP);
            self.found.extend(std::iter::repeat_n(mention, count));
        }
        fresh
    }
}

/// Whether two mentions can be of one object: same shape, and nothing said that contradicts.
fn same_object(a: &Mention, b: &Mention) -> bool {
    let agree = |a: Option<&str>, b: Option<&str>| a.is_none() || b.is_none() || a == b;
    a.shape == b.shape && agree(a.color, b.color) && agree(a.size, b.size)
}

/// Reads `is red`, `that are large and red`; returns how many tokens, and what is said.
fn predicate(tokens: &[String]) -> (usize, Phrase) {
    let word = |at: usize| tokens.get(at).map_or("", String::as_str);
    let mut at = usize::from(matches!(word(0), "that" | "which"));
    if !matches!(word(at), "is" | "are") {
        return (0, Phrase::default());
    }
    at += 1;
    let mut said = Phrase::default();
    loop {
        if let Some(color) = color(word(at)) {
            said.color.get_or_insert(color);
        } else if let Some(size) = size(word(at)) {
            said.size.get_or_insert(size);
        } else if !(word(at) == "and" || MODIFIERS.contains(&word(at))) {
            return (at, said);
        }
        at += 1;
    }
}

fn number(word: &str) -> Option<usize> {
    let spelled = NUMBERS
        .iter()
        .position(|number| *number == word)
        .map(|place| place + 1);
    spelled.or_else(|| word.parse().ok())
}

/// Lower-case words, whole numbers, and single marks; without what stands between quotes or in
/// square brackets.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let (mut until, mut in_word) = (None, false);
    let letters: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    for (at, &letter) in letters.iter().enumerate() {
        if let Some(end) = until {
            if letter == end {
                until = None;
            }
            continue;
        }
        if letter.is_alphanumeric() {
            match tokens.last_mut() {
                Some(word) if in_word => word.push(letter),
                _ => tokens.push(letter.to_string()),
            }
            in_word = true;
            continue;
        }
        let closing = match letter {
            '"' => Some('"'),
            '“' => Some('”'),
            '‘' => Some('’'),
            '\'' if !in_word => Some('\''),
            '[' => Some(']'),
            _ => None,
        };
        until = closing.filter(|end| letters[at + 1..].contains(end));
        in_word = false;
        if !letter.is_whitespace() && !matches!(letter, '-' | '\'') && until.is_none() {
            tokens.push(letter.to_string());
        }
    }
    tokens
}

#[cfg(test)]
mod tests;
