//! What goes right, and what is in the records.

use std::{collections::BTreeSet, sync::Arc};

use sha2::{Digest, Sha256};

use crate::{
    annotation::{BoundingBox, Status},
    config::Mode,
    error::{FetchError, ModelError},
    request::hex,
    testkit::{Answering, Fetching, Generating, World, asking},
};

fn header(outgoing: &crate::ports::Outgoing, name: &str) -> String {
    (outgoing.headers.iter().find(|(key, _)| *key == name))
        .map(|(_, value)| value.clone())
        .unwrap_or_else(|| panic!("no header {name}"))
}

#[tokio::test]
async fn every_record_gets_its_caption_with_what_the_specialists_found() {
    let mut chain = World::default().start().await;
    chain.push(50);
    chain.run().await;
    let captions = chain.captions();
    assert_eq!(captions.len(), 50);
    for (offset, record) in &captions {
        assert_eq!(record.schema, "vila2.caption/1");
        assert_eq!(record.url, format!("http://fake/{offset}"));
        assert_eq!(record.caption.text, format!("image {offset}"));
        assert_eq!(record.enriched, record.caption.text);
        assert_eq!(record.grounding.len(), 2);
        assert_eq!(record.grounding[0].phrase, format!("thing {offset}"));
        let BoundingBox([x1, y1, x2, y2]) = record.grounding[0].bounding_box;
        assert!(x1 == 0.0 && y1 == 0.0 && (x2 - 50.05).abs() < 0.01 && y2 == 200.0);
        assert_eq!(record.spatial.len(), 1);
        assert_eq!(record.text[0].text, offset.to_string());
        assert_eq!(record.status, Status::Complete);
        let stages = ["caption", "ground", "read_text", "relate"];
        assert!(record.models.keys().eq(stages), "{:?}", record.models);
        assert_eq!(record.models["ground"].prompt.as_deref(), Some("ground"));
        let timed = [
            "caption",
            "decode",
            "fetch",
            "ground",
            "merge",
            "read_text",
            "relate",
        ];
        assert!(record.queue_ms.keys().eq(timed));
        let work: f64 = timed.iter().map(|stage| record.timings_ms[*stage]).sum();
        let queue: f64 = record.queue_ms.values().sum();
        assert!(work + queue <= record.timings_ms["total"] + 0.1);
    }
    chain.finish().await;
}

#[tokio::test]
async fn headers_are_those_of_the_contract() {
    let mut chain = World::default().start().await;
    chain.push_value(r#"{"url": "http://fake/1", "id": "one", "meta": {"a": 1}, "round": 2}"#);
    chain.push_value("not a url");
    chain.run().await;
    let written = chain.publisher.written();
    let caption = written
        .iter()
        .find(|one| one.source.offset == 0)
        .expect("written");
    assert_eq!(caption.key.as_deref(), Some(&b"one"[..]));
    assert_eq!(header(caption, "content-type"), "application/json");
    assert_eq!(header(caption, "vila2-id"), "one");
    assert_eq!(header(caption, "vila2-source"), "images/0/0");
    assert_eq!(header(caption, "vila2-dedup").len(), 64);
    assert_eq!(header(caption, "traceparent").len(), 55);
    let dead = &chain.dead()[&1];
    assert_eq!(dead.key, None);
    assert_eq!(dead.value.as_deref(), Some(&b"not a url"[..]));
    assert_eq!(header(dead, "vila2-stage"), "intake");
    assert_eq!(header(dead, "vila2-reason"), "bad_request");
    assert!(header(dead, "vila2-detail").contains("not a URL"));
    assert_eq!(header(dead, "vila2-attempts"), "1");
    assert_eq!(header(dead, "vila2-source"), "images/0/1");
    assert_eq!(header(dead, "traceparent").len(), 55);
    chain.finish().await;
}

#[tokio::test]
async fn a_password_in_a_url_stands_in_no_record_and_in_no_header() {
    let mut chain = World::default().start().await;
    let url = "http://user:s3cret@fake/0";
    let lost = "http://user:s3cret@fake:port/1";
    chain.push_value(url);
    chain.push_value(lost);
    chain.run().await;
    let record = &chain.captions()[&0];
    assert_eq!(record.url, "http://fake/0");
    assert_eq!(record.id, hex(&Sha256::digest(url)), "of the URL as given");
    for written in chain.publisher.written() {
        for (name, value) in &written.headers {
            assert!(!value.contains("s3cret"), "{name}: {value}");
        }
    }
    let dead = &chain.dead()[&1];
    assert_eq!(header(dead, "vila2-reason"), "bad_request");
    // What cannot be read is handed back as it came.
    assert_eq!(dead.value.as_deref(), Some(lost.as_bytes()));
    chain.finish().await;
}

#[tokio::test]
async fn meta_is_written_as_it_came_digit_for_digit() {
    let meta = r#"{"phash":340282366920938463463374607431768211455,"b":1.0e5,"a":1,"a":2}"#;
    let mut chain = World::default().start().await;
    chain.push_value(format!(r#"{{"url": "http://fake/1", "meta": {meta}}}"#));
    chain.run().await;
    let value = chain.publisher.written()[0].value.clone().expect("a value");
    let text = std::str::from_utf8(&value).expect("UTF-8");
    assert!(text.contains(&format!(r#""meta":{meta},"#)), "{text}");
    chain.finish().await;
}

/// The `vila2-dedup` of each value, in order.
async fn fingerprints(world: World, values: &[&'static str]) -> Vec<String> {
    let mut chain = world.start().await;
    for value in values {
        chain.push_value(*value);
    }
    chain.run().await;
    let mut written = chain.publisher.written();
    written.sort_by_key(|one| one.source.offset);
    let all: Vec<_> = (written.iter())
        .map(|one| header(one, "vila2-dedup"))
        .collect();
    chain.finish().await;
    assert_eq!(all.len(), values.len());
    all
}

#[tokio::test]
async fn the_same_content_has_the_same_fingerprint_whatever_its_url_id_and_meta() {
    let same = fingerprints(
        World::default(),
        &[
            r#"{"url": "http://fake/1"}"#,
            r#"{"url": "http://fake/1"}"#,
            r#"{"url": "http://another/1"}"#,
            r#"{"url": "http://fake/1", "id": "one", "meta": {"a": 1}}"#,
            // The limit is the configured one all the same.
            r#"{"url": "http://fake/1", "options": {"max_tokens": 5000}}"#,
        ],
    )
    .await;
    assert!(same.iter().all(|one| *one == same[0]), "{same:?}");
}

#[tokio::test]
async fn what_can_change_the_text_changes_the_fingerprint() {
    let values = [
        r#"{"url": "http://fake/1"}"#,
        r#"{"url": "http://fake/2"}"#,
        r#"{"url": "http://fake/1", "round": 1}"#,
        r#"{"url": "http://fake/1", "caption": "a cat"}"#,
        r#"{"url": "http://fake/1", "options": {"max_tokens": 3}}"#,
        r#"{"url": "http://fake/1", "options": {"prompt": "Say."}}"#,
    ];
    let mut all = fingerprints(World::default(), &values).await;
    // The same request of a chain that is set otherwise, and of one whose specialist failed.
    let mut less = World::default();
    asking(&mut less.config, "ground").max_tokens -= 1;
    all.extend(fingerprints(less, &values[..1]).await);
    let mut another = World::default();
    asking(&mut another.config, "ground").prompts = vec![Arc::from("Where?")];
    all.extend(fingerprints(another, &values[..1]).await);
    let mut without = World::default();
    without.config.specialist_mut("read_text").mode = Mode::Off;
    all.extend(fingerprints(without, &values[..1]).await);
    let failing = World {
        read_text: Arc::new(|_| Answering::Refuses),
        ..World::default()
    };
    all.extend(fingerprints(failing, &values[..1]).await);
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
}

#[tokio::test]
async fn new_images_join_the_running_batch() {
    let world = World {
        generate: Arc::new(|(number, prompt)| match World::generated(number, &prompt) {
            Generating::Text(text, steps) => Generating::Text(text, steps * 20),
            other => other,
        }),
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(40);
    chain.run().await;
    let engines = chain.handle.engines();
    let captioner = engines
        .iter()
        .find(|engine| engine.name == "captioner")
        .expect("there");
    assert_eq!(
        captioner.admitted, 80,
        "one engine answers caption and ground"
    );
    assert!(captioner.joined_running_batch > 0);
    assert!(captioner.batch_mean > 1.5, "{captioner:?}");
    assert!(captioner.tokens > 80 && captioner.rebuilds == 0);
    chain.finish().await;
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_and_a_lasting_one_is_not() {
    let world = World {
        fetch: Arc::new(|(number, attempt)| {
            let status = |status| FetchError::Status {
                status,
                retry_after: None,
            };
            match (number, attempt) {
                (1, 1 | 2) => Fetching::Fails(status(503)),
                (2, _) => Fetching::Fails(FetchError::Connection(String::from("refused"))),
                (3, _) => Fetching::Fails(status(404)),
                _ => Fetching::Body,
            }
        }),
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(4);
    chain.run().await;
    assert!(chain.captions().keys().eq(&[0, 1]));
    let dead = chain.dead();
    assert_eq!(header(&dead[&2], "vila2-reason"), "fetch_failed");
    assert_eq!(header(&dead[&2], "vila2-attempts"), "3");
    assert_eq!(header(&dead[&2], "vila2-stage"), "fetch");
    assert_eq!(header(&dead[&3], "vila2-reason"), "fetch_status");
    assert_eq!(header(&dead[&3], "vila2-attempts"), "1");
    chain.finish().await;
}

#[tokio::test]
async fn nothing_is_related_where_nothing_was_grounded() {
    let world = World {
        generate: Arc::new(|(number, _)| Generating::Text(format!("image {number}"), 1)),
        ..World::default()
    };
    let mut chain = world.start().await;
    chain.push(3);
    chain.run().await;
    for record in chain.captions().values() {
        assert!(record.grounding.is_empty() && record.spatial.is_empty());
        assert!(!record.models.contains_key("relate"));
        assert_eq!(record.status, Status::Complete);
    }
    chain.finish().await;
}

#[tokio::test]
async fn a_specialist_that_is_off_is_not_asked() {
    let mut world = World::default();
    world.config.specialist_mut("ground").mode = Mode::Off;
    world.config.specialist_mut("relate").mode = Mode::Off;
    world.config.specialist_mut("read_text").mode = Mode::Off;
    let mut chain = world.start().await;
    chain.push(3);
    chain.run().await;
    assert_eq!(chain.admitted.count(), 3);
    assert_eq!(chain.handle.engines().len(), 1);
    for record in chain.captions().values() {
        assert!(record.models.keys().eq(["caption"]));
        assert_eq!(record.status, Status::Complete);
    }
    chain.finish().await;
}

#[tokio::test]
async fn all_faults_of_a_start_are_reported_at_once() {
    let mut world = World {
        load: Arc::new(|()| Err(ModelError::Broken(String::from("no such folder")))),
        ..World::default()
    };
    asking(&mut world.config, "ground").engine = String::from("grounder");
    let error = world
        .try_start()
        .await
        .expect_err("must not start")
        .to_string();
    assert!(
        error.contains("model `captioner`: no such folder"),
        "{error}"
    );
    assert!(
        error.contains("stage `ground` asks for engine `grounder`"),
        "{error}"
    );
}
