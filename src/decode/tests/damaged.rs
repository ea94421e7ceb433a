use super::{made::*, *};

fn refused(body: Vec<u8>) -> DecodeError {
    decode(body).expect_err("damaged")
}

#[test]
fn what_follows_a_cut_jpeg_does_not_make_it_whole() {
    for name in ["rgb444.jpg", "progressive.jpg", "grey.jpg"] {
        let body = file(name);
        let cut = &body[..body.len() * 2 / 3];
        for rest in [&body[..], b"\xff\xd8\xff\xd9"] {
            let error = refused([cut, rest].concat());
            assert!(matches!(error, DecodeError::Truncated(_)), "{error:?}");
        }
    }
}

#[test]
fn a_damaged_jpeg_that_ends_in_its_end_marker_is_corrupt_not_truncated() {
    let body = file("rgb444.jpg").to_vec();
    let at = exif::find(&body, b"\xff\xdb").expect("a quantisation table");
    let mut too_long = body.clone();
    (too_long[at + 2], too_long[at + 3]) = (0xff, 0xff);
    let mut without_tables = body.clone();
    while let Some(at) = exif::find(&without_tables, b"\xff\xdb") {
        let length = usize::from(without_tables[at + 2]) << 8 | usize::from(without_tables[at + 3]);
        without_tables.drain(at..at + 2 + length);
    }
    let no_frame = [&body[..2], &body[body.len() - 2..]].concat();
    for body in [too_long, without_tables, no_frame] {
        let error = refused(body);
        assert!(matches!(error, DecodeError::Corrupt(_)), "{error:?}");
    }
}

#[test]
fn a_jpeg_of_very_many_scans_is_refused_before_they_are_gone_through() {
    let body = file("progressive.jpg").to_vec();
    let at = exif::find(&body, b"\xff\xda").expect("a scan");
    let length = 2 + usize::from(body[at + 3]);
    let mut many = body[..body.len() - 2].to_vec();
    for _ in 0..100 {
        many.extend(&body[at..at + length]); // its header, without data
    }
    many.extend(b"\xff\xd9");
    let error = refused(many);
    assert!(matches!(&error, DecodeError::UnsupportedFormat(why) if why.contains("scans")));
}

#[test]
fn a_jpeg_whose_colours_fall_between_the_pixels_is_of_a_kind_not_decoded() {
    let mut body = file("third_together.jpg").to_vec();
    let at = exif::find(&body, b"\xff\xc0").expect("a frame header");
    assert_eq!(body[at + 11], 0x31, "three columns of luma");
    body[at + 14] = 0x21; // to two of one colour
    let error = refused(body);
    assert!(
        matches!(error, DecodeError::UnsupportedFormat(_)),
        "{error:?}"
    );
}

#[test]
fn the_largest_png_there_can_be_has_too_many_pixels() {
    let mut head = Vec::new();
    head.extend(i32::MAX.to_be_bytes());
    head.extend(i32::MAX.to_be_bytes());
    head.extend([8, 6, 0, 0, 0]);
    let body = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        png_chunk(b"IHDR", &head),
        png_chunk(b"IDAT", &packed(&[0; 64])),
        png_chunk(b"IEND", b""),
    ]
    .concat();
    for error in [
        as_pillow().header(&body).expect_err("too large"),
        refused(body),
    ] {
        assert!(
            matches!(
                error,
                DecodeError::TooManyPixels {
                    width: 2_147_483_647,
                    height: 2_147_483_647,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}
