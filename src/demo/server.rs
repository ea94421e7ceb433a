//! The web in small: an image server on loopback that serves a folder and misbehaves on demand, for
//! the demo and for tests.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, Cursor},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use image::{ImageFormat, RgbImage};
use tokio::{net::TcpListener, task::JoinHandle};
use vila2_actors::error::Reason;

/// A PNG of 69 bytes whose header claims 65,535 × 65,535 pixels, checksums and all.
const HUGE_PNG: &[u8] = b"\x89PNG\r\n\x1a\n\
    \x00\x00\x00\x0dIHDR\x00\x00\xff\xff\x00\x00\xff\xff\x08\x02\x00\x00\x00\x39gN\x07\
    \x00\x00\x00\x0cIDATx\x9cc`\xa0\x0c\x00\x00\x00@\x00\x01\xb74|\xef\
    \x00\x00\x00\x00IEND\xaeB`\x82";

const HTML: &str = "<!doctype html><title>Moved</title><p>This picture has moved.";
/// `/flaky.jpg` fails this often before it is good.
const FLAKY_FAILURES: u64 = 2;

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct ImageServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// A picture made here, as a JPEG file.
    picture: Bytes,
    hits: Mutex<HashMap<String, u64>>,
}

impl ImageServer {
    /// Serves `folder` on a free port of 127.0.0.1: its files at `/images/NAME`, and beside them
    /// what [`bad_requests`] lists and `/good.jpg` and `/flaky.jpg` (503 twice, then good).
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            folder: folder.into(),
            picture: picture(),
            hits: Mutex::default(),
        });
        let app = routes(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // accepting goes on for ever; errors of single connections are not the server's
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a file in the folder.
    #[must_use]
    pub fn image_url(&self, file: &str) -> String {
        format!("{}/images/{file}", self.base_url())
    }

    /// The entry for `fetch.allow_addresses` that lets this server through and nothing else.
    #[must_use]
    pub fn allow_entry(&self) -> String {
        self.address.to_string()
    }

    /// Requests seen for a path such as `/missing.jpg`.
    #[must_use]
    pub fn hits(&self, path: &str) -> u64 {
        self.shared.hits().get(path).copied().unwrap_or(0)
    }

    /// Requests seen in all.
    #[must_use]
    pub fn total_hits(&self) -> u64 {
        self.shared.hits().values().sum()
    }
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn hits(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that must end as a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// What is bad about it, in one word.
    pub name: &'static str,
    /// The value to publish.
    pub value: String,
    /// The reason its dead letter must carry.
    pub reason: Reason,
}

/// One request of every kind that must be refused, against a server at `base_url`.
#[must_use]
pub fn bad_requests(base_url: &str) -> Vec<BadRequest> {
    let here = |path: &str| format!("{base_url}{path}");
    [
        ("missing", here("/missing.jpg"), Reason::FetchStatus),
        (
            "not_an_image",
            here("/not-an-image.jpg"),
            Reason::UnsupportedFormat,
        ),
        ("truncated", here("/truncated.jpg"), Reason::TruncatedImage),
        ("huge", here("/huge.png"), Reason::TooManyPixels),
        ("too_large", here("/too-large.jpg"), Reason::TooLarge),
        (
            "redirect_private",
            here("/redirect-private"),
            Reason::BlockedAddress,
        ),
        ("redirect_loop", here("/redirect-loop"), Reason::FetchFailed),
        ("slow", here("/slow.jpg"), Reason::FetchTimeout),
        ("opted_out", here("/optout.jpg"), Reason::OptedOut),
        (
            "refused_address",
            "http://10.0.0.1/x.jpg".to_owned(),
            Reason::BlockedAddress,
        ),
        (
            "ftp",
            "ftp://example.com/x.jpg".to_owned(),
            Reason::UnsupportedScheme,
        ),
        (
            "data_url",
            "data:image/gif;base64,R0lGODlhAQ==".to_owned(),
            Reason::UnsupportedScheme,
        ),
        (
            "no_url",
            "{\"caption\": \"a request without a URL\"}".to_owned(),
            Reason::BadRequest,
        ),
        (
            "no_request",
            "a lighthouse at dusk".to_owned(),
            Reason::BadRequest,
        ),
    ]
    .into_iter()
    .map(|(name, value, reason)| BadRequest {
        name,
        value,
        reason,
    })
    .collect()
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/images/{file}", get(file))
        .route("/good.jpg", get(good))
        .route("/not-an-image.jpg", get(async || jpeg(HTML)))
        .route("/truncated.jpg", get(truncated))
        .route(
            "/huge.png",
            get(async || ([(header::CONTENT_TYPE, "image/png")], HUGE_PNG)),
        )
        .route("/too-large.jpg", get(endless))
        .route(
            "/redirect-private",
            get(async || Redirect::temporary("http://169.254.169.254/x")),
        )
        .route(
            "/redirect-loop",
            get(async || Redirect::temporary("/redirect-loop")),
        )
        .route("/slow.jpg", get(slow))
        .route("/flaky.jpg", get(flaky))
        .route("/optout.jpg", get(opted_out))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), count))
        .with_state(shared)
}

type Server = State<Arc<Shared>>;

async fn count(State(shared): Server, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    *shared.hits().entry(path).or_default() += 1;
    next.run(request).await
}

/// A file of the folder. The router hands over one decoded segment; it may still hold a slash.
async fn file(State(shared): Server, Path(name): Path<String>) -> Response {
    let plain = !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    let read = match plain {
        true => tokio::fs::read(shared.folder.join(&name)).await.ok(),
        false => None,
    };
    let kind = match name.rsplit('.').next() {
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        _ => "image/jpeg",
    };
    match read {
        Some(body) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn jpeg(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg")], body.into()).into_response()
}

async fn good(State(shared): Server) -> Response {
    jpeg(shared.picture.clone())
}

async fn truncated(State(shared): Server) -> Response {
    jpeg(shared.picture.slice(..shared.picture.len() * 6 / 10))
}

async fn opted_out(State(shared): Server) -> Response {
    ([("x-robots-tag", "noai")], jpeg(shared.picture.clone())).into_response()
}

async fn flaky(State(shared): Server) -> Response {
    let seen = shared.hits().get("/flaky.jpg").copied().unwrap_or(0);
    if seen > FLAKY_FAILURES {
        return jpeg(shared.picture.clone());
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::RETRY_AFTER, "1")],
    )
        .into_response()
}

/// Begins like a JPEG, names no length and never ends.
async fn endless(State(shared): Server) -> Response {
    let more = Bytes::from_static(&[0x5a; 64 << 10]);
    jpeg(Body::from_stream(stream::unfold(
        shared.picture.clone(),
        move |now| std::future::ready(Some((Ok::<_, Infallible>(now), more.clone()))),
    )))
}

/// A byte now and then, for ever.
async fn slow(State(shared): Server) -> Response {
    let ticks = tokio::time::interval(Duration::from_millis(100));
    let drip = stream::unfold(
        (ticks, shared.picture.clone()),
        async |(mut ticks, picture)| {
            ticks.tick().await;
            Some((Ok::<_, Infallible>(picture.slice(..1)), (ticks, picture)))
        },
    );
    jpeg(Body::from_stream(drip))
}

/// A picture with something to see in it, as a JPEG file of about 10 kB.
fn picture() -> Bytes {
    let picture = RgbImage::from_fn(320, 240, |x, y| {
        let ring = (x as i32 - 160).pow(2) + (y as i32 - 120).pow(2);
        let inside = ring < 80 * 80;
        image::Rgb(if inside {
            [220, (x % 256) as u8, 40]
        } else {
            [(x / 2) as u8, (y % 256) as u8, ((x * y) % 251) as u8]
        })
    });
    let mut file = Cursor::new(Vec::new());
    picture
        .write_to(&mut file, ImageFormat::Jpeg)
        .expect("bug: encoding into memory does not fail");
    file.into_inner().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(url: &str) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().build();
        let answer = client.expect("a client").get(url).send().await;
        answer.expect("an answer")
    }

    #[tokio::test]
    async fn files_of_the_folder_are_served_and_nothing_beside_it() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = outer.path().join("images");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("a.png"), b"a").expect("written");
        std::fs::write(outer.path().join("secret"), b"s").expect("written");
        let server = ImageServer::start(&folder).await.expect("a port");

        let good = ask(&server.image_url("a.png")).await;
        assert_eq!(good.headers()["content-type"], "image/png");
        assert_eq!(good.bytes().await.expect("a body"), "a");
        for path in ["..%2fsecret", "%2e%2e%2fsecret", "b.png", "%2fetc%2fpasswd"] {
            let answer = ask(&server.image_url(path)).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(server.hits("/images/a.png"), 1);
        assert_eq!(server.total_hits(), 5);
    }

    #[tokio::test]
    async fn the_flaky_picture_is_good_at_the_third_request() {
        let server = ImageServer::start(".").await.expect("a port");
        let url = format!("{}/flaky.jpg", server.base_url());
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(ask(&url).await.status().as_u16());
        }
        assert_eq!(seen, [503, 503, 200, 200]);
    }
}
