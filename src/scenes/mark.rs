//! The mark that every picture of this world bears: EXIF of one entry, `Software`.

/// What the entry says.
const SOFTWARE: &[u8; 13] = b"vila2 scenes\0";
/// How far from its end of a file the mark stands at most: behind the first headers of JPEG and
/// PNG, in the last chunk of WebP.
const REACH: usize = 256;

/// The EXIF block: a TIFF header, one directory, and the text that does not fit into its entry.
pub(super) fn exif() -> Vec<u8> {
    const ENTRIES_AT: u32 = 8;
    const TEXT_AT: u32 = ENTRIES_AT + 2 + 12 + 4;
    let (software, ascii) = (0x0131_u16, 2_u16);
    let mut block = b"II*\0".to_vec();
    block.extend(ENTRIES_AT.to_le_bytes());
    block.extend(1_u16.to_le_bytes());
    block.extend(software.to_le_bytes());
    block.extend(ascii.to_le_bytes());
    block.extend((SOFTWARE.len() as u32).to_le_bytes());
    block.extend(TEXT_AT.to_le_bytes());
    // No further directory.
    block.extend(0_u32.to_le_bytes());
    block.extend(SOFTWARE);
    block
}

/// Whether a file bears the mark; a picture that some program saved again may have lost it.
#[must_use]
pub fn is_marked(file: &[u8]) -> bool {
    let mark = exif();
    let holds = |part: &[u8]| part.windows(mark.len()).any(|window| window == mark);
    match file {
        [b'R', b'I', b'F', b'F', ..] => holds(&file[file.len().saturating_sub(REACH)..]),
        _ => holds(&file[..file.len().min(REACH)]),
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
    use image::{ExtendedColorType, ImageEncoder as _};

    use super::super::generate::{Format, Formats, Generator};
    use super::*;

    const FORMATS: [Format; 3] = [Format::Jpeg, Format::Png, Format::WebP];

    #[test]
    fn every_format_bears_the_mark_and_other_files_do_not() {
        for format in FORMATS {
            let generator = Generator::new(31, Formats::Only(format)).unwrap();
            let scene = generator.encode(0).unwrap();
            assert!(is_marked(&scene.bytes), "{format:?}");
            let plain = unmarked(&scene.composition.draw(), format);
            assert!(!is_marked(&plain), "{format:?}");
            // EXIF of another program.
            let mut other = scene.bytes.clone();
            let text = b"vila2 scenes";
            let at = other.windows(text.len()).position(|part| part == text);
            other[at.unwrap()] = b'V';
            assert!(!is_marked(&other), "{format:?}");
        }
        assert!(!is_marked(b"") && !is_marked(b"RIFF") && !is_marked(b"\x89PNG"));
    }

    #[test]
    fn the_mark_changes_no_pixel() {
        for format in FORMATS {
            let generator = Generator::new(32, Formats::Only(format)).unwrap();
            let scene = generator.encode(1).unwrap();
            let plain = unmarked(&scene.composition.draw(), format);
            let decoded = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().into_rgb8();
            if format != Format::Jpeg {
                assert_eq!(
                    decoded(&scene.bytes),
                    scene.composition.draw(),
                    "{format:?}"
                );
            }
            // JPEG's quality is drawn from the seed; all that was added is one block.
            let grown = scene.bytes.len() - plain.len();
            let (mark, block) = (exif().len(), &scene.bytes);
            match format {
                // Marker, length and `Exif\0\0`.
                Format::Jpeg => assert_eq!(grown, mark + 10),
                // Length, type and checksum.
                Format::Png => assert_eq!(grown, mark + 12),
                // VP8X with its head; the head of EXIF, and its padding to an even length.
                Format::WebP => assert_eq!(grown, mark + 18 + 8 + mark % 2),
            }
            assert_eq!(decoded(block), decoded(&plain), "{format:?}");
        }
    }

    #[test]
    fn the_mark_is_exif_that_other_programs_read() {
        let read = exif();
        assert_eq!(&read[..8], b"II*\0\x08\0\0\0");
        // One entry: tag 0x0131 (Software), type 2 (ASCII), 13 bytes at offset 26.
        assert_eq!(&read[8..22], b"\x01\0\x31\x01\x02\0\x0d\0\0\0\x1a\0\0\0");
        assert_eq!(&read[22..26], [0; 4]);
        assert_eq!(&read[26..], SOFTWARE);
    }

    /// The same picture as it would be written without a mark.
    fn unmarked(picture: &image::RgbImage, format: Format) -> Vec<u8> {
        let quality = Generator::new(32, Formats::Only(format))
            .unwrap()
            .quality(1);
        let (mut bytes, rgb) = (Vec::new(), ExtendedColorType::Rgb8);
        let (data, width, height) = (picture.as_raw(), picture.width(), picture.height());
        let written = match format {
            Format::Jpeg => JpegEncoder::new_with_quality(&mut bytes, quality)
                .write_image(data, width, height, rgb),
            Format::Png => PngEncoder::new(&mut bytes).write_image(data, width, height, rgb),
            Format::WebP => {
                WebPEncoder::new_lossless(&mut bytes).write_image(data, width, height, rgb)
            }
        };
        written.unwrap();
        bytes
    }
}
