//! What a file is that is not decoded here, for the person who reads the dead letter.

/// How much of a text is looked at.
const LOOKED_AT: usize = 4096;

/// The kind in words, with what to do where that can be known; else the first bytes.
pub(super) fn kind(body: &[u8]) -> String {
    if let Some(name) = iso_media(body).or_else(|| by_magic(body)) {
        return name.to_owned();
    }
    if let Some(text) = text(body) {
        return by_text(&text);
    }
    let first: Vec<_> = body.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("it begins with {}", first.join(" "))
}

/// First bytes, where they stand, and the name; the longer of two that both fit stands first.
const KINDS: &[(&[u8], usize, &str)] = &[
    (b"\x1f\x8b", 0, "gzip: unpack it first"),
    (b"BZh", 0, "bzip2: unpack it first"),
    (b"\xfd7zXZ\0", 0, "xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", 0, "Zstandard: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive"),
    (b"Rar!\x1a\x07", 0, "a RAR archive"),
    (b"PK\x03\x04", 0, "a ZIP archive (or an office document)"),
    (b"PK\x05\x06", 0, "an empty ZIP archive"),
    (b"ustar", 257, "a TAR archive"),
    (b"%PDF-", 0, "PDF"),
    (b"%!PS", 0, "PostScript"),
    (b"\xc5\xd0\xd3\xc6", 0, "EPS with a preview"),
    (b"{\\rtf", 0, "RTF, a text document"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        0,
        "an old office document",
    ),
    (b"8BPS\0\x01", 0, "PSD, a Photoshop document"),
    (b"8BPS\0\x02", 0, "PSB, a large Photoshop document"),
    (b"gimp xcf", 0, "XCF, a GIMP document"),
    (b"\xff\x0a", 0, "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", 0, "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", 0, "JPEG 2000"),
    (b"\xff\x4f\xff\x51", 0, "JPEG 2000 (a bare code stream)"),
    (
        b"\xff\xd8",
        0,
        "it begins like a JPEG, but no marker follows",
    ),
    (b"II\xbc", 0, "JPEG XR"),
    (b"WMPHOTO", 0, "JPEG XR"),
    (b"IIRO", 0, "ORF, a camera's raw file"),
    (b"IIU\0", 0, "RW2, a camera's raw file"),
    (b"FUJIFILMCCD-RAW", 0, "RAF, a camera's raw file"),
    (b"\x8aMNG\r\n\x1a\n", 0, "MNG, an animation"),
    (b"\x8bJNG\r\n\x1a\n", 0, "JNG"),
    (b"icns", 0, "ICNS, an Apple icon"),
    (b" EMF", 40, "EMF, a Windows drawing"),
    (b"\xd7\xcd\xc6\x9a", 0, "WMF, a Windows drawing"),
    (b"\x01\0\x09\0\0\x03", 0, "WMF, a Windows drawing"),
    (b"DDS ", 0, "DDS, a texture"),
    (b"\xabKTX 11\xbb", 0, "KTX, a texture"),
    (b"\xabKTX 20\xbb", 0, "KTX 2, a texture"),
    (b"\x76\x2f\x31\x01", 0, "OpenEXR"),
    (b"#?RADIANCE", 0, "Radiance HDR"),
    (b"#?RGBE", 0, "Radiance HDR"),
    (b"qoif", 0, "QOI"),
    (b"farbfeld", 0, "farbfeld"),
    (b"FLIF", 0, "FLIF"),
    (b"BPG\xfb", 0, "BPG"),
    (b"AT&TFORM", 0, "DjVu"),
    (b"SIMPLE  =", 0, "FITS"),
    (b"\x59\xa6\x6a\x95", 0, "a Sun raster picture"),
    (b"/* XPM */", 0, "XPM"),
    (b"id=ImageMagick", 0, "MIFF"),
    (b"\x01\xda", 0, "an SGI picture"),
    (b"DanM", 0, "MSP, an old bitmap of Windows"),
    (b"LinS", 0, "MSP, an old bitmap of Windows"),
    (b"Image type:", 0, "IM, a picture of IFUNC"),
    (b"SDPX", 0, "DPX"),
    (b"XPDS", 0, "DPX"),
    (b"DICM", 128, "DICOM, a medical picture"),
    (b"\x89HDF\r\n\x1a\n", 0, "HDF5"),
    (b"\x93NUMPY", 0, "a NumPy array"),
    (b"PAR1", 0, "Parquet: publish its rows, with `--url-column`"),
    (b"SQLite format 3\0", 0, "an SQLite database"),
    (b"\x1aE\xdf\xa3", 0, "WebM or Matroska video"),
    (b"FLV\x01", 0, "Flash video"),
    (b"FWS", 0, "a Flash film"),
    (b"CWS", 0, "a Flash film"),
    (b"OggS", 0, "Ogg audio or video"),
    (b"fLaC", 0, "FLAC audio"),
    (b"ID3", 0, "MP3 audio"),
    (
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        0,
        "Windows Media video or audio",
    ),
    (b"\0\0\x01\xba", 0, "MPEG video"),
    (b"\0\0\x01\xb3", 0, "MPEG video"),
    (b"wOFF", 0, "a web font"),
    (b"wOF2", 0, "a web font"),
    (b"\0\x01\0\0\0", 0, "a TrueType font"),
    (b"OTTO", 0, "an OpenType font"),
    (b"\x7fELF", 0, "a program"),
    (b"MZ", 0, "a Windows program"),
];

fn by_magic(body: &[u8]) -> Option<&'static str> {
    let starts =
        |at: usize, magic: &[u8]| body.get(at..).is_some_and(|rest| rest.starts_with(magic));
    match body {
        _ if is_tga(body) => return Some("TGA"),
        [0, 0, 1, 0, count, _, ..] if *count > 0 => return Some("ICO, a Windows icon"),
        [0, 0, 2, 0, count, _, ..] if *count > 0 => return Some("CUR, a Windows cursor"),
        [b'R', b'I', b'F', b'F', _, _, _, _, form @ ..] => {
            return Some(match form.get(..4) {
                Some(b"AVI ") => "AVI video",
                Some(b"WAVE") => "WAV audio",
                Some(b"ACON") => "ANI, an animated cursor",
                Some(b"sfbk") => "a sound font",
                _ => "a RIFF file that is no WebP",
            });
        }
        // two letters and a size within reason
        [b'B', b'A', a, b, c, d, ..] if within(body, [*a, *b, *c, *d]) => {
            return Some("OS/2 bitmap array");
        }
        [b'C', b'I' | b'P', _, _, _, _, 0, 0, ..]
        | [b'I' | b'P', b'C' | b'T', _, _, _, _, 0, 0, ..] => {
            return Some("an OS/2 icon or pointer");
        }
        [b'P', kind @ b'1'..=b'7', space, ..] if space.is_ascii_whitespace() => {
            return Some(match kind {
                b'1' | b'4' => "PBM, a portable bitmap",
                b'2' | b'5' => "PGM, a portable grey map",
                b'3' | b'6' => "PPM, a portable pixel map",
                _ => "PAM, a portable arbitrary map",
            });
        }
        [b'P', b'F' | b'f', b'\n', ..] => return Some("PFM, a portable float map"),
        [10, 0 | 2..=5, 0 | 1, 1 | 2 | 4 | 8, ..] if body.len() > 128 => return Some("PCX"),
        _ => {}
    }
    let found = KINDS.iter().find(|(magic, at, _)| starts(*at, magic));
    found.map(|(.., name)| *name)
}

/// TGA has no mark in front: its end has one, or the header is one that nothing else has.
fn is_tga(body: &[u8]) -> bool {
    let &[
        _,
        map,
        kind,
        _,
        _,
        length,
        _,
        depth,
        _,
        _,
        _,
        _,
        w0,
        w1,
        h0,
        h1,
        bits,
        flags,
        ..,
    ] = body
    else {
        return false;
    };
    let mapped = match (map, kind) {
        (1, 1 | 9) => length > 0 && matches!(depth, 15 | 16 | 24 | 32),
        (0, 2 | 3 | 10 | 11) => length == 0 && depth == 0,
        _ => false,
    };
    body.ends_with(b"TRUEVISION-XFILE.\0")
        || mapped
            && w0 | w1 != 0
            && h0 | h1 != 0
            && matches!(bits, 8 | 15 | 16 | 24 | 32)
            && flags & 0xc0 == 0
}

/// Whether a bitmap array's first entry and the next lie inside of the file.
fn within(body: &[u8], size: [u8; 4]) -> bool {
    let size = u32::from_le_bytes(size) as usize;
    (14..=64).contains(&size) && body.get(14..16).is_some_and(|kind| kind.is_ascii())
}

/// Files of boxes: HEIF and AVIF by any of their brands, else video.
fn iso_media(body: &[u8]) -> Option<&'static str> {
    let length = u32::from_be_bytes(body.get(..4)?.try_into().ok()?) as usize;
    let name = body.get(4..8)?;
    match name {
        b"ftyp" => {}
        b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot" => {
            return Some("QuickTime video");
        }
        _ => return None,
    }
    let brands = body.get(8..length.clamp(12, 512).min(body.len()))?;
    // the major brand, its version, then the compatible ones
    let mut all = brands.chunks_exact(4).enumerate().filter(|(i, _)| *i != 1);
    let major = all.next().map(|(_, brand)| brand)?;
    let all: Vec<_> = all.map(|(_, brand)| brand).collect();
    let has = |wanted: &[&[u8]]| wanted.contains(&major) || all.iter().any(|b| wanted.contains(b));
    Some(if has(&[b"avis"]) {
        "AVIF sequence"
    } else if has(&[b"avif", b"avio"]) {
        "AVIF"
    } else if has(&[b"hevc", b"hevx", b"hevm", b"hevs"]) {
        "HEIF sequence (HEIC)"
    } else if has(&[b"heic", b"heix", b"heim", b"heis"]) {
        "HEIC: convert it to JPEG or PNG"
    } else if has(&[b"msf1"]) {
        "HEIF sequence"
    } else if has(&[b"mif1", b"mif2"]) {
        "HEIF: convert it to JPEG or PNG"
    } else if has(&[b"jxl "]) {
        "JPEG XL"
    } else if has(&[b"jp2 ", b"jpx ", b"jpm ", b"jph "]) {
        "JPEG 2000"
    } else if has(&[b"crx "]) {
        "CR3, a camera's raw file"
    } else if has(&[b"qt  "]) {
        "QuickTime (MOV) video"
    } else if has(&[b"M4A ", b"M4B "]) {
        "MP4 audio"
    } else {
        "MP4 video"
    })
}

/// The beginning of a text; `None` for what is none.
fn text(body: &[u8]) -> Option<String> {
    let start = &body[..body.len().min(LOOKED_AT)];
    let wide = |from: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| from([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    };
    let text = match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return None, // UTF-32, if anything
        [0xff, 0xfe, rest @ ..] => wide(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => wide(u16::from_be_bytes, rest),
        [b'<' | b'{' | b'[', 0, ..] => wide(u16::from_le_bytes, start),
        [0, b'<' | b'{' | b'[', ..] => wide(u16::from_be_bytes, start),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        start => String::from_utf8_lossy(start).into_owned(),
    };
    // Letters of an old code page, and one that is cut, are no UTF-8; control characters are
    // hardly ever in a text.
    let controls = text
        .chars()
        .filter(|c| c.is_control() && !c.is_whitespace());
    let replaced = text.matches(char::REPLACEMENT_CHARACTER).count();
    let count = text.chars().count();
    (controls.count() * 100 <= count && replaced * 5 <= count).then_some(text)
}

fn by_text(text: &str) -> String {
    let rest = markup(text).to_lowercase();
    if rest.starts_with("<svg") || rest.starts_with("<!doctype svg") {
        return "SVG, a drawing in text: render it to PNG first".to_owned();
    }
    let html = [
        "<!doctype html",
        "<html",
        "<head",
        "<body",
        "<title",
        "<script",
        "<meta",
        "<div",
        "<p>",
        "<table",
        "<center",
        "<h1",
        "<a ",
    ];
    if html.iter().any(|tag| rest.starts_with(tag)) {
        return "an HTML page: the link leads to a page, not to a picture".to_owned();
    }
    let trimmed = text.trim_start();
    if trimmed.starts_with("version https://git-lfs.github.com/spec/") {
        return "a Git LFS pointer: the repository serves the pointer, not the file; fetch it with \
                `git lfs pull`, or by the link that leads to the file itself"
            .to_owned();
    }
    if rest.starts_with("<?xml") || rest.starts_with('<') {
        let name: String = rest
            .chars()
            .skip(1)
            .take_while(|c| c.is_alphanumeric())
            .collect();
        return match name.as_str() {
            "error" => "XML with an error: the server answers with a message, not with a picture",
            "rss" | "feed" => "XML, a feed",
            _ => "XML",
        }
        .to_owned();
    }
    if looks_like_json(trimmed) {
        return "JSON: the server answers with data or a message, not with a picture".to_owned();
    }
    if trimmed.starts_with("#define") && trimmed.contains("_width") {
        return "XBM, a bitmap in C".to_owned();
    }
    if trimmed.is_empty() {
        return "nothing but blanks".to_owned();
    }
    let words: String = trimmed
        .chars()
        .take(40)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("text that begins with {words:?}")
}

/// The text from its first element or document type on: blanks, comments and declarations in
/// front are passed over.
fn markup(text: &str) -> &str {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = if rest.starts_with("<!--") {
            rest.find("-->").map(|at| at + 3)
        } else if rest.starts_with("<?") {
            rest.find("?>").map(|at| at + 2)
        } else {
            return rest;
        };
        match end {
            Some(end) => rest = rest[end..].trim_start(),
            None => return rest,
        }
    }
}

fn looks_like_json(text: &str) -> bool {
    let mut letters = text.chars().filter(|c| !c.is_whitespace());
    match letters.next() {
        Some('{') => matches!(letters.next(), Some('"' | '}')),
        Some('[') => letters
            .next()
            .is_some_and(|c| matches!(c, '"' | '{' | '[' | ']' | '-') || c.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str, mark: bool) -> Vec<u8> {
        let units = mark
            .then_some(0xfeff)
            .into_iter()
            .chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn texts_are_named_whatever_stands_in_front() {
        let svg = "<svg xmlns='http://www.w3.org/2000/svg'/>";
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (svg.into(), "SVG"),
            (format!("<!-- a --> <!-- b -->\n{svg}").into(), "SVG"),
            (
                format!("\u{feff}<?xml version='1.0'?>\n<!-- a -->{svg}").into(),
                "SVG",
            ),
            (
                format!("<?xml version='1.0'?><!DOCTYPE svg PUBLIC 'x'>{svg}").into(),
                "SVG",
            ),
            (wide(svg, true), "SVG"),
            (wide(svg, false), "SVG"),
            ("\u{feff}<!DOCTYPE html><title>x</title>".into(), "HTML"),
            ("<!-- x -->\r\n<HTML>".into(), "HTML"),
            (wide("<!doctype html>", true), "HTML"),
            (
                "<?xml version='1.0'?><Error><Code>AccessDenied".into(),
                "XML with an error",
            ),
            ("<?xml version='1.0'?><kml/>".into(), "XML"),
            ("{\"error\": 403}".into(), "JSON"),
            (" [\n {\"a\": 1}]".into(), "JSON"),
            (wide("{\"error\": 403}", true), "JSON"),
            (
                "version https://git-lfs.github.com/spec/v1\noid sha256:00".into(),
                "Git LFS pointer",
            ),
            (
                "404 Not Found".into(),
                "text that begins with \"404 Not Found\"",
            ),
            ("Zugriff verweigert: Zähler".into(), "text that begins"),
            (
                b"Acc\xe8s refus\xe9 \xe0 cette ressource, veuillez r\xe9essayer plus tard"
                    .to_vec(),
                "text",
            ),
            (b" \n\n ".to_vec(), "blanks"),
        ];
        for (body, name) in cases {
            let found = kind(&body);
            assert!(
                found.contains(name),
                "{:?}: {found}",
                String::from_utf8_lossy(&body)
            );
        }
    }

    #[test]
    fn pictures_of_other_kinds_are_named() {
        let boxes = |brands: &str| {
            [
                &(8 + brands.len() as u32).to_be_bytes()[..],
                b"ftyp",
                brands.as_bytes(),
            ]
            .concat()
        };
        for (brands, name) in [
            ("heic\0\0\0\0mif1heic", "HEIC"),
            ("heix\0\0\0\0mif1", "HEIC"),
            ("mif1\0\0\0\0mif1heic", "HEIC"),
            ("mif1\0\0\0\0mif1avif", "AVIF"),
            ("mif1\0\0\0\0mif1", "HEIF"),
            ("msf1\0\0\0\0msf1", "HEIF sequence"),
            ("hevc\0\0\0\0msf1hevc", "HEIF sequence"),
            ("avif\0\0\0\0mif1", "AVIF"),
            ("avis\0\0\0\0msf1avis", "AVIF sequence"),
            ("isom\0\0\x02\0isomiso2", "MP4"),
            ("qt  \0\0\0\0qt  ", "QuickTime"),
            ("jxl \0\0\0\0jxl ", "JPEG XL"),
        ] {
            let found = kind(&boxes(brands));
            assert!(found.contains(name), "{brands:?}: {found}");
        }
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let mut tga = vec![0; 60];
        tga.extend(b"TRUEVISION-XFILE.\0");
        let mut old_tga = vec![0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 0, 40, 0, 24, 0];
        old_tga.resize(7218, 7);
        for (body, name) in [
            (&b"8BPS\0\x01\0\0"[..], "PSD"),
            (b"8BPS\0\x02\0\0", "PSB"),
            (b"P6\n2 2\n255\n", "PPM"),
            (b"P5 2 2 255\n", "PGM"),
            (b"\0\0\x01\0\x01\0", "ICO"),
            (b"\0\0\x02\0\x01\0", "CUR"),
            (b"\xff\x4f\xff\x51\0", "JPEG 2000"),
            (b"II\xbc\x01", "JPEG XR"),
            (b"qoif\0\0", "QOI"),
            (b"\x76\x2f\x31\x01", "OpenEXR"),
            (b"RIFF\0\0\0\0AVI ", "AVI"),
            (&tar, "TAR"),
            (&tga, "TGA"),
            (&old_tga, "TGA"),
            (b"\x9c\x01\x02\x03", "9c 01 02 03"),
        ] {
            let found = kind(body);
            assert!(found.contains(name), "{body:?}: {found}");
        }
    }
}
