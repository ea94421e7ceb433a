//! No way around the guard: canaries that must never be connected to.

use super::*;

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

/// Places that no test machine has a canary in: refused at once, without an attempt.
#[tokio::test]
async fn every_special_network_is_refused_in_every_writing() {
    let (lookup, asked) = always(&["93.184.216.34"]);
    let fetcher = HttpFetcher::with_lookup(&settings(&[]), lookup).expect("right settings");
    for host in [
        "10.0.0.1",
        "10.1",
        "167772161",
        "0xa000001",
        "012.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "192.168.1.1.",
        "user:pass@192.168.1.1",
        "3232235777",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "100.64.0.1",
        "100.127.255.254",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[ff02::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[2001:db8::1]",
    ] {
        for url in [
            format!("http://{host}/latest/meta-data/"),
            format!("https://{host}:8443/x.jpg"),
            format!("http:\\\\{host}\\x.jpg"),
        ] {
            let started = Instant::now();
            let error = refusal(&fetcher, &url).await;
            assert_eq!(
                error.disposition(),
                Disposition::Reject(Reason::BlockedAddress),
                "{url}: {error:?}"
            );
            assert!(started.elapsed() < Duration::from_secs(1), "{url}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "none of them is a name");
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
        (
            format!("http://2130706433:{}/", canary.port),
            Reason::BlockedAddress,
        ),
        (
            format!("http://0177.0.0.1:{}/", canary.port),
            Reason::BlockedAddress,
        ),
        (
            format!("http://[::ffff:127.0.0.1]:{}/", canary.port),
            Reason::BlockedAddress,
        ),
        (
            format!("http://example.org@127.0.0.1.:{}/", canary.port),
            Reason::BlockedAddress,
        ),
        (
            format!("\\\\127.1:{}\\x", canary.port),
            Reason::BlockedAddress,
        ),
        ("http://[fd00:ec2::254]/".to_owned(), Reason::BlockedAddress),
        ("http://100.64.0.1/".to_owned(), Reason::BlockedAddress),
        (
            format!("gopher://127.0.0.1:{}/_GET", canary.port),
            Reason::UnsupportedScheme,
        ),
        (
            "data:image/png;base64,AAAA".to_owned(),
            Reason::UnsupportedScheme,
        ),
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

/// A test that fetches from loopback, once more in a process whose proxy variables point at a canary.
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
