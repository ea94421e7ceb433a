//! Formats by their first bytes.

use vila2_actors::error::DecodeError;

use super::foreign;

/// A format that is decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl Format {
    /// Lower-case name, as in the output record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }
}

/// Tells the format of a file.
///
/// # Errors
/// [`DecodeError::Truncated`] for an empty file, [`DecodeError::UnsupportedFormat`] for everything
/// that is none of the six, with a guess at what it is.
pub fn sniff(body: &[u8]) -> Result<Format, DecodeError> {
    match body {
        [] => Err(DecodeError::Truncated("the file is empty".to_owned())),
        [0xff, 0xd8, 0xff, ..] => Ok(Format::Jpeg),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Ok(Format::Png),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Ok(Format::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Format::Gif),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Format::Tiff),
        // `BM` alone is too weak; require a known DIB header size.
        [b'B', b'M', ..]
            if matches!(
                body.get(14..18),
                Some([12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
            ) =>
        {
            Ok(Format::Bmp)
        }
        other => Err(DecodeError::UnsupportedFormat(format!(
            "not an image that is decoded here (JPEG, PNG, WebP, GIF, BMP, TIFF): {}",
            foreign::kind(other)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let mut bmp = b"BM".to_vec();
        bmp.resize(14, 0);
        bmp.extend([40, 0, 0, 0]);
        for (body, format) in [
            (&b"\xff\xd8\xff\xe0rest"[..], Format::Jpeg),
            (b"\x89PNG\r\n\x1a\nrest", Format::Png),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Format::WebP),
            (b"GIF89a..", Format::Gif),
            (b"GIF87a..", Format::Gif),
            (b"II*\0....", Format::Tiff),
            (b"MM\0*....", Format::Tiff),
            (&bmp, Format::Bmp),
        ] {
            assert_eq!(sniff(body).expect("known"), format);
        }
    }

    #[test]
    fn what_is_no_image_is_named_in_the_refusal() {
        for (body, name) in [
            (&b"  <!DOCTYPE html><html>"[..], "HTML"),
            (b"\0\0\0\x20ftypavif\0\0", "AVIF"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"<?xml version='1.0'?><svg/>", "SVG"),
            (
                b"BM is how this text begins, which makes no bitmap",
                "text that begins with \"BM is",
            ),
            (b"RIFF\x10\0\0\0WAVE", "WAV"),
            (b"x", "text that begins with \"x\""),
            (b"\x9d\x01\x02", "9d 01 02"),
        ] {
            let error = sniff(body).expect_err("no image");
            assert!(
                matches!(error, DecodeError::UnsupportedFormat(_)),
                "{error:?}"
            );
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(matches!(sniff(b""), Err(DecodeError::Truncated(_))));
    }
}
