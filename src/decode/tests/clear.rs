use image::{GrayAlphaImage, ImageBuffer, RgbaImage};

use super::{made::*, *};

/// A square of `ink` on what is clear, with other colours stored under it, in every format that is
/// written here.
fn logos(ink: u8, under: u8) -> Vec<(&'static str, Vec<u8>)> {
    let is_ink = |x: u32, y: u32| (8..24).contains(&x) && (8..24).contains(&y);
    let value = |x, y| if is_ink(x, y) { (ink, 255) } else { (under, 0) };
    let rgba = RgbaImage::from_fn(32, 32, |x, y| {
        let (grey, alpha) = value(x, y);
        image::Rgba([grey, grey, grey, alpha])
    });
    let grey = GrayAlphaImage::from_fn(32, 32, |x, y| {
        let (grey, alpha) = value(x, y);
        image::LumaA([grey, alpha])
    });
    let wide = ImageBuffer::from_fn(32, 32, |x, y| {
        let (grey, alpha) = value(x, y);
        let wide = |sample| u16::from(sample) * 257;
        image::Rgba([wide(grey), wide(grey), wide(grey), wide(alpha)])
    });
    let written = |format, picture: &image::DynamicImage| {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).expect("into memory");
        file.into_inner()
    };
    let key = ImageBuffer::from_fn(32, 32, |x, y| image::Luma([value(x, y).0]));
    let mut keyed = written(ImageFormat::Png, &key.into());
    let at = exif::find(&keyed, b"IDAT").expect("pixels") - 4;
    keyed.splice(at..at, png_chunk(b"tRNS", &[0, under]));
    let mut files = vec![
        ("rgba.png", written(ImageFormat::Png, &rgba.clone().into())),
        ("grey.png", written(ImageFormat::Png, &grey.into())),
        ("rgba16.png", written(ImageFormat::Png, &wide.into())),
        (
            "rgba.webp",
            written(ImageFormat::WebP, &rgba.clone().into()),
        ),
        ("rgba.bmp", written(ImageFormat::Bmp, &rgba.clone().into())),
        ("rgba.gif", written(ImageFormat::Gif, &rgba.clone().into())),
        ("rgba.tif", written(ImageFormat::Tiff, &rgba.into())),
    ];
    if ink != under {
        files.push(("key.png", keyed));
    }
    files
}

#[test]
fn a_dark_and_a_bright_logo_on_clear_are_both_seen_in_every_format() {
    for (ink, under, behind) in [(0, 0, 255), (255, 255, 0), (40, 200, 255), (230, 10, 0)] {
        for (name, body) in logos(ink, under) {
            let shown = |x, y| pixel(&body, Background::Contrast, x, y);
            assert_eq!(shown(2, 2), [behind; 3], "{name}: behind {ink}");
            assert_eq!(shown(16, 16), [ink; 3], "{name}: {ink}");
            let white = |x, y| pixel(&body, Background::White, x, y);
            assert_eq!((white(2, 2), white(16, 16)), ([255; 3], [ink; 3]), "{name}");
        }
    }
}

#[test]
fn the_stored_colours_show_where_alpha_is_ignored() {
    for (name, body) in logos(40, 200) {
        if name.ends_with("gif") {
            continue; // its writer keeps no colour under what is clear
        }
        assert_eq!(pixel(&body, Background::Stored, 2, 2), [200; 3], "{name}");
        assert_eq!(pixel(&body, Background::Stored, 16, 16), [40; 3], "{name}");
    }
}

#[test]
fn what_is_half_clear_is_blended() {
    let half = RgbaImage::from_pixel(32, 32, image::Rgba([100, 0, 50, 128]));
    let mut file = Cursor::new(Vec::new());
    half.write_to(&mut file, ImageFormat::Png).expect("written");
    let body = file.into_inner();
    assert_eq!(pixel(&body, Background::White, 5, 5), [177, 127, 152]);
    assert_eq!(pixel(&body, Background::Contrast, 5, 5), [177, 127, 152]);
    assert_eq!(pixel(&body, Background::Stored, 5, 5), [100, 0, 50]);
}

/// A TIFF of one strip, RGB and an extra sample.
fn tiff(extra: Option<u16>, pixel: [u8; 4]) -> Vec<u8> {
    let mut entries: Vec<(u16, u32)> = vec![
        (256, 16),
        (257, 16),
        (258, 8),
        (259, 1),
        (262, 2),
        (273, 8),
        (277, 4),
        (278, 16),
        (279, 1024),
    ];
    entries.extend(extra.map(|kind| (338, u32::from(kind))));
    let mut body = b"II*\0".to_vec();
    body.extend((8u32 + 1024).to_le_bytes());
    body.extend(pixel.repeat(256));
    let bits = body.len() as u32 + 2 + entries.len() as u32 * 12 + 4;
    body.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        let (count, value) = if tag == 258 { (4u32, bits) } else { (1, value) };
        let kind = if matches!(tag, 273 | 279) { 4u16 } else { 3 };
        body.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        body.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    body.extend([0; 4]);
    body.extend([8, 0, 8, 0, 8, 0, 8, 0]);
    body
}

#[test]
fn the_alpha_of_a_tiff_is_what_its_extra_sample_says() {
    let shown = |extra, sample| pixel(&tiff(extra, sample), Background::White, 3, 3);
    assert_eq!(
        shown(Some(2), [0, 100, 200, 51]),
        [204, 224, 244],
        "straight"
    );
    assert_eq!(
        shown(Some(1), [0, 20, 40, 51]),
        [204, 224, 244],
        "multiplied"
    );
    assert_eq!(shown(Some(0), [0, 100, 200, 0]), [0, 100, 200], "no alpha");
    assert_eq!(shown(None, [0, 100, 200, 0]), [255; 3], "as Pillow has it");
    // bright, thin and multiplied: its colours alone would be dark
    let thin = tiff(Some(1), [50, 50, 50, 51]);
    assert_eq!(pixel(&thin, Background::Contrast, 3, 3), [50; 3]);
}

#[test]
fn a_bmp_whose_alpha_is_nothing_but_zeros_is_opaque() {
    let mut body = logos(40, 40)
        .into_iter()
        .find(|(name, _)| *name == "rgba.bmp");
    let body = &mut body.as_mut().expect("written").1;
    let pixels = body.len() - 32 * 32 * 4;
    for alpha in body[pixels..].iter_mut().skip(3).step_by(4) {
        *alpha = 0;
    }
    assert_eq!(pixel(body, Background::Contrast, 2, 2), [40; 3]);
}

#[test]
fn what_the_first_frame_of_an_animation_leaves_out_is_clear() {
    let frame = file("lossy.webp"); // 48 × 32 of no alpha
    let place = [5, 0, 0, 5, 0, 0, 47, 0, 0, 31, 0, 0, 100, 0, 0, 0];
    let chunks = [
        extended(2, 100, 80),
        riff_chunk(b"ANIM", &[0; 6]),
        riff_chunk(b"ANMF", &[&place, &frame[12..]].concat()),
    ];
    let body = webp(&chunks.concat());
    assert_eq!(pixel(&body, Background::Contrast, 1, 1), [255; 3]);
    assert_eq!(pixel(&body, Background::Contrast, 80, 60), [255; 3]);
    let inside = pixel(&body, Background::Contrast, 12, 12);
    assert_eq!(inside, pixel(&frame, Background::Contrast, 2, 2));
}
