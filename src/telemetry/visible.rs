//! Text of strangers on a person's terminal: nothing in it moves the cursor, rings, renames the
//! window or turns the direction of writing.

use std::{borrow::Cow, fmt};

use tracing::field::Field;
use tracing_subscriber::{
    field::MakeExt as _,
    fmt::{
        FormatFields,
        format::{self, Writer},
    },
};

/// A text in one line: control characters and overrides of the writing direction are shown as
/// `\u{1b}`, line ends as `\n`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escape(text, acts, |c| c.escape_default().collect())
}

/// The same for text of more lines: line ends and tabs stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escape(text, acts_in_lines, |c| c.escape_default().collect())
}

/// The same for JSON, which stays the same JSON: `\u001b`.
#[must_use]
pub fn visible_json(text: &str) -> Cow<'_, str> {
    escape(text, acts_in_lines, |c| format!("\\u{:04x}", u32::from(c)))
}

/// Writes the fields of a log line so: what is formatted by `%` is not escaped by the library.
pub(super) fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    let format = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let text = format!("{value:?}");
        let text = visible_lines(&text);
        match field.name() {
            "message" => write!(writer, "{text}"),
            name if writer.has_ansi_escapes() => {
                write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{text}")
            }
            name => write!(writer, "{name}={text}"),
        }
    };
    format::debug_fn(format).delimited(" ")
}

/// Whether a terminal does something else with a character than show it.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn acts_in_lines(c: char) -> bool {
    acts(c) && !matches!(c, '\n' | '\t')
}

fn escape(text: &str, acts: impl Fn(char) -> bool, shown: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            escaped.push_str(&shown(c));
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let text = "a\u{1b}[31m\u{7}\u{9b}2J\u{7f}\r\n\tb\u{202e}c\u{2066}é😀";
        assert_eq!(
            visible(text),
            "a\\u{1b}[31m\\u{7}\\u{9b}2J\\u{7f}\\r\\n\\tb\\u{202e}c\\u{2066}é😀"
        );
        assert_eq!(
            visible_lines(text),
            "a\\u{1b}[31m\\u{7}\\u{9b}2J\\u{7f}\\r\n\tb\\u{202e}c\\u{2066}é😀"
        );
        assert!(matches!(visible("plain é"), Cow::Borrowed("plain é")));
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a": text_of_everything()});
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        let shown = visible_json(&text);
        assert!(!shown.contains(acts_in_lines), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"),
            value
        );
    }

    #[test]
    fn a_log_line_has_no_escapes_but_its_own_colours() {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);

        impl io::Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let mut kept = self.0.lock().expect("a log");
                kept.extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(true)
            .compact()
            .fmt_fields(fields())
            .with_writer(move || writer.clone())
            .finish();
        let evil = "\u{1b}[2J\u{9b}31m\r\u{7}\u{202e}";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(display = %evil, debug = ?evil, plain = evil, "{evil}");
        });
        let shown = String::from_utf8(kept.0.lock().expect("a log").clone()).expect("UTF-8");
        let evil = "\\u{1b}[2J\\u{9b}31m\\r\\u{7}\\u{202e}";
        assert_eq!(shown.matches(evil).count(), 4, "{shown}");
        // What is left are colours, and the line's end.
        let rest: String = shown.split('\u{1b}').skip(1).collect();
        assert!(!rest.contains(acts_in_lines), "{rest:?}");
        for part in shown.split('\u{1b}').skip(1) {
            let colour: String = part.chars().take_while(|c| *c != 'm').collect();
            let is_colour = |c: char| c.is_ascii_digit() || matches!(c, '[' | ';');
            assert!(colour.chars().all(is_colour), "{colour:?}");
        }
    }

    fn text_of_everything() -> String {
        ('\0'..'\u{ff}').chain(['\u{202e}', '\u{2069}']).collect()
    }
}
