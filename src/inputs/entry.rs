//! One picture to caption, as the chain is asked for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde_json::value::RawValue;
use url::Url;

use super::{Fault, Position, Spot};
use crate::requests::{Input, Item, blank};

/// What one input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name for a person: the URL, the path, `TAR#KEY`, or file and line of what cannot be
    /// read.
    pub name: String,
    /// The request, or why there is none.
    pub content: Result<Ask, Refusal>,
}

/// A request for the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The value, as it would stand in the input topic.
    pub request: Bytes,
    /// The record's `url`, where it is not the request's: a picture inside of a tar.
    pub url: Option<String>,
    /// The picture's own file.
    pub path: Option<PathBuf>,
}

impl Ask {
    /// Whether it names a file by its path, alone or in a tar.
    #[must_use]
    pub fn names_file(&self) -> bool {
        self.path.is_some() || self.url.is_some()
    }
}

/// An input that is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One of the contract's reasons.
    pub reason: &'static str,
    /// What is wrong.
    pub detail: String,
}

impl Entry {
    /// A file.
    pub(super) fn file(name: String, path: &Path) -> Self {
        let Some(url) = path_url(path) else {
            return Self::refused(name, "fetch_failed", "the path cannot be written as a URL");
        };
        let ask = Ask {
            request: request(&url),
            url: None,
            path: Some(path.to_owned()),
        };
        Self {
            name,
            content: Ok(ask),
        }
    }

    /// A URL as it was typed.
    pub(super) fn url(name: &str) -> Self {
        // The parser drops tabs and line ends in silence: the service is to refuse them.
        let parsed = Url::parse(name)
            .ok()
            .filter(|_| !name.contains(char::is_control));
        let url = parsed.map_or_else(|| name.to_owned(), String::from);
        Self::asked(name.to_owned(), request(&url))
    }

    fn asked(name: String, request: Bytes) -> Self {
        let ask = Ask {
            request,
            url: None,
            path: None,
        };
        Self {
            name,
            content: Ok(ask),
        }
    }

    pub(super) fn refused(name: String, reason: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            name,
            content: Err(Refusal { reason, detail }),
        }
    }
}

/// The `file:` URL of a path.
pub(super) fn path_url(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    Url::from_file_path(path).ok().map(String::from)
}

/// As JSON, so that an argument is a URL and never a request of its own.
fn request(url: &str) -> Bytes {
    serde_json::json!({ "url": url }).to_string().into()
}

/// Whether a text is a URL, and not a path.
pub(super) fn is_url(text: &str) -> bool {
    text.contains("://") || text.starts_with("data:")
}

/// Where the relative paths of a list begin: in its own folder, else in the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base(pub(super) Option<PathBuf>);

impl Base {
    fn path(&self, named: &str) -> PathBuf {
        let beside = self.0.as_ref().map(|folder| folder.join(named));
        match beside {
            Some(path) if path.exists() || !Path::new(named).exists() => path,
            _ => PathBuf::from(named),
        }
    }
}

/// The entries of one line or row that begins at `start`; of a stretch that cannot be read, one for
/// each row.
pub(super) fn of_item(
    item: Result<Item, Fault>,
    start: Position,
    list: &Input,
    base: &Base,
) -> Vec<Result<(Entry, Spot), Fault>> {
    let item = match item {
        Ok(item) => item,
        Err(fault) => return vec![Err(fault)],
    };
    let place = |number: u64| format!("{}: {} {number}", list.name, list.unit());
    match item.content {
        Ok(value) => {
            let entry = of_value(value, &place(item.first), base);
            vec![Ok((entry, (item.after, 0)))]
        }
        Err(problem) => (item.first..=item.after.number)
            .map(|number| {
                let entry = Entry::refused(place(number), "bad_request", problem.clone());
                let spot = if number == item.after.number {
                    (item.after, 0)
                } else {
                    (start, number + 1 - item.first)
                };
                Ok((entry, spot))
            })
            .collect(),
    }
}

/// A line: a URL, a path, or JSON whose `url` is one of them.
fn of_value(value: Vec<u8>, place: &str, base: &Base) -> Entry {
    let Ok(text) = std::str::from_utf8(&value) else {
        return Entry::asked(place.to_owned(), value.into());
    };
    let text = text.trim();
    if text.starts_with('{') {
        return of_json(text, place, base);
    }
    if !is_url(text) {
        let path = base.path(text);
        return Entry::file(text.to_owned(), &path);
    }
    match blank(text.as_bytes()) {
        Some(problem) => Entry::refused(text.to_owned(), "bad_request", problem),
        None => Entry::asked(text.to_owned(), Bytes::copy_from_slice(text.as_bytes())),
    }
}

fn of_json(text: &str, place: &str, base: &Base) -> Entry {
    let as_it_is =
        |name: &str| Entry::asked(name.to_owned(), Bytes::copy_from_slice(text.as_bytes()));
    let Ok(mut members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
        return as_it_is(place);
    };
    let url = (members.get("url")).and_then(|url| serde_json::from_str::<String>(url.get()).ok());
    let Some(named) = url.filter(|url| !url.trim().is_empty()) else {
        return as_it_is(place);
    };
    if is_url(&named) {
        return as_it_is(&named);
    }
    let path = base.path(&named);
    let Some(url) = path_url(&path) else {
        return Entry::refused(named, "fetch_failed", "the path cannot be written as a URL");
    };
    // The other members keep their text: digits of `meta` must not change.
    let Ok(url) = serde_json::value::to_raw_value(&url) else {
        return as_it_is(&named);
    };
    members.insert("url".to_owned(), &url);
    let request = serde_json::to_vec(&members).unwrap_or_default();
    let ask = Ask {
        request: request.into(),
        url: None,
        path: Some(path),
    };
    Entry {
        name: named,
        content: Ok(ask),
    }
}
