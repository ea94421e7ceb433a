//! Heads and redirects that break the rules, and that browsers take all the same.

use super::*;

async fn with_headers(lines: &[u8]) -> Raw {
    let good = b"content-length: 4\r\n\r\ngood";
    Raw::saying([b"HTTP/1.1 200 OK\r\n", lines, good].concat()).await
}

#[tokio::test]
async fn many_short_headers_and_odd_header_lines_do_not_cost_a_picture() {
    let many: String = (0..150).map(|n| format!("x-{n}: y\r\n")).collect();
    for lines in [
        many.as_bytes(),
        b"x-folded: one\r\n two\r\n\tthree\r\n",
        b"x-space : before the colon\r\n",
        b"x-tab\t: before the colon\r\n",
        b"x odd name: y\r\n",
        b"x-\xe9\xff: y\r\n",
        b"x-caf\xc3\xa9: y\r\n",
        b"x(odd)[name]{}: y\r\n",
        b"no colon at all\r\n",
        b": no name\r\n",
        b"x-latin: caf\xe9\r\n",
        b"x-control: a\x01b\r\n",
        b"x-empty:\r\n",
        b"x-bare: line end\n",
        b"server: \xff\xfe\r\ncontent-type: image/\xe9\r\n",
    ] {
        let server = with_headers(lines).await;
        let fetched = get(&loopback(), &server.url()).await;
        let shown = String::from_utf8_lossy(lines);
        let fetched = fetched.unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_eq!(fetched.body, "good", "{shown:?}");
    }
}

#[tokio::test]
async fn headers_with_a_say_are_heeded_in_odd_writing() {
    for lines in [
        &b"x-robots-tag : noai\r\n"[..],
        b"x-robots-tag: nofollow,\r\n noai\r\n",
        b"x-robots-tag:\r\n\tvila2: noai\r\n",
        b"x-odd name: y\r\nx-robots-tag: caf\xe9, noai\r\n",
    ] {
        let server = with_headers(lines).await;
        let error = refusal(&loopback(), &server.url()).await;
        assert!(matches!(error, FetchError::OptedOut(_)), "{error:?}");
    }
}

/// Redirects to `location`; answers `arrived` with the request's first line where it leads.
async fn redirecting(location: &'static [u8]) -> Raw {
    Raw::start("127.0.0.1", 0, move |mut stream, head| async move {
        let line = head.lines().next().unwrap_or_default();
        if line != "GET /a/x.jpg HTTP/1.1" {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}",
                line.len()
            );
            return stream.write_all(answer.as_bytes()).await;
        }
        stream
            .write_all(b"HTTP/1.1 302 Found\r\nlocation: ")
            .await?;
        stream.write_all(location).await?;
        stream.write_all(b"\r\ncontent-length: 0\r\n\r\n").await
    })
    .await
}

/// Where browsers go from `/a/x.jpg`.
#[tokio::test]
async fn a_location_is_resolved_as_browsers_do() {
    for (location, path) in [
        (&b"/caf\xe9.jpg"[..], "/caf%E9.jpg"),
        (b"/caf\xc3\xa9.jpg", "/caf%C3%A9.jpg"),
        (b"/\xff\x80.jpg?q=\xe9", "/%FF%80.jpg?q=%E9"),
        (b"/caf%E9.jpg", "/caf%E9.jpg"),
        (b"/a picture.jpg", "/a%20picture.jpg"),
        (b"  /trimmed.jpg  ", "/trimmed.jpg"),
        (b"y.jpg", "/a/y.jpg"),
        (b"./../z.jpg", "/z.jpg"),
        (b"?q=1", "/a/x.jpg?q=1"),
        (b"\\back\\slash.jpg", "/back/slash.jpg"),
        (b"/y.jpg#part", "/y.jpg"),
        (b"/\"quoted\"<>.jpg", "/%22quoted%22%3C%3E.jpg"),
    ] {
        let server = redirecting(location).await;
        let url = format!("http://127.0.0.1:{}/a/x.jpg", server.port);
        let fetched = get(&loopback(), &url).await.expect(path);
        assert_eq!(fetched.body, format!("GET {path} HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_location_without_a_scheme_or_with_an_international_name_is_followed_behind_the_guard() {
    let target = Raw::saying("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await;
    let canary = Raw::canary().await;
    let lookup: Lookup = Arc::new(|host| {
        let known = host == "xn--bcher-kva.example" || host == "pictures.example";
        let found = known.then(|| vec![IpAddr::from([127, 0, 0, 1])]);
        Box::pin(async move { found.ok_or_else(|| io::Error::other("NXDOMAIN")) })
    });
    for host in [&b"pictures.example"[..], b"b\xc3\xbccher.example"] {
        for (port, good) in [(target.port, true), (canary.port, false)] {
            let end = format!(":{port}/caf");
            let location = [b"//", host, end.as_bytes(), b"\xe9 1.jpg"].concat();
            let first = redirecting(Box::leak(location.into_boxed_slice())).await;
            let allowed = [first.port, target.port].map(|port| format!("127.0.0.1:{port}"));
            let allowed = settings(&[&allowed[0], &allowed[1]]);
            let lookup = Arc::clone(&lookup);
            let fetcher = HttpFetcher::with_lookup(&allowed, lookup).expect("right settings");
            let url = format!("http://127.0.0.1:{}/a/x.jpg", first.port);
            match get(&fetcher, &url).await {
                Ok(fetched) => assert!(good && fetched.body == "good"),
                Err(error) => assert!(
                    !good && matches!(error, FetchError::BlockedAddress { .. }),
                    "{error:?}"
                ),
            }
        }
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_url_that_is_too_long_says_so() {
    let server = Raw::saying("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await;
    let base = format!("http://127.0.0.1:{}/", server.port);
    let of = |length: usize| format!("{base}{}", "x".repeat(length - base.len()));
    assert!(get(&loopback(), &of(65_534)).await.is_ok());
    let fragment = format!("{}#{}", of(65_534), "y".repeat(1000));
    assert!(get(&loopback(), &fragment).await.is_ok(), "it is not sent");
    // Two letters of six bytes each, as they are sent.
    let grown = format!("{}éé", of(65_530));
    for (url, length) in [
        (of(65_535), 65_535),
        (of(1 << 20), 1 << 20),
        (grown, 65_542),
    ] {
        let error = refusal(&loopback(), &url).await;
        let rejected = Disposition::Reject(Reason::BadRequest);
        assert_eq!(error.disposition(), rejected, "{error}");
        let text = format!("a URL of {length} bytes, more than the 65534 that can be asked for");
        assert!(error.to_string().contains(&text), "{error}");
    }
    let location = format!("/{}", "x".repeat(70_000)).into_bytes();
    let server = redirecting(Box::leak(location.into_boxed_slice())).await;
    let url = format!("http://127.0.0.1:{}/a/x.jpg", server.port);
    let error = refusal(&loopback(), &url).await;
    assert!(matches!(error, FetchError::Protocol(_)), "{error:?}");
    assert!(
        error.to_string().contains("redirected to a URL of 700"),
        "{error}"
    );
}

#[tokio::test]
async fn a_local_file_is_refused_without_a_remedy_that_cannot_help() {
    let redirect = redirecting(b"file:///etc/passwd").await;
    let url = format!("http://127.0.0.1:{}/a/x.jpg", redirect.port);
    let root = tempfile::tempdir().expect("a folder");
    let mut with_root = settings(&["127.0.0.1"]);
    with_root.file_roots = vec![root.path().to_owned()];
    let with_root = fetcher(&with_root);
    for (fetcher, url) in [
        (&loopback(), url.as_str()),
        (&with_root, url.as_str()),
        (&with_root, "file:///etc/passwd"),
    ] {
        let error = refusal(fetcher, url).await;
        let rejected = Disposition::Reject(Reason::BlockedAddress);
        assert_eq!(error.disposition(), rejected, "{error}");
        assert!(!error.to_string().contains("allow_addresses"), "{error}");
    }
    for location in [&b"ftp://127.0.0.1/x.jpg"[..], b"data:image/png;base64,AAAA"] {
        let redirect = redirecting(Box::leak(location.into())).await;
        let url = format!("http://127.0.0.1:{}/a/x.jpg", redirect.port);
        let error = refusal(&loopback(), &url).await;
        let rejected = Disposition::Reject(Reason::UnsupportedScheme);
        assert_eq!(error.disposition(), rejected, "{error}");
        assert!(!error.to_string().contains("fetch."), "{error}");
    }
}

/// Answers with the request's `Authorization`; `/a/x.jpg` redirects to `location`.
async fn asking_for_a_login(location: String) -> Raw {
    Raw::start("127.0.0.1", 0, move |mut stream, head| {
        let answer = if head.starts_with("GET /a/x.jpg ") {
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
        } else {
            let mut lines = head.lines();
            let login = lines.find_map(|line| line.strip_prefix("authorization: "));
            let login = login.unwrap_or("nobody");
            let length = login.len();
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{login}")
        };
        async move { stream.write_all(answer.as_bytes()).await }
    })
    .await
}

#[tokio::test]
async fn a_password_is_sent_to_its_own_host_only_and_not_shown() {
    const LOGIN: &str = "Basic dXNlcjpzM2NyZXQ="; // user:s3cret
    let other = asking_for_a_login(String::new()).await;
    let elsewhere = format!("127.0.0.1:{}/y.jpg", other.port);
    for (location, login) in [
        ("/y.jpg".to_owned(), LOGIN),
        ("y.jpg".to_owned(), LOGIN),
        (format!("http://{elsewhere}"), "nobody"),
        (format!("//{elsewhere}"), "nobody"),
        (format!("\\\\{elsewhere}"), "nobody"),
    ] {
        let server = asking_for_a_login(location.clone()).await;
        let url = format!("http://user:s3cret@127.0.0.1:{}/a/x.jpg", server.port);
        let fetched = get(&loopback(), &url).await.expect("good");
        assert_eq!(fetched.body, login, "{location}");
        assert!(!fetched.final_url.contains('@'), "{}", fetched.final_url);
    }
    // An absolute `Location` on the same server is the same server.
    let from = Url::parse("http://user:s3cret@localhost:8080/").expect("a URL");
    let same = http::resolve(&from, b"http://LOCALHOST:8080/y.jpg").expect("a URL");
    assert_eq!((same.username(), same.password()), ("user", Some("s3cret")));
    let port = http::resolve(&from, b"http://localhost:1/y.jpg").expect("a URL");
    assert_eq!((port.username(), port.password()), ("", None));
}

#[tokio::test]
async fn no_detail_of_a_failed_fetch_shows_a_password() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed_port = closed.local_addr().expect("bound").port();
    drop(closed);
    let missing = Raw::saying("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let noise = Raw::saying("SSH-2.0-OpenSSH_9.9\r\n").await;
    let silent = Raw::start("127.0.0.1", 0, |stream, _| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let mut settings = settings(&["127.0.0.1"]);
    settings.timeout = Duration::from_millis(300);
    let fetcher = fetcher(&settings);
    for url in [
        format!("http://user:s3cret@127.0.0.1:{closed_port}/x.jpg"),
        format!("http://user:s3cret@127.0.0.1:{}/x.jpg", missing.port),
        format!("http://user:s3cret@127.0.0.1:{}/x.jpg", noise.port),
        format!("https://user:s3cret@127.0.0.1:{}/x.jpg", noise.port),
        format!("http://user:s3cret@127.0.0.1:{}/x.jpg", silent.port),
        "http://user:s3cret@10.0.0.1/x.jpg".to_owned(),
        "ftp://user:s3cret@host/x.jpg".to_owned(),
        "http://user:s3cret@host:port/x.jpg".to_owned(),
        format!("http://user:s3cret@host/{}", "x".repeat(70_000)),
    ] {
        let error = refusal(&fetcher, &url).await;
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("user:"),
            "{shown}"
        );
    }
}
