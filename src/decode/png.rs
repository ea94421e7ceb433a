//! PNG: the decoder gets the picture's own chunks only, so nothing packed beside them is unpacked
//! but the beginning of what may say which way is up.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use image::{ColorType, metadata::Orientation};
use png::{BitDepth, Decoder, DecodingError, Limits, Reader, Transformations};
use vila2_actors::error::DecodeError;

use super::{
    Claim, Format, Frame, SIDE_CHUNK,
    background::Background,
    exif,
    pieces::Pieces,
    pixels::{Alpha, Samples, copied_bytes},
    raster,
};

/// What the decoder may allocate beside a row: palettes and tables.
const SLACK: usize = 1 << 20;
const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// Reads size and layout from the header.
pub(super) fn claim(body: &[u8]) -> Result<Claim, DecodeError> {
    let outline = Outline::of(body)?;
    let reader = match outline.opened(body) {
        Ok(reader) => reader,
        // More than the decoder can count: what is allowed is decided by the size, elsewhere.
        Err(DecodingError::LimitsExceeded) => return outline.huge(),
        Err(error) => return Err(outline.meaning(error)),
    };
    let (width, height) = reader.info().size();
    let color = color(&reader)?;
    let each = u64::from(color.bytes_per_pixel()) + copied_bytes(color);
    let pixels = u64::from(width) * u64::from(height);
    Ok(Claim {
        width,
        height,
        bytes: (pixels * each).max(outline.side_bytes()),
    })
}

/// Decodes the default image to RGB; an animation's frames are not read.
pub(super) fn decode(body: &[u8], background: Background) -> Result<Frame, DecodeError> {
    let outline = Outline::of(body)?;
    let orientation = outline.orientation();
    let refused = |error| outline.meaning(error);
    let mut reader = outline.opened(body).map_err(refused)?;
    let (width, height) = reader.info().size();
    let color = color(&reader)?;
    let too_large = || refused(DecodingError::LimitsExceeded);
    let mut bytes = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
    reader.next_frame(&mut bytes).map_err(refused)?;
    let samples = Samples {
        color,
        alpha: Alpha::Straight,
        bytes,
    };
    Ok(Frame {
        width,
        height,
        rgb: samples.into_rgb(background).expect("bug: of eight bits"),
        orientation,
    })
}

/// The layout of what the decoder gives: expanded, eight bits a sample.
fn color(reader: &Reader<Pieces<'_>>) -> Result<ColorType, DecodeError> {
    match reader.output_color_type() {
        (png::ColorType::Grayscale, BitDepth::Eight) => Ok(ColorType::L8),
        (png::ColorType::GrayscaleAlpha, BitDepth::Eight) => Ok(ColorType::La8),
        (png::ColorType::Rgb, BitDepth::Eight) => Ok(ColorType::Rgb8),
        (png::ColorType::Rgba, BitDepth::Eight) => Ok(ColorType::Rgba8),
        other => Err(DecodeError::Corrupt(format!("PNG samples {other:?}"))),
    }
}

/// Where the chunks that matter lie.
#[derive(Debug, Default)]
struct Outline<'a> {
    /// Signature and header.
    head: &'a [u8],
    palette: Option<&'a [u8]>,
    transparency: Option<&'a [u8]>,
    /// The default image's data, chunk after chunk.
    data: std::ops::Range<usize>,
    /// Whether its last chunk is all there.
    whole: bool,
    /// Whether the end chunk is there.
    ended: bool,
    exif: Option<&'a [u8]>,
    /// Text chunks (name, data) that may hold EXIF or XMP.
    exif_profile: Option<(Name, &'a [u8])>,
    xmp: Option<(Name, &'a [u8])>,
}

type Name = [u8; 4];

impl<'a> Outline<'a> {
    fn of(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut outline = Outline::default();
        let mut at = 8;
        while let Some(chunk) = Chunk::at(body, at) {
            let end = at.saturating_add(chunk.length).min(body.len());
            let raw = &body[at..end];
            match &chunk.name {
                b"CgBI" => {
                    return Err(DecodeError::UnsupportedFormat(
                        "Apple's own kind of PNG (CgBI), as Xcode writes it into apps: only Apple's \
                         programs show it; `pngcrush -revert-iphone-optimizations` makes a PNG of it"
                            .to_owned(),
                    ));
                }
                b"IHDR" if outline.head.is_empty() => outline.head = &body[..end],
                _ if outline.head.is_empty() => {
                    return Err(DecodeError::Corrupt(
                        "the PNG does not begin with its header chunk".to_owned(),
                    ));
                }
                b"PLTE" => outline.palette = outline.palette.or(Some(raw)),
                b"tRNS" => outline.transparency = outline.transparency.or(Some(raw)),
                b"IDAT" if outline.data.is_empty() => {
                    outline.data = at..end;
                    outline.whole = chunk.whole;
                }
                b"IDAT" if outline.data.end == at => {
                    outline.data.end = end;
                    outline.whole = chunk.whole;
                }
                b"IEND" => {
                    outline.ended = chunk.whole;
                    break;
                }
                _ => outline.note(&chunk),
            }
            at = end;
        }
        if outline.head.is_empty() {
            return Err(raster::truncated(Format::Png));
        }
        Ok(outline)
    }

    /// Keeps what may say which way is up: the first of each kind.
    fn note(&mut self, chunk: &Chunk<'a>) {
        let text = Some((chunk.name, chunk.data));
        match &chunk.name {
            b"eXIf" => self.exif = self.exif.or(Some(chunk.data)),
            b"tEXt" | b"zTXt" | b"iTXt" => match keyword(chunk.data) {
                b"Raw profile type exif" | b"Raw profile type APP1" => {
                    self.exif_profile = self.exif_profile.or(text);
                }
                b"XML:com.adobe.xmp" | b"Raw profile type xmp" => self.xmp = self.xmp.or(text),
                _ => {}
            },
            _ => {}
        }
    }

    fn opened(&self, body: &'a [u8]) -> Result<Reader<Pieces<'a>>, DecodingError> {
        let mut pieces = vec![self.head];
        pieces.extend(self.palette);
        pieces.extend(self.transparency);
        pieces.push(&body[self.data.clone()]);
        if self.whole || self.ended {
            pieces.push(END); // its own may be missing
        }
        let mut decoder = Decoder::new(Pieces::new(pieces));
        decoder.set_transformations(Transformations::normalize_to_color8());
        let header = decoder.read_header_info()?;
        let row = (header.width as usize).saturating_mul(8);
        decoder.set_limits(Limits {
            bytes: row.saturating_add(SLACK),
        });
        decoder.read_info()
    }

    /// What the header claims of a picture that is too large to open.
    fn huge(&self) -> Result<Claim, DecodeError> {
        let data = Chunk::at(self.head, 8).map_or(&[][..], |header| header.data);
        let &[w0, w1, w2, w3, h0, h1, h2, h3, ..] = data else {
            return Err(raster::truncated(Format::Png));
        };
        Ok(Claim {
            width: u32::from_be_bytes([w0, w1, w2, w3]),
            height: u32::from_be_bytes([h0, h1, h2, h3]),
            bytes: u64::MAX,
        })
    }

    /// Bytes that reading the orientation holds, before there are pixels.
    fn side_bytes(&self) -> u64 {
        // deflate packs to no less than a 1032nd
        let unpacked = |(_, data): (Name, &[u8])| data.len().saturating_mul(1032).min(SIDE_CHUNK);
        let texts = self.exif_profile.map_or(0, unpacked) + self.xmp.map_or(0, unpacked);
        2 * texts as u64 // the text and what it spells
    }

    fn orientation(&self) -> Orientation {
        let profile = self
            .exif_profile
            .and_then(|(name, data)| unpacked(name, data));
        let profile = profile.map(|text| spelled(&text));
        let xmp = self.xmp.and_then(|(name, data)| {
            let text = unpacked(name, data)?;
            let is_spelled = keyword(data).starts_with(b"Raw");
            Some(if is_spelled { spelled(&text) } else { text })
        });
        let exif = self.exif.or(profile.as_deref());
        // what ImageMagick calls APP1 may be XMP as well
        exif::orientation(exif, xmp.as_deref().or(profile.as_deref()))
    }

    fn meaning(&self, error: DecodingError) -> DecodeError {
        match error {
            _ if !self.ended => raster::truncated(Format::Png),
            DecodingError::IoError(error) if raster::is_end(&error) => {
                raster::truncated(Format::Png)
            }
            error => DecodeError::Corrupt(error.to_string()),
        }
    }
}

/// One chunk: length, name, data, checksum.
struct Chunk<'a> {
    name: Name,
    /// As far as it is there.
    data: &'a [u8],
    /// Bytes of the whole, 12 more than its data.
    length: usize,
    whole: bool,
}

impl<'a> Chunk<'a> {
    fn at(body: &'a [u8], at: usize) -> Option<Self> {
        let rest = body.get(at..)?;
        let [a, b, c, d, n0, n1, n2, n3, data @ ..] = rest else {
            return None;
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let whole = length.saturating_add(12);
        Some(Self {
            name: [*n0, *n1, *n2, *n3],
            data: &data[..length.min(data.len())],
            length: whole,
            whole: rest.len() >= whole,
        })
    }
}

fn keyword(data: &[u8]) -> &[u8] {
    let end = data.iter().take(80).position(|byte| *byte == 0);
    &data[..end.unwrap_or(0)]
}

/// The text of a text chunk, at most [`SIDE_CHUNK`] bytes of it.
fn unpacked(name: Name, data: &[u8]) -> Option<Vec<u8>> {
    let text = data.get(keyword(data).len() + 1..)?;
    let (packed, text) = match &name {
        b"zTXt" => (true, text.get(1..)?),
        b"iTXt" => {
            let [flag, _method, rest @ ..] = text else {
                return None;
            };
            // language and translated keyword, each with a zero behind
            let mut parts = rest.splitn(3, |byte| *byte == 0);
            (*flag == 1, parts.nth(2)?)
        }
        _ => (false, text),
    };
    if !packed {
        return Some(text[..text.len().min(SIDE_CHUNK)].to_vec());
    }
    let mut unpacked = Vec::new();
    // what came before a fault is enough: the orientation stands at the beginning
    let _ = ZlibDecoder::new(text)
        .take(SIDE_CHUNK as u64)
        .read_to_end(&mut unpacked);
    Some(unpacked)
}

/// The bytes of ImageMagick's profiles: a line of its name, one of its length, then hex digits.
fn spelled(text: &[u8]) -> Vec<u8> {
    let lines = text.splitn(4, |byte| *byte == b'\n');
    let digits: Vec<u8> = lines
        .skip(3)
        .flatten()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map_while(|byte| Some(char::from(*byte).to_digit(16)? as u8))
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
