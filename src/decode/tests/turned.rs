use super::{made::*, *};

const TURNED: (u32, u32) = (32, 48);
const AS_STORED: (u32, u32) = (48, 32);

/// A profile as ImageMagick writes it into the text chunks of PNG.
fn spelled(name: &str, data: &[u8]) -> Vec<u8> {
    let digits: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = digits.chunks(36).map(|line| line.concat()).collect();
    format!("\n{name}\n{:8}\n{}\n", data.len(), lines.join("\n")).into_bytes()
}

fn prefixed(data: &[u8]) -> Vec<u8> {
    [b"Exif\0\0", data].concat()
}

#[test]
fn a_png_is_turned_by_exif_in_front_of_its_pixels_and_behind_them() {
    for behind in [false, true] {
        for data in [exif(6), prefixed(&exif(6))] {
            let body = png_with(&png_chunk(b"eXIf", &data), behind);
            assert_eq!(upright_size(body), TURNED, "behind: {behind}");
        }
    }
}

#[test]
fn a_png_is_turned_by_the_profiles_of_image_magick_in_every_text_chunk() {
    for name in ["exif", "APP1"] {
        let text = spelled(name, &prefixed(&exif(6)));
        let keyword = format!("Raw profile type {name}\0").into_bytes();
        for (kind, data) in [
            (b"tEXt", [&keyword[..], &text].concat()),
            (b"zTXt", [&keyword[..], b"\0", &packed(&text)].concat()),
            (b"iTXt", [&keyword[..], b"\0\0\0\0", &text].concat()),
            (
                b"iTXt",
                [&keyword[..], b"\x01\0en\0name\0", &packed(&text)].concat(),
            ),
        ] {
            for behind in [false, true] {
                let body = png_with(&png_chunk(kind, &data), behind);
                assert_eq!(upright_size(body), TURNED, "{name} {kind:?} {behind}");
            }
        }
    }
}

#[test]
fn a_png_is_turned_by_xmp_where_exif_does_not_say() {
    let keyword = &b"XML:com.adobe.xmp\0"[..];
    let plain = png_chunk(b"iTXt", &[keyword, b"\0\0\0\0", &xmp(6)].concat());
    let deflated = png_chunk(
        b"iTXt",
        &[keyword, b"\x01\0\0\0", &packed(&xmp(6))].concat(),
    );
    let magick = png_chunk(
        b"zTXt",
        &[
            b"Raw profile type xmp\0\0",
            &packed(&spelled("xmp", &xmp(6)))[..],
        ]
        .concat(),
    );
    for chunk in [&plain, &deflated, &magick] {
        assert_eq!(upright_size(png_with(chunk, false)), TURNED);
        assert_eq!(upright_size(png_with(chunk, true)), TURNED);
    }
    let both = [&png_chunk(b"eXIf", &exif(1)), &plain[..]].concat();
    assert_eq!(upright_size(png_with(&both, false)), AS_STORED);
    let without = b"II*\0\x08\0\0\0\0\0\0\0\0\0";
    let both = [&png_chunk(b"eXIf", without), &plain[..]].concat();
    assert_eq!(upright_size(png_with(&both, false)), TURNED);
}

#[test]
fn a_jpeg_is_turned_by_exif_in_any_of_its_segments() {
    let packet = |data: &[u8]| [b"http://ns.adobe.com/xap/1.0/\0", data].concat();
    let whole = exif(6);
    let (one, two) = whole.split_at(14);
    for (segments, size) in [
        (vec![prefixed(&exif(6))], TURNED),
        (vec![packet(b"<x/>"), prefixed(&exif(6))], TURNED),
        (
            vec![prefixed(b"II*\0\x08\0\0\0\0\0"), prefixed(&exif(6))],
            TURNED,
        ),
        (vec![prefixed(one), prefixed(two)], TURNED), // one directory, cut in two
        (vec![prefixed(&prefixed(&exif(6)))], TURNED),
        (vec![packet(&xmp(6))], TURNED),
        (vec![packet(&xmp(6)), prefixed(&exif(1))], AS_STORED),
        (vec![packet(&xmp(6)), prefixed(&exif(0))], AS_STORED),
        (vec![prefixed(&exif(9))], AS_STORED),
        (vec![packet(&xmp(0))], AS_STORED),
    ] {
        let segments: Vec<_> = segments.into_iter().map(|data| (0xe1, data)).collect();
        assert_eq!(upright_size(jpeg_with(&segments)), size, "{segments:?}");
    }
}

#[test]
fn a_webp_is_turned_by_what_it_announces() {
    for name in ["lossless.webp", "lossy.webp"] {
        for (flags, chunk, size) in [
            (8, riff_chunk(b"EXIF", &exif(6)), TURNED),
            (8, riff_chunk(b"EXIF", &prefixed(&exif(6))), TURNED),
            (4, riff_chunk(b"XMP ", &xmp(6)), TURNED),
            (
                12,
                [riff_chunk(b"EXIF", &exif(1)), riff_chunk(b"XMP ", &xmp(6))].concat(),
                AS_STORED,
            ),
            (0, riff_chunk(b"EXIF", &exif(6)), AS_STORED), // not announced: not read by libwebp
        ] {
            let body = webp_with(name, flags, &chunk);
            assert_eq!(upright_size(body), size, "{name} {flags}");
        }
    }
}

#[test]
fn what_is_turned_has_its_pixels_where_they_belong() {
    let stored = decode(file("rgb.png")).expect("good").image;
    let body = png_with(&png_chunk(b"eXIf", &exif(6)), true);
    let turned = decode(body).expect("good").image;
    // 6: the stored first row is the right column
    for y in 0..stored.width {
        let from = y as usize * 3;
        let to = (y * turned.width + turned.width - 1) as usize * 3;
        assert_eq!(stored.pixels[from..from + 3], turned.pixels[to..to + 3]);
    }
}
