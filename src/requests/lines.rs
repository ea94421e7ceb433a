//! Lines of text: bare URLs or JSON objects, as they are.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use super::{Fault, Item, Position};

/// Some editors begin a file with it; it belongs to no URL.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// How much is read at a time.
const BUFFER: usize = 256 << 10;

/// The lines that are not empty.
pub(super) struct Lines<R> {
    name: String,
    input: BufReader<R>,
    position: Position,
}

impl<R: Read> Lines<R> {
    pub(super) fn of(name: &str, input: R) -> Self {
        Self {
            name: name.to_owned(),
            input: BufReader::with_capacity(BUFFER, input),
            position: Position::default(),
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Item>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = self.input.read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            self.position.at += read as u64;
            self.position.number += 1;
            let mut text = line.trim_ascii();
            if self.position.number == 1 {
                text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
            }
            if !text.is_empty() {
                return Ok(Some(Item {
                    first: self.position.number,
                    after: self.position,
                    content: Ok(text.to_vec()),
                }));
            }
        }
    }
}

impl Lines<File> {
    pub(super) fn open(name: &str, path: &Path, from: Position) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if from.at > 0 {
            file.seek(SeekFrom::Start(from.at))?;
        }
        let mut lines = Self::of(name, file);
        lines.position = from;
        Ok(lines)
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<Item, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.next_line();
        line.map_err(|error| Fault::new(&self.name, error))
            .transpose()
    }
}

/// Whether a file is no text: there is a zero byte in its beginning, as in pictures and archives.
pub(super) fn is_binary(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?
        .take(8 << 10)
        .read_to_end(&mut beginning)?;
    Ok(beginning.contains(&0))
}

/// How many lines are not empty.
pub(super) fn count(path: &Path) -> io::Result<u64> {
    let mut input = BufReader::with_capacity(BUFFER, File::open(path)?);
    let (mut count, mut empty) = (0, true);
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(count + u64::from(!empty));
        }
        for &byte in buffer {
            if byte == b'\n' {
                count += u64::from(!empty);
                empty = true;
            } else if empty && !byte.is_ascii_whitespace() {
                empty = false;
            }
        }
        let read = buffer.len();
        input.consume(read);
    }
}
