//! Pictures in WebDataset tars. A sample is what stands side by side under one key: the path up to
//! the first dot of the file's name. Its picture is read where it lies, nothing is unpacked.
//!
//! A key names one picture. Pictures of other endings in its sample (a mask beside a photograph) are
//! passed over and counted; a second one of the same name, or a sample whose key was there before,
//! is refused: two answers under one name could not be told apart.

use std::{
    collections::HashSet,
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Ask, Entry, Fault, Read, at, entry::is_url, folder::is_picture};
use crate::{fetch::member::Member, requests::name_of};

/// The most that is read of a sample's json or text.
const SIDE: u64 = 1 << 20;

/// A tar that was looked at.
#[derive(Debug)]
pub(super) struct Shard {
    /// As it was named.
    name: String,
    /// Its absolute path.
    path: PathBuf,
}

/// What is in a tar.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Samples with a picture, and pictures that are refused.
    pub(super) samples: u64,
    /// Samples without a picture, pictures beside another, and members without a key.
    pub(super) skipped: u64,
}

/// Whether a file is a tar, by its first header.
#[must_use]
pub fn is_tar(path: &Path) -> bool {
    let mut header = [0; 512];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[257..262] == *b"ustar"
}

impl Shard {
    pub(super) fn new(path: &Path) -> Result<Self, Fault> {
        let name = name_of(path.as_os_str());
        let path = std::path::absolute(path).map_err(|error| fault(&name, &error))?;
        Ok(Self { name, path })
    }

    /// Goes through its headers once.
    pub(super) fn look(&self) -> Result<Found, Fault> {
        let mut found = Found::default();
        let keyless = self.samples(&mut |sample| {
            let entries = sample.entries();
            found.samples += entries;
            found.skipped += sample.beside + u64::from(entries == 0);
            true
        })?;
        found.skipped += keyless;
        Ok(found)
    }

    /// Its samples behind the first `from`.
    ///
    /// The entries of a tar borrow its file, so they come through a channel from a thread of its
    /// own, which ends when nobody reads any more.
    pub(super) fn read(&self, from: u64) -> Read<'_> {
        let (sender, entries) = std::sync::mpsc::sync_channel(64);
        let shard = Self {
            name: self.name.clone(),
            path: self.path.clone(),
        };
        std::thread::spawn(move || {
            let mut number = 0;
            let read = shard.samples(&mut |sample| {
                let repeated = sample.repeated.iter();
                let repeated = repeated.map(|path| sample.refused(&shard, path));
                let link = sample.link.iter();
                let link = link.map(|path| sample.refused_link(&shard, path));
                sample
                    .entry(&shard)
                    .into_iter()
                    .chain(link)
                    .chain(repeated)
                    .all(|entry| {
                        number += 1;
                        number <= from || sender.send(Ok((entry, at(number)))).is_ok()
                    })
            });
            if let Err(fault) = read {
                let _ = sender.send(Err(fault));
            }
        });
        Box::new(entries.into_iter())
    }

    /// Calls `each` with every sample until it returns false; how many files have no key.
    fn samples(&self, each: &mut dyn FnMut(Parts) -> bool) -> Result<u64, Fault> {
        let fault = |error: io::Error| fault(&self.name, &error);
        let file = File::open(&self.path).map_err(fault)?;
        let length = file.metadata().map_err(fault)?.len();
        let mut archive = tar::Archive::new(file);
        let mut sample = Parts::default();
        let mut keys = HashSet::new();
        let mut keyless = 0;
        let mut done = |mut sample: Parts| {
            if sample.key.is_empty() {
                return true;
            }
            if sample.entries() > 0 && !keys.insert(hash(&sample.key)) {
                sample.again();
            }
            each(sample)
        };
        for member in archive.entries_with_seek().map_err(fault)? {
            let mut member = member.map_err(fault)?;
            let kind = member.header().entry_type();
            let is_link = kind.is_hard_link() || kind.is_symlink();
            if !kind.is_file() && !is_link {
                continue;
            }
            let (at, bytes) = (member.raw_file_position(), member.size());
            let path = PathBuf::from(name_of(member.path().map_err(fault)?.as_os_str()));
            let ends = at.saturating_add(bytes);
            if !is_link && ends > length {
                return Err(cut(&self.name, &path, [at, ends, length]));
            }
            let Some((key, ending)) = key(&path) else {
                keyless += 1;
                continue;
            };
            if key != sample.key {
                let before = std::mem::replace(&mut sample, Parts::new(key));
                if !done(before) {
                    return Ok(keyless);
                }
            }
            match ending.as_str() {
                "json" | "txt" if !is_link => {
                    let mut text = Vec::new();
                    (&mut member)
                        .take(SIDE)
                        .read_to_end(&mut text)
                        .map_err(fault)?;
                    sample.note(&ending, &text);
                }
                _ if is_picture(&path) => {
                    sample.picture(path, ending, (!is_link).then_some((at, bytes)));
                }
                _ => {}
            }
        }
        done(sample);
        Ok(keyless)
    }
}

/// Key and ending of a member: WebDataset splits at the first dot of the last part of the path.
fn key(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?;
    let (stem, ending) = name.split_once('.')?;
    if stem.is_empty() {
        return None;
    }
    let key = path.with_file_name(stem).to_str()?.to_owned();
    Some((key, ending.to_ascii_lowercase()))
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// What is known of a sample.
#[derive(Debug, Default)]
struct Parts {
    key: String,
    /// Where the picture lies, and how long it is.
    picture: Option<(u64, u64)>,
    /// The member that it is.
    path: PathBuf,
    /// A picture that is only a link to another member.
    link: Option<PathBuf>,
    /// Endings of all pictures.
    endings: HashSet<String>,
    /// Pictures of other endings beside it.
    beside: u64,
    /// Pictures that cannot be told from another by their name.
    repeated: Vec<PathBuf>,
    url: Option<String>,
    id: Option<String>,
    caption: Option<String>,
}

impl Parts {
    fn new(key: String) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }

    /// Takes a picture; without a place it is a link.
    fn picture(&mut self, path: PathBuf, ending: String, place: Option<(u64, u64)>) {
        if !self.endings.insert(ending) {
            self.repeated.push(path);
        } else if self.picture.is_some() || self.link.is_some() {
            self.beside += 1;
        } else if place.is_some() {
            (self.picture, self.path) = (place, path);
        } else {
            self.link = Some(path);
        }
    }

    /// Its key was there before.
    fn again(&mut self) {
        if self.picture.take().is_some() {
            self.repeated.insert(0, std::mem::take(&mut self.path));
        }
        self.repeated.extend(self.link.take());
    }

    /// How many entries come of it.
    fn entries(&self) -> u64 {
        let first = u64::from(self.picture.is_some() || self.link.is_some());
        first + self.repeated.len() as u64
    }

    /// Its name for a person.
    fn name(&self, shard: &Shard) -> String {
        format!("{}#{}", shard.path.display(), self.key)
    }

    /// One of the pictures that are refused.
    fn refused(&self, shard: &Shard, path: &Path) -> Entry {
        let what = format!(
            "the tar has more than one picture of the key {}, and {} is not the first: give each \
             sample a key of its own",
            self.key,
            path.display()
        );
        Entry::refused(self.name(shard), "bad_request", what)
    }

    /// The picture that is a link.
    fn refused_link(&self, shard: &Shard, path: &Path) -> Entry {
        let what = format!(
            "{} is a link in the tar and holds no picture: pack it again with `tar --dereference \
             --hard-dereference`",
            path.display()
        );
        Entry::refused(self.name(shard), "bad_request", what)
    }

    /// Takes what the json says; the text where the json has no caption.
    fn note(&mut self, ending: &str, text: &[u8]) {
        let filled = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
        if ending == "txt" {
            let text = std::str::from_utf8(text).ok().and_then(filled);
            self.caption = self.caption.take().or(text);
            return;
        }
        let Ok(Value::Object(members)) = serde_json::from_slice(text) else {
            return;
        };
        let text = |name: &str| members.get(name).and_then(Value::as_str).and_then(filled);
        self.url = text("url").filter(|url| is_url(url));
        self.id = match members.get("id") {
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => text("id"),
        };
        self.caption = text("caption").or(self.caption.take());
    }

    fn entry(&self, shard: &Shard) -> Option<Entry> {
        let (at, bytes) = self.picture?;
        let own = self.name(shard);
        let member = Member {
            path: shard.path.clone(),
            at,
            bytes,
        };
        let Some(address) = member.url(&self.key) else {
            let problem = "the path of the tar cannot be written as a URL";
            return Some(Entry::refused(own, "fetch_failed", problem));
        };
        let id = self.id.as_ref().unwrap_or(&self.key);
        let mut request = json!({ "url": address, "id": id });
        if let Some(caption) = &self.caption {
            request["caption"] = caption.as_str().into();
        }
        let ask = Ask {
            request: request.to_string().into(),
            url: Some(self.url.clone().unwrap_or_else(|| own.clone())),
            path: None,
        };
        Some(Entry {
            name: own,
            content: Ok(ask),
        })
    }
}

fn cut(name: &str, member: &Path, [begins, ends, length]: [u64; 3]) -> Fault {
    Fault {
        name: name.to_owned(),
        problem: format!(
            "is cut off: its member {} is at bytes {begins} to {ends}, and the file has {length}; get \
             it again",
            member.display()
        ),
    }
}

fn fault(name: &str, error: &io::Error) -> Fault {
    Fault {
        name: name.to_owned(),
        problem: format!(
            "cannot be read as a tar: {error}; one that is cut off is to be got again, a packed one \
             (.tar.gz, .tar.zst) to be unpacked to a .tar first"
        ),
    }
}
