//! The words of a text in any script, as rules compare them.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// The words of a text and where they stand in it.
pub(super) struct Words<'a> {
    text: &'a str,
    /// Bytes of `text`, and the word in lower case with straight apostrophes.
    words: Vec<(Range<usize>, String)>,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        // Apostrophes of every kind hold a word together as the straight one does.
        let straight: String = text.chars().map(straight).collect();
        let mut positions = straight.char_indices().map(|(at, _)| at);
        let mut originals = text.char_indices().map(|(at, _)| at);
        let mut original = |wanted: usize| loop {
            match (positions.next(), originals.next()) {
                (Some(at), Some(original)) if at == wanted => return original,
                (Some(_), Some(_)) => {}
                _ => return text.len(),
            }
        };
        let mut words: Vec<(Range<usize>, String)> = Vec::new();
        for (start, word) in straight.unicode_word_indices() {
            let from = original(start);
            let chars = text[from..].char_indices().nth(word.chars().count());
            let to = chars.map_or(text.len(), |(at, _)| from + at);
            words.push((from..to, word.to_lowercase()));
        }
        Self { text, words }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// The words in lower case, with straight apostrophes.
    pub(super) fn folded(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|(_, word)| word.as_str())
    }

    /// The bytes of the text from the first to the last of some words; `None`: there are none.
    pub(super) fn span(&self, range: Range<usize>) -> Option<Range<usize>> {
        let words = self.words.get(range)?;
        let ((first, _), (last, _)) = (words.first()?, words.last()?);
        debug_assert!(self.text.is_char_boundary(first.start));
        Some(first.start..last.end)
    }

    /// How many words the longest of these openings has that the text begins with.
    pub(super) fn opening(&self, openings: &[Vec<String>]) -> Option<usize> {
        let begins = |opening: &&Vec<String>| {
            opening.len() <= self.len() && self.folded().zip(*opening).all(|(a, b)| a == b)
        };
        openings.iter().filter(begins).map(Vec::len).max()
    }
}

/// How many words a text has, by the rules of Unicode (UAX #29): `can't` is one, `close-up` two; in
/// scripts that are written without blanks (Chinese, Japanese, Thai) most characters are one each.
#[must_use]
pub fn count_words(text: &str) -> usize {
    Words::of(text).len()
}

/// An apostrophe of any kind as the straight one.
fn straight(letter: char) -> char {
    if super::pattern::APOSTROPHES.contains(letter) {
        '\''
    } else {
        letter
    }
}
