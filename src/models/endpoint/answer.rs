//! The body of a response as an answer, and the words of a refusal.

use serde::Deserialize;
use serde_json::Value;
use vila2_actors::{annotation::Finish, certainty::Certainty, ports::Generated};

/// Characters of a server's words that are kept.
const WORDS: usize = 300;

/// A response that is none of ours to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is no chat completion; the same again may be one.
    Nonsense(String),
    /// The server's filter kept the text to itself: so it will again.
    Withheld,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: u32,
}

/// Reads a response that was successful. Tokens are counted as the server counts them (some count
/// the stop token, too); 0 where it does not say.
pub(super) fn read(body: &[u8]) -> Result<Generated, Unread> {
    let nonsense =
        |why: String| Unread::Nonsense(format!("answers what is no chat completion ({why})"));
    // Some answer 200 with an error inside.
    let completion: Completion =
        serde_json::from_slice(body).map_err(|error| match words(body) {
            said if said.is_empty() => nonsense(error.to_string()),
            said => nonsense(said),
        })?;
    let Some(Choice {
        message,
        finish_reason,
    }) = completion.choices.into_iter().next()
    else {
        return Err(nonsense("it has no choice".to_owned()));
    };
    let finish = match finish_reason.as_deref() {
        Some("content_filter") => return Err(Unread::Withheld),
        Some("length") => Finish::Length,
        // "stop", and what servers of their own say for it.
        _ => Finish::Stop,
    };
    let text = match message.content {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => parts.into_iter().map(|part| part.text).collect(),
        // What the model declined with is what it said; rules may look at it.
        None => message.refusal.unwrap_or_default(),
    };
    Ok(Generated {
        text: text.trim().to_owned(),
        tokens: completion.usage.map_or(0, |usage| usage.completion_tokens),
        finish,
        certainty: Certainty::default(),
        placed: None,
    })
}

/// What a server says went wrong: `error.message`, `message` or `detail` of its JSON, else its text
/// where it is no page, in one line.
pub(super) fn words(body: &[u8]) -> String {
    let told = serde_json::from_slice::<Value>(body).ok().and_then(|json| {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        };
        let error = &json["error"];
        text(&error["message"])
            .or_else(|| text(&json["message"]))
            .or_else(|| text(&json["detail"]))
            .or_else(|| text(error))
    });
    let text = told.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        if text.trim_start().starts_with(['<', '{', '[']) {
            String::new()
        } else {
            text.into_owned()
        }
    });
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(WORDS)
        .collect()
}
