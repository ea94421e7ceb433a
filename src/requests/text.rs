//! The text of a list as UTF-8, whatever it is written in; what is no text is named.
//!
//! Positions are bytes of the text as it comes out of here, a byte order mark included: of a UTF-8
//! file those of the file itself.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom},
    path::Path,
};

/// Some editors begin a file with it; it belongs to no URL.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// How much is read at a time.
const BUFFER: usize = 256 << 10;
/// What a file is recognized by.
const BEGINNING: u64 = 8 << 10;
/// The largest line, row or element: memory stays bounded where no line end or quote comes.
pub(super) const MOST: usize = 16 << 20;

/// Text from a position on.
pub(super) struct Text {
    input: Box<dyn BufRead>,
    /// Where `input` stands.
    pub(super) at: u64,
}

impl Text {
    /// Opens a file at a position.
    ///
    /// # Errors
    /// It cannot be read, or is no text ([`io::ErrorKind::InvalidData`], in words).
    pub(super) fn open(path: &Path, at: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let beginning = read(&mut file, BEGINNING)?;
        match encoding(&beginning)? {
            Encoding::Utf8 => {
                file.seek(SeekFrom::Start(at))?;
                Self::new(BufReader::with_capacity(BUFFER, file), at)
            }
            Encoding::Utf16 { big_endian } => {
                file.rewind()?;
                let mut text = BufReader::with_capacity(BUFFER, Utf16::new(file, big_endian));
                io::copy(&mut (&mut text).take(at), &mut io::sink())?;
                Self::new(text, at)
            }
        }
    }

    /// Takes what cannot be opened twice: stdin, a pipe.
    ///
    /// # Errors
    /// As [`Text::open`].
    pub(super) fn of(mut input: impl Read + 'static) -> io::Result<Self> {
        // As much as there is now: a person may be typing.
        let mut beginning = vec![0; BEGINNING as usize];
        let mut there = 0;
        while there < 4 {
            match input.read(&mut beginning[there..])? {
                0 => break,
                read => there += read,
            }
        }
        beginning.truncate(there);
        if beginning.starts_with(b"PAR1") {
            return Err(invalid(
                "is Parquet, which cannot be read from a pipe; name the file",
            ));
        }
        let encoding = encoding(&beginning)?;
        let whole = Cursor::new(beginning).chain(input);
        match encoding {
            Encoding::Utf8 => Self::new(BufReader::with_capacity(BUFFER, whole), 0),
            Encoding::Utf16 { big_endian } => {
                let text = Utf16::new(whole, big_endian);
                Self::new(BufReader::with_capacity(BUFFER, text), 0)
            }
        }
    }

    fn new(mut input: impl BufRead + 'static, mut at: u64) -> io::Result<Self> {
        if at == 0 && input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
            at = BYTE_ORDER_MARK.len() as u64;
        }
        let input = Box::new(input);
        Ok(Self { input, at })
    }

    /// What is there to read, at least one byte; empty at the end.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        while let Err(error) = self.input.fill_buf() {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.input.fill_buf()
    }

    /// Passes over what was read.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.at += bytes as u64;
    }

    /// Whether the first byte that is no blank is this one; nothing is consumed.
    pub(super) fn begins_with(&mut self, byte: u8) -> io::Result<bool> {
        Ok(self.fill()?.trim_ascii_start().first() == Some(&byte))
    }

    /// The first byte that is no blank; nothing is consumed but blanks.
    pub(super) fn first(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.fill()?;
            let Some(length) = (!buffer.is_empty()).then_some(buffer.len()) else {
                return Ok(None);
            };
            let found = buffer.iter().position(|byte| !byte.is_ascii_whitespace());
            let first = found.map(|at| buffer[at]);
            let blanks = found.unwrap_or(length);
            self.consume(blanks);
            if first.is_some() {
                return Ok(first);
            }
        }
    }
}

fn read(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

enum Encoding {
    Utf8,
    Utf16 { big_endian: bool },
}

/// First bytes of what people name by mistake: what it is, and what to do.
const KINDS: [(&[u8], &str, &str); 15] = [
    (b"\x1f\x8b", "packed with gzip", UNPACK_GZIP),
    (
        b"\x28\xb5\x2f\xfd",
        "packed with zstd",
        "unpack it first: zstdcat FILE | vila2 publish -",
    ),
    (
        b"\xfd7zXZ\0",
        "packed with xz",
        "unpack it first: xzcat FILE | vila2 publish -",
    ),
    (
        b"BZh",
        "packed with bzip2",
        "unpack it first: bzcat FILE | vila2 publish -",
    ),
    (
        b"\x04\x22\x4d\x18",
        "packed with lz4",
        "unpack it first: lz4cat FILE | vila2 publish -",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "packed with 7-Zip",
        "unpack it first",
    ),
    (
        b"PK\x03\x04",
        "a ZIP archive or a spreadsheet",
        "unpack it (unzip -p FILE | vila2 publish -), or save the sheet as CSV",
    ),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"Obj\x01", "an Avro file", "write it as Parquet"),
    (b"\xff\xd8\xff", "a picture (JPEG)", PICTURE),
    (b"\x89PNG", "a picture (PNG)", PICTURE),
    (b"GIF8", "a picture (GIF)", PICTURE),
    (b"\xff\xfe\0\0", "text in UTF-32", UTF_32),
    (b"\0\0\xfe\xff", "text in UTF-32", UTF_32),
];
const UNPACK_GZIP: &str = "unpack it first: zcat FILE | vila2 publish -";
const PICTURE: &str = "lists of URLs are published; `vila2 caption FILE` captions a picture";
const UTF_32: &str = "save it as UTF-8: iconv -f UTF-32 -t UTF-8 FILE | vila2 publish -";

/// How a text is written.
///
/// # Errors
/// It is none.
fn encoding(beginning: &[u8]) -> io::Result<Encoding> {
    let refused = |what: &str, remedy: &str| {
        Err(invalid(format!(
            "is {what}, so it is neither text nor Parquet; {remedy}"
        )))
    };
    for (magic, what, remedy) in KINDS {
        if beginning.starts_with(magic) {
            return refused(what, remedy);
        }
    }
    if beginning.get(257..262) == Some(b"ustar") {
        return refused(
            "a tar",
            "lists of URLs are published; unpack the list from it",
        );
    }
    if beginning.starts_with(b"version https://git-lfs") {
        return refused(
            "a Git-LFS pointer",
            "fetch the list it stands for: git lfs pull",
        );
    }
    let page = beginning.trim_ascii_start().get(..9).unwrap_or_default();
    let page = page.to_ascii_lowercase();
    if page.starts_with(b"<!doctype") || page.starts_with(b"<html") {
        let remedy = "whoever fetched the list may have been sent to a login; look into it";
        return refused("an HTML page", remedy);
    }
    match beginning {
        [0xff, 0xfe, ..] => return Ok(Encoding::Utf16 { big_endian: false }),
        [0xfe, 0xff, ..] => return Ok(Encoding::Utf16 { big_endian: true }),
        _ => {}
    }
    let zeros = |from: usize| {
        let bytes = beginning.iter().skip(from).step_by(2);
        (
            bytes.clone().filter(|&&byte| byte == 0).count(),
            bytes.count(),
        )
    };
    let ((even, evens), (odd, odds)) = (zeros(0), zeros(1));
    if even + odd == 0 {
        return Ok(Encoding::Utf8);
    }
    for (order, here, of, there) in [("LE", odd, odds, even), ("BE", even, evens, odd)] {
        if here * 10 >= of * 9 && there * 10 <= of {
            let what = format!("text in UTF-16{order} without a byte order mark");
            let remedy =
                format!("save it as UTF-8: iconv -f UTF-16{order} -t UTF-8 FILE | vila2 publish -");
            return refused(&what, &remedy);
        }
    }
    // One stray zero byte spoils its line, not the list.
    let is_utf8 = match std::str::from_utf8(beginning) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    if !is_utf8 || (even + odd) * 32 > beginning.len() {
        return refused("full of zero bytes", "if it is packed, unpack it first");
    }
    Ok(Encoding::Utf8)
}

/// UTF-16 as UTF-8; halves of pairs become U+FFFD.
struct Utf16<R> {
    input: R,
    big_endian: bool,
    /// Bytes of a unit that is not whole yet.
    rest: Vec<u8>,
    /// The first half of a pair.
    high: Option<u16>,
    out: Cursor<Vec<u8>>,
}

impl<R: Read> Utf16<R> {
    fn new(input: R, big_endian: bool) -> Self {
        Self {
            input,
            big_endian,
            rest: Vec::new(),
            high: None,
            out: Cursor::default(),
        }
    }

    /// Decodes the next stretch; `false`: the input has ended.
    fn decode(&mut self) -> io::Result<bool> {
        let kept = self.rest.len();
        self.rest.resize(kept + (64 << 10), 0);
        let read = loop {
            match self.input.read(&mut self.rest[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.rest.truncate(kept + read);
        let mut text = String::new();
        let whole = self.rest.len() / 2 * 2;
        let units = self.rest[..whole].chunks_exact(2).map(|pair| {
            let pair = [pair[0], pair[1]];
            if self.big_endian {
                u16::from_be_bytes(pair)
            } else {
                u16::from_le_bytes(pair)
            }
        });
        let mut units: Vec<u16> = self.high.take().into_iter().chain(units).collect();
        if read > 0
            && units
                .last()
                .is_some_and(|unit| (0xd800..0xdc00).contains(unit))
        {
            self.high = units.pop();
        }
        text.extend(
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)),
        );
        self.rest.drain(..whole);
        if read == 0 && !self.rest.is_empty() {
            self.rest.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
        self.out = Cursor::new(text.into_bytes());
        Ok(read > 0)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.out.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            if !self.decode()? && self.out.get_ref().is_empty() {
                return Ok(0);
            }
        }
    }
}
