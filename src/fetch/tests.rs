use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
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

/// The test above once more in a process whose proxy variables point at a canary.
#[tokio::test]
async fn proxy_variables_are_no_way_around_the_guard() {
    let canary = Raw::canary().await;
    let proxy = format!("http://127.0.0.1:{}", canary.port);
    let mut again = std::process::Command::new(std::env::current_exe().expect("this test"));
    again.args(["--exact", "fetch::tests::a_good_picture_is_fetched"]);
    again.env_remove("NO_PROXY").env_remove("no_proxy");
    for variable in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "all_proxy",
        "ALL_PROXY",
    ] {
        again.env(variable, &proxy);
    }
    let ran = tokio::task::spawn_blocking(move || again.output()).await;
    let output = ran.expect("no panic").expect("ran");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}");
    assert_eq!(canary.connections(), 0);
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
async fn no_disguise_of_an_address_opens_a_connection() {
    let canary = Raw::canary().await;
    let (lookup, _) = always(&["127.0.0.1"]); // for those that are names
    let fetcher = HttpFetcher::with_lookup(&settings(&[]), lookup).expect("right settings");
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.1",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
        "example.com:80@127.0.0.1",
        "example.com%40x@127.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
    ] {
        for url in [
            format!("http://{host}:{}/x.jpg", canary.port),
            format!("http:\\\\{host}:{}\\x.jpg", canary.port),
            format!(" \thttp:/{host}:{}/x.jpg", canary.port),
        ] {
            let error = refusal(&fetcher, &url).await;
            assert!(
                matches!(error, FetchError::BlockedAddress { .. }),
                "{url}: {error:?}"
            );
        }
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn other_schemes_open_no_connection() {
    let canary = Raw::canary().await;
    let port = canary.port;
    for url in [
        format!("ftp://127.0.0.1:{port}/x.jpg"),
        format!("gopher://127.0.0.1:{port}/_GET"),
        format!("ws://127.0.0.1:{port}/"),
        "file:///etc/passwd".to_owned(),
        "data:image/png;base64,AAAA".to_owned(),
        "javascript:alert(1)".to_owned(),
    ] {
        let error = refusal(&loopback(), &url).await;
        assert!(
            matches!(error, FetchError::UnsupportedScheme { .. }),
            "{url}: {error:?}"
        );
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn redirects_to_refused_places_are_not_followed() {
    let canary = Raw::canary().await;
    // only this server's socket is allowed; the canary's port on the same address is not
    for (target, reason) in [
        (canary.url(), Reason::BlockedAddress),
        (
            format!("//localhost:{}/x", canary.port),
            Reason::BlockedAddress,
        ),
        (
            format!("http://0x7f.1:{}/", canary.port),
            Reason::BlockedAddress,
        ),
        (
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            Reason::BlockedAddress,
        ),
        ("file:///etc/passwd".to_owned(), Reason::BlockedAddress),
        (
            format!("ftp://127.0.0.1:{}/", canary.port),
            Reason::UnsupportedScheme,
        ),
        ("http://".to_owned(), Reason::FetchFailed),
    ] {
        let head = format!("HTTP/1.1 301 Moved\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
        let server = Raw::saying(head).await;
        let fetcher = fetcher(&settings(&[&format!("127.0.0.1:{}", server.port)]));
        let error = refusal(&fetcher, &server.url()).await;
        assert_eq!(
            error.disposition(),
            Disposition::Reject(reason),
            "{target}: {error:?}"
        );
        assert_eq!(server.connections(), 1);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn names_that_resolve_to_refused_addresses_open_no_connection() {
    let canary = Raw::canary().await;
    for addresses in [
        &["127.0.0.1"][..],
        &["::1", "127.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["0.0.0.0"],
    ] {
        let (lookup, asked) = always(addresses);
        let fetcher = HttpFetcher::with_lookup(&settings(&[]), lookup).expect("right settings");
        let error = refusal(
            &fetcher,
            &format!("http://pictures.example:{}/", canary.port),
        )
        .await;
        assert!(
            matches!(error, FetchError::BlockedAddress { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("pictures.example"), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn of_mixed_answers_only_allowed_addresses_are_used() {
    let good = Raw::saying("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await;
    let canary = Raw::start("127.0.0.2", good.port, |_, _| async { Ok(()) }).await;
    let (lookup, _) = always(&["10.0.0.1", "127.0.0.2", "127.0.0.1", "fd00::1"]);
    let allowed = settings(&[&format!("127.0.0.1:{}", good.port)]);
    let fetcher = HttpFetcher::with_lookup(&allowed, lookup).expect("right settings");
    let fetched = get(&fetcher, &format!("http://pictures.example:{}/", good.port)).await;
    assert_eq!(fetched.expect("one is allowed").body, "good");
    assert_eq!((good.connections(), canary.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_connected_where_it_was_checked() {
    let good = Raw::saying("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await;
    let canary = Raw::start("127.0.0.2", good.port, |_, _| async { Ok(()) }).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if first {
            [127, 0, 0, 1]
        } else {
            [127, 0, 0, 2]
        };
        Box::pin(async move { Ok(vec![IpAddr::from(address)]) })
    });
    let allowed = settings(&[&format!("127.0.0.1:{}", good.port)]);
    let fetcher = HttpFetcher::with_lookup(&allowed, lookup).expect("right settings");
    let fetched = get(&fetcher, &format!("http://pictures.example:{}/", good.port)).await;
    assert_eq!(fetched.expect("the first answer is allowed").body, "good");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn an_allowed_socket_is_reached_by_name_on_its_port_only() {
    let good = Raw::saying("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await;
    let canary = Raw::canary().await;
    let (lookup, _) = always(&["127.0.0.1"]);
    let allowed = settings(&[&format!("127.0.0.1:{}", good.port)]);
    let fetcher = HttpFetcher::with_lookup(&allowed, lookup).expect("right settings");
    assert!(
        get(&fetcher, &format!("http://a.example:{}/", good.port))
            .await
            .is_ok()
    );
    let error = refusal(&fetcher, &format!("http://a.example:{}/", canary.port)).await;
    assert!(
        matches!(error, FetchError::BlockedAddress { .. }),
        "{error:?}"
    );
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn content_length_is_heeded_but_not_trusted() {
    let body = |claimed: u64, sent: usize| {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {claimed}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + sent, b'x');
        answer
    };
    // more than allowed is refused from the head alone, whatever follows
    let server = Raw::saying(body(CAP + 1, 0)).await;
    let error = refusal(&loopback(), &server.url()).await;
    assert!(
        matches!(error, FetchError::TooLarge { limit: CAP, .. }),
        "{error:?}"
    );
    // more than claimed is not read
    let server = Raw::saying(body(10, 5000)).await;
    assert_eq!(
        get(&loopback(), &server.url())
            .await
            .expect("ten")
            .body
            .len(),
        10
    );
    // less than claimed is a broken connection, and may be whole next time
    let server = Raw::saying(body(5000, 10)).await;
    let error = refusal(&loopback(), &server.url()).await;
    assert!(matches!(error, FetchError::Connection(_)), "{error:?}");
}

#[tokio::test]
async fn a_body_of_the_cap_is_taken_and_one_byte_more_is_not() {
    for (size, good) in [(CAP, true), (CAP + 1, false)] {
        let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        answer.resize(answer.len() + size as usize, b'x');
        let server = Raw::saying(answer).await;
        assert_eq!(
            get(&loopback(), &server.url()).await.is_ok(),
            good,
            "{size}"
        );
    }
}

#[tokio::test]
async fn a_body_above_the_whole_budget_is_too_large() {
    let server = ImageServer::start(".").await.expect("a port");
    let url = format!("{}/good.jpg", server.base_url());
    let budget = ByteBudget::new(1000);
    let error = loopback()
        .fetch(&url, &mut budget.credit())
        .await
        .expect_err("too large");
    assert!(
        matches!(error, FetchError::TooLarge { limit: 1000, .. }),
        "{error:?}"
    );
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn nothing_is_decompressed_on_the_way() {
    let server = Raw::saying(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x08x",
    )
    .await;
    assert_eq!(
        get(&loopback(), &server.url()).await.expect("raw").body,
        "\x1f\x08x"
    );
}

#[tokio::test]
async fn headers_that_never_end_meet_the_deadline() {
    let server = Raw::start("127.0.0.1", 0, |mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            stream.write_all(b"x").await?;
        }
    })
    .await;
    let mut settings = settings(&["127.0.0.1"]);
    settings.timeout = Duration::from_millis(300);
    let started = Instant::now();
    let error = refusal(&fetcher(&settings), &server.url()).await;
    assert!(matches!(error, FetchError::Timeout(_)), "{error:?}");
    assert!(started.elapsed() >= settings.timeout);
    assert!(started.elapsed() < settings.timeout + Duration::from_secs(1));
}

#[tokio::test]
async fn headers_without_bound_are_refused() {
    let server = Raw::start("127.0.0.1", 0, |mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        loop {
            stream.write_all(b"a: b\r\n").await?;
        }
    })
    .await;
    let error = refusal(&loopback(), &server.url()).await;
    assert!(matches!(error, FetchError::Protocol(_)), "{error:?}");
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
