//! Formats by their first bytes.

use vila2_actors::error::DecodeError;

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
        // two letters are little: the size of the second header must be one there is
        [b'B', b'M', ..]
            if matches!(
                body.get(14..18),
                Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
            ) =>
        {
            Ok(Format::Bmp)
        }
        other => Err(DecodeError::UnsupportedFormat(format!(
            "not an image that is decoded here (JPEG, PNG, WebP, GIF, BMP, TIFF): {}",
            guess(other)
        ))),
    }
}

/// What else a file may be, for the person who reads the dead letter.
fn guess(body: &[u8]) -> String {
    let known: [(&[u8], usize, &str); 12] = [
        (b"\x1f\x8b", 0, "gzip"),
        (b"%PDF-", 0, "PDF"),
        (b"PK\x03\x04", 0, "ZIP"),
        (b"ftypavif", 4, "AVIF"),
        (b"ftyphei", 4, "HEIC"),
        (b"ftypmif1", 4, "HEIF"),
        (b"ftyp", 4, "MP4 video"),
        (b"\xff\x0a", 0, "JPEG XL"),
        (b"\0\0\0\x0cJXL ", 0, "JPEG XL"),
        (b"\0\0\0\x0cjP  ", 0, "JPEG 2000"),
        (b"\0\0\x01\0", 0, "Windows icon"),
        (b"\x1aE\xdf\xa3", 0, "WebM or Matroska video"),
    ];
    for (magic, at, name) in known {
        if body.get(at..).is_some_and(|rest| rest.starts_with(magic)) {
            return name.to_owned();
        }
    }
    let start = &body[..body.len().min(512)];
    let text = String::from_utf8_lossy(start).trim_start().to_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return "HTML".to_owned();
    }
    if text.starts_with("<svg") || (text.starts_with("<?xml") && text.contains("<svg")) {
        return "SVG".to_owned();
    }
    let first: Vec<_> = start.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("it begins with {}", first.join(" "))
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
                "42 4d 20",
            ),
            (b"RIFF\x10\0\0\0WAVE", "52 49 46 46"),
            (b"x", "78"),
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
