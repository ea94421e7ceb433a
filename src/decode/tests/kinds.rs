use super::{made::*, *};

fn kind_named(body: Vec<u8>) -> String {
    for error in [
        as_pillow().header(&body).expect_err("not decoded"),
        decode(body.clone()).expect_err("not decoded"),
    ] {
        assert!(
            matches!(error, DecodeError::UnsupportedFormat(_)),
            "{error:?}"
        );
    }
    decode(body).expect_err("not decoded").to_string()
}

#[test]
fn jpegs_of_kinds_not_decoded_are_named_and_not_called_corrupt() {
    let with = |marker: u8, precision: u8| {
        let mut body = file("rgb444.jpg").to_vec();
        let at = exif::find(&body, b"\xff\xc0").expect("a frame header");
        (body[at + 1], body[at + 4]) = (marker, precision);
        body
    };
    for (marker, precision, name) in [
        (0xc3, 8, "lossless"),
        (0xc5, 8, "hierarchical"),
        (0xc6, 8, "hierarchical"),
        (0xc7, 8, "lossless"),
        (0xc9, 8, "arithmetic coding"),
        (0xca, 8, "arithmetic coding"),
        (0xcb, 8, "lossless, arithmetic coding"),
        (0xcd, 8, "hierarchical, arithmetic coding"),
        (0xcf, 8, "lossless, arithmetic coding"),
        (0xf7, 8, "JPEG-LS"),
        (0xc0, 12, "12 bits"),
        (0xc1, 12, "12 bits"),
        (0xc2, 12, "12 bits"),
    ] {
        let told = kind_named(with(marker, precision));
        assert!(told.contains(name), "{marker:#x} {precision}: {told}");
    }
}

#[test]
fn bmps_of_kinds_not_decoded_are_named() {
    let of = |bits, compression| bmp(bits, 48, 32, compression, &[], &[0; 64]);
    let mut os2 = of(24, 0);
    os2[14] = 64;
    let mut huffman = of(1, 3);
    huffman[14] = 64;
    let mut array = of(24, 0);
    array.splice(..0, *b"BA\x28\0\0\0\0\0\0\0\x80\x02\xe0\x01");
    for (body, name) in [
        (of(0, 4), "a JPEG inside"),
        (of(0, 5), "a PNG inside"),
        (of(24, 4), "RLE24"),
        (of(1, 3), "Huffman 1D"),
        (of(32, 6), "Windows CE"),
        (of(32, 11), "CMYK"),
        (of(64, 0), "64 bits"),
        (os2, "OS/2"),
        (huffman, "Huffman 1D"),
        (array, "OS/2 bitmap array"),
    ] {
        let told = kind_named(body);
        assert!(told.contains(name), "{name}: {told}");
    }
}

#[test]
fn apples_png_is_named() {
    let body = file("rgb.png");
    let own = png_chunk(b"CgBI", &[0x50, 0, 0x20, 2]);
    let body = [&body[..8], &own, &body[8..]].concat();
    assert!(kind_named(body).contains("CgBI"));
}

#[test]
fn tiffs_of_compressions_and_samples_not_decoded_are_named() {
    let with = |tag: u16, value: u16| {
        let mut body = file("rgb.tif").to_vec();
        let entry = [&tag.to_le_bytes()[..], &[3, 0, 1, 0, 0, 0]].concat();
        let at = exif::find(&body, &entry).expect("the entry") + 8;
        body[at..at + 2].copy_from_slice(&value.to_le_bytes());
        body
    };
    for (tag, value, name) in [
        (259, 3, "fax 3"),
        (259, 6, "JPEG of the old kind"),
        (259, 34712, "JPEG 2000"),
        (259, 34925, "LZMA"),
        (259, 50000, "Zstandard"),
        (259, 50001, "WebP"),
        (262, 8, "Lab"),
    ] {
        let error = decode(with(tag, value)).expect_err("not decoded");
        assert!(
            matches!(error, DecodeError::UnsupportedFormat(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
}

/// A TIFF of grey pixels, 48 × 32, with these entries (tag, value) beside the usual ones.
fn tiff(entries: &[(u16, u16)]) -> Vec<u8> {
    let mut all = vec![(256, 48), (257, 32), (258, 8), (259, 1), (262, 1), (277, 1)];
    all.extend(entries);
    all.sort_unstable();
    let mut body = b"II*\0\x08\0\0\0".to_vec();
    body.extend((all.len() as u16).to_le_bytes());
    for (tag, value) in &all {
        body.extend(tag.to_le_bytes());
        body.extend([3, 0, 1, 0, 0, 0]);
        body.extend(value.to_le_bytes());
        body.extend([0, 0]);
    }
    body.extend([0; 4]);
    body.resize(256 + 48 * 32, 7);
    body
}

#[test]
fn tiffs_of_layouts_not_decoded_are_named() {
    decode(tiff(&[(273, 256), (278, 32), (279, 1536)])).expect("strips of known lengths");
    let told = kind_named(tiff(&[(273, 256), (278, 32)]));
    assert!(told.contains("StripByteCounts"), "{told}");
    let tiles = [(284, 2), (322, 48), (323, 32), (324, 256), (325, 1536)];
    let told = kind_named(tiff(&tiles));
    assert!(told.contains("planar"), "{told}");
}
