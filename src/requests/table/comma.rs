//! Records of a CSV file (RFC 4180): quotes, line ends inside of them, any line end.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use super::{Record, Records};
use crate::requests::{
    Position,
    text::{MOST, Text, invalid},
};

/// What sets the fields apart: commas, else what a spreadsheet of another country writes in the
/// header line.
pub(super) fn delimiter(beginning: &[u8]) -> u8 {
    let end = beginning
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'));
    let line = &beginning[..end.unwrap_or(beginning.len())];
    let mut in_quotes = false;
    let outside: Vec<u8> = (line.iter().copied())
        .filter(|&byte| {
            in_quotes ^= byte == b'"';
            !in_quotes
        })
        .collect();
    // URLs hold all of them.
    let has_url = line.windows(3).any(|three| three == b"://");
    if has_url || outside.contains(&b',') {
        return b',';
    }
    let other = [b';', b'\t']
        .into_iter()
        .find(|other| outside.contains(other));
    other.unwrap_or(b',')
}

/// What the reader is given behind the end of the file: found inside of a field, a quote was never
/// closed, and has swallowed every row after it.
const END: &[u8] = b"\n\0end of the list\0\n";

pub(super) struct Commas {
    reader: csv::Reader<Bounded>,
    record: csv::ByteRecord,
    read: Rc<Cell<usize>>,
    /// Where the reader began.
    at: u64,
    number: u64,
}

impl Commas {
    pub(super) fn new(text: Text, number: u64, delimiter: u8) -> Self {
        let read = Rc::new(Cell::new(0));
        let at = text.at;
        let input = Bounded {
            text,
            read: Rc::clone(&read),
            end: END,
        };
        Self {
            reader: csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .delimiter(delimiter)
                .from_reader(input),
            record: csv::ByteRecord::new(),
            read,
            at,
            number,
        }
    }
}

impl Records for Commas {
    fn next_record(&mut self) -> io::Result<Option<Record>> {
        loop {
            self.read.set(0);
            if !self.reader.read_byte_record(&mut self.record)? {
                return Ok(None);
            }
            self.number += 1;
            let last = self.record.iter().next_back().unwrap_or_default();
            if last == END.trim_ascii() {
                return Ok(None);
            }
            if last.ends_with(END) {
                let number = self.number;
                return Err(invalid(format!(
                    "a quote that opens in row {number} is never closed"
                )));
            }
            // A line of blanks is no record.
            if self
                .record
                .iter()
                .any(|field| !field.trim_ascii().is_empty())
            {
                break;
            }
        }
        Ok(Some(Record {
            fields: self.record.iter().map(<[u8]>::to_vec).collect(),
            after: Position {
                at: self.at + self.reader.position().byte(),
                number: self.number,
            },
        }))
    }
}

/// Ends the reading where a quote that is never closed would swallow the rest of the file.
struct Bounded {
    text: Text,
    /// Bytes since the last record.
    read: Rc<Cell<usize>>,
    /// What is left of [`END`].
    end: &'static [u8],
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.get() > MOST {
            return Err(invalid(format!(
                "a row is longer than {} MiB: a quote may be open that is never closed",
                MOST >> 20
            )));
        }
        let there = self.text.fill()?;
        let is_end = there.is_empty();
        let there = if is_end { self.end } else { there };
        let read = there.len().min(buffer.len());
        buffer[..read].copy_from_slice(&there[..read]);
        if is_end {
            self.end = &self.end[read..];
        } else {
            self.text.consume(read);
        }
        self.read.set(self.read.get() + read);
        Ok(read)
    }
}
