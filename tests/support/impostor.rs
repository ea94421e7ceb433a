//! A listener that speaks TLS and nothing else, with a certificate that nobody trusts.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    sync::Arc,
    thread,
};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    ssl::{SslAcceptor, SslMethod},
    x509::{X509, X509NameBuilder, extension::SubjectAlternativeName},
};

/// Starts the listener, for as long as the test's process lives; its certificate is made out to
/// `host` and written to `file`. Returns its port.
pub fn listen(host: &str, file: &Path) -> u16 {
    let (key, certificate) = certificate(host);
    std::fs::write(file, certificate.to_pem().expect("PEM")).expect("a file");
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("an acceptor");
    acceptor.set_private_key(&key).expect("a key");
    acceptor
        .set_certificate(&certificate)
        .expect("a certificate");
    let acceptor = Arc::new(acceptor.build());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let acceptor = Arc::clone(&acceptor);
            // A refused handshake is what the tests want to see from the other side.
            thread::spawn(move || drop(acceptor.accept(stream)));
        }
    });
    port
}

pub fn certificate(host: &str) -> (PKey<Private>, X509) {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_text("CN", host).expect("a name");
    let name = name.build();
    let mut builder = X509::builder().expect("a builder");
    builder.set_version(2).expect("version 3");
    builder.set_subject_name(&name).expect("a subject");
    builder.set_issuer_name(&name).expect("an issuer");
    builder.set_pubkey(&key).expect("a key");
    let (from, to) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(2));
    builder
        .set_not_before(&from.expect("a time"))
        .expect("a time");
    builder.set_not_after(&to.expect("a time")).expect("a time");
    let context = builder.x509v3_context(None, None);
    let names = SubjectAlternativeName::new()
        .dns(host)
        .build(&context)
        .expect("names");
    builder.append_extension(names).expect("an extension");
    builder
        .sign(&key, MessageDigest::sha256())
        .expect("a signature");
    (key, builder.build())
}
