//! The bytes of a record's picture: from the file or tar it came from, or fetched again; always
//! checked by the record's SHA-256.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    runtime::Handle,
    task::JoinHandle,
};
use url::Url;
use vila2_actors::{budget::ByteBudget, error::Disposition, ports::Fetcher};

use super::{Reason, record::Record};
use crate::{
    fetch::member::Member,
    inputs::{self, Place as InputPlace},
    requests::Columns,
};

/// Tars whose places are kept in memory at a time.
const TARS: usize = 16;
/// Wait before a failed fetch is tried again; each time twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// How pictures are fetched that are neither files nor in tars.
#[derive(Clone)]
pub struct Fetching {
    /// The fetcher.
    pub fetcher: Arc<dyn Fetcher>,
    /// The largest picture, bytes.
    pub max_bytes: u64,
    /// How often a failure is tried again that may pass.
    pub retries: u32,
    /// Where it runs.
    pub handle: Handle,
}

/// Where a picture lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Spot {
    File(PathBuf),
    /// More than one where several samples have the URL: the hash tells which.
    Members(Vec<Member>),
    Fetched(String),
    Gone(String),
}

/// Finds pictures.
pub struct Pictures {
    fetching: Fetching,
    budget: ByteBudget,
    /// What was captioned: tars among it hold pictures whose records have the sample's own URL.
    inputs: Vec<PathBuf>,
    /// Record URL → members, of those tars.
    by_url: Option<HashMap<String, Vec<(String, Member)>>>,
    /// The tars that were looked at last.
    tars: VecDeque<(PathBuf, HashMap<String, Member>)>,
}

/// A picture on its way, and the key its sample has in its tar.
pub(super) struct Loading {
    pub(super) key: Option<String>,
    bytes: Option<JoinHandle<Result<Bytes, (Reason, String)>>>,
}

impl Pictures {
    /// `ahead`: how many are on their way at a time.
    pub(super) fn new(fetching: Fetching, inputs: Vec<PathBuf>, ahead: usize) -> Self {
        let budget = ByteBudget::new(fetching.max_bytes.saturating_mul(ahead as u64));
        Self {
            fetching,
            budget,
            inputs,
            by_url: None,
            tars: VecDeque::new(),
        }
    }

    /// The key of a record's sample in its tar, where it came from one.
    pub(super) fn key(&mut self, record: &Record) -> Option<String> {
        if let Some((_, key)) = in_tar(&record.url) {
            return Some(key.to_owned());
        }
        if is_remote(&record.url) {
            let found = self.by_url().get(&record.url)?;
            return found.first().map(|(key, _)| key.clone());
        }
        None
    }

    /// Begins to load a picture.
    pub(super) fn load(&mut self, record: &Record) -> Loading {
        let key = self.key(record);
        let spot = self.find(&record.url);
        let sha256 = record.image.sha256.clone();
        let fetching = self.fetching.clone();
        let mut credit = self.budget.credit();
        let bytes = self.fetching.handle.spawn(async move {
            match spot {
                Spot::Gone(why) => Err((Reason::PictureGone, why)),
                Spot::File(path) => {
                    let read = tokio::fs::read(&path).await;
                    let gone = |error: io::Error| (Reason::PictureGone, error.to_string());
                    checked(read.map_err(gone)?.into(), &sha256)
                }
                Spot::Members(members) => {
                    let mut last = (Reason::PictureGone, String::new());
                    for member in members {
                        let found = match read(&member).await {
                            Ok(bytes) => checked(bytes.into(), &sha256),
                            Err(error) => Err((Reason::PictureGone, error.to_string())),
                        };
                        match found {
                            Ok(bytes) => return Ok(bytes),
                            Err(why) => last = why,
                        }
                    }
                    Err(last)
                }
                Spot::Fetched(url) => {
                    let mut attempt = 0;
                    loop {
                        let error = match fetching.fetcher.fetch(&url, &mut credit).await {
                            Ok(fetched) => return checked(fetched.body, &sha256),
                            Err(error) => error,
                        };
                        credit.release();
                        let again = matches!(error.disposition(), Disposition::Retry(..));
                        if !again || attempt == fetching.retries {
                            return Err((Reason::FetchFailed, error.to_string()));
                        }
                        tokio::time::sleep(PAUSE * 2_u32.saturating_pow(attempt.min(6))).await;
                        attempt += 1;
                    }
                }
            }
        });
        Loading {
            key,
            bytes: Some(bytes),
        }
    }

    /// Nothing to load; only the key.
    pub(super) fn pass(&mut self, record: &Record) -> Loading {
        Loading {
            key: self.key(record),
            bytes: None,
        }
    }

    /// The bytes; `None` where they were not asked for. Blocks.
    ///
    /// # Errors
    /// Why there are none, and a word about it.
    pub(super) fn wait(&self, loading: &mut Loading) -> Result<Option<Bytes>, (Reason, String)> {
        let Some(task) = loading.bytes.take() else {
            return Ok(None);
        };
        let done = self.fetching.handle.block_on(task);
        done.unwrap_or_else(|error| Err((Reason::FetchFailed, error.to_string())))
            .map(Some)
    }

    fn find(&mut self, url: &str) -> Spot {
        if let Some((tar, _)) = in_tar(url) {
            let member = self.tar(tar).and_then(|tar| tar.get(url));
            return member.map_or_else(
                || Spot::Gone(format!("{url} is not there any more")),
                |member| Spot::Members(vec![member.clone()]),
            );
        }
        if !is_remote(url) {
            let path = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
            return path.map_or_else(|| Spot::Gone(format!("{url} is no file")), Spot::File);
        }
        match self.by_url().get(url) {
            Some(found) => Spot::Members(found.iter().map(|(_, member)| member.clone()).collect()),
            None => Spot::Fetched(url.to_owned()),
        }
    }

    /// The pictures of a tar by their records' URLs; `None` where it cannot be read.
    fn tar(&mut self, path: &Path) -> Option<&HashMap<String, Member>> {
        if let Some(at) = self.tars.iter().position(|(known, _)| known == path) {
            return self.tars.get(at).map(|(_, members)| members);
        }
        let members: HashMap<_, _> = members(path)?.collect();
        if self.tars.len() == TARS {
            self.tars.pop_front();
        }
        self.tars.push_back((path.to_owned(), members));
        self.tars.back().map(|(_, members)| members)
    }

    fn by_url(&mut self) -> &HashMap<String, Vec<(String, Member)>> {
        let inputs = &self.inputs;
        self.by_url.get_or_insert_with(|| {
            let mut all: HashMap<String, Vec<_>> = HashMap::new();
            for path in inputs.iter().filter(|path| inputs::is_tar(path)) {
                for (url, key, member) in read_tar(path).into_iter().flatten() {
                    if is_remote(&url) {
                        all.entry(url).or_default().push((key, member));
                    }
                }
            }
            all
        })
    }
}

fn members(path: &Path) -> Option<impl Iterator<Item = (String, Member)>> {
    let found = read_tar(path)?;
    Some(found.into_iter().map(|(url, _, member)| (url, member)))
}

/// Record URL, key and place of every picture of a tar, as captioning reads it.
fn read_tar(path: &Path) -> Option<Vec<(String, String, Member)>> {
    let path = std::path::absolute(path).ok()?;
    let named = [OsString::from(&path)];
    let before = format!("{}#", path.display());
    let inputs = inputs::open(&named, &Columns::default(), None).ok()?;
    let mut found = Vec::new();
    for entry in inputs.read(InputPlace::default()) {
        let (entry, _) = entry.ok()?;
        let Some(key) = entry.name.strip_prefix(&before) else {
            continue;
        };
        let (own, key) = (entry.name.clone(), key.to_owned());
        let Ok(ask) = entry.content else { continue };
        let request: Option<serde_json::Value> = serde_json::from_slice(&ask.request).ok();
        let address = request.as_ref().and_then(|request| request["url"].as_str());
        if let (Some(url), Some(member)) = (ask.url, address.and_then(Member::of)) {
            // A record may name its sample either way.
            found.push((url, key.clone(), member.clone()));
            found.push((own, key, member));
        }
    }
    Some(found)
}

/// `TAR#KEY`: the path of the tar, and the key.
fn in_tar(url: &str) -> Option<(&Path, &str)> {
    if !url.starts_with('/') {
        return None;
    }
    let splits = url.match_indices('#').map(|(at, _)| at);
    let (existing, mut all): (Vec<_>, Vec<_>) =
        splits.partition(|at| Path::new(&url[..*at]).is_file());
    all.truncate(1);
    let at = *existing.first().or(all.first())?;
    Some((Path::new(&url[..at]), &url[at + 1..]))
}

/// Whether it is neither a file nor a path.
fn is_remote(url: &str) -> bool {
    !url.starts_with("file:") && !url.starts_with('/')
}

async fn read(member: &Member) -> io::Result<Vec<u8>> {
    let mut file = tokio::fs::File::open(&member.path).await?;
    file.seek(io::SeekFrom::Start(member.at)).await?;
    let mut bytes = vec![0; usize::try_from(member.bytes).unwrap_or(0)];
    file.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn checked(bytes: Bytes, sha256: &str) -> Result<Bytes, (Reason, String)> {
    let found: String = (Sha256::digest(&bytes).iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == sha256 {
        return Ok(bytes);
    }
    let why = format!("its SHA-256 is {found}, not {sha256} as when it was captioned");
    Err((Reason::PictureChanged, why))
}
