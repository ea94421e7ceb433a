use std::{collections::BTreeMap, fs, io::Read as _, sync::Arc};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sha2::Digest as _;
use vila2_actors::{budget::ImageCredit, error::FetchError, image::Fetched, ports::Fetcher};

use super::*;

mod formats;
mod texts;
mod whole;

/// A record with everything in it; its picture is the file at `url`.
fn record(id: &str, url: &str, sha256: &str) -> Value {
    json!({
        "schema": "vila2.caption/1", "id": id, "url": url, "round": 0,
        "meta": { "big": 12345678901234567890_u64 },
        "image": { "sha256": sha256, "width": 200, "height": 100, "format": "png", "bytes": 3 },
        "original_caption": "a ring",
        "caption": { "text": "A red ring and a star.", "tokens": 7, "finish": "stop" },
        "grounding": [
            { "id": "g0", "phrase": "a red ring", "box": [20.0, 10.0, 100.0, 50.0], "score": null },
            { "id": "g1", "phrase": "a blue star", "box": [120.0, 50.0, 200.0, 100.0], "score": 0.5 },
        ],
        "text": [
            { "id": "t0", "text": "exit", "quad": [[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]], "score": 0.9 },
            { "id": "t1", "text": "O", "quad": [[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]], "score": 0.3 },
        ],
        "spatial": [ { "id": "s0", "subject": "g0", "relation": "left of", "object": "g1", "score": 0.9 } ],
        "clauses": [
            { "text": "A red ring and a star.", "verdict": "unverified", "evidence": [] },
            { "text": "The red ring is on the left.", "verdict": "grounded", "evidence": ["g0"] },
            { "text": "The red ring is left of the blue star.", "verdict": "inferred", "evidence": ["s0", "g0", "g1"] },
            { "text": "The text reads \"exit\".", "verdict": "read", "evidence": ["t0"] },
        ],
        "enriched": "A red ring and a star. The red ring is on the left. The red ring is left of the blue star. The text reads \"exit\".",
        "models": {}, "status": "complete", "timings_ms": { "total": 1.0 }, "queue_ms": {},
    })
}

fn parsed(record: &Value) -> Record {
    Record::parse(record.to_string().as_bytes()).expect("a record")
}

/// A web that is away.
struct Nobody;

impl Fetcher for Nobody {
    fn fetch<'a>(
        &'a self,
        _url: &'a str,
        _credit: &'a mut ImageCredit,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async { Err(FetchError::Protocol("nobody answers".to_owned())) })
    }
}

/// A scratch folder with pictures and a file of records.
struct Place {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    records: Vec<Value>,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            records: Vec::new(),
        }
    }

    /// With records `0`, `1`, … of pictures whose bytes are `picture N`.
    fn of(count: usize) -> Self {
        let mut place = Self::new();
        for number in 0..count {
            place.add(&format!("{number}"));
        }
        place
    }

    /// Adds a record of a picture of its own.
    fn add(&mut self, id: &str) -> &mut Value {
        let number = self.records.len();
        let path = self.folder.path().join(format!("p{number}.png"));
        let body = format!("picture {number}");
        fs::write(&path, &body).expect("a picture");
        let url = url::Url::from_file_path(&path).expect("a path");
        let sha256 = sha2::Sha256::digest(body.as_bytes());
        let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        self.records.push(record(id, url.as_str(), &sha256));
        self.records.last_mut().expect("it was added")
    }

    fn source(&self) -> Source {
        let lines: Vec<_> = self.records.iter().map(|one| format!("{one}\n")).collect();
        let path = self.folder.path().join("records.jsonl");
        fs::write(&path, lines.concat()).expect("records");
        Source::open(&path).expect("a source")
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, name: &str, request: &Request) -> Result<Report, Error> {
        let fetching = Fetching {
            fetcher: Arc::new(Nobody),
            max_bytes: 1 << 20,
            retries: 0,
            handle: self.runtime.handle().clone(),
        };
        let stop = AtomicBool::new(false);
        run(
            &self.source(),
            request,
            &self.out(name),
            fetching,
            &stop,
            &mut |_| {},
        )
    }
}

fn request(format: Format, text: Text) -> Request {
    Request {
        format,
        text,
        verdicts: None,
        complete_only: false,
        newest_round: false,
        images: true,
        shard_size: 10_000,
    }
}

/// Names and bytes of a tar's members, in its order.
fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut tar = tar::Archive::new(fs::File::open(path).expect("a tar"));
    let entries = tar.entries().expect("a tar");
    entries
        .map(|entry| {
            let mut entry = entry.expect("a member");
            let header = entry.header();
            assert_eq!(header.mtime().expect("a time"), 0);
            assert_eq!(
                header.uid().expect("a user") + header.gid().expect("a group"),
                0
            );
            assert_eq!(header.mode().expect("a mode"), 0o644);
            let name = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            (name, bytes)
        })
        .collect()
}

fn names(path: &Path) -> Vec<String> {
    members(path).into_iter().map(|(name, _)| name).collect()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// Every file of a folder by its path, our own notes left out.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    (walkdir::WalkDir::new(folder).into_iter())
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).expect("inside");
            (
                name.to_string_lossy().into_owned(),
                fs::read(entry.path()).expect("bytes"),
            )
        })
        .filter(|(name, _)| !name.starts_with(".vila2/"))
        .collect()
}
