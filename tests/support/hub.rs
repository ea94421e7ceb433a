//! A model hub in small: it speaks the Hugging Face hub's HTTP interface over one folder, keeps
//! large files on a second host, and breaks on demand.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// The commit of every branch.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The token that opens `test/private`.
pub const TOKEN: &str = "hf_secret";

/// How the store of large files misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// 503 first, then the connection breaks in the middle of a body, then it is good.
    Shaky,
    /// It gives other bytes than it should.
    Damaged,
    Good,
}

/// A running hub, on a runtime of its own.
pub struct Hub {
    runtime: tokio::runtime::Runtime,
    state: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    files: BTreeMap<String, Bytes>,
    extra: Vec<String>,
    store: Store,
    store_address: Mutex<Option<SocketAddr>>,
    requests: Mutex<Vec<Request>>,
}

/// A request to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub file: String,
    pub range: Option<String>,
    pub authorized: bool,
}

impl Hub {
    /// Serves `folder` as `test/scenes`, and as `test/private` for those with the token. The
    /// listing names `extra` files besides.
    pub fn start(folder: &FilePath, store: Store, extra: &[&str]) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, PathBuf::new(), &mut files);
        let state = Arc::new(Shared {
            files,
            extra: extra.iter().map(|name| (*name).to_owned()).collect(),
            store,
            store_address: Mutex::default(),
            requests: Mutex::default(),
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let hub = Router::new()
            .route("/api/models/{org}/{name}/revision/{revision}", get(listing))
            .route("/{org}/{name}/resolve/{commit}/{*file}", get(resolve))
            .with_state(Arc::clone(&state));
        let large = Router::new()
            .route("/{*file}", get(content))
            .with_state(Arc::clone(&state));
        let serve = |router: Router| {
            let listener = runtime
                .block_on(TcpListener::bind(("127.0.0.1", 0)))
                .unwrap();
            let address = listener.local_addr().unwrap();
            runtime.spawn(async move { axum::serve(listener, router).await });
            address
        };
        *state.store_address.lock().unwrap() = Some(serve(large));
        let address = serve(hub);
        Self {
            runtime,
            state,
            address,
        }
    }

    /// `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the store was asked for.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Its files by name.
    pub fn files(&self) -> &BTreeMap<String, Bytes> {
        &self.state.files
    }

    /// Ends it at once.
    pub fn stop(self) {
        self.runtime.shutdown_background();
    }
}

fn collect(root: &FilePath, below: PathBuf, files: &mut BTreeMap<String, Bytes>) {
    for entry in std::fs::read_dir(root.join(&below)).unwrap() {
        let entry = entry.unwrap();
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            collect(root, name, files);
        } else {
            let bytes = std::fs::read(entry.path()).unwrap();
            files.insert(name.to_str().unwrap().to_owned(), bytes.into());
        }
    }
}

fn authorized(headers: &HeaderMap) -> bool {
    let wanted = format!("Bearer {TOKEN}");
    headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == wanted.as_bytes())
}

fn refusal(repository: &str, headers: &HeaderMap) -> Option<StatusCode> {
    match repository {
        "scenes" => None,
        "private" if authorized(headers) => None,
        "private" => Some(StatusCode::UNAUTHORIZED),
        _ => Some(StatusCode::NOT_FOUND),
    }
}

async fn listing(
    State(state): State<Arc<Shared>>,
    Path((_, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refusal(&name, &headers) {
        return refusal.into_response();
    }
    if revision != "main" && revision != COMMIT {
        return StatusCode::NOT_FOUND.into_response();
    }
    let names = state.files.keys().chain(&state.extra);
    let siblings: Vec<_> = names.map(|name| json!({ "rfilename": name })).collect();
    json!({ "id": "test/scenes", "sha": COMMIT, "siblings": siblings })
        .to_string()
        .into_response()
}

async fn resolve(
    State(state): State<Arc<Shared>>,
    Path((_, name, commit, file)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refusal(&name, &headers) {
        return refusal.into_response();
    }
    let Some(bytes) = state.files.get(&file).filter(|_| commit == COMMIT) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let digest: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    if file.ends_with(".onnx") {
        let store = state.store_address.lock().unwrap().unwrap();
        return (
            StatusCode::FOUND,
            [
                (header::LOCATION, format!("http://{store}/{file}")),
                (
                    HeaderName::from_static("x-linked-etag"),
                    format!("\"{digest}\""),
                ),
                (
                    HeaderName::from_static("x-linked-size"),
                    bytes.len().to_string(),
                ),
            ],
        )
            .into_response();
    }
    // Small files are named by git's hash, which is no SHA-256.
    let tag = format!("\"{}\"", &digest[..40]);
    ([(header::ETAG, tag)], bytes.clone()).into_response()
}

async fn content(
    State(state): State<Arc<Shared>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let range = headers
        .get(header::RANGE)
        .map(|value| value.to_str().unwrap().to_owned());
    let before = {
        let mut requests = state.requests.lock().unwrap();
        let before = requests
            .iter()
            .filter(|request| request.file == file)
            .count();
        requests.push(Request {
            file: file.clone(),
            range: range.clone(),
            authorized: headers.contains_key(header::AUTHORIZATION),
        });
        before
    };
    let bytes = state.files[&file].clone();
    let from: usize = range.as_deref().map_or(0, |range| {
        let from = range.strip_prefix("bytes=").unwrap();
        from.trim_end_matches('-').parse().unwrap()
    });
    let mut part = bytes.slice(from..);
    match (state.store, before) {
        (Store::Shaky, 0) => {
            let soon = [(header::RETRY_AFTER, HeaderValue::from_static("0"))];
            return (StatusCode::SERVICE_UNAVAILABLE, soon).into_response();
        }
        (Store::Shaky, 1) => {
            let half = part.slice(..part.len() / 2);
            let broken = stream::iter([Ok(half), Err(std::io::Error::other("cut"))]);
            return (
                [(header::CONTENT_LENGTH, part.len())],
                Body::from_stream(broken),
            )
                .into_response();
        }
        (Store::Damaged, _) => {
            let mut wrong = part.to_vec();
            wrong[0] ^= 1;
            part = wrong.into();
        }
        _ => {}
    }
    if range.is_none() {
        return part.into_response();
    }
    let told = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    (
        StatusCode::PARTIAL_CONTENT,
        [(header::CONTENT_RANGE, told)],
        part,
    )
        .into_response()
}
