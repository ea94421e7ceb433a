mod clear;
mod damaged;
mod kinds;
mod made;
mod reports;
mod sides;
mod small;
mod tolerated;
mod turned;

use std::{collections::BTreeMap, io::Cursor, path::Path};

use image::{ImageFormat, RgbImage};
use proptest::prelude::*;

use super::*;

fn golden(part: &str) -> BTreeMap<String, Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens/decode")
        .join(part);
    let entries = std::fs::read_dir(folder).expect("committed goldens");
    let read = entries.map(|entry| {
        let entry = entry.expect("readable");
        let body = std::fs::read(entry.path()).expect("readable");
        (
            entry.file_name().to_string_lossy().into_owned(),
            body.into(),
        )
    });
    read.collect()
}

fn file(name: &str) -> Bytes {
    golden("files").remove(name).expect(name)
}

/// As `convert("RGB")` of Pillow: alpha is ignored; and down to one pixel.
fn as_pillow() -> FileDecoder {
    FileDecoder::new(DecodeSettings {
        min_side: 1,
        background: Background::Stored,
        ..DecodeSettings::default()
    })
}

fn decode(body: impl Into<Bytes>) -> Result<Decoded, DecodeError> {
    as_pillow().decode(body.into())
}

/// Largest and mean difference of samples.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let each = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = each.clone().map(u64::from).sum();
    (each.max().unwrap_or(0), sum as f64 / a.len() as f64)
}

/// What Pillow and we may differ in: nothing, but in lossy WebP, which another library decodes.
fn tolerance(name: &str) -> (u8, f64) {
    match name {
        n if n.contains("lossy") => (8, 1.0),
        "cmyk.tif" => (1, 0.5), // rounding
        _ => (0, 0.0),
    }
}

#[test]
fn pixels_are_those_of_pillow() {
    let expected = golden("expected");
    let mut faults = Vec::new();
    for (name, body) in golden("files") {
        let truth = image::load_from_memory_with_format(
            &expected[&format!("{name}.png")],
            ImageFormat::Png,
        );
        let truth = truth.expect("a PNG").into_rgb8();
        match decode(body) {
            Ok(Decoded { image, facts }) => {
                let size = (image.width, image.height);
                if size != truth.dimensions()
                    || (facts.width, facts.height) != size
                    || image.original != size
                {
                    faults.push(format!("{name}: {size:?}, not {:?}", truth.dimensions()));
                    continue;
                }
                let (most, mean) = difference(&image.pixels, truth.as_raw());
                let (most_allowed, mean_allowed) = tolerance(&name);
                if most > most_allowed || mean > mean_allowed {
                    faults.push(format!(
                        "{name}: off by at most {most}, on average {mean:.3}"
                    ));
                }
            }
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn facts_name_the_file() {
    let body = file("exif6.jpg");
    let facts = decode(body.clone()).expect("good").facts;
    assert_eq!((facts.width, facts.height), (32, 48)); // upright
    assert_eq!(facts.format, "jpeg");
    assert_eq!(facts.bytes, body.len() as u64);
    assert_eq!(facts.sha256, format!("{:x}", Sha256::digest(&body)));
}

#[test]
fn a_header_tells_size_and_need_without_decoding() {
    let decoder = FileDecoder::default();
    let pixels = 48 * 32;
    for (name, bytes_a_pixel) in [
        ("rgb420.jpg", 3 + 3),      // pixels, and room to turn them
        ("progressive.jpg", 6 + 3), // coefficients too
        ("rgb.png", 3 + 3),
        ("rgba16.png", 3 + 3), // four bytes a pixel shrink in place before they turn
        ("grey.png", 3 + 3),   // grey grows beside itself: 1 + 3
        ("lossless.webp", 4 + 3), // without alpha through a picture with alpha
        ("rgba.tif", 4 + 4),   // the decoder's buffer is copied
        ("still.gif", 3 + 3),  // indices, and what they show: 1 + 3
    ] {
        let header = decoder.header(&file(name)).expect(name);
        assert_eq!((header.width, header.height), (48, 32), "{name}");
        assert_eq!(header.decoded_bytes, pixels * bytes_a_pixel, "{name}");
    }
}

#[test]
fn too_many_pixels_are_refused_from_the_header() {
    let decoder = FileDecoder::new(DecodeSettings {
        max_pixels: 48 * 32 - 1,
        ..DecodeSettings::default()
    });
    for name in [
        "rgb444.jpg",
        "rgb.png",
        "lossy.webp",
        "lossless.webp",
        "still.gif",
        "rgb.bmp",
        "rgb.tif",
    ] {
        let body = file(name);
        let limit = |error| {
            matches!(
                error,
                DecodeError::TooManyPixels {
                    width: 48,
                    height: 32,
                    limit: 1535
                }
            )
        };
        assert!(limit(decoder.header(&body).expect_err(name)), "{name}");
        assert!(limit(decoder.decode(body).expect_err(name)), "{name}");
    }
}

#[test]
fn truncation_is_flagged_at_every_length() {
    for name in [
        "rgb444.jpg",
        "rgb420.jpg",
        "progressive.jpg",
        "grey.jpg",
        "restarts.jpg",
        "cmyk.jpg",
        "rgb.png",
        "rgb16.png",
        "lossless.webp",
        "lossy.webp",
    ] {
        let body = file(name);
        let first = if name.ends_with("webp") { 12 } else { 8 };
        // what a PNG has behind its pixels is not missed
        let end = if name.ends_with("png") { 12 } else { 0 };
        for length in first..body.len() - end {
            let error = decode(body.slice(..length)).err();
            assert!(
                matches!(error, Some(DecodeError::Truncated(_))),
                "{name} cut at {length} of {}: {error:?}",
                body.len()
            );
        }
    }
}

#[test]
fn uncompressed_files_that_end_early_are_truncated() {
    for name in ["rgb.bmp", "rgb.tif", "grey.tif", "still.gif"] {
        let body = file(name);
        let error = decode(body.slice(..body.len() / 2)).expect_err(name);
        assert!(
            matches!(error, DecodeError::Truncated(_)),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn trailing_junk_changes_nothing() {
    for name in [
        "rgb444.jpg",
        "progressive.jpg",
        "rgb.png",
        "lossless.webp",
        "still.gif",
        "rgb.bmp",
        "rgb.tif",
    ] {
        let body = file(name);
        let mut longer = body.to_vec();
        longer.extend([0xff, 0xd8, 0xff, 0x00, 0x42].repeat(100));
        let (a, b) = (decode(body).expect(name), decode(longer).expect(name));
        assert_eq!(a.image.pixels, b.image.pixels, "{name}");
    }
}

#[test]
fn empty_and_foreign_files_have_their_reasons() {
    assert!(matches!(decode(""), Err(DecodeError::Truncated(_))));
    assert!(matches!(
        decode("<html>gone</html>"),
        Err(DecodeError::UnsupportedFormat(_))
    ));
}

fn large(width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 128])
    });
    let mut file = Cursor::new(Vec::new());
    picture
        .write_to(&mut file, ImageFormat::Png)
        .expect("into memory");
    file.into_inner()
}

#[test]
fn large_pictures_are_scaled_to_the_longest_side_and_keep_their_frame() {
    let decoder = FileDecoder::new(DecodeSettings {
        max_side: 100,
        min_side: 1,
        ..DecodeSettings::default()
    });
    for ((width, height), scaled) in [
        ((400, 200), (100, 50)),
        ((3, 1000), (1, 100)),
        ((1000, 1), (100, 1)),
    ] {
        let body = large(width, height);
        let header = decoder.header(&body).expect("good");
        assert_eq!((header.width, header.height), (width, height));
        let image = decoder.decode(body.into()).expect("good").image;
        assert_eq!((image.width, image.height), scaled);
        assert_eq!(image.original, (width, height));
    }
    let image = decoder.decode(large(400, 200).into()).expect("good").image;
    let middle = (25 * 100 + 50) * 3;
    let pixel = &image.pixels[middle..middle + 3];
    assert!(difference(pixel, &[128, 129, 128]).0 <= 2, "{pixel:?}");
}

#[test]
fn its_identity_changes_with_what_changes_pixels_and_with_nothing_else() {
    let usual = DecodeSettings::default();
    let identity = |settings| FileDecoder::new(settings).identity();
    let (less, fewer) = (
        DecodeSettings {
            max_side: usual.max_side / 2,
            ..usual
        },
        DecodeSettings {
            max_pixels: usual.max_pixels / 2,
            ..usual
        },
    );
    assert_ne!(identity(less), identity(usual));
    assert_eq!(identity(fewer), identity(usual));
}

#[test]
fn a_gif_frame_far_outside_of_its_screen_is_refused_without_its_memory() {
    let mut body = b"GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    body.extend(b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0\x3b"); // 65535 x 65535
    assert!(decode(body).is_err());
}

#[test]
fn a_small_file_of_a_huge_picture_is_refused_from_its_header() {
    let body = large(4096, 1024); // compresses to little
    let decoder = FileDecoder::new(DecodeSettings {
        max_pixels: 1 << 20,
        ..DecodeSettings::default()
    });
    let error = decoder.decode(body.into()).expect_err("too many");
    assert!(
        matches!(error, DecodeError::TooManyPixels { .. }),
        "{error:?}"
    );
}

fn any_golden() -> impl Strategy<Value = Bytes> {
    let files: Vec<_> = golden("files").into_values().collect();
    prop::sample::select(files)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_never_panic(
        body in any_golden(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 1..20),
    ) {
        let mut body = body.to_vec();
        for (at, bit) in flips {
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
        }
        let decoder = FileDecoder::new(DecodeSettings { max_pixels: 1 << 16, max_side: 64, min_side: 1, ..DecodeSettings::default() });
        let header = decoder.header(&body);
        if let Ok(decoded) = decoder.decode(body.into()) {
            let header = header.expect("what decodes has a header");
            prop_assert!(u64::from(header.width) * u64::from(header.height) <= 1 << 16);
            prop_assert!(decoded.image.width.max(decoded.image.height) <= 64);
        }
    }

    #[test]
    fn cut_and_repeated_files_never_panic(
        body in any_golden(),
        cut in any::<prop::sample::Index>(),
        again in any::<prop::sample::Index>(),
    ) {
        let mut cut = body[..cut.index(body.len())].to_vec();
        cut.extend_from_slice(&body[again.index(body.len())..]);
        let decoder = FileDecoder::new(DecodeSettings { max_pixels: 1 << 16, max_side: 64, min_side: 1, ..DecodeSettings::default() });
        let _ = decoder.header(&cut);
        let _ = decoder.decode(cut.into());
    }
}
