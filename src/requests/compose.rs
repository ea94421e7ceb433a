//! The value of a request from its parts.

use serde_json::Value;

/// What a row says.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) url: String,
    pub(super) id: Option<String>,
    pub(super) caption: Option<String>,
    /// Names and JSON texts; empty: no `meta`.
    pub(super) meta: Vec<(&'a str, String)>,
}

impl Parts<'_> {
    /// A bare URL where there is nothing else, else JSON.
    pub(super) fn request(self) -> Vec<u8> {
        // What begins like JSON would be read as JSON.
        let is_bare = self.id.is_none() && self.caption.is_none() && self.meta.is_empty();
        if is_bare && !self.url.starts_with('{') {
            return self.url.into_bytes();
        }
        let mut json = format!("{{\"url\":{}", quoted(&self.url));
        for (name, text) in [("id", &self.id), ("caption", &self.caption)] {
            if let Some(text) = text {
                json.push_str(&format!(",\"{name}\":{}", quoted(text)));
            }
        }
        if !self.meta.is_empty() {
            let members: Vec<_> = (self.meta.iter())
                .map(|(name, value)| format!("{}:{value}", quoted(name)))
                .collect();
            json.push_str(&format!(",\"meta\":{{{}}}", members.join(",")));
        }
        json.push('}');
        json.into_bytes()
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
