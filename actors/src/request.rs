//! Reads a record's value into a [`Request`] (CONTRACTS.md, topic `images`): a bare URL, or JSON.
//!
//! `null` is the same as absent for every member but `meta`, whose text is passed through.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    error::RequestError,
    record::{CaptionOptions, Meta, Request},
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
        let members = serde_json::from_str(text)
            .map_err(|error| fault(format!("the value is not JSON: {error}")))?;
        from_members(&members)
    } else {
        from_url(text)
    }
}

fn from_url(url: &str) -> Result<Request, RequestError> {
    let url = url.trim();
    check(url)?;
    Ok(Request {
        id: hex(&Sha256::digest(url)),
        url: url.to_owned(),
        original_caption: None,
        round: 0,
        options: CaptionOptions::default(),
        meta: None,
    })
}

fn from_members(members: &Members<'_>) -> Result<Request, RequestError> {
    members.check(&KEYS, "")?;
    let url = members.text("url", "url")?;
    let mut request = from_url(&url.ok_or_else(|| fault("`url` is missing"))?)?;
    if let Some(id) = members.id()? {
        request.id = id;
    }
    request.original_caption = members.text("caption", "caption")?;
    request.round = members.number("round", "round", 0)?.unwrap_or(0);
    request.meta = (members.raw("meta").map(|json| Meta::parse(json.get())))
        .transpose()
        .map_err(|error| fault(format!("`meta` is not JSON that can be passed on: {error}")))?;
    if let Some(options) = members.some("options") {
        let options: Members<'_> =
            serde_json::from_str(options.get()).map_err(|_| fault("`options` is not an object"))?;
        options.check(&OPTIONS, "options.")?;
        let prompt = options.text("prompt", "options.prompt")?;
        request.options = CaptionOptions {
            prompt: (prompt.map(|prompt| not_empty(prompt, "options.prompt"))).transpose()?,
            max_tokens: options.number("max_tokens", "options.max_tokens", 1)?,
        };
    }
    Ok(request)
}

fn check(url: &str) -> Result<(), RequestError> {
    // The WHATWG's parser drops tabs and line ends in silence, and would make one URL of two.
    let control = url.chars().enumerate().find(|(_, c)| c.is_control());
    if let Some((at, character)) = control {
        let name = match character {
            '\0' => " (zero byte)",
            '\t' => " (tab)",
            '\n' => " (line feed)",
            '\r' => " (carriage return)",
            _ => "",
        };
        return Err(fault(format!(
            "the URL holds the control character U+{:04X}{name} at character {}: {:?}",
            u32::from(character),
            at + 1,
            shown(url)
        )));
    }
    match Url::parse(url) {
        Ok(_) => Ok(()),
        Err(error) => Err(fault(format!("not a URL: {error}: {:?}", shown(url)))),
    }
}

/// The beginning of a URL, without a password.
fn shown(url: &str) -> String {
    without_secret(url).chars().take(80).collect()
}

/// The members of an object in their order, each as its own JSON text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Read)
    }
}

impl<'a> Members<'a> {
    /// Refuses keys that are unknown, or there twice, all at once.
    fn check(&self, known: &[&str], prefix: &str) -> Result<(), RequestError> {
        let (mut unknown, mut twice) = (Vec::new(), Vec::new());
        for (at, (key, _)) in self.0.iter().enumerate() {
            let name = format!("`{prefix}{key}`");
            let list = if !known.contains(&key.as_str()) {
                &mut unknown
            } else if self.0[..at].iter().any(|(other, _)| other == key) {
                &mut twice
            } else {
                continue;
            };
            if !list.contains(&name) {
                list.push(name);
            }
        }
        if !unknown.is_empty() {
            let accepted: Vec<_> = known.iter().map(|key| format!("`{prefix}{key}`")).collect();
            return Err(fault(format!(
                "unknown {}: {}; accepted: {}",
                if unknown.len() == 1 { "key" } else { "keys" },
                unknown.join(", "),
                accepted.join(", ")
            )));
        }
        if !twice.is_empty() {
            let twice = twice.join(", ");
            return Err(fault(format!("{twice}: more than once in the object")));
        }
        Ok(())
    }

    /// A member's JSON.
    fn raw(&self, key: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| *value)
    }

    /// A member's JSON, where it is there and not null.
    fn some(&self, key: &str) -> Option<&'a RawValue> {
        self.raw(key).filter(|value| value.get() != "null")
    }

    fn text(&self, key: &str, name: &str) -> Result<Option<String>, RequestError> {
        let Some(value) = self.some(key) else {
            return Ok(None);
        };
        if !value.get().starts_with('"') {
            return Err(fault(format!("`{name}` is not a string")));
        }
        serde_json::from_str(value.get())
            .map(Some)
            .map_err(|error| fault(format!("`{name}` is not JSON: {error}")))
    }

    fn number(&self, key: &str, name: &str, minimum: u32) -> Result<Option<u32>, RequestError> {
        let Some(value) = self.some(key) else {
            return Ok(None);
        };
        let number: Option<u32> = serde_json::from_str(value.get()).ok();
        number
            .filter(|&number| number >= minimum)
            .map(Some)
            .ok_or_else(|| fault(format!("`{name}` is not a whole number from {minimum} on")))
    }

    /// The id; a number is its digits.
    fn id(&self) -> Result<Option<String>, RequestError> {
        let Some(value) = self.some("id") else {
            return Ok(None);
        };
        let json = value.get();
        if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            let digits = whole(json).ok_or_else(|| {
                fault(format!(
                    "`id` is the number {json}, which is not whole; write it as a string"
                ))
            })?;
            return Ok(Some(digits.to_owned()));
        }
        if !json.starts_with('"') {
            return Err(fault("`id` is neither a string nor a number"));
        }
        (self.text("id", "id")?.map(|id| not_empty(id, "id"))).transpose()
    }
}

/// The digits of a JSON number that is whole, as written; zeros behind the point are left out.
#[must_use]
pub fn whole(number: &str) -> Option<&str> {
    let (digits, rest) = number.split_once('.').unwrap_or((number, "0"));
    let all = |text: &str, wanted: fn(&u8) -> bool| {
        !text.is_empty() && text.as_bytes().iter().all(wanted)
    };
    let is_whole = all(
        digits.strip_prefix('-').unwrap_or(digits),
        u8::is_ascii_digit,
    );
    (is_whole && all(rest, |&digit| digit == b'0')).then_some(digits)
}

fn not_empty(text: String, name: &str) -> Result<String, RequestError> {
    if text.is_empty() {
        return Err(fault(format!("`{name}` is empty")));
    }
    Ok(text)
}

fn fault(text: impl Into<String>) -> RequestError {
    RequestError(text.into())
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
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
        assert_eq!(request.meta.as_ref().map(Meta::json), Some("null"));
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
            (r#"{"url": null}"#, "`url` is missing"),
            (
                r#"{"url": "http://h/p", "id": 1.5}"#,
                "`id` is the number 1.5",
            ),
            (
                r#"{"url": "http://h/p", "id": 1e5}"#,
                "`id` is the number 1e5",
            ),
            (r#"{"url": "http://h/p", "id": true}"#, "`id` is neither"),
            (
                r#"{"url": "http://h/p", "caption": 5}"#,
                "`caption` is not a string",
            ),
            (r#"{"url": "http://h/p", "meta": {"a": }}"#, "not JSON"),
            (r#"{"url": "http://h/p", "meta": "\ud800"}"#, "`meta`"),
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

    #[test]
    fn meta_comes_back_token_for_token_and_on_one_line() {
        let meta = r#"{"phash":340282366920938463463374607431768211455,"f":1.0e5,"f":0.10,"z":-0,"a":"\u00e9 \" { \\","deep":[[],{}]}"#;
        let spread = meta.replace(",\"", " ,\n\t\"").replace('{', "{\r\n ");
        let spread = spread.replace("\" {\r\n ", "\" {");
        for written in [meta, &spread] {
            let value = format!(r#"{{"url": "http://h/p", "meta": {written}}}"#);
            let request = parse(Some(value.as_bytes())).expect("a request");
            assert_eq!(request.meta.as_ref().map(Meta::json), Some(meta));
            assert_eq!(serde_json::to_string(&request.meta).expect("JSON"), meta);
        }
    }

    #[test]
    fn a_null_member_is_an_absent_one() {
        let request = parse(Some(
            br#"{"url": "http://h/p", "id": null, "caption": null, "round": null,
                "options": {"prompt": null, "max_tokens": null}}"#,
        ));
        assert_eq!(request.ok(), parse(Some(b"http://h/p")).ok());
        let request = parse(Some(br#"{"url": "http://h/p", "options": null}"#));
        assert_eq!(request.ok(), parse(Some(b"http://h/p")).ok());
    }

    #[test]
    fn a_number_as_id_is_its_digits() {
        for (written, id) in [
            ("7", "7"),
            ("-12", "-12"),
            (
                "340282366920938463463374607431768211455",
                "340282366920938463463374607431768211455",
            ),
            ("1234567.0", "1234567"),
        ] {
            let value = format!(r#"{{"url": "http://h/p", "id": {written}}}"#);
            assert_eq!(parse(Some(value.as_bytes())).expect("a request").id, id);
        }
    }

    #[test]
    fn control_characters_in_a_url_are_named_with_their_place() {
        for (written, name) in [
            ("http://h/a\thttp://h/b", "U+0009 (tab) at character 11"),
            (
                "http://h/a\rhttp://h/b",
                "U+000D (carriage return) at character 11",
            ),
            (
                "http://h/a\nhttp://h/b",
                "U+000A (line feed) at character 11",
            ),
            ("http://h/é\0", "U+0000 (zero byte) at character 11"),
            ("\u{1b}[2Jhttp://h/a", "U+001B at character 1"),
            ("http://h/\u{7f}a", "U+007F at character 10"),
            ("http://h/\u{9b}a", "U+009B at character 10"),
        ] {
            let json = serde_json::json!({ "url": written }).to_string();
            for value in [written, &json] {
                let error = refused(value);
                assert!(error.contains(name), "{value:?}: {error}");
                assert!(!error.contains(char::is_control), "{error:?}");
            }
        }
        // Around it they are no part of it.
        let request = parse(Some(br#"{"url": " http://h/a%09b\r\n"}"#)).expect("a request");
        assert_eq!(request.url, "http://h/a%09b");
    }

    #[test]
    fn a_member_that_is_there_twice_is_named() {
        let error = refused(r#"{"url": "http://h/p", "id": "a", "url": "http://h/q", "id": "b"}"#);
        assert!(error.contains("`url`, `id`: more than once"), "{error}");
        let error = refused(r#"{"url": "http://h/p", "options": {"prompt": "a", "prompt": "b"}}"#);
        assert!(
            error.contains("`options.prompt`: more than once"),
            "{error}"
        );
    }
}
