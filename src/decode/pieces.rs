//! A file read as some of its parts: what a decoder does not need never reaches it.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

/// Slices read one after another as one file. Few of them: each read looks for its place.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    pieces: Vec<&'a [u8]>,
    at: u64,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(pieces: Vec<&'a [u8]>) -> Self {
        Self { pieces, at: 0 }
    }

    fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// What is left of the piece at the present position.
    fn rest(&self) -> &'a [u8] {
        let mut at = self.at;
        for &piece in &self.pieces {
            let length = piece.len() as u64;
            if at < length {
                return &piece[at as usize..];
            }
            at -= length;
        }
        &[]
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest().read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.rest())
    }

    fn consume(&mut self, count: usize) {
        self.at += count as u64;
    }
}

impl Seek for Pieces<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_read_and_seek_as_one_file() {
        let mut file = Pieces::new(vec![b"ab", b"", b"cdef", b"g"]);
        let mut all = String::new();
        file.read_to_string(&mut all).expect("text");
        assert_eq!(all, "abcdefg");
        let mut two = [0; 2];
        for (to, found) in [
            (SeekFrom::Start(1), b"bc"),
            (SeekFrom::Current(1), b"ef"),
            (SeekFrom::End(-2), b"fg"),
        ] {
            file.seek(to).expect("inside");
            file.read_exact(&mut two).expect("two more");
            assert_eq!(&two, found);
        }
        assert!(file.seek(SeekFrom::Current(-8)).is_err());
        file.seek(SeekFrom::Start(99)).expect("behind the end");
        assert_eq!(file.read(&mut two).expect("nothing"), 0);
    }
}
