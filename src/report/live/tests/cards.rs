//! Captions with their pictures.

use super::*;

#[tokio::test]
async fn hostile_captions_and_urls_come_escaped_and_without_secrets() {
    const EVIL: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>";
    let mut looked = Looked::start(World {
        generate: Arc::new(|(_, prompt)| match &*prompt.text {
            "caption" => Generating::Text(EVIL.to_owned(), 1),
            _ => Generating::Text(format!("{EVIL} [000,000,500,999]"), 1),
        }),
        fetch: Arc::new(|(number, _)| match number {
            2 => Fetching::Fails(FetchError::Protocol(format!("http://u:pw@fake/2 {EVIL}"))),
            _ => Fetching::Body,
        }),
        ..World::default()
    })
    .await;
    let mut stream = Stream::open(looked.address(), None).await;
    stream.until("state", |_| true).await;
    let url = "http://user:hunter2@fake/x\"><script>alert(3)</script>?w=1&X-Amz-Signature=5ec4e7/1";
    let request = serde_json::json!({"url": url, "id": url, "caption": EVIL});
    looked.chain.push_value(request.to_string());
    let request = serde_json::json!({"url": "http://u:pw@fake/2", "id": EVIL});
    looked.chain.push_value(request.to_string());
    looked.chain.run().await;
    let card = stream.until("card", |_| true).await;
    let html = card.data["html"].as_str().expect("HTML");
    for (name, text) in [("card", html), ("event", &card.raw)] {
        assert!(
            !text.contains("<script") && !text.contains("<img src=x"),
            "{name}: {text}"
        );
        assert!(
            !text.contains("hunter2") && !text.contains("5ec4e7"),
            "{name}: {text}"
        );
        assert!(
            !text.contains("style="),
            "{name}: the policy forbids inline styles"
        );
    }
    assert!(!card.raw.contains('<'), "{}", card.raw);
    assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
    assert!(html.contains("X-Amz-Signature=REDACTED"), "{html}");
    assert!(html.contains("data:image/jpeg;base64,/9j/"), "{html}");
    let dead = |state: &Value| state["dead"][0]["count"] == 1;
    let state = stream.until("state", dead).await;
    assert!(!state.raw.contains('<'), "{}", state.raw);
    let newest = &state.data["dead"][0]["newest"];
    assert_eq!(newest["url"], "http://REDACTED:REDACTED@fake/2");
    assert_eq!(newest["id"], EVIL);
    let detail = newest["detail"].as_str().expect("a detail");
    assert_eq!(detail, format!("http://REDACTED:REDACTED@fake/2 {EVIL}"));
    looked.chain.finish().await;
}

#[tokio::test]
async fn twelve_small_cards_are_kept_however_many_come() {
    let cards = Arc::new(Cards::new(Duration::ZERO).expect("a template"));
    let id = |offset| RecordId {
        topic: Arc::from("images"),
        partition: 0,
        offset,
    };
    let noise: Vec<u8> = (0..1_000_u32 * 600 * 3)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let image = Image::new(1_000, 600, Bytes::from(noise), (1_000, 600));
    // What never gets its caption does not stay for ever.
    for offset in 0..30 {
        cards.seen(&id(1_000 + offset), &image);
        while cards.is_encoding() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(cards.waiting(), CARDS);
    let chain = {
        let mut chain = World::default().start().await;
        chain.push(1);
        chain.run().await;
        chain
    };
    let written = chain.publisher.written().remove(0);
    for offset in 0..31 {
        cards.seen(&id(offset), &image);
        let mut record: Value =
            serde_json::from_slice(written.value.as_deref().expect("a record")).expect("JSON");
        let long = if offset == 30 { 300_000 } else { 100_000 };
        record["original_caption"] = Value::from("é".repeat(long / 2));
        record["url"] = Value::from(format!("http://fake/{offset}"));
        let outgoing = Outgoing {
            value: Some(Bytes::from(record.to_string())),
            source: id(offset),
            ..written.clone()
        };
        cards.written(&outgoing);
        while cards.is_encoding() || (offset < 30 && cards.made() <= offset as u64) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let kept = cards.after(0);
    assert_eq!(kept.len(), CARDS);
    assert_eq!((kept[0].number, kept[CARDS - 1].number), (19, 30));
    for card in &kept {
        assert!(card.html.len() < CARD_BYTES, "{} bytes", card.html.len());
        let picture = card.html.split("base64,").nth(1).expect("a picture");
        let picture = picture.split('"').next().expect("its end");
        let jpeg = STANDARD.decode(picture).expect("base64");
        let small = image::load_from_memory_with_format(&jpeg, image::ImageFormat::Jpeg);
        let small = small.expect("a JPEG");
        assert_eq!((small.width(), small.height()), (SIDE, 192));
    }
    chain.finish().await;
}
