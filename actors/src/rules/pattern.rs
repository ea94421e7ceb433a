//! Texts and regular expressions that are looked for in captions.

use std::{fmt, ops::Range};

use regex::{Error, Regex};

/// Characters that are typed for an apostrophe.
pub(super) const APOSTROPHES: &str = "'\u{2019}\u{2018}\u{2bc}\u{ff07}\u{b4}`";

/// Something that is looked for in a caption.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// A text as it stands, anywhere, also inside of words: case and the kind of apostrophe do not
    /// matter, nor how wide a blank is; blanks at its ends are left out.
    ///
    /// # Errors
    /// It holds nothing but blanks, or is too long; in words.
    pub fn literal(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err(String::from("is empty"));
        }
        compile(&format!("(?i){}", escaped(text)))
    }

    /// A regular expression in the syntax of the crate `regex`: it looks at the caption as it is,
    /// so `(?i)` ignores case and `\b` asks for whole words.
    ///
    /// # Errors
    /// It cannot be read, is too large, or would be found in every caption; in words.
    pub fn regex(text: &str) -> Result<Self, String> {
        let pattern = compile(text)?;
        if pattern.0.is_match("") && pattern.0.is_match("\u{0}") {
            return Err(format!("{text:?} matches every caption"));
        }
        Ok(pattern)
    }

    /// A mark of a chat template, which no description holds. One that begins with a letter
    /// (`User:`) counts at the beginning of a line only, any other (`<|im_start|>`) anywhere; case
    /// does not matter.
    ///
    /// # Errors
    /// As [`Pattern::literal`].
    pub fn marker(text: &str) -> Result<Self, String> {
        if !text.trim_start().starts_with(char::is_alphanumeric) {
            return Self::literal(text);
        }
        compile(&format!(r"(?im)^[ \t]*{}", escaped(text)))
    }

    /// The bytes of the first place where it stands; blanks at their ends are left out.
    pub(super) fn find(&self, text: &str) -> Option<Range<usize>> {
        let found = self.0.find(text)?;
        let blank = found.as_str().len() - found.as_str().trim_start().len();
        let start = found.start() + blank;
        Some(start..start + found.as_str().trim().len())
    }
}

/// For the identity of rules: the expression alone.
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_str().fmt(f)
    }
}

fn escaped(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let letter = |letter: char| {
            if APOSTROPHES.contains(letter) {
                format!("[{APOSTROPHES}]")
            } else {
                regex::escape(letter.encode_utf8(&mut [0; 4]))
            }
        };
        word.chars().map(letter).collect::<String>()
    });
    words.collect::<Vec<_>>().join(r"\s+")
}

fn compile(expression: &str) -> Result<Pattern, String> {
    Regex::new(expression)
        .map(Pattern)
        .map_err(|error| match error {
            Error::CompiledTooBig(limit) => {
                format!("is larger than {limit} bytes when compiled; shorten it or split it in two")
            }
            // The first lines show the expression once more.
            error => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default();
                let why = last.strip_prefix("error: ").unwrap_or(last);
                format!("{expression:?} is no regular expression: {why}")
            }
        })
}
