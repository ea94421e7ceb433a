//! Records that ask what another asked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    error::DecodeError,
    ports::{Destination, Outgoing, QuestionId, Repeats},
    record::RecordId,
    testkit::{Decoding, Fetching, Publishing, World},
};

/// Every question belongs to the record that asked it first.
#[derive(Default)]
struct Asked(Mutex<HashMap<QuestionId, i64>>);

impl Repeats for Asked {
    fn is_repeat(&self, record: &RecordId, question: QuestionId) -> bool {
        let mut asked = self.0.lock().expect("a lock");
        *asked.entry(question).or_insert(record.offset) != record.offset
    }
}

fn world() -> World {
    World {
        repeats: Some(Arc::new(Asked::default())),
        ..World::default()
    }
}

fn header(outgoing: &Outgoing, name: &str) -> Option<String> {
    let found = outgoing.headers.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value.clone())
}

/// Offsets of the captions without a value.
fn repeats(written: &[Outgoing]) -> Vec<i64> {
    let mut offsets: Vec<_> = (written.iter())
        .filter(|one| one.destination == Destination::Captions && one.value.is_none())
        .map(|one| one.source.offset)
        .collect();
    offsets.sort_unstable();
    offsets
}

#[tokio::test]
async fn a_repeat_is_a_caption_without_a_value_and_waits_for_no_model() {
    // The captioner answers the first only once the repeats are written.
    let repeated = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&repeated);
    let mut chain = World {
        publish: Arc::new(move |outgoing| {
            if outgoing.value.is_none() {
                seen.store(true, Ordering::SeqCst);
            }
            Publishing::Confirms
        }),
        generate: Arc::new(move |(number, prompt)| {
            let begun = std::time::Instant::now();
            while !repeated.load(Ordering::SeqCst) {
                assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "the repeat waits"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            World::generated(number, &prompt)
        }),
        ..world()
    }
    .start()
    .await;
    chain.push_value(r#"{"url": "http://fake/7", "id": "first"}"#);
    chain.push_value(r#"{"url": "http://mirror/7", "id": "second"}"#);
    chain.run().await;
    let written = chain.publisher.written();
    assert_eq!(repeats(&written).len(), 1);
    let repeat = written.iter().find(|one| one.value.is_none()).expect("one");
    let offset = repeat.source.offset;
    let id = ["first", "second"][usize::try_from(offset).expect("an offset")];
    assert_eq!(repeat.key.as_deref(), Some(id.as_bytes()));
    assert_eq!(header(repeat, "vila2-id").as_deref(), Some(id));
    let source = format!("images/0/{offset}");
    assert_eq!(header(repeat, "vila2-source"), Some(source));
    assert_eq!(chain.admitted.count(), 2, "one picture's caption and boxes");
    chain.finish().await;
}

#[tokio::test]
async fn another_picture_prompt_limit_round_or_caption_is_another_question() {
    let mut chain = world().start().await;
    for (url, more) in [
        ("http://fake/7", ""),
        ("http://fake/8", ""),
        ("http://fake/7", r#", "options": {"prompt": "Which?"}"#),
        // A prompt of one's own, even where the configuration has the same one.
        ("http://fake/7", r#", "options": {"prompt": "caption"}"#),
        ("http://fake/7", r#", "options": {"max_tokens": 9}"#),
        ("http://fake/7", r#", "round": 1"#),
        ("http://fake/7", r#", "caption": "a cat""#),
        ("http://fake/7", r#", "caption": """#),
    ] {
        chain.push_value(format!(r#"{{"url": "{url}"{more}}}"#));
    }
    chain.run().await;
    assert!(repeats(&chain.publisher.written()).is_empty());
    // The same in other words: URL, id and `meta` are no part of the question.
    for more in [
        r#", "id": "x", "meta": {"a": 1}"#,
        r#", "options": {"prompt": "Which?"}"#,
        r#", "round": 1"#,
    ] {
        chain.push_value(format!(r#"{{"url": "http://mirror/7"{more}}}"#));
    }
    chain.run().await;
    assert_eq!(repeats(&chain.publisher.written()), [8, 9, 10]);
    chain.finish().await;
}

#[tokio::test]
async fn what_cannot_be_fetched_asks_nothing() {
    let mut chain = World {
        fetch: Arc::new(|(number, _)| match number {
            7 => Fetching::Fails(crate::error::FetchError::Status {
                status: 404,
                retry_after: None,
            }),
            _ => Fetching::Body,
        }),
        ..world()
    }
    .start()
    .await;
    chain.push_value("http://fake/7");
    chain.push_value("http://mirror/7");
    chain.run().await;
    let dead = |offset| (offset, String::from("fetch_status"));
    assert_eq!(chain.reasons(), [dead(0), dead(1)]);
    chain.finish().await;
}

#[tokio::test]
async fn the_first_may_fail_and_its_repeat_is_still_only_a_repeat() {
    let mut chain = World {
        decode: Arc::new(|_| Decoding::Refuses(DecodeError::Corrupt(String::from("cut")))),
        ..world()
    }
    .start()
    .await;
    chain.push_value("http://fake/7");
    chain.run().await;
    chain.push_value("http://mirror/7");
    chain.run().await;
    assert_eq!(chain.reasons(), [(0, String::from("corrupt_image"))]);
    assert_eq!(repeats(&chain.publisher.written()), [1]);
    chain.finish().await;
}

#[tokio::test]
async fn after_a_restart_the_first_asks_again_and_is_no_repeat_of_itself() {
    let mut chain = world().start().await;
    // Whichever of them asks first meets the bug.
    for mirror in 0..21 {
        let url = format!("http://mirror-{mirror}/7");
        chain.push_value(format!(
            r#"{{"url": "{url}", "meta": "panic once for repeats"}}"#
        ));
    }
    for number in 100..120 {
        chain.push_value(format!("http://fake/{number}"));
    }
    chain.run().await;
    assert_eq!(chain.handle.restarts(), 1);
    let written = chain.publisher.written();
    assert_eq!(repeats(&written).len(), 20);
    assert_eq!(chain.reasons(), []);
    let full = written.iter().filter(|one| one.value.is_some());
    assert_eq!(full.count(), 21, "one of the 21 twins, and 20 others");
    chain.finish().await;
}
