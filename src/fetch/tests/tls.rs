//! Certificates that are refused, and why.

use std::{
    net::TcpListener as StdListener,
    path::Path,
    process::Command,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    ssl::{SslAcceptor, SslMethod},
    x509::{X509, X509NameBuilder, extension::SubjectAlternativeName},
};

use super::*;

/// What is wrong with each certificate that the list of trusted ones holds, and what is said of it;
/// none: it is good.
const TRUSTED: [(&str, Option<&str>); 4] = [
    ("good", None),
    ("expired", Some("it has expired")),
    ("future", Some("it is not valid yet")),
    ("other host", Some("it is for another host")),
];

const DAY: i64 = 24 * 60 * 60;

/// A certificate that signs itself.
fn certificate(kind: &str) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_text("CN", kind).expect("a name");
    let name = name.build();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs() as i64;
    let (from, to) = match kind {
        "expired" => (now - 2 * DAY, now - DAY),
        "future" => (now + DAY, now + 2 * DAY),
        _ => (now - DAY, now + DAY),
    };
    let address = if kind == "other host" {
        "127.0.0.9"
    } else {
        "127.0.0.1"
    };
    let mut certificate = X509::builder().expect("a certificate");
    certificate.set_version(2).expect("version 3");
    certificate.set_subject_name(&name).expect("a subject");
    certificate.set_issuer_name(&name).expect("an issuer");
    certificate.set_pubkey(&key).expect("a key");
    let (from, to) = (Asn1Time::from_unix(from), Asn1Time::from_unix(to));
    certificate
        .set_not_before(&from.expect("a time"))
        .expect("a start");
    certificate
        .set_not_after(&to.expect("a time"))
        .expect("an end");
    let host = SubjectAlternativeName::new()
        .ip(address)
        .build(&certificate.x509v3_context(None, None))
        .expect("a host");
    certificate.append_extension(host).expect("a host");
    certificate
        .sign(&key, MessageDigest::sha256())
        .expect("signed");
    (certificate.build(), key)
}

/// Answers over TLS; the port.
fn serve(certificate: &X509, key: &PKey<Private>) -> u16 {
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).expect("TLS");
    acceptor.set_private_key(key).expect("the key");
    acceptor.set_certificate(certificate).expect("its own");
    let acceptor = acceptor.build();
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(mut stream) = acceptor.accept(stream) else {
                continue; // refused by the client
            };
            let mut head = [0; 4096];
            if io::Read::read(&mut stream, &mut head).is_ok() {
                let good = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
                let _ = io::Write::write_all(&mut stream, good);
            }
        }
    });
    port
}

const FOLDER: &str = "VILA2_TEST_CERTIFICATES";

/// The list of trusted certificates is read once in a process, so this test runs itself again in
/// one that has a list of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_certificate_is_named_with_the_reason() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return each_is_named(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut list = Vec::new();
    for (kind, _) in TRUSTED {
        let (certificate, key) = certificate(kind);
        let pem = certificate.to_pem().expect("PEM");
        list.extend(&pem);
        std::fs::write(folder.path().join(format!("{kind}.pem")), pem).expect("written");
        let key = key.private_key_to_pem_pkcs8().expect("PEM");
        std::fs::write(folder.path().join(format!("{kind}.key")), key).expect("written");
    }
    let file = folder.path().join("list.pem");
    std::fs::write(&file, list).expect("written");
    let mut again = Command::new(std::env::current_exe().expect("this test"));
    again
        .args([
            "--exact",
            "fetch::tests::tls::a_refused_certificate_is_named_with_the_reason",
        ])
        .env("SSL_CERT_FILE", &file)
        .env(FOLDER, folder.path());
    let ran = tokio::task::spawn_blocking(move || again.output()).await;
    let output = ran.expect("no panic").expect("ran");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

async fn each_is_named(folder: &Path) {
    let read = |name: String| std::fs::read(folder.join(name)).expect("written before");
    let fetcher = loopback();
    for (kind, reason) in TRUSTED {
        let certificate = X509::from_pem(&read(format!("{kind}.pem"))).expect("PEM");
        let key = PKey::private_key_from_pem(&read(format!("{kind}.key"))).expect("PEM");
        let port = serve(&certificate, &key);
        let answer = get(&fetcher, &format!("https://127.0.0.1:{port}/")).await;
        match (answer, reason) {
            (Ok(fetched), None) => assert_eq!(fetched.body, "good"),
            (Err(error), Some(reason)) => is_refused(&error, reason),
            (answer, _) => panic!("{kind}: {answer:?}"),
        }
    }
    let (unknown, key) = certificate("good");
    let port = serve(&unknown, &key);
    let error = refusal(&fetcher, &format!("https://127.0.0.1:{port}/")).await;
    is_refused(&error, "no authority that is trusted here signed it");
}

fn is_refused(error: &FetchError, reason: &str) {
    let rejected = Disposition::Reject(Reason::FetchFailed);
    assert_eq!(error.disposition(), rejected, "{error}");
    let text = format!("the server's certificate is refused: {reason} (");
    assert!(error.to_string().starts_with(&text), "{error}");
}
