//! Files of a kind, made from the goldens (48 × 32 pixels) by adding or leaving out parts.

use super::*;

/// EXIF data with this orientation and nothing else, as SHORT, little-endian.
pub(super) fn exif(orientation: u8) -> Vec<u8> {
    let mut data = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    data.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    data
}

/// An XMP packet with this orientation as an attribute.
pub(super) fn xmp(orientation: u8) -> Vec<u8> {
    format!("<rdf:Description tiff:Orientation=\"{orientation}\"/>").into_bytes()
}

/// A chunk of a PNG with its checksum.
pub(super) fn png_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(data);
    let length = (data.len() as u32).to_be_bytes();
    [&length, &name[..], data, &crc.sum().to_be_bytes()].concat()
}

/// A golden PNG with a chunk in front of its pixels, or behind them.
pub(super) fn png_with(chunk: &[u8], behind: bool) -> Vec<u8> {
    let body = file("rgb.png");
    let name: &[u8] = if behind { b"IEND" } else { b"IDAT" };
    let at = exif::find(&body, name).expect("the chunk") - 4;
    [&body[..at], chunk, &body[at..]].concat()
}

/// Deflated, as the text chunks of PNG are.
pub(super) fn packed(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(data).expect("into memory");
    packer.finish().expect("into memory")
}

/// A golden JPEG with segments (marker, data) behind its first marker.
pub(super) fn jpeg_with(segments: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let body = file("rgb444.jpg");
    let mut whole = body[..2].to_vec();
    for (marker, data) in segments {
        whole.extend([0xff, *marker]);
        whole.extend((data.len() as u16 + 2).to_be_bytes());
        whole.extend(data);
    }
    whole.extend(&body[2..]);
    whole
}

/// A chunk of a WebP, padded.
pub(super) fn riff_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = [&name[..], &(data.len() as u32).to_le_bytes(), data].concat();
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

/// A WebP of these chunks.
pub(super) fn webp(chunks: &[u8]) -> Vec<u8> {
    let size = (chunks.len() as u32 + 4).to_le_bytes();
    [b"RIFF", &size[..], b"WEBP", chunks].concat()
}

/// The header chunk of an extended WebP.
pub(super) fn extended(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let mut data = vec![flags, 0, 0, 0];
    data.extend(&(width - 1).to_le_bytes()[..3]);
    data.extend(&(height - 1).to_le_bytes()[..3]);
    riff_chunk(b"VP8X", &data)
}

/// The golden of this name (a simple WebP), extended by flags and chunks behind its pixels.
pub(super) fn webp_with(name: &str, flags: u8, behind: &[u8]) -> Vec<u8> {
    let body = file(name);
    webp(&[&extended(flags, 48, 32), &body[12..], behind].concat())
}

/// A BMP of 8 or 4 bits in runs, 16 grey levels in its palette.
pub(super) fn bmp_of_runs(bits: u16, width: u32, height: u32, runs: &[u8]) -> Vec<u8> {
    let palette: Vec<u8> = (0..16u8)
        .flat_map(|i| [i * 17, i * 17, i * 17, 0])
        .collect();
    let compression = if bits == 8 { 1u32 } else { 2 };
    bmp(bits, width, height, compression, &palette, runs)
}

/// A BMP with a header of 40 bytes.
pub(super) fn bmp(
    bits: u16,
    width: u32,
    height: u32,
    compression: u32,
    palette: &[u8],
    pixels: &[u8],
) -> Vec<u8> {
    let offset = 54 + palette.len() as u32;
    let four = |number: u32| number.to_le_bytes();
    let mut body = b"BM".to_vec();
    body.extend(four(offset + pixels.len() as u32));
    body.extend(four(0));
    body.extend(four(offset));
    for number in [40, width, height] {
        body.extend(four(number));
    }
    body.extend([1, 0]);
    body.extend(bits.to_le_bytes());
    for number in [
        compression,
        pixels.len() as u32,
        0,
        0,
        palette.len() as u32 / 4,
        0,
    ] {
        body.extend(four(number));
    }
    [&body, palette, pixels].concat()
}

/// The size of the upright picture.
pub(super) fn upright_size(body: Vec<u8>) -> (u32, u32) {
    let facts = decode(body).expect("good").facts;
    (facts.width, facts.height)
}

/// The decoder with this background and no smallest side.
pub(super) fn in_front_of(background: Background) -> FileDecoder {
    FileDecoder::new(DecodeSettings {
        min_side: 1,
        background,
        ..DecodeSettings::default()
    })
}

/// The pixel at a place, in front of a background.
pub(super) fn pixel(body: &[u8], background: Background, x: u32, y: u32) -> [u8; 3] {
    let decoded = in_front_of(background).decode(Bytes::copy_from_slice(body));
    let image = decoded.expect("good").image;
    let at = (y * image.width + x) as usize * 3;
    image.pixels[at..at + 3].try_into().expect("three")
}
