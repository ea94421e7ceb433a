//! What the web does on purpose or by neglect: bodies without end, certificates nobody signed.

use std::{
    net::{TcpListener as StdListener, TcpStream as StdStream},
    sync::atomic::AtomicBool,
    thread,
};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    pkey::PKey,
    rsa::Rsa,
    ssl::{SslAcceptor, SslMethod},
    x509::{X509, X509NameBuilder, extension::SubjectAlternativeName},
};

use super::*;

/// Sends `head`, then `chunk` again and again until nobody takes it; says when that was.
async fn endless(
    head: &'static str,
    chunk: Vec<u8>,
    pause: Option<Duration>,
) -> (Raw, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (sent, freed) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (count, gone) = (Arc::clone(&sent), Arc::clone(&freed));
    let server = Raw::start("127.0.0.1", 0, move |mut stream, _| {
        let (chunk, count, gone) = (chunk.clone(), Arc::clone(&count), Arc::clone(&gone));
        async move {
            stream.write_all(head.as_bytes()).await?;
            loop {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                if let Err(error) = stream.write_all(&chunk).await {
                    gone.store(true, Ordering::SeqCst);
                    return Err(error);
                }
                count.fetch_add(chunk.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    (server, sent, freed)
}

/// Waits until the server saw its socket closed.
async fn is_freed(freed: &AtomicBool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !freed.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "the socket is still open");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_at_the_cap_and_its_socket_freed() {
    for head in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        // A lie: there is more, and it is not read.
        "HTTP/1.1 200 OK\r\ncontent-length: 2147483648\r\n\r\n",
    ] {
        let (server, sent, freed) = endless(head, vec![b'x'; 64 << 10], None).await;
        let error = refusal(&loopback(), &server.url()).await;
        assert!(
            matches!(error, FetchError::TooLarge { limit: CAP, got } if got <= CAP + (1 << 20) || got == 2 << 30),
            "{error:?}"
        );
        is_freed(&freed).await;
        // What the sockets' buffers hold beyond the cap is the system's.
        assert!(sent.load(Ordering::SeqCst) < CAP as usize + (16 << 20));
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_body_that_drips_meets_the_deadline_and_its_socket_is_freed() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let pause = Some(Duration::from_millis(20));
    let (server, _, freed) = endless(head, vec![b'x'], pause).await;
    let mut settings = settings(&["127.0.0.1"]);
    settings.timeout = Duration::from_millis(400);
    let started = Instant::now();
    let budget = ByteBudget::new(64 << 20);
    let error = fetcher(&settings)
        .fetch(&server.url(), &mut budget.credit())
        .await
        .expect_err("too slow");
    assert!(matches!(error, FetchError::Timeout(_)), "{error:?}");
    let took = started.elapsed();
    assert!(took >= settings.timeout && took < settings.timeout + Duration::from_secs(1));
    assert_eq!(budget.used(), 0, "its credit went home");
    is_freed(&freed).await;
}

#[tokio::test]
async fn the_wait_that_a_server_asks_for_is_passed_on() {
    for (status, header, wait) in [
        (429, "retry-after: 7\r\n", Some(Duration::from_secs(7))),
        (503, "retry-after: 120\r\n", Some(Duration::from_secs(120))),
        // A date that has passed.
        (
            503,
            "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            Some(Duration::ZERO),
        ),
        (503, "retry-after: soon\r\n", None),
        (429, "", None),
    ] {
        let head = format!("HTTP/1.1 {status} X\r\n{header}content-length: 0\r\n\r\n");
        let server = Raw::saying(head).await;
        let error = refusal(&loopback(), &server.url()).await;
        let asked = Disposition::Retry(Reason::FetchStatus, wait);
        assert_eq!(error.disposition(), asked, "{status} {header}");
    }
}

/// Every directive of the contract, plain and for us; answers for others are none of ours.
#[tokio::test]
async fn every_opt_out_directive_is_a_refusal_of_its_own() {
    for directive in ["noai", "noimageai", "noindex", "noimageindex"] {
        for (tag, ours) in [
            (directive.to_owned(), true),
            (format!("vila2: {directive}"), true),
            (format!("otherbot: {directive}"), false),
        ] {
            let server = Raw::saying(format!(
                "HTTP/1.1 200 OK\r\nx-robots-tag: {tag}\r\ncontent-length: 1\r\n\r\nx"
            ))
            .await;
            match get(&loopback(), &server.url()).await {
                Ok(_) => assert!(!ours, "{tag}"),
                Err(error) => {
                    assert!(ours, "{tag}");
                    let refused = Disposition::Reject(Reason::OptedOut);
                    assert_eq!(error.disposition(), refused, "{tag}");
                }
            }
        }
    }
}

/// A TLS server for 127.0.0.1 with a certificate that it signed itself, made for this test.
fn self_signed() -> SslAcceptor {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_text("CN", "127.0.0.1")
        .expect("a name");
    let name = name.build();
    let mut certificate = X509::builder().expect("a certificate");
    certificate.set_version(2).expect("version 3");
    certificate.set_subject_name(&name).expect("a subject");
    certificate.set_issuer_name(&name).expect("an issuer");
    certificate.set_pubkey(&key).expect("a key");
    let (from, to) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    certificate
        .set_not_before(&from.expect("now"))
        .expect("a start");
    certificate
        .set_not_after(&to.expect("a day"))
        .expect("an end");
    let host = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&certificate.x509v3_context(None, None))
        .expect("a host");
    certificate.append_extension(host).expect("a host");
    certificate
        .sign(&key, MessageDigest::sha256())
        .expect("signed");
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).expect("TLS");
    acceptor.set_private_key(&key).expect("the key");
    acceptor
        .set_certificate(&certificate.build())
        .expect("the certificate");
    acceptor.build()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_signed_is_refused_before_a_request_is_sent() {
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = self_signed();
    let (asked, connected) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (requests, connections) = (Arc::clone(&asked), Arc::clone(&connected));
    thread::spawn(move || {
        let answer = |stream: StdStream| {
            connections.fetch_add(1, Ordering::SeqCst);
            // The handshake fails where the client does its work.
            if let Ok(mut stream) = acceptor.accept(stream) {
                let mut byte = [0];
                if io::Read::read(&mut stream, &mut byte).is_ok_and(|read| read > 0) {
                    requests.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        listener.incoming().flatten().for_each(answer);
    });
    let error = refusal(&loopback(), &format!("https://127.0.0.1:{port}/x.jpg")).await;
    assert_eq!(
        error.disposition(),
        Disposition::Reject(Reason::FetchFailed),
        "a certificate does not get better by trying again: {error:?}"
    );
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "no request went out");
    assert_eq!(connected.load(Ordering::SeqCst), 1);
}
