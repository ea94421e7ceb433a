//! An HTTP server on loopback with scene pictures.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    routing::get,
};
use bytes::Bytes;
use tokio::{net::TcpListener, task::JoinHandle};
use vila2::scenes::generate::{Formats, Generator};

/// A running server; it stops when dropped.
pub struct Web {
    address: SocketAddr,
    names: Vec<String>,
    there: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Files {
    files: Arc<HashMap<String, Bytes>>,
    there: Arc<AtomicBool>,
}

impl Web {
    /// Serves `count` scenes of `seed` at `/NAME`, `/redirect?to=URL` and `/opted-out`; everything
    /// else is 404.
    pub async fn start(seed: u64, count: u64) -> Self {
        let scenes = Generator::new(seed, Formats::Mixed).unwrap();
        let mut names = Vec::new();
        let mut files = HashMap::new();
        for index in 0..count {
            let scene = scenes.encode(index).unwrap();
            let name = scene.composition.scene.file;
            names.push(name.clone());
            files.insert(name, Bytes::from(scene.bytes));
        }
        let there = Arc::new(AtomicBool::new(true));
        let app = Router::new()
            .route("/redirect", get(redirect))
            .route("/opted-out", get(opted_out))
            .route("/{name}", get(file))
            .with_state(Files {
                files: Arc::new(files),
                there: Arc::clone(&there),
            });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            names,
            there,
            task,
        }
    }

    /// Whether the pictures are there; else they are 404 like everything else.
    pub fn set_there(&self, there: bool) {
        self.there.store(there, Ordering::SeqCst);
    }

    /// The URL of each scene, in order.
    pub fn urls(&self) -> Vec<String> {
        self.names.iter().map(|name| self.url(name)).collect()
    }

    /// A URL on this server.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// What to allow so that the engine may fetch from here.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn file(
    State(Files { files, there }): State<Files>,
    Path(name): Path<String>,
) -> Result<Bytes, StatusCode> {
    let file = files.get(&name).filter(|_| there.load(Ordering::SeqCst));
    file.cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn redirect(
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, [(header::HeaderName, String); 1]) {
    let to = query.get("to").cloned().unwrap_or_default();
    (StatusCode::FOUND, [(header::LOCATION, to)])
}

async fn opted_out() -> ([(&'static str, &'static str); 1], &'static str) {
    ([("x-robots-tag", "vila2: noai")], "no picture for us")
}
