//! `Content-Encoding` that nobody asked for.

use std::io::Write as _;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("in memory")
}

/// Repeats and noise: longer than the decoder's pieces.
fn content() -> Vec<u8> {
    let mut state = 1_u32;
    let some = (0..100_000).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    some.chain([7; 100_000]).collect()
}

async fn encoded(coding: &str, body: &[u8]) -> Raw {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Raw::saying([head.as_bytes(), body].concat()).await
}

#[tokio::test]
async fn a_coding_that_nobody_asked_for_is_decoded() {
    let content = content();
    let members = [gzip(&content[..1000]), gzip(&content[1000..])].concat();
    let frames = [zstd(&content[..1000]), zstd(&content[1000..])].concat();
    let trailing = [gzip(&content), b"\0\0trailing".to_vec()].concat();
    for (coding, body) in [
        ("gzip", gzip(&content)),
        ("GZIP", gzip(&content)),
        ("x-gzip", gzip(&content)),
        ("gzip", members),
        ("gzip", trailing),
        ("deflate", zlib(&content)),
        ("deflate", raw_deflate(&content)),
        ("zstd", zstd(&content)),
        ("zstd", frames),
        ("deflate, gzip", gzip(&zlib(&content))),
        ("identity, gzip", gzip(&content)),
        ("gzip, zstd", zstd(&gzip(&content))),
    ] {
        let server = encoded(coding, &body).await;
        let fetched = get(&loopback(), &server.url()).await;
        let fetched = fetched.unwrap_or_else(|error| panic!("{coding}: {error}"));
        assert!(fetched.body == content, "{coding}: other bytes");
    }
}

#[tokio::test]
async fn an_encoded_body_in_single_bytes_is_decoded_and_credit_is_held_for_what_it_became() {
    let content = content();
    for (coding, body) in [
        ("gzip", gzip(&content)),
        ("deflate", zlib(&content)),
        ("deflate", raw_deflate(&content)),
        ("zstd", zstd(&content)),
    ] {
        let mut codings = HeaderMap::new();
        codings.insert("content-encoding", coding.parse().expect("a header"));
        let mut codings = coding::Codings::of(&codings, CAP).expect("one");
        let mut decoded = Vec::new();
        let mut sink = |bytes: &[u8]| {
            decoded.extend_from_slice(bytes);
            Ok(())
        };
        for byte in &body {
            codings.push(&[*byte], &mut sink).expect(coding);
        }
        codings.finish(&mut sink).expect(coding);
        assert!(decoded == content, "{coding}: other bytes");

        let server = encoded(coding, &body).await;
        let budget = ByteBudget::new(8 << 20);
        let mut credit = budget.credit();
        let fetched = loopback().fetch(&server.url(), &mut credit).await;
        assert_eq!(fetched.expect(coding).body.len(), content.len());
        assert_eq!(credit.held(), content.len() as u64);
    }
}

#[tokio::test]
async fn a_bomb_is_too_large_and_its_credit_goes_home() {
    let zeros = vec![0; 16 << 20];
    let nested = gzip(&gzip(&zeros));
    for (coding, body) in [
        ("gzip", gzip(&zeros)),
        ("deflate", zlib(&zeros)),
        ("deflate", raw_deflate(&zeros)),
        ("zstd", zstd(&zeros)),
        ("gzip, gzip", nested),
    ] {
        assert!(body.len() < CAP as usize, "small on the wire");
        let server = encoded(coding, &body).await;
        let budget = ByteBudget::new(8 << 20);
        let error = loopback().fetch(&server.url(), &mut budget.credit()).await;
        let error = error.expect_err(coding);
        assert!(
            matches!(error, FetchError::TooLarge { limit: CAP, got } if got <= CAP + (64 << 10)),
            "{coding}: {error:?}"
        );
        assert!(
            budget.most_used() <= CAP,
            "{coding}: {}",
            budget.most_used()
        );
        assert_eq!(budget.used(), 0, "{coding}");
    }
}

#[tokio::test]
async fn bytes_on_the_wire_count_where_they_decode_to_nothing() {
    let mut body = gzip(b"x");
    body.resize(CAP as usize + 1, 0); // ignored after the end, but sent
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n".to_vec();
    answer.extend(body);
    let server = Raw::saying(answer).await;
    let error = refusal(&loopback(), &server.url()).await;
    assert!(
        matches!(error, FetchError::TooLarge { limit: CAP, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_coding_that_is_not_decoded_is_named() {
    for coding in ["br", "compress", "br, gzip", "gzip, gzip, gzip, gzip"] {
        let body = match coding {
            "br, gzip" => gzip(b"\x1b\x0e\x00\xf8 something else"),
            _ => b"\x1b\x0e\x00\xf8 something else".to_vec(),
        };
        let error = refusal(&loopback(), &encoded(coding, &body).await.url()).await;
        let rejected = Disposition::Reject(Reason::FetchFailed);
        assert_eq!(error.disposition(), rejected, "{coding}");
        let text = error.to_string();
        let named = coding
            .strip_suffix(", gzip")
            .filter(|_| coding == "br, gzip");
        let named = format!(
            "Content-Encoding: {}, which nobody asked for",
            named.unwrap_or(coding)
        );
        assert!(text.starts_with(&named), "{text}");
    }
}

#[tokio::test]
async fn data_that_are_not_what_the_coding_says_are_named() {
    let mut broken = gzip(&content());
    broken[5000] ^= 0xff;
    for (coding, body) in [
        ("gzip", b"<html>no gzip at all</html>".to_vec()),
        ("gzip", b"\x1f\x8b\xff no method of gzip".to_vec()),
        ("gzip", broken),
        ("deflate", b"\xff\xff\xff\xff\xff".to_vec()),
        ("zstd", b"no zstd, no zstd, no zstd".to_vec()),
    ] {
        let error = refusal(&loopback(), &encoded(coding, &body).await.url()).await;
        let rejected = Disposition::Reject(Reason::FetchFailed);
        assert_eq!(error.disposition(), rejected, "{coding}: {error}");
        let text = error.to_string();
        let named = format!("Content-Encoding: {coding}, which nobody asked for: ");
        assert!(text.starts_with(&named), "{text}");
    }
}

/// As a body that is shorter than its `Content-Length`.
#[tokio::test]
async fn encoded_data_that_end_too_early_may_be_whole_next_time() {
    for (coding, body) in [
        ("gzip", gzip(&content())),
        ("deflate", zlib(&content())),
        ("zstd", zstd(&content())),
    ] {
        let half = &body[..body.len() / 2];
        let error = refusal(&loopback(), &encoded(coding, half).await.url()).await;
        assert!(
            matches!(error, FetchError::Connection(_)),
            "{coding}: {error:?}"
        );
        assert!(error.to_string().contains("end too early"), "{error}");
    }
}

#[tokio::test]
async fn a_picture_is_taken_as_it_is_whatever_its_coding_is_said_to_be() {
    let mut file = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(4, 4, image::Rgb([200, 10, 10]));
    for format in [
        image::ImageFormat::Jpeg,
        image::ImageFormat::Png,
        image::ImageFormat::Gif,
        image::ImageFormat::WebP,
        image::ImageFormat::Bmp,
        image::ImageFormat::Tiff,
    ] {
        file.get_mut().clear();
        file.set_position(0);
        picture.write_to(&mut file, format).expect("in memory");
        for coding in [
            "gzip",
            "deflate",
            "zstd",
            "br",
            "utf-8",
            "aws-chunked",
            "x-own",
        ] {
            let server = encoded(coding, file.get_ref()).await;
            let fetched = get(&loopback(), &server.url()).await;
            let fetched = fetched.unwrap_or_else(|error| panic!("{format:?}, {coding}: {error}"));
            assert!(fetched.body == *file.get_ref(), "{format:?}, {coding}");
        }
    }
}

#[tokio::test]
async fn values_that_name_no_coding_change_nothing() {
    for coding in ["", "identity", "none", "UTF-8", "binary", "8bit"] {
        let server = encoded(coding, b"anything at all, longer than a signature").await;
        let fetched = get(&loopback(), &server.url()).await.expect(coding);
        assert_eq!(fetched.body, "anything at all, longer than a signature");
    }
}

#[tokio::test]
async fn requests_ask_for_no_coding() {
    let server = Raw::start("127.0.0.1", 0, |mut stream, head| async move {
        let head = head.to_ascii_lowercase();
        let plain = head.contains("\r\naccept-encoding: identity\r\n")
            && head.matches("accept-encoding").count() == 1;
        let status = if plain { "200 OK" } else { "400 Bad Request" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await
    })
    .await;
    assert!(get(&loopback(), &server.url()).await.is_ok());
}
