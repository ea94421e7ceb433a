//! `Content-Encoding` that nobody asked for: requests ask for `identity`, and some servers compress
//! all the same.
//!
//! gzip, deflate (zlib, and the raw stream that some servers send under that name) and zstd are
//! decoded piece by piece as the body arrives; other codings are refused by name. A body that is a
//! picture already, whatever its header says, is taken as it is.

use flate2::{Decompress, FlushDecompress, Status};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use vila2_actors::error::FetchError;
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

/// Values seen in the wild that name no coding: browsers take the body as it is.
const NO_CODING: [&str; 9] = [
    "",
    "identity",
    "none",
    "binary",
    "7bit",
    "8bit",
    "utf-8",
    "utf8",
    "aws-chunked", // of the upload to S3, kept by mistake
];

/// More codings on top of each other than this are no accident.
const MAX_CODINGS: usize = 3;

/// Bytes that are looked at before a body is decoded: enough for every picture's signature.
const SIGNATURE: usize = 16;

/// Decoded bytes are handed on in pieces of this size.
const PIECE: usize = 32 << 10;

/// Largest window of zstd over HTTP, as a power of two (RFC 9659: 8 MiB).
const ZSTD_WINDOW: u32 = 23;

/// Takes decoded bytes.
type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), FetchError>;

/// The codings of one body, the outermost first. None: the body is as it should be.
pub(super) struct Codings {
    layers: Vec<Layer>,
    limit: u64,
}

impl Codings {
    /// Those that the head names. No layer may grow beyond `limit` bytes.
    ///
    /// # Errors
    /// More layers than anybody needs.
    pub(super) fn of(headers: &HeaderMap, limit: u64) -> Result<Self, FetchError> {
        let mut layers = Vec::new();
        for line in headers.get_all(CONTENT_ENCODING) {
            let line = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
            let names = line.split(',').map(str::trim);
            let names = names.filter(|name| !NO_CODING.contains(name));
            layers.extend(names.map(Layer::new));
        }
        if layers.len() > MAX_CODINGS {
            let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
            return Err(FetchError::Protocol(unasked(
                &names.join(", "),
                "more than three codings on top of each other are not decoded",
            )));
        }
        layers.reverse(); // the header names the innermost first
        Ok(Self { layers, limit })
    }

    /// Whether there is nothing to decode.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Decodes the next bytes of the body into `sink`.
    ///
    /// # Errors
    /// What the sink refuses; a body that is not what its header says; a layer beyond the limit.
    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), FetchError> {
        push(&mut self.layers, bytes, self.limit, sink)
    }

    /// The body has ended.
    ///
    /// # Errors
    /// As `push`; data that end too early.
    pub(super) fn finish(&mut self, sink: Sink<'_>) -> Result<(), FetchError> {
        let mut layers = self.layers.as_mut_slice();
        while let Some((outer, inner)) = layers.split_first_mut() {
            let limit = self.limit;
            outer.finish(limit, &mut |bytes| push(inner, bytes, limit, sink))?;
            layers = inner;
        }
        Ok(())
    }
}

fn push(layers: &mut [Layer], bytes: &[u8], limit: u64, sink: Sink<'_>) -> Result<(), FetchError> {
    match layers.split_first_mut() {
        None => sink(bytes),
        Some((outer, inner)) => outer.push(bytes, limit, &mut |b| push(inner, b, limit, sink)),
    }
}

/// What is wrong with the coding of a body.
fn unasked(names: &str, problem: &str) -> String {
    let names: String = names.chars().take(60).collect();
    format!("Content-Encoding: {names}, which nobody asked for: {problem}")
}

struct Layer {
    name: String,
    state: State,
    /// Bytes made so far.
    made: u64,
}

enum State {
    /// The first bytes, until there are enough to tell what the body is.
    Undecided(Vec<u8>),
    /// No coding after all.
    Plain,
    Flate(Decompress),
    Zstd(Box<Zstd<'static>>),
    /// After the end of a member of a gzip body, or of a frame of zstd: another may follow.
    Between,
    /// What follows the end is ignored, as browsers do.
    Over,
}

impl Layer {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Undecided(Vec::with_capacity(SIGNATURE)),
            made: 0,
        }
    }

    fn push(&mut self, mut bytes: &[u8], limit: u64, out: Sink<'_>) -> Result<(), FetchError> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Undecided(first) => {
                    let (taken, rest) = bytes.split_at(bytes.len().min(SIGNATURE - first.len()));
                    first.extend_from_slice(taken);
                    bytes = rest;
                    if first.len() == SIGNATURE {
                        self.decide(limit, out)?;
                    }
                }
                State::Plain => return out(bytes),
                State::Flate(_) | State::Zstd(_) => bytes = self.decode(bytes, limit, out)?,
                State::Between => {
                    self.state = match (self.name.as_str(), bytes[0]) {
                        ("gzip" | "x-gzip", 0x1f) => gzip(),
                        ("zstd", 0x28 | 0x50..=0x5f) => self.zstd()?,
                        _ => State::Over,
                    };
                }
                State::Over => return Ok(()),
            }
        }
        Ok(())
    }

    fn finish(&mut self, limit: u64, out: Sink<'_>) -> Result<(), FetchError> {
        if let State::Undecided(first) = &self.state {
            if first.is_empty() {
                return Ok(()); // nothing came, which is not the coding's fault
            }
            self.decide(limit, out)?;
        }
        match self.state {
            // The rest may come at the next attempt.
            State::Flate(_) | State::Zstd(_) => Err(FetchError::Connection(unasked(
                &self.name,
                "the encoded data end too early",
            ))),
            _ => Ok(()),
        }
    }

    /// From its first bytes: what the body is.
    fn decide(&mut self, limit: u64, out: Sink<'_>) -> Result<(), FetchError> {
        let State::Undecided(first) = std::mem::replace(&mut self.state, State::Plain) else {
            return Ok(());
        };
        if is_picture(&first) {
            return out(&first);
        }
        self.state = match self.name.as_str() {
            "gzip" | "x-gzip" => gzip(),
            "deflate" => State::Flate(Decompress::new(has_zlib_header(&first))),
            "zstd" => self.zstd()?,
            _ => {
                return Err(FetchError::Protocol(unasked(
                    &self.name,
                    "not decoded here (gzip, deflate and zstd are); the server has to send the \
                     picture as it is where `Accept-Encoding: identity` asks for that",
                )));
            }
        };
        self.push(&first, limit, out)
    }

    /// Decodes until the input is used up or a member ends; the input that is left.
    fn decode<'a>(
        &mut self,
        mut bytes: &'a [u8],
        limit: u64,
        out: Sink<'_>,
    ) -> Result<&'a [u8], FetchError> {
        let mut piece = [0; PIECE];
        loop {
            let step = match &mut self.state {
                State::Flate(flate) => inflate(flate, bytes, &mut piece),
                State::Zstd(zstd) => unzstd(zstd, bytes, &mut piece),
                _ => return Ok(bytes),
            };
            let step = step.map_err(|problem| self.corrupt(&problem))?;
            bytes = &bytes[step.read..];
            self.made += step.written as u64;
            if self.made > limit {
                let got = self.made;
                return Err(FetchError::TooLarge { got, limit });
            }
            out(&piece[..step.written])?;
            if step.ended {
                self.state = State::Between;
                return Ok(bytes);
            }
            // A full piece: more may wait inside of the decoder.
            if bytes.is_empty() && step.written < PIECE {
                return Ok(bytes);
            }
            if step.read == 0 && step.written == 0 {
                return Err(self.corrupt("the decoder does not go on"));
            }
        }
    }

    fn zstd(&self) -> Result<State, FetchError> {
        let made = Zstd::new().and_then(|mut zstd| {
            zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
            Ok(State::Zstd(Box::new(zstd)))
        });
        made.map_err(|error| self.corrupt(&error.to_string()))
    }

    fn corrupt(&self, problem: &str) -> FetchError {
        let problem = format!("the body cannot be decoded as that ({problem})");
        FetchError::Protocol(unasked(&self.name, &problem))
    }
}

/// What one step of a decoder did.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

fn gzip() -> State {
    State::Flate(Decompress::new_gzip(15))
}

fn inflate(flate: &mut Decompress, bytes: &[u8], piece: &mut [u8]) -> Result<Step, String> {
    let (read, written) = (flate.total_in(), flate.total_out());
    let status = flate.decompress(bytes, piece, FlushDecompress::None);
    let status = status.map_err(|error| error.to_string())?;
    Ok(Step {
        read: (flate.total_in() - read) as usize,
        written: (flate.total_out() - written) as usize,
        ended: status == Status::StreamEnd,
    })
}

fn unzstd(zstd: &mut Zstd<'static>, bytes: &[u8], piece: &mut [u8]) -> Result<Step, String> {
    let status = zstd.run_on_buffers(bytes, piece);
    let status = status.map_err(|error| error.to_string())?;
    Ok(Step {
        read: status.bytes_read,
        written: status.bytes_written,
        ended: status.remaining == 0,
    })
}

/// The two bytes of RFC 1950: deflate with a window of at most 32 KiB, and a check of both. Without
/// them, `deflate` is taken for the raw stream of RFC 1951.
fn has_zlib_header(first: &[u8]) -> bool {
    let [method, flags, ..] = first else {
        return false;
    };
    method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]) % 31 == 0
}

/// Whether a body starts as a picture does, so that nothing is left to decode.
fn is_picture(first: &[u8]) -> bool {
    use image::ImageFormat::{Avif, Bmp, Gif, Jpeg, Png, Tiff, WebP};
    match image::guess_format(first) {
        Ok(Jpeg | Png | Gif | WebP | Tiff | Avif) => true,
        // Two letters are little; four bytes of a BMP are reserved.
        Ok(Bmp) => first.get(6..10) == Some(&[0; 4]),
        _ => false,
    }
}
