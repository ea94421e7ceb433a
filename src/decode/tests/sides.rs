use super::{made::*, *};

/// The most of this process's memory that was ever resident, in bytes; `None` off Linux.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// 128 MiB of zeros, packed.
fn bomb() -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..128 {
        packer.write_all(&[0; 1 << 20]).expect("into memory");
    }
    packer.finish().expect("into memory")
}

/// Set where this test runs in a process of its own.
const ALONE: &str = "VILA2_TEST_ALONE";

#[test]
fn what_is_packed_beside_the_pixels_is_not_unpacked() {
    // Resident memory is that of a whole process: the tests beside this one would count, too.
    if std::env::var_os(ALONE).is_none() {
        let name = "decode::tests::sides::what_is_packed_beside_the_pixels_is_not_unpacked";
        let program = std::env::current_exe().expect("this test");
        let mut alone = std::process::Command::new(program);
        let ended = alone.args(["--exact", name]).env(ALONE, "1").status();
        assert!(ended.expect("it runs again").success());
        return;
    }
    let packed = bomb();
    let mut files = vec![reports::report("p_icc_bomb.png").to_vec()];
    for (name, front) in [
        (b"iCCP", &b"profile\0\0"[..]),
        (b"zTXt", b"Comment\0\0"),
        (b"zTXt", b"Raw profile type exif\0\0"),
        (b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0"),
        (b"iTXt", b"Raw profile type APP1\0\x01\0\0\0"),
    ] {
        let chunk = png_chunk(name, &[front, &packed].concat());
        files.push(png_with(&chunk, false));
        files.push(png_with(&chunk, true));
    }
    let before = peak();
    for body in files {
        let claimed = as_pillow().header(&body).expect("good").decoded_bytes;
        assert!(claimed < 4 << 20, "{claimed}");
        decode(body).expect("good");
    }
    let risen = peak().zip(before).map(|(after, before)| after - before);
    assert!(risen.is_none_or(|risen| risen < 20 << 20), "{risen:?}");
}

#[test]
fn the_claim_counts_what_a_decoder_copies_or_unpacks_beside_the_pixels() {
    let pixels = 48 * 32 * 3;
    let claimed = |body: &[u8]| as_pillow().header(body).expect("good").decoded_bytes;
    let profile: Vec<_> = (0..20).map(|_| (0xe2, vec![7; 60_000])).collect();
    assert_eq!(claimed(&jpeg_with(&[])), 2 * pixels);
    assert!(claimed(&jpeg_with(&profile)) >= pixels + 20 * 60_000);
    let text = [b"Raw profile type exif\0\0", &packed(&[b'0'; 500_000])[..]].concat();
    let body = png_with(&png_chunk(b"zTXt", &text), false);
    assert!(claimed(&body) >= 500_000);
    // chunks that are passed over cost nothing
    let text = [b"Comment\0", &[b'x'; 1_000_000][..]].concat();
    let body = png_with(&png_chunk(b"tEXt", &text), false);
    assert_eq!(claimed(&body), 2 * pixels);
}

#[test]
fn side_chunks_without_end_or_number_do_no_harm() {
    let many = png_chunk(b"tEXt", b"key\0text").repeat(50_000);
    decode(png_with(&many, false)).expect("good");
    let mut far = png_chunk(b"eXIf", &exif(6));
    far[..4].copy_from_slice(&0xffff_fff0u32.to_be_bytes());
    assert!(
        decode(png_with(&far, false)).is_err(),
        "no pixels behind it"
    );
    decode(png_with(&far, true)).expect("the pixels are in front of it");
}
