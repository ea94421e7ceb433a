use super::{made::*, *};

fn same_pixels(changed: Vec<u8>, name: &str) {
    let whole = decode(file(name)).expect("good").image;
    let read = decode(changed).expect(name).image;
    assert_eq!((read.width, read.height), (whole.width, whole.height));
    assert_eq!(read.pixels, whole.pixels, "{name}");
}

#[test]
fn a_webp_may_announce_what_it_lacks() {
    for (name, flags) in [
        ("lossless.webp", 0x08),
        ("lossless.webp", 0x2c),
        ("lossy.webp", 0x0c),
        ("lossy.webp", 0x10), // alpha
        ("lossy.webp", !0x02),
    ] {
        same_pixels(webp_with(name, flags, b""), name);
    }
}

#[test]
fn a_png_needs_no_end_chunk_where_its_pixels_are_there() {
    for name in ["rgb.png", "rgba16.png", "palette.png", "bilevel.png"] {
        let body = file(name);
        for missing in 1..=12 {
            same_pixels(body[..body.len() - missing].to_vec(), name);
        }
        let error = decode(body.slice(..body.len() - 30)).expect_err("pixels are missing");
        assert!(matches!(error, DecodeError::Truncated(_)), "{error:?}");
    }
}

#[test]
fn a_wrong_checksum_beside_the_pixels_does_not_matter() {
    for name in [b"tEXt", b"iCCP", b"eXIf", b"gAMA", b"zzZz"] {
        let mut chunk = png_chunk(name, b"name\0\0data");
        *chunk.last_mut().expect("a checksum") ^= 1;
        for behind in [false, true] {
            same_pixels(png_with(&chunk, behind), "rgb.png");
        }
    }
}

/// A GIF of one frame of 100 × 80 pixels at 40, 30 of a screen of this size.
fn gif(width: u16, height: u16, x: u16, y: u16) -> Vec<u8> {
    let report = reports::report("g_offset_global.gif");
    let mut body = report.to_vec();
    body[6..8].copy_from_slice(&width.to_le_bytes());
    body[8..10].copy_from_slice(&height.to_le_bytes());
    let at = 13 + 32 * 3;
    assert_eq!(body[at..at + 5], [0x2c, 40, 0, 30, 0], "the frame");
    body[at + 1..at + 3].copy_from_slice(&x.to_le_bytes());
    body[at + 3..at + 5].copy_from_slice(&y.to_le_bytes());
    body
}

#[test]
fn the_canvas_of_a_gif_holds_its_first_frame() {
    for ((width, height), (x, y), canvas) in [
        ((208, 160), (40, 30), (208, 160)),
        ((0, 0), (0, 0), (100, 80)),
        ((0, 0), (40, 30), (100, 80)), // no canvas: no place on it
        ((50, 60), (0, 0), (100, 80)),
        ((50, 60), (40, 30), (140, 110)),
        ((120, 60), (0, 0), (120, 80)),
    ] {
        let body = gif(width, height, x, y);
        let header = as_pillow().header(&body).expect("good");
        assert_eq!((header.width, header.height), canvas);
        assert_eq!(upright_size(body), canvas, "{width}x{height} {x},{y}");
    }
}

#[test]
fn what_a_gif_frame_leaves_out_shows_the_background() {
    let body = gif(208, 160, 40, 30);
    for (background, grey) in [(Background::White, 255), (Background::Stored, 0)] {
        for (x, y) in [(0, 0), (39, 29), (140, 50), (60, 110), (207, 159)] {
            assert_eq!(pixel(&body, background, x, y), [grey; 3], "{x},{y}");
        }
        let (here, alone) = (gif(208, 160, 40, 30), gif(0, 0, 0, 0));
        for (x, y) in [(0, 0), (99, 79), (50, 40)] {
            assert_eq!(
                pixel(&here, background, x + 40, y + 30),
                pixel(&alone, background, x, y)
            );
        }
    }
}

#[test]
fn a_gif_needs_no_trailer_and_is_truncated_where_its_frame_is() {
    let body = file("still.gif");
    same_pixels(body[..body.len() - 1].to_vec(), "still.gif");
    for length in 6..body.len() - 20 {
        let error = decode(body.slice(..length)).expect_err("a part");
        assert!(
            matches!(error, DecodeError::Truncated(_)),
            "{length}: {error:?}"
        );
    }
}

#[test]
fn runs_of_a_bmp_need_no_end_code_where_every_row_is_there() {
    let eight = [20, 3, 12, 5, 0, 0].repeat(20);
    let literal = [0, 5, 1, 2, 3, 4, 5, 0, 27, 6, 0, 0].repeat(20);
    let four = [20, 0x33, 12, 0x55, 0, 0].repeat(20);
    for (bits, rows) in [(8, eight), (8, literal), (4, four)] {
        let of = |runs: &[u8]| bmp_of_runs(bits, 32, 20, runs);
        let ended = decode(of(&[&rows[..], &[0, 1]].concat()))
            .expect("good")
            .image;
        for left in [&rows[..], &rows[..rows.len() - 2]] {
            let read = decode(of(left)).expect("every row is there").image;
            assert_eq!(read.pixels, ended.pixels);
        }
        let last = rows.len() / 20 * 19;
        for left in [
            &rows[..last],
            &rows[..last + 2],
            &rows[..rows.len() / 2],
            &[],
        ] {
            let error = decode(of(left)).expect_err("rows are missing");
            assert!(matches!(error, DecodeError::Truncated(_)), "{error:?}");
        }
        // an end code in the middle is the file's own word
        decode(of(&[&rows[..last], &[0, 1]].concat())).expect("ends where it says");
    }
}

#[test]
fn a_bmp_needs_not_what_fills_its_last_row() {
    let row = [&[9u8; 17 * 3][..], &[0]].concat();
    let whole = bmp(24, 17, 20, 0, &[], &row.repeat(20));
    let size = whole.len();
    let read = decode(whole[..size - 1].to_vec()).expect("every pixel is there");
    assert_eq!(
        read.image.pixels,
        decode(whole.clone()).expect("good").image.pixels
    );
    let error = decode(whole[..size - 2].to_vec()).expect_err("a sample is missing");
    assert!(matches!(error, DecodeError::Truncated(_)), "{error:?}");
}
