use super::{made::*, *};

/// One of the pictures made after what people report of such tools.
pub(super) fn report(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/reports");
    std::fs::read(folder.join(name)).expect(name).into()
}

fn by_default(name: &str) -> Result<Decoded, DecodeError> {
    FileDecoder::default().decode(report(name))
}

#[test]
fn reported_pictures_have_their_upright_size() {
    for (name, size) in [
        ("j_exif_long.jpg", (160, 208)),
        ("p_exif_raw_profile.png", (160, 208)),
        ("j_xmp_only_attribute.jpg", (160, 208)),
        ("w_flag_without_exif.webp", (208, 160)),
        ("g_offset_global.gif", (208, 160)),
        ("g_canvas_zero.gif", (100, 80)),
        ("b_rle8_no_end.bmp", (208, 160)),
        ("p_icc_bomb.png", (208, 160)),
        ("clear_black.png", (400, 120)),
    ] {
        let decoded = by_default(name).expect(name);
        assert_eq!((decoded.facts.width, decoded.facts.height), size, "{name}");
        assert_eq!((decoded.image.width, decoded.image.height), size, "{name}");
    }
}

#[test]
fn reported_files_that_are_not_decoded_are_named() {
    for (name, kind) in [
        ("j_arithmetic.jpg", "arithmetic coding"),
        ("p_cgbi.png", "CgBI"),
        ("r_json.jpg", "JSON"),
        ("r_svg_comment.svg", "SVG"),
        ("r_html_bom.jpg", "HTML"),
        ("r_lfs.png", "Git LFS pointer"),
    ] {
        let error = by_default(name).expect_err(name);
        assert!(
            matches!(error, DecodeError::UnsupportedFormat(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains(kind), "{name}: {error}");
    }
}

#[test]
fn a_tracking_pixel_is_too_small() {
    let error = by_default("g_1x1.gif").expect_err("1 × 1");
    assert!(matches!(error, DecodeError::TooSmall(_)), "{error:?}");
    decode(report("g_1x1.gif")).expect("allowed down to one");
}

#[test]
fn black_letters_on_clear_black_are_on_white() {
    let body = report("clear_black.png");
    assert_eq!(pixel(&body, Background::Contrast, 0, 0), [255; 3]);
    assert_eq!(pixel(&body, Background::Stored, 0, 0), [0; 3]);
}

#[test]
fn reported_files_cut_or_changed_anywhere_never_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/reports");
    let decoder = FileDecoder::new(DecodeSettings {
        max_pixels: 1 << 17,
        min_side: 1,
        ..DecodeSettings::default()
    });
    for entry in std::fs::read_dir(folder).expect("committed") {
        let body = std::fs::read(entry.expect("readable").path()).expect("readable");
        // every place of the headers, fewer of the rest
        let places = (0..300).chain((300..body.len()).step_by(211));
        for at in places.filter(|at| *at < body.len()) {
            let mut changed = body.clone();
            changed[at] ^= 0xff;
            for body in [changed, body[..at].to_vec()] {
                let _ = decoder.header(&body);
                let _ = decoder.decode(body.into());
            }
        }
    }
}
