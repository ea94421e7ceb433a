//! An HTTP server on loopback with scene pictures.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use bytes::Bytes;
use tokio::{net::TcpListener, task::JoinHandle};
use vila2::scenes::generate::{Formats, Generator};

/// A running server; it stops when dropped.
pub struct Web {
    address: SocketAddr,
    names: Vec<String>,
    task: JoinHandle<()>,
}

impl Web {
    /// Serves `count` scenes of `seed` at `/NAME`; everything else is 404.
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
        let app = Router::new()
            .route("/{name}", get(file))
            .with_state(Arc::new(files));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            names,
            task,
        }
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
    State(files): State<Arc<HashMap<String, Bytes>>>,
    Path(name): Path<String>,
) -> Result<Bytes, StatusCode> {
    files.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}
