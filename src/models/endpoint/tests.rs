use bytes::Bytes;
use serde_json::{Value, json};
use url::Url;
use vila2_actors::{
    annotation::Finish, error::ModelError, image::Image, ports::Prompt, sampling::Sampling,
};

use super::{
    EndpointSettings, Key,
    answer::{self, Unread},
    patience::{Clock, Fault, Presence, Tries},
    question, *,
};

fn settings(url: &str) -> EndpointSettings {
    EndpointSettings::new(Url::parse(url).expect("a URL"), "m")
}

fn read(value: &Value) -> Result<Generated, Unread> {
    answer::read(value.to_string().as_bytes())
}

#[test]
fn a_question_is_a_picture_and_a_prompt_in_one_message() {
    let pixels: Vec<u8> = (0..40 * 30 * 3).map(|at| (at % 251) as u8).collect();
    let image = Image::new(40, 30, Bytes::from(pixels), (80, 60));
    let prompt = Prompt {
        text: Arc::from("What is \"it\"?\n"),
        max_tokens: 33,
        seed: u64::MAX,
        sampling: Sampling::default(),
    };
    let body = question::body("org/model", &image, &prompt).expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let url = body["messages"][0]["content"][0]["image_url"]["url"].clone();
    let url = url.as_str().expect("a text");
    let jpeg = url
        .strip_prefix("data:image/jpeg;base64,")
        .expect("a data URL");
    let jpeg = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, jpeg);
    let jpeg = jpeg.expect("base64");
    let picture = image::load_from_memory(&jpeg).expect("a picture");
    assert_eq!((picture.width(), picture.height()), (40, 30));
    // SOF0: three components, none of which is subsampled.
    let frame = jpeg
        .windows(2)
        .position(|two| two == [0xff, 0xc0])
        .expect("a frame");
    let factors: Vec<u8> = (0..3).map(|one| jpeg[frame + 11 + one * 3]).collect();
    assert_eq!(factors, [0x11; 3]);
    assert_eq!(
        body,
        json!({
            "model": "org/model",
            "messages": [{ "role": "user", "content": [
                { "type": "image_url", "image_url": { "url": url } },
                { "type": "text", "text": "What is \"it\"?\n" },
            ]}],
            "max_tokens": 33, "temperature": 0.0, "seed": i32::MAX, "stream": false,
        })
    );
}

#[test]
fn a_server_is_asked_for_what_is_not_the_default() {
    let image = Image::new(1, 1, Bytes::from_static(&[0; 3]), (1, 1));
    let prompt = Prompt {
        text: Arc::from("?"),
        max_tokens: 5,
        seed: 3,
        sampling: Sampling {
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            repetition_penalty: Some(1.1),
            no_repeat_ngram_size: None,
            stop: ["\n\n".to_owned()].into(),
        },
    };
    let body = question::body("m", &image, &prompt).expect("a body");
    let mut body: Value = serde_json::from_slice(&body).expect("JSON");
    body.as_object_mut().expect("an object").remove("messages");
    assert_eq!(
        body,
        json!({
            "model": "m", "max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "top_k": 40,
            "repetition_penalty": 1.1, "stop": ["\n\n"], "seed": 3, "stream": false,
        })
    );
}

#[test]
fn answers_are_read_in_every_form_that_servers_have() {
    let said = |message: Value, finish: Value| {
        read(&json!({
            "choices": [{ "message": message, "finish_reason": finish }],
            "usage": { "completion_tokens": 7 },
        }))
    };
    let plain = said(json!({ "content": " A cat.\n" }), json!("stop")).expect("an answer");
    assert_eq!(
        (plain.text.as_str(), plain.tokens, plain.finish),
        ("A cat.", 7, Finish::Stop)
    );
    let parts =
        json!({ "content": [{ "type": "text", "text": "A " }, { "type": "text", "text": "cat" }] });
    let cut = said(parts, json!("length")).expect("an answer");
    assert_eq!((cut.text.as_str(), cut.finish), ("A cat", Finish::Length));
    let declined = said(json!({ "content": null, "refusal": "No." }), Value::Null);
    assert_eq!(declined.expect("an answer").text, "No.");
    let withheld = said(json!({ "content": "" }), json!("content_filter"));
    assert_eq!(withheld, Err(Unread::Withheld));
    let uncounted = read(&json!({ "choices": [{ "message": { "content": "x" } }] }));
    assert_eq!(uncounted.expect("an answer").tokens, 0);
    for nonsense in [
        json!({ "error": { "message": "overloaded" } }),
        json!({ "choices": [] }),
    ] {
        assert!(
            matches!(read(&nonsense), Err(Unread::Nonsense(_))),
            "{nonsense}"
        );
    }
}

#[test]
fn what_went_wrong_is_read_in_every_form_that_servers_have() {
    for (body, words) in [
        (
            r#"{"error": {"message": "too\nlong", "type": "x"}}"#,
            "too long",
        ),
        (r#"{"object": "error", "message": "too long"}"#, "too long"),
        (r#"{"detail": "Not Found"}"#, "Not Found"),
        (r#"{"error": "model 'x' not found"}"#, "model 'x' not found"),
        ("upstream timed out", "upstream timed out"),
        ("<html><body>nginx</body></html>", ""),
        ("", ""),
    ] {
        assert_eq!(answer::words(body.as_bytes()), words);
    }
    assert_eq!(answer::words(&[b'x'; 5_000]).len(), 300);
}

#[test]
fn the_revision_is_of_the_server_and_the_model_and_of_no_secret() {
    let of = |url: &str, model: &str| {
        let mut settings = settings(url);
        settings.model = model.to_owned();
        Served::default().revision(&settings)
    };
    let plain = of("http://host/v1", "a");
    assert_eq!(plain.len(), 12);
    assert_eq!(plain, of("http://user:secret@host/v1/", "a"));
    assert_ne!(plain, of("http://host/v1", "b"));
    assert_ne!(plain, of("http://host:81/v1", "a"));
}

#[test]
fn secrets_are_in_no_text() {
    let mut settings = settings("http://user:hunter2@host/v1");
    settings.key = Some(Key {
        variable: "FAR".to_owned(),
        value: "sk-1".to_owned(),
    });
    assert_eq!(settings.shown(), "http://host/v1");
    assert_eq!(
        settings.without_secrets("no sk-1, no hunter2"),
        "no [redacted], no [redacted]"
    );
    assert!(!format!("{:?}", settings.key).contains("sk-1"));
}

/// A fault without words, and without `Retry-After`.
fn away() -> Fault {
    Fault::Away {
        why: String::new(),
        after: Some(Duration::ZERO),
    }
}

#[tokio::test]
async fn failures_are_counted_and_absence_is_not() {
    let (presence, clock) = (Presence::new(Duration::from_secs(60)), Clock::default());
    let mut tries = Tries::new("x", &presence, &clock, 1);
    let began = std::time::Instant::now();
    for _ in 0..3 {
        tries.failed(began, away()).await.expect("another try");
    }
    let failed = || Fault::Failed {
        why: "answers 500".to_owned(),
        after: None,
    };
    tries.failed(began, failed()).await.expect("another try");
    let error = tries
        .failed(began, failed())
        .await
        .expect_err("one too many");
    assert!(
        matches!(&error, ModelError::Run(why) if why.contains("tried 2 times")),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_away_for_too_long_is_broken() {
    let (presence, clock) = (Presence::new(Duration::ZERO), Clock::default());
    let mut tries = Tries::new("x", &presence, &clock, 9);
    let error = tries.failed(std::time::Instant::now(), away()).await;
    assert!(matches!(error, Err(ModelError::Broken(_))), "{error:?}");
    assert!(clock.waited() < Duration::from_secs(1));
}
