//! Why a collector is not reached: the name, the port, TLS or the certificate.

use std::time::Duration;

use openssl::{nid::Nid, x509::X509};
use tokio::net::TcpStream;
use tokio_native_tls::native_tls;

use super::Collector;

/// How long one step may take.
const STEP: Duration = Duration::from_secs(3);

/// What keeps spans from a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// What was found.
    pub found: String,
    /// What to do.
    pub advice: String,
}

impl Unreachable {
    fn new(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            advice: advice.into(),
        }
    }
}

impl Collector {
    /// Looks up the name, connects and, where the address says `https`, agrees on TLS. Sends no
    /// span.
    ///
    /// # Errors
    /// The first step that fails, with what to do about it.
    pub async fn reach(&self) -> Result<(), Unreachable> {
        let stream = self.connect().await?;
        if !self.is_tls() {
            return Ok(());
        }
        let connector = self
            .connector()
            .map_err(|error| Unreachable::new(error.to_string(), ""))?;
        let connector = tokio_native_tls::TlsConnector::from(connector);
        match within(connector.connect(self.host(), stream)).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(self.refused(&error).await),
            None => Err(Unreachable::new(
                format!("no TLS handshake within {STEP:?}"),
                self.check_address(),
            )),
        }
    }

    async fn connect(&self) -> Result<TcpStream, Unreachable> {
        let (host, port) = (self.host(), self.port());
        let found = within(tokio::net::lookup_host((host, port))).await;
        let addresses: Vec<_> = match found {
            Some(Ok(addresses)) => addresses.collect(),
            Some(Err(error)) => {
                let found = format!("the name {host} is not found: {error}");
                return Err(Unreachable::new(found, self.check_address()));
            }
            None => {
                let found = format!("the name {host} is not found within {STEP:?}");
                return Err(Unreachable::new(found, self.check_address()));
            }
        };
        let mut last = format!("the name {host} has no address");
        for address in addresses {
            match within(TcpStream::connect(address)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = format!("cannot connect to {address}: {error}"),
                None => last = format!("no connection to {address} within {STEP:?}"),
            }
        }
        Err(Unreachable::new(last, self.check_address()))
    }

    /// What the TLS library's error means.
    async fn refused(&self, error: &native_tls::Error) -> Unreachable {
        let text = error.to_string();
        let address = self.address();
        if [
            "wrong version number",
            "packet length too long",
            "record layer failure",
        ]
        .iter()
        .any(|words| text.contains(words))
        {
            return Unreachable::new(
                format!("{address} does not speak TLS ({text})"),
                format!(
                    "set {} to an http:// address, or turn TLS on there",
                    self.variable
                ),
            );
        }
        if !text.contains("certificate verify failed") {
            return Unreachable::new(
                format!("no TLS with {address}: {text}"),
                "check that it wants TLS, and whether it asks for a client certificate \
                 (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY)",
            );
        }
        // "…certificate verify failed:….c:2103: (unable to get local issuer certificate)"
        let why = text
            .rsplit_once('(')
            .map_or(&*text, |(_, why)| why.trim_end_matches(')'));
        let certificate = match self.certificate().await {
            Some(certificate) => format!(" ({certificate})"),
            None => String::new(),
        };
        let advice = if why.to_lowercase().contains("mismatch") {
            format!(
                "use a name in {} that the certificate was made for",
                self.variable
            )
        } else if why.contains("expired") || why.contains("not yet valid") {
            String::from("renew the certificate, and check the clocks of both machines")
        } else {
            String::from(
                "set OTEL_EXPORTER_OTLP_CERTIFICATE to a PEM file with the authority that signed it",
            )
        };
        Unreachable::new(
            format!("the certificate of {address}{certificate} is refused: {why}"),
            advice,
        )
    }

    /// What the refused certificate says of itself. Nothing is sent over this connection.
    async fn certificate(&self) -> Option<String> {
        let stream = self.connect().await.ok()?;
        let connector = native_tls::TlsConnector::builder()
            .danger_accept_invalid_certs(true)
            .danger_accept_invalid_hostnames(true)
            .build()
            .ok()?;
        let connector = tokio_native_tls::TlsConnector::from(connector);
        let stream = within(connector.connect(self.host(), stream)).await?.ok()?;
        let certificate = stream.get_ref().peer_certificate().ok()??;
        let certificate = X509::from_der(&certificate.to_der().ok()?).ok()?;
        let common_name = |name: &openssl::x509::X509NameRef| {
            let entry = name.entries_by_nid(Nid::COMMONNAME).next();
            entry
                .and_then(|entry| entry.data().to_string().ok())
                .map_or_else(|| String::from("without a name"), |name| name.to_string())
        };
        Some(format!(
            "{:?}, issued by {:?}, valid until {}",
            common_name(certificate.subject_name()),
            common_name(certificate.issuer_name()),
            certificate.not_after()
        ))
    }

    fn host(&self) -> &str {
        // The brackets of an IPv6 address belong to URLs alone.
        (self.url.host_str().unwrap_or_default())
            .trim_start_matches('[')
            .trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    fn check_address(&self) -> String {
        format!("check that the collector runs, and {}", self.variable)
    }
}

async fn within<T>(step: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(STEP, step).await.ok()
}
