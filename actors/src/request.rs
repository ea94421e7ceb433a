//! Reads a record's value into a [`Request`] (CONTRACTS.md, topic `images`): a bare URL, or JSON.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    error::RequestError,
    record::{CaptionOptions, Request},
    telemetry::without_secret,
};

const KEYS: [&str; 6] = ["url", "id", "caption", "round", "options", "meta"];
const OPTIONS: [&str; 2] = ["prompt", "max_tokens"];

/// Reads a value.
///
/// # Errors
/// What is wrong with it, with the names of unknown keys; always a rejection.
pub fn parse(value: Option<&[u8]>) -> Result<Request, RequestError> {
    let bytes = value.unwrap_or_default();
    if bytes.is_empty() {
        return Err(fault("the value is empty"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| fault(format!("the value is not UTF-8: {error}")))?
        .trim();
    if text.starts_with('{') {
        let object = serde_json::from_str(text)
            .map_err(|error| fault(format!("the value is not JSON: {error}")))?;
        from_object(object)
    } else {
        from_url(text.to_owned())
    }
}

fn from_url(url: String) -> Result<Request, RequestError> {
    check(&url)?;
    Ok(Request {
        id: hex(&Sha256::digest(&url)),
        url,
        original_caption: None,
        round: 0,
        options: CaptionOptions::default(),
        meta: None,
    })
}

fn from_object(mut object: Map<String, Value>) -> Result<Request, RequestError> {
    refuse_unknown(&object, &KEYS, "")?;
    let url = text(&mut object, "url", "url")?.ok_or_else(|| fault("`url` is missing"))?;
    let mut request = from_url(url)?;
    if let Some(id) = text(&mut object, "id", "id")? {
        request.id = not_empty(id, "id")?;
    }
    request.original_caption = text(&mut object, "caption", "caption")?;
    request.round = number(&mut object, "round", "round", 0)?.unwrap_or(0);
    request.meta = object.remove("meta");
    match object.remove("options") {
        None => {}
        Some(Value::Object(mut options)) => {
            refuse_unknown(&options, &OPTIONS, "options.")?;
            let prompt = text(&mut options, "prompt", "options.prompt")?;
            request.options = CaptionOptions {
                prompt: (prompt.map(|prompt| not_empty(prompt, "options.prompt"))).transpose()?,
                max_tokens: number(&mut options, "max_tokens", "options.max_tokens", 1)?,
            };
        }
        Some(_) => return Err(fault("`options` is not an object")),
    }
    Ok(request)
}

fn check(url: &str) -> Result<(), RequestError> {
    match Url::parse(url) {
        Ok(_) => Ok(()),
        Err(error) => {
            let shown: String = without_secret(url).chars().take(80).collect();
            Err(fault(format!("not a URL: {error}: {shown:?}")))
        }
    }
}

fn refuse_unknown(
    object: &Map<String, Value>,
    known: &[&str],
    prefix: &str,
) -> Result<(), RequestError> {
    let unknown: Vec<_> = (object.keys())
        .filter(|key| !known.contains(&key.as_str()))
        .map(|key| format!("`{prefix}{key}`"))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let accepted: Vec<_> = known.iter().map(|key| format!("`{prefix}{key}`")).collect();
    Err(fault(format!(
        "unknown {}: {}; accepted: {}",
        if unknown.len() == 1 { "key" } else { "keys" },
        unknown.join(", "),
        accepted.join(", ")
    )))
}

fn text(
    object: &mut Map<String, Value>,
    key: &str,
    name: &str,
) -> Result<Option<String>, RequestError> {
    match object.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(fault(format!("`{name}` is not a string"))),
    }
}

fn not_empty(text: String, name: &str) -> Result<String, RequestError> {
    if text.is_empty() {
        return Err(fault(format!("`{name}` is empty")));
    }
    Ok(text)
}

fn number(
    object: &mut Map<String, Value>,
    key: &str,
    name: &str,
    minimum: u32,
) -> Result<Option<u32>, RequestError> {
    let Some(value) = object.remove(key) else {
        return Ok(None);
    };
    (value.as_u64())
        .and_then(|number| u32::try_from(number).ok())
        .filter(|&number| number >= minimum)
        .map(Some)
        .ok_or_else(|| fault(format!("`{name}` is not a whole number from {minimum} on")))
}

fn fault(text: impl Into<String>) -> RequestError {
    RequestError(text.into())
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    (bytes.iter())
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(value: &str) -> String {
        parse(Some(value.as_bytes()))
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn a_bare_url_is_its_own_request_and_its_hash_the_id() {
        let request = parse(Some(b"https://example.com/a.jpg\n")).expect("a request");
        assert_eq!(request.url, "https://example.com/a.jpg");
        assert_eq!(
            request.id,
            hex(&Sha256::digest(b"https://example.com/a.jpg"))
        );
        assert_eq!(request.id.len(), 64);
        assert_eq!(request.round, 0);
    }

    #[test]
    fn every_member_of_the_json_form_is_read() {
        let request = parse(Some(
            br#"{"url": "http://h/p", "id": "7", "caption": "a cat", "round": 2,
                "options": {"prompt": "Say.", "max_tokens": 5}, "meta": {"b": 1, "a": [null]}}"#,
        ))
        .expect("a request");
        assert_eq!(request.id, "7");
        assert_eq!(request.original_caption.as_deref(), Some("a cat"));
        assert_eq!(request.round, 2);
        assert_eq!(request.options.prompt.as_deref(), Some("Say."));
        assert_eq!(request.options.max_tokens, Some(5));
        let meta = serde_json::to_string(&request.meta).expect("JSON");
        assert_eq!(meta, r#"{"b":1,"a":[null]}"#);
    }

    #[test]
    fn a_null_meta_is_passed_through() {
        let request = parse(Some(br#"{"url": "http://h/p", "meta": null}"#)).expect("a request");
        assert_eq!(request.meta, Some(Value::Null));
    }

    #[test]
    fn all_unknown_keys_are_named() {
        let error = refused(r#"{"url": "http://h/p", "capton": "x", "Round": 1}"#);
        assert!(error.contains("`capton`, `Round`"), "{error}");
        let error = refused(r#"{"url": "http://h/p", "options": {"temperature": 1}}"#);
        assert!(error.contains("`options.temperature`"), "{error}");
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_fault() {
        assert!(parse(None).is_err());
        for (value, part) in [
            ("", "empty"),
            ("   ", "not a URL"),
            ("a cat on a mat", "not a URL"),
            ("/tmp/a.jpg", "not a URL"),
            ("{", "not JSON"),
            (r#"{"id": "7"}"#, "`url` is missing"),
            (r#"{"url": 7}"#, "`url` is not a string"),
            (r#"{"url": "cat"}"#, "not a URL"),
            (r#"{"url": "http://h/p", "id": ""}"#, "`id` is empty"),
            (r#"{"url": "http://h/p", "id": null}"#, "`id`"),
            (r#"{"url": "http://h/p", "round": -1}"#, "`round`"),
            (r#"{"url": "http://h/p", "round": 1.5}"#, "`round`"),
            (r#"{"url": "http://h/p", "options": []}"#, "`options`"),
            (
                r#"{"url": "http://h/p", "options": {"max_tokens": 0}}"#,
                "`options.max_tokens`",
            ),
            (
                r#"{"url": "http://h/p", "options": {"prompt": ""}}"#,
                "`options.prompt`",
            ),
        ] {
            let error = refused(value);
            assert!(error.contains(part), "{value:?}: {error}");
        }
        let error = parse(Some(&[0xff, 0xfe])).expect_err("must be refused");
        assert!(error.to_string().contains("not UTF-8"));
    }
}
