//! Which way up a picture is: EXIF, and XMP where EXIF does not say.
//!
//! Files are read as Pillow's `ImageOps.exif_transpose` reads them, and as tolerantly as viewers:
//! entries in any order and of any whole type, headers once, twice or not at all.
//!
//! # Source
//! Exif 2.32, TIFF 6.0 (BigTIFF for files of its own); Pillow 13, `Image.getexif`.

use image::metadata::Orientation;

const ORIENTATION: u16 = 0x0112;
const XMP: u16 = 0x02bc;
const EXTRA_SAMPLES: u16 = 0x0152;
const COMPRESSION: u16 = 0x0103;
const PHOTOMETRIC: u16 = 0x0106;
const BITS: u16 = 0x0102;
const SAMPLES: u16 = 0x0115;
const STRIP_LENGTHS: u16 = 0x0117;
const PLANES: u16 = 0x011c;
const TILE_WIDTH: u16 = 0x0142;

/// How far into EXIF data its TIFF header is looked for.
const SEARCHED: usize = 64;

/// The first directory of a TIFF structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    data: &'a [u8],
    big_endian: bool,
    /// BigTIFF: counts and offsets have eight bytes.
    big: bool,
    at: usize,
    entries: u64,
}

impl<'a> Directory<'a> {
    /// Reads the header; `None` where there is none, or it points outside.
    pub(super) fn first(data: &'a [u8]) -> Option<Self> {
        let (big_endian, big) = match data {
            [b'I', b'I', 42, 0, ..] => (false, false),
            [b'M', b'M', 0, 42, ..] => (true, false),
            [b'I', b'I', 43, 0, ..] => (false, true),
            [b'M', b'M', 0, 43, ..] => (true, true),
            _ => return None,
        };
        let mut directory = Self {
            data,
            big_endian,
            big,
            at: 0,
            entries: 0,
        };
        let (start, width, count) = if big { (8, 8, 8) } else { (4, 4, 2) };
        let at = usize::try_from(directory.number_at(start, width)?).ok()?;
        directory.entries = directory.number_at(at, count)?;
        directory.at = at.checked_add(count)?;
        Some(directory)
    }

    /// The orientation, whatever its value.
    fn orientation(&self) -> Option<u64> {
        self.number(ORIENTATION)
    }

    /// What the samples beside the colours are: 0 unknown, 1 premultiplied alpha, 2 alpha.
    pub(super) fn extra_samples(&self) -> Option<u64> {
        self.number(EXTRA_SAMPLES)
    }

    pub(super) fn compression(&self) -> Option<u64> {
        self.number(COMPRESSION)
    }

    /// What the samples mean: grey, RGB, a palette, …
    pub(super) fn photometric(&self) -> Option<u64> {
        self.number(PHOTOMETRIC)
    }

    /// Bits of the first sample.
    pub(super) fn bits(&self) -> Option<u64> {
        self.number(BITS)
    }

    /// Samples a pixel.
    pub(super) fn samples(&self) -> Option<u64> {
        self.number(SAMPLES)
    }

    /// 1: the samples of a pixel lie together; 2: each in a plane of its own.
    pub(super) fn planes(&self) -> Option<u64> {
        self.number(PLANES)
    }

    /// Whether the pixels lie in tiles, not in strips.
    pub(super) fn is_tiled(&self) -> bool {
        self.number(TILE_WIDTH).is_some()
    }

    /// Whether it says how long its strips are.
    pub(super) fn has_strip_lengths(&self) -> bool {
        self.values(STRIP_LENGTHS).next().is_some()
    }

    /// An XMP packet.
    fn xmp(&self) -> Option<&'a [u8]> {
        self.values(XMP).next_back().map(|(_, bytes)| bytes)
    }

    /// The first number under a tag; of an entry that stands twice, the last that can be read.
    fn number(&self, tag: u16) -> Option<u64> {
        self.values(tag)
            .filter_map(|(kind, bytes)| self.first_number(kind, bytes))
            .next_back()
    }

    fn first_number(&self, kind: u64, bytes: &[u8]) -> Option<u64> {
        let read = |at, width| unsigned(bytes.get(at..at + width)?, self.big_endian);
        match kind {
            5 | 10 => {
                let (above, below) = (read(0, 4)?, read(4, 4)?);
                (below != 0 && above % below == 0).then(|| above / below)
            }
            kind => read(0, width_of(kind)?),
        }
    }

    /// Types and bytes of the entries of a tag; what lies outside of the data is left out.
    fn values(&self, tag: u16) -> impl DoubleEndedIterator<Item = (u64, &'a [u8])> {
        let this = *self;
        let each = if this.big { 20 } else { 12 };
        let there = this.data.len().saturating_sub(this.at) / each;
        let entries = usize::try_from(this.entries).unwrap_or(there).min(there);
        (0..entries).filter_map(move |index| {
            let at = this.at + index * each;
            if this.number_at(at, 2)? != u64::from(tag) {
                return None;
            }
            let word = if this.big { 8 } else { 4 };
            let kind = this.number_at(at + 2, 2)?;
            let count = usize::try_from(this.number_at(at + 4, word)?).ok()?;
            let length = count.checked_mul(width_of(kind)?)?;
            let start = if length <= word {
                at + 4 + word
            } else {
                usize::try_from(this.number_at(at + 4 + word, word)?).ok()?
            };
            Some((kind, this.data.get(start..start.checked_add(length)?)?))
        })
    }

    fn number_at(&self, at: usize, width: usize) -> Option<u64> {
        unsigned(self.data.get(at..at.checked_add(width)?)?, self.big_endian)
    }
}

fn unsigned(bytes: &[u8], big_endian: bool) -> Option<u64> {
    let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    match (bytes.len(), big_endian) {
        (1..=8, true) => Some(bytes.iter().fold(0, join)),
        (1..=8, false) => Some(bytes.iter().rev().fold(0, join)),
        _ => None,
    }
}

/// Bytes of one value of a type.
fn width_of(kind: u64) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16..=18 => Some(8),
        _ => None,
    }
}

/// The orientation by EXIF data (with or without `Exif\0\0` in front) and an XMP packet. What EXIF
/// gives counts, even a value that means nothing; XMP only where EXIF has no such entry.
pub(super) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let exif = exif.and_then(|exif| tiff_inside(exif)?.orientation());
    valid(exif.or_else(|| xmp.and_then(in_xmp)))
}

/// The orientation of a TIFF file.
pub(super) fn of_tiff(file: &[u8]) -> Orientation {
    let directory = Directory::first(file);
    let own = directory.and_then(|directory| directory.orientation());
    valid(own.or_else(|| in_xmp(directory?.xmp()?)))
}

/// Whether EXIF data has an entry for the orientation.
pub(super) fn has_orientation(exif: &[u8]) -> bool {
    tiff_inside(exif).is_some_and(|directory| directory.orientation().is_some())
}

/// 1 to 8, else upright.
fn valid(value: Option<u64>) -> Orientation {
    value
        .and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?))
        .unwrap_or(Orientation::NoTransforms)
}

fn tiff_inside(exif: &[u8]) -> Option<Directory<'_>> {
    (0..exif.len().min(SEARCHED)).find_map(|at| Directory::first(&exif[at..]))
}

/// `tiff:Orientation` as an attribute or an element.
fn in_xmp(packet: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = packet;
    while let Some(at) = find(rest, NAME) {
        rest = &rest[at + NAME.len()..];
        let value = match rest.trim_ascii_start() {
            [b'=', value @ ..] => match value.trim_ascii_start() {
                [b'"' | b'\'', value @ ..] => value,
                _ => continue,
            },
            [b'>', value @ ..] => value,
            _ => continue,
        };
        let value = value.trim_ascii_start();
        let digits = value
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if let Ok(number) = String::from_utf8_lossy(&value[..digits]).parse() {
            return Some(number);
        }
    }
    None
}

/// Where `what` begins in `text`.
pub(super) fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(big_endian: bool, tag: u16, kind: u16, count: u32, value: [u8; 4]) -> Vec<u8> {
        let (two, four) = if big_endian {
            (
                u16::to_be_bytes as fn(u16) -> [u8; 2],
                u32::to_be_bytes as fn(u32) -> [u8; 4],
            )
        } else {
            (
                u16::to_le_bytes as fn(u16) -> [u8; 2],
                u32::to_le_bytes as fn(u32) -> [u8; 4],
            )
        };
        [&two(tag)[..], &two(kind), &four(count), &value].concat()
    }

    fn tiff(big_endian: bool, entries: &[Vec<u8>]) -> Vec<u8> {
        let count = entries.len() as u16;
        let mut data = if big_endian {
            [&b"MM\0*\0\0\0\x08"[..], &count.to_be_bytes()].concat()
        } else {
            [&b"II*\0\x08\0\0\0"[..], &count.to_le_bytes()].concat()
        };
        data.extend(entries.concat());
        data.extend([0; 4]);
        data
    }

    #[test]
    fn an_orientation_of_any_whole_type_and_byte_order_is_read() {
        for (big_endian, kind, value) in [
            (false, 3, [6, 0, 0, 0]),
            (true, 3, [0, 6, 0, 0]),
            (false, 4, [6, 0, 0, 0]),
            (true, 4, [0, 0, 0, 6]),
            (true, 9, [0, 0, 0, 6]),
            (false, 8, [6, 0, 0, 0]),
            (true, 1, [6, 0, 0, 0]),
        ] {
            let exif = tiff(
                big_endian,
                &[entry(big_endian, ORIENTATION, kind, 1, value)],
            );
            let found = orientation(Some(&exif), None);
            assert_eq!(found, Orientation::Rotate90, "{big_endian} {kind}");
        }
        let mut rational = tiff(false, &[entry(false, ORIENTATION, 5, 1, [26, 0, 0, 0])]);
        rational.extend([6, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(orientation(Some(&rational), None), Orientation::Rotate90);
    }

    #[test]
    fn headers_order_and_padding_do_not_matter() {
        let entries = [
            entry(true, 0x0132, 3, 1, [0, 1, 0, 0]),
            entry(true, ORIENTATION, 3, 1, [0, 8, 0, 0]),
            entry(true, 0x0100, 4, 1, [0, 0, 0, 9]),
        ];
        let exif = tiff(true, &entries);
        for front in [&b""[..], b"Exif\0\0", b"Exif\0\0Exif\0\0", b"Exif\0\0\0\0"] {
            let found = orientation(Some(&[front, &exif].concat()), None);
            assert_eq!(found, Orientation::Rotate270, "{front:?}");
        }
        // the directory at the end of the data, more entries claimed than there are
        let mut far = b"II*\0\x40\0\0\0".to_vec();
        far.resize(0x40, 0xee);
        far.extend(99u16.to_le_bytes());
        far.extend(entry(false, ORIENTATION, 3, 1, [3, 0, 0, 0]));
        assert_eq!(orientation(Some(&far), None), Orientation::Rotate180);
    }

    #[test]
    fn xmp_counts_only_where_exif_has_no_entry() {
        let xmp = |text: &str| orientation(None, Some(text.as_bytes()));
        for text in [
            "<rdf:Description tiff:Orientation=\"6\"/>",
            "<rdf:Description tiff:Orientation = '6'/>",
            "<tiff:Orientation>6</tiff:Orientation>",
            "<tiff:Orientation>\n 6\n</tiff:Orientation>",
            "<a tiff:Orientation/> <a tiff:Orientation=\"6\"/>",
        ] {
            assert_eq!(xmp(text), Orientation::Rotate90, "{text}");
        }
        for text in [
            "",
            "tiff:Orientation=\"\"",
            "tiff:Orientation=\"9\"",
            "tiff:OrientationX=\"6\"",
        ] {
            assert_eq!(xmp(text), Orientation::NoTransforms, "{text}");
        }
        let packet = Some(&b"tiff:Orientation=\"6\""[..]);
        let without = tiff(false, &[entry(false, 0x0132, 3, 1, [1, 0, 0, 0])]);
        assert_eq!(orientation(Some(&without), packet), Orientation::Rotate90);
        for value in [0, 1, 9, 200] {
            let exif = tiff(false, &[entry(false, ORIENTATION, 3, 1, [value, 0, 0, 0])]);
            assert_eq!(orientation(Some(&exif), packet), Orientation::NoTransforms);
        }
    }

    #[test]
    fn a_big_tiff_has_its_orientation_too() {
        let mut file = b"II+\0\x08\0\0\0".to_vec();
        file.extend(16u64.to_le_bytes());
        file.extend(1u64.to_le_bytes());
        file.extend([0x12, 0x01, 3, 0]);
        file.extend(1u64.to_le_bytes());
        file.extend(6u64.to_le_bytes());
        assert_eq!(of_tiff(&file), Orientation::Rotate90);
    }

    #[test]
    fn broken_directories_are_upright() {
        let exif = tiff(
            false,
            &[entry(false, ORIENTATION, 3, u32::MAX, [6, 0, 0, 0])],
        );
        assert_eq!(orientation(Some(&exif), None), Orientation::NoTransforms);
        for length in 0..exif.len() {
            orientation(Some(&exif[..length]), None);
        }
        assert_eq!(
            orientation(Some(b"II*\0\xff\xff\xff\xff"), None),
            Orientation::NoTransforms
        );
    }
}
