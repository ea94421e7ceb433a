//! TLS in front of a server that speaks none.

use std::{net::SocketAddr, path::Path};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_native_tls::{
    TlsAcceptor,
    native_tls::{self, Identity},
};

use super::impostor::certificate;

/// Takes TLS connections and passes what comes on to `server`, for as long as the runtime lives.
/// The certificate is made out to `host`, signed by itself and written to `file`. Returns the port.
pub async fn start(host: &str, file: &Path, server: SocketAddr) -> u16 {
    let (key, certificate) = certificate(host);
    let pem = certificate.to_pem().expect("PEM");
    std::fs::write(file, &pem).expect("a file");
    let key = key.private_key_to_pem_pkcs8().expect("PEM");
    let identity = Identity::from_pkcs8(&pem, &key).expect("an identity");
    let acceptor = native_tls::TlsAcceptor::new(identity).expect("an acceptor");
    let acceptor = TlsAcceptor::from(acceptor);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A refused handshake is what some tests want to see from the other side.
                let Ok(mut inside) = acceptor.accept(stream).await else {
                    return;
                };
                let mut behind = TcpStream::connect(server).await.expect("the server");
                let _ = copy_bidirectional(&mut inside, &mut behind).await;
            });
        }
    });
    port
}
