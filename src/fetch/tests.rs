use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use vila2_actors::{
    budget::ByteBudget,
    error::{Disposition, Reason},
    ports::Decoder as _,
};

use super::*;
use crate::{
    decode::FileDecoder,
    demo::server::{ImageServer, bad_requests},
};

mod bounds;
mod codings;
mod credit;
mod guarded;
mod odd;
mod tls;
mod web;

const CAP: u64 = 1 << 20;

fn settings(allowed: &[&str]) -> FetchSettings {
    FetchSettings {
        timeout: Duration::from_millis(1500),
        max_bytes: CAP,
        allow_addresses: allowed.iter().map(|a| (*a).to_owned()).collect(),
        ..FetchSettings::default()
    }
}

fn fetcher(settings: &FetchSettings) -> HttpFetcher {
    HttpFetcher::new(settings).expect("right settings")
}

fn loopback() -> HttpFetcher {
    fetcher(&settings(&["127.0.0.0/8"]))
}

async fn get(fetcher: &HttpFetcher, url: &str) -> Result<Fetched, FetchError> {
    fetcher
        .fetch(url, &mut ImageCredit::unlimited(2 * CAP))
        .await
}

async fn refusal(fetcher: &HttpFetcher, url: &str) -> FetchError {
    get(fetcher, url).await.expect_err(url)
}

/// A server that gives every connection to `answer` after reading a request's head.
struct Raw {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Raw {
    async fn start<F>(
        host: &str,
        port: u16,
        answer: impl Fn(TcpStream, String) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((host, port)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n")
                    && !head.starts_with(&[0x16]) // a TLS hello has no such end
                    && stream.read(&mut byte).await.is_ok_and(|n| n > 0)
                {
                    head.push(byte[0]);
                }
                tokio::spawn(answer(stream, String::from_utf8_lossy(&head).into_owned()));
            }
        });
        Self { port, connections }
    }

    /// Answers every request with the same bytes and closes.
    async fn saying(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start("127.0.0.1", 0, move |mut stream, _| {
            let answer = answer.clone();
            async move { stream.write_all(&answer).await }
        })
        .await
    }

    /// Must never be reached.
    async fn canary() -> Self {
        Self::saying("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nleak").await
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/x.jpg", self.port)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Resolves every name to the same addresses, and counts.
fn always(addresses: &[&str]) -> (Lookup, Arc<AtomicUsize>) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().expect("ip")).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    });
    (lookup, asked)
}

#[tokio::test]
async fn a_good_picture_is_fetched() {
    let server = ImageServer::start(".").await.expect("a port");
    let url = format!("{}/good.jpg", server.base_url());
    let mut credit = ImageCredit::unlimited(CAP);
    let fetched = loopback().fetch(&url, &mut credit).await.expect("good");
    assert_eq!(fetched.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(fetched.final_url, url);
    assert_eq!(credit.held(), fetched.body.len() as u64);
    let decoded = FileDecoder::default().decode(fetched.body).expect("good");
    assert_eq!((decoded.image.width, decoded.image.height), (320, 240));
}

#[tokio::test]
async fn every_bad_request_ends_with_its_reason() {
    let server = ImageServer::start(".").await.expect("a port");
    let fetcher = fetcher(&settings(&[&server.allow_entry()]));
    for bad in bad_requests(&server.base_url()) {
        if bad.reason == Reason::BadRequest {
            continue; // refused at intake, before there is a URL
        }
        let disposition = match get(&fetcher, &bad.value).await {
            Err(error) => error.disposition(),
            Ok(fetched) => {
                let error = FileDecoder::default().decode(fetched.body);
                error.expect_err(bad.name).disposition()
            }
        };
        assert_eq!(disposition, Disposition::Reject(bad.reason), "{}", bad.name);
    }
    assert_eq!(server.hits("/redirect-loop"), 1 + MAX_REDIRECTS as u64);
}

#[tokio::test]
async fn a_busy_server_is_worth_another_attempt_after_its_wait() {
    let server = ImageServer::start(".").await.expect("a port");
    let url = format!("{}/flaky.jpg", server.base_url());
    let fetcher = loopback();
    let later = Disposition::Retry(Reason::FetchStatus, Some(Duration::from_secs(1)));
    assert_eq!(refusal(&fetcher, &url).await.disposition(), later);
    assert_eq!(refusal(&fetcher, &url).await.disposition(), later);
    assert!(get(&fetcher, &url).await.is_ok());
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_name_are_worth_another_attempt() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let unknown: Lookup = Arc::new(|_| Box::pin(async { Err(io::Error::other("NXDOMAIN")) }));
    let fetcher =
        HttpFetcher::with_lookup(&settings(&["127.0.0.0/8"]), unknown).expect("right settings");
    for url in [
        format!("http://{address}/x.jpg"),
        "http://nowhere.example/x.jpg".to_owned(),
    ] {
        let error = refusal(&fetcher, &url).await;
        assert!(matches!(error, FetchError::Connection(_)), "{error:?}");
    }
}

#[tokio::test]
async fn ten_redirects_are_followed_and_eleven_are_not() {
    let server = Raw::start("127.0.0.1", 0, |mut stream, head| async move {
        let left: u32 = head[5..]
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let answer = match left {
            0 => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood".to_owned(),
            n => format!(
                "HTTP/1.1 302 Found\r\nlocation: /{}\r\ncontent-length: 0\r\n\r\n",
                n - 1
            ),
        };
        stream.write_all(answer.as_bytes()).await
    })
    .await;
    let base = format!("http://127.0.0.1:{}", server.port);
    let ten = get(&loopback(), &format!("{base}/10")).await.expect("ten");
    assert_eq!(ten.final_url, format!("{base}/0"));
    let eleven = refusal(&loopback(), &format!("{base}/11")).await;
    assert!(matches!(eleven, FetchError::Protocol(_)), "{eleven:?}");
}

#[tokio::test]
async fn what_is_no_http_and_what_is_no_tls_is_not_tried_again() {
    let server = Raw::saying("SSH-2.0-OpenSSH_9.9\r\n").await;
    for url in [server.url(), server.url().replace("http:", "https:")] {
        let error = refusal(&loopback(), &url).await;
        assert!(matches!(error, FetchError::Protocol(_)), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn an_opt_out_is_respected_unless_configured_otherwise() {
    let tagged = |tag: &str| {
        Raw::saying(format!(
            "HTTP/1.1 200 OK\r\nx-robots-tag: {tag}\r\ncontent-length: 1\r\n\r\nx"
        ))
    };
    let ours = tagged("somebot: nofollow, vila2: noimageai").await;
    let error = refusal(&loopback(), &ours.url()).await;
    assert!(matches!(error, FetchError::OptedOut(_)), "{error:?}");
    let mut settings = settings(&["127.0.0.1"]);
    settings.respect_opt_out = false;
    assert!(get(&fetcher(&settings), &ours.url()).await.is_ok());
    assert!(
        get(&loopback(), &tagged("somebot: noimageai").await.url())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn statuses_without_a_picture_are_told_by_number() {
    for (status, again) in [
        (204, false),
        (206, false),
        (304, false),
        (403, false),
        (410, false),
        (429, true),
        (502, true),
    ] {
        let server = Raw::saying(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")).await;
        let error = refusal(&loopback(), &server.url()).await;
        assert!(
            matches!(error, FetchError::Status { status: s, .. } if s == status),
            "{error:?}"
        );
        let retried = matches!(
            error.disposition(),
            Disposition::Retry(Reason::FetchStatus, None)
        );
        assert_eq!(retried, again, "{status}");
    }
}

#[tokio::test]
async fn files_are_read_under_their_roots_only() {
    let outer = tempfile::tempdir().expect("a folder");
    let root = outer.path().join("root");
    std::fs::create_dir(&root).expect("a folder");
    std::fs::write(root.join("good.png"), b"good").expect("written");
    std::fs::write(outer.path().join("secret"), b"secret").expect("written");
    std::fs::write(root.join("large"), vec![0; CAP as usize + 1]).expect("written");
    std::os::unix::fs::symlink(outer.path().join("secret"), root.join("link")).expect("a link");
    let mut settings = settings(&[]);
    settings.file_roots = vec![root.clone()];
    let fetcher = fetcher(&settings);
    let url = |path: &str| format!("file://{}/{path}", root.display());
    assert_eq!(
        get(&fetcher, &url("good.png")).await.expect("good").body,
        "good"
    );
    for (path, reason) in [
        ("../secret", Reason::BlockedAddress),
        ("..%2fsecret", Reason::BlockedAddress),
        ("link", Reason::BlockedAddress),
        ("missing", Reason::FetchFailed),
        (".", Reason::FetchFailed),
        ("large", Reason::TooLarge),
    ] {
        let error = refusal(&fetcher, &url(path)).await;
        assert_eq!(
            error.disposition(),
            Disposition::Reject(reason),
            "{path}: {error:?}"
        );
    }
}

#[test]
fn every_fault_of_the_settings_is_reported() {
    let mut settings = settings(&["nonsense", "127.0.0.1"]);
    settings.file_roots = vec!["/does/not/exist".into()];
    settings.user_agent = "line\nbreak".to_owned();
    let faults = HttpFetcher::new(&settings).expect_err("three faults");
    let keys: Vec<_> = faults.iter().map(|fault| fault.key).collect();
    assert_eq!(
        keys,
        [
            "fetch.allow_addresses",
            "fetch.file_roots",
            "fetch.user_agent"
        ]
    );
}
