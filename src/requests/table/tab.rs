//! Records of a TSV file. Some programs quote fields as in CSV, most do not: a quote is one only
//! where a field begins with it and another ends it.

use std::{collections::VecDeque, io};

use super::{Record, Records};
use crate::requests::{
    lines::{Line, Lines},
    text::{MOST, Text, invalid},
};

/// The most lines of one quoted field: further away, a quote belongs to another row.
const LINES: usize = 200;

pub(super) struct Tabs {
    lines: Lines,
    /// Lines that were looked at and belong to later records.
    ahead: VecDeque<Line>,
    records: u64,
    /// Fields of a record.
    fields: Option<usize>,
}

impl Tabs {
    pub(super) fn new(text: Text, number: u64, fields: Option<usize>) -> Self {
        Self {
            lines: Lines::new(text, 0),
            ahead: VecDeque::new(),
            records: number,
            fields,
        }
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        let line = match self.ahead.pop_front() {
            Some(line) => Some(line),
            None => self.lines.next_line()?,
        };
        match line {
            Some(line) if line.too_long => {
                Err(invalid(format!("a line is longer than {} MiB", MOST >> 20)))
            }
            line => Ok(line),
        }
    }

    /// The lines that close a quote left open, taken from those ahead; `None`: it is no quote.
    fn continued(&mut self, line: &Line) -> io::Result<Option<(Vec<Vec<u8>>, Line)>> {
        let mut text = line.text.clone();
        for taken in 0..LINES {
            if taken == self.ahead.len() {
                let Some(line) = self.lines.next_line()? else {
                    return Ok(None);
                };
                self.ahead.push_back(line);
            }
            let next = &self.ahead[taken];
            let is_row = (self.fields).is_none_or(|fields| split(&next.text).0.len() >= fields);
            if next.too_long || is_row {
                return Ok(None);
            }
            text.push(b'\n');
            text.extend_from_slice(&next.text);
            let (fields, is_open) = split(&text);
            if !is_open {
                let last = self.ahead.drain(..=taken).next_back();
                return Ok(last.map(|last| (fields, last)));
            }
        }
        Ok(None)
    }
}

impl Records for Tabs {
    fn next_record(&mut self) -> io::Result<Option<Record>> {
        let mut line = loop {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            if !line.text.trim_ascii().is_empty() {
                break line;
            }
        };
        let (mut fields, is_open) = split(&line.text);
        if is_open && let Some((whole, last)) = self.continued(&line)? {
            (fields, line) = (whole, last);
        }
        self.fields.get_or_insert(fields.len());
        self.records += 1;
        line.after.number = self.records;
        Ok(Some(Record {
            fields,
            after: line.after,
        }))
    }
}

/// The fields of a line, and whether a quote at a field's beginning is not closed in it (the field
/// is then taken as it stands).
fn split(line: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let (mut fields, mut rest, mut is_open) = (Vec::new(), line, false);
    loop {
        let (field, after) = match quoted(rest) {
            Quoted::Closed(field, after) => (field, after),
            found => {
                let end = rest.iter().position(|&byte| byte == b'\t');
                let end = end.unwrap_or(rest.len());
                // Outside of quotes a line end would have ended the record.
                is_open |= matches!(found, Quoted::Open) || rest[..end].contains(&b'\n');
                (rest[..end].to_vec(), &rest[end..])
            }
        };
        fields.push(field);
        match after {
            [b'\t', more @ ..] => rest = more,
            _ => return (fields, is_open),
        }
    }
}

enum Quoted<'a> {
    /// No quote, or one that more text follows.
    No,
    /// No second quote ends it.
    Open,
    /// The field without its quotes, and what follows it.
    Closed(Vec<u8>, &'a [u8]),
}

fn quoted(text: &[u8]) -> Quoted<'_> {
    let [b'"', text @ ..] = text else {
        return Quoted::No;
    };
    let mut field = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'"', Some(b'"')) => at += 1,
            (b'"', None | Some(b'\t')) => return Quoted::Closed(field, &text[at + 1..]),
            (b'"', _) => return Quoted::No,
            _ => {}
        }
        field.push(byte);
        at += 1;
    }
    Quoted::Open
}
