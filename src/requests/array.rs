//! A JSON array of requests: objects, passed on as they are, or URLs as strings. It is read
//! element by element, never as a whole.

use std::io;

use serde_json::value::RawValue;

use super::{
    Fault, Item, Position,
    text::{MOST, Text, invalid},
};

/// The elements of an array from a position on.
pub(super) struct Elements {
    name: String,
    input: Text,
    number: u64,
    /// Whether the closing bracket, or a fault, is behind us.
    over: bool,
}

impl Elements {
    /// `number` elements are behind `input` already.
    pub(super) fn new(name: &str, input: Text, number: u64) -> Self {
        Self {
            name: name.to_owned(),
            input,
            number,
            over: false,
        }
    }

    /// The next element's text, and whether it was too long to be kept; `None`: the array ends.
    fn element(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        let number = self.number + 1;
        let cut_off = || invalid(format!("the array is cut off at element {number}"));
        let first = self.input.first()?.ok_or_else(cut_off)?;
        let is_start = self.number == 0 && first == b'[';
        match first {
            b'[' if is_start => self.input.consume(1),
            b',' if self.number > 0 => self.input.consume(1),
            b']' => {}
            _ => {
                let problem = format!("no comma in front of element {number} of the array");
                return Err(invalid(problem));
            }
        }
        let first = self.input.first()?.ok_or_else(cut_off)?;
        if first == b']' {
            self.input.consume(1);
            return match self.input.first()? {
                None => Ok(None),
                Some(_) => Err(invalid("more text follows the end of the array")),
            };
        }
        let (mut text, mut too_long) = (Vec::new(), false);
        let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
        loop {
            let buffer = self.input.fill()?;
            if buffer.is_empty() {
                return Err(cut_off());
            }
            let end = buffer.iter().position(|&byte| {
                if escaped {
                    escaped = false;
                    return false;
                }
                match byte {
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    _ if in_string => {}
                    b'[' | b'{' => depth += 1,
                    b',' | b']' if depth == 0 => return true,
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                false
            });
            let read = end.unwrap_or(buffer.len());
            too_long |= text.len() + read > MOST;
            if too_long {
                text.clear();
            } else {
                text.extend_from_slice(&buffer[..read]);
            }
            self.input.consume(read);
            if end.is_some() {
                return Ok(Some((text, too_long)));
            }
        }
    }
}

impl Iterator for Elements {
    type Item = Result<Item, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.element() {
            Ok(Some((text, too_long))) => {
                self.number += 1;
                Some(Ok(Item {
                    first: self.number,
                    after: Position {
                        at: self.input.at,
                        number: self.number,
                    },
                    content: if too_long {
                        Err(format!("is longer than {} MiB", MOST >> 20))
                    } else {
                        request(text.trim_ascii())
                    },
                }))
            }
            Ok(None) => {
                self.over = true;
                None
            }
            Err(error) => {
                self.over = true;
                Some(Err(Fault::new(&self.name, error)))
            }
        }
    }
}

fn request(element: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = |error| format!("is not JSON: {error}");
    match element.first() {
        Some(b'{') => {
            serde_json::from_slice::<&RawValue>(element).map_err(wrong)?;
            Ok(element.to_vec())
        }
        Some(b'"') => {
            let url: String = serde_json::from_slice(element).map_err(wrong)?;
            Ok(url.into_bytes())
        }
        _ => Err("is neither an object nor a URL in quotes".to_owned()),
    }
}

/// How many elements there are.
///
/// # Errors
/// The array is cut off, or more text follows it: said before anything is published.
pub(super) fn count(name: &str, text: Text) -> Result<u64, Fault> {
    let mut count = 0;
    for element in Elements::new(name, text, 0) {
        element?;
        count += 1;
    }
    Ok(count)
}
