//! Lines of text: bare URLs or JSON objects, as they are.

use std::io;

use super::{
    Fault, Item, Position,
    text::{MOST, Text},
};

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Empty where it was too long to be kept.
    pub(super) text: Vec<u8>,
    pub(super) too_long: bool,
    /// The position behind its end.
    pub(super) after: Position,
}

/// Every line; they end at LF, CRLF or a CR alone.
pub(super) struct Lines {
    input: Text,
    number: u64,
}

impl Lines {
    /// Lines from where the text stands.
    pub(super) fn new(input: Text, number: u64) -> Self {
        Self { input, number }
    }

    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Line {
            text: Vec::new(),
            too_long: false,
            after: Position::default(),
        };
        let (mut some, mut ended) = (false, false);
        while !ended {
            let buffer = self.input.fill()?;
            if buffer.is_empty() {
                if !some {
                    return Ok(None);
                }
                break;
            }
            some = true;
            let end = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let text = &buffer[..end.unwrap_or(buffer.len())];
            if line.text.len() + text.len() > MOST {
                line.too_long = true;
            }
            if line.too_long {
                line.text.clear();
            } else {
                line.text.extend_from_slice(text);
            }
            let is_cr = end.is_some_and(|at| buffer[at] == b'\r');
            let read = text.len() + usize::from(end.is_some());
            self.input.consume(read);
            if is_cr && self.input.fill()?.first() == Some(&b'\n') {
                self.input.consume(1);
            }
            ended = end.is_some();
        }
        self.number += 1;
        line.after = Position {
            at: self.input.at,
            number: self.number,
        };
        Ok(Some(line))
    }
}

/// The lines that are not empty, as requests.
pub(super) struct Requests {
    pub(super) name: String,
    pub(super) lines: Lines,
    pub(super) request: Reading,
}

/// Makes a request of a line.
pub(super) type Reading = fn(&[u8]) -> Result<Vec<u8>, String>;

impl Iterator for Requests {
    type Item = Result<Item, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.lines.next_line() {
                Ok(line) => line?,
                Err(error) => return Some(Err(Fault::new(&self.name, error))),
            };
            let text = line.text.trim_ascii();
            if text.is_empty() && !line.too_long {
                continue;
            }
            return Some(Ok(Item {
                first: line.after.number,
                after: line.after,
                content: if line.too_long {
                    Err(format!("is longer than {} MiB", MOST >> 20))
                } else {
                    (self.request)(text)
                },
            }));
        }
    }
}

/// A line as a request. What is no URL at all is for the service to refuse; what a URL ends in
/// by mistake is refused here, where its file and line are known.
pub(super) fn request(line: &[u8]) -> Result<Vec<u8>, String> {
    match blank(line) {
        Some(problem) if !line.starts_with(b"{") && !line.starts_with(b"\"") => {
            Err(problem.to_owned())
        }
        _ => plain(line),
    }
}

/// A line without the quotes of JSON.
pub(super) fn plain(line: &[u8]) -> Result<Vec<u8>, String> {
    if line.starts_with(b"\"")
        && let Ok(text) = serde_json::from_slice::<String>(line)
    {
        return Ok(text.into_bytes());
    }
    Ok(line.to_vec())
}

/// What is wrong with a line of one URL that holds a blank or a tab.
pub(crate) fn blank(line: &[u8]) -> Option<&'static str> {
    match line.iter().find(|byte| matches!(byte, b' ' | b'\t'))? {
        b'\t' => Some(
            "a tab is in the line: a line is one URL. For URLs with captions use --format tsv \
             (or the ending .tsv), and --caption-column for the caption's column",
        ),
        _ => Some(
            "a blank is in the line: a line is one URL. Write blanks of the URL itself as %20; \
             for URLs with captions use a table (.tsv or .csv, --caption-column) or JSON",
        ),
    }
}

/// How many lines are not empty.
pub(super) fn count(mut text: Text) -> io::Result<u64> {
    let (mut count, mut empty) = (0, true);
    loop {
        let buffer = text.fill()?;
        if buffer.is_empty() {
            return Ok(count + u64::from(!empty));
        }
        for &byte in buffer {
            if matches!(byte, b'\n' | b'\r') {
                count += u64::from(!empty);
                empty = true;
            } else if empty && !byte.is_ascii_whitespace() {
                empty = false;
            }
        }
        let read = buffer.len();
        text.consume(read);
    }
}
