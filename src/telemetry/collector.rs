//! The collector that spans are sent to, as the environment names it: address, protocol, TLS.
//!
//! Export is on where `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
//! `OTEL_TRACES_EXPORTER=otlp` is set, and `OTEL_SDK_DISABLED` is not `true`. The protocol is
//! `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`, else `OTEL_EXPORTER_OTLP_PROTOCOL`, else
//! `http/protobuf`. Of every variable the one with `TRACES` in its name comes first. Headers,
//! time-outs and compression are read by the exporter itself.
//!
//! The exporter's own TLS would bring a second TLS library; so for `https` it gets a gRPC channel,
//! or an HTTP client, on the library that Kafka and fetching use.

mod reach;

use std::fmt;

use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_otlp::{
    Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use tokio_native_tls::native_tls::{Certificate, Identity, TlsConnector};
use tonic::transport::{Channel, Endpoint};
use url::Url;

use super::TelemetryError;

pub use reach::Unreachable;

/// What the environment says about spans.
#[derive(Debug)]
pub enum Export {
    /// They stay here, because of this.
    Off(&'static str),
    /// They are sent.
    To(Box<Collector>),
}

/// Where spans are sent, and how.
#[derive(Debug)]
pub struct Collector {
    url: Url,
    /// The variable that names the address.
    variable: &'static str,
    protocol: Protocol,
    trust: Trust,
}

/// Whom the collector's certificate must come from, and who we are. PEM.
#[derive(Default)]
struct Trust {
    /// Instead of the system's authorities.
    authorities: Option<Vec<u8>>,
    /// Certificate and key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// A variable of the environment, and the value it has.
type Named = (&'static str, String);

impl Export {
    /// Reads the environment of the process.
    ///
    /// # Errors
    /// A variable with a value that cannot be used: its name, the value, what is accepted.
    pub fn from_environment() -> Result<Self, TelemetryError> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, TelemetryError> {
        let first = |names: [&'static str; 2]| {
            (names.into_iter()).find_map(|name| variable(name).map(|value| (name, value)))
        };
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self::Off("OTEL_SDK_DISABLED is true"));
        }
        let endpoint = first([
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ]);
        match variable("OTEL_TRACES_EXPORTER").as_deref() {
            Some("none") => return Ok(Self::Off("OTEL_TRACES_EXPORTER is none")),
            Some("otlp") => {}
            None if endpoint.is_some() => {}
            None => return Ok(Self::Off("OTEL_EXPORTER_OTLP_ENDPOINT is not set")),
            Some(other) => {
                let accepted = "otlp, none";
                return Err(refused("OTEL_TRACES_EXPORTER", other, accepted));
            }
        }
        let protocol = protocol(first([
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ]))?;
        let insecure = first([
            "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
            "OTEL_EXPORTER_OTLP_INSECURE",
        ]);
        let insecure = insecure.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
        let (url, variable) = address(endpoint, protocol, insecure)?;
        let trust = Trust::read(first)?;
        let collector = Collector {
            url,
            variable,
            protocol,
            trust,
        };
        collector.connector()?;
        Ok(Self::To(Box::new(collector)))
    }
}

fn protocol(named: Option<Named>) -> Result<Protocol, TelemetryError> {
    match named {
        None => Ok(Protocol::HttpBinary),
        Some((variable, value)) => match &*value {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::HttpBinary),
            other => Err(refused(variable, other, "grpc, http/protobuf")),
        },
    }
}

/// The collector's address; the specification's own where none is set.
fn address(
    named: Option<Named>,
    protocol: Protocol,
    insecure: bool,
) -> Result<(Url, &'static str), TelemetryError> {
    let (variable, value) = named.unwrap_or_else(|| {
        let port = if protocol == Protocol::Grpc {
            4317
        } else {
            4318
        };
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://localhost:{port}"),
        )
    });
    // gRPC addresses may come without a scheme: then another variable says whether TLS is spoken.
    let whole = match (value.contains("://"), protocol) {
        (false, Protocol::Grpc) if insecure => format!("http://{value}"),
        (false, Protocol::Grpc) => format!("https://{value}"),
        _ => value.clone(),
    };
    Url::parse(&whole)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .map(|url| (url, variable))
        .ok_or_else(|| refused(variable, &value, "http://HOST:PORT, https://HOST:PORT"))
}

impl Trust {
    fn read(first: impl Fn([&'static str; 2]) -> Option<Named>) -> Result<Self, TelemetryError> {
        let file = |named: Option<Named>| {
            named
                .map(|(variable, path)| {
                    std::fs::read(&path)
                        .map_err(|error| file_fault(variable, &path, &error.to_string()))
                })
                .transpose()
        };
        let authorities = first([
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ]);
        let certificate = first([
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ]);
        let key = first([
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ]);
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let named = certificate.clone();
                let pair = file(Some(certificate))?.zip(file(Some(key))?);
                if let Some((certificate, key)) = &pair {
                    Identity::from_pkcs8(certificate, key).map_err(|error| {
                        file_fault(named.0, &named.1, &format!("with its key: {error}"))
                    })?;
                }
                pair
            }
            (Some((variable, path)), None) | (None, Some((variable, path))) => {
                let accepted = "both OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and \
                                OTEL_EXPORTER_OTLP_CLIENT_KEY, or neither";
                return Err(refused(variable, &path, accepted));
            }
        };
        let trust = Self {
            authorities: file(authorities.clone())?,
            identity,
        };
        if let Some((variable, path)) = authorities {
            let parsed = trust.parsed();
            let fault = match parsed {
                Ok(found) if !found.is_empty() => None,
                Ok(_) => Some(String::from("it holds no certificate")),
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = fault {
                return Err(file_fault(variable, &path, &why));
            }
        }
        Ok(trust)
    }

    fn parsed(&self) -> Result<Vec<Certificate>, tokio_native_tls::native_tls::Error> {
        match &self.authorities {
            Some(pem) => Certificate::stack_from_pem(pem),
            None => Ok(Vec::new()),
        }
    }
}

impl Collector {
    /// Its address, without a password.
    #[must_use]
    pub fn address(&self) -> String {
        let mut shown = self.url.clone();
        // Only URLs without a host refuse this, and this one has one.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.as_str().trim_end_matches('/').to_owned()
    }

    /// The variable that names its address.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// How it is spoken to, as `OTEL_EXPORTER_OTLP_PROTOCOL` has it.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        if self.protocol == Protocol::Grpc {
            "grpc"
        } else {
            "http/protobuf"
        }
    }

    fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// An exporter of spans. Called inside a tokio runtime; connects later.
    ///
    /// # Errors
    /// A setting that the exporter refuses.
    pub fn exporter(&self) -> Result<SpanExporter, TelemetryError> {
        let built = if self.protocol == Protocol::Grpc {
            let builder = SpanExporter::builder()
                .with_tonic()
                .with_protocol(self.protocol);
            if self.is_tls() {
                builder.with_channel(self.channel()?).build()
            } else {
                builder.build()
            }
        } else {
            let builder = SpanExporter::builder()
                .with_http()
                .with_protocol(self.protocol);
            builder.with_http_client(self.client()?).build()
        };
        built.map_err(|error| TelemetryError::Exporter(error.to_string()))
    }

    fn channel(&self) -> Result<Channel, TelemetryError> {
        let error = |error: &dyn fmt::Display| TelemetryError::Exporter(error.to_string());
        let endpoint = Endpoint::from_shared(self.url.to_string()).map_err(|e| error(&e))?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let tls = tokio_native_tls::TlsConnector::from(self.connector()?);
        Ok(endpoint.connect_with_connector_lazy(HttpsConnector::from((http, tls))))
    }

    /// TLS towards the collector; HTTP/2 is agreed on where gRPC is spoken.
    fn connector(&self) -> Result<TlsConnector, TelemetryError> {
        let error = |error: &dyn fmt::Display| TelemetryError::Exporter(error.to_string());
        let mut builder = TlsConnector::builder();
        if self.trust.authorities.is_some() {
            builder.disable_built_in_roots(true);
        }
        for authority in self.trust.parsed().map_err(|e| error(&e))? {
            builder.add_root_certificate(authority);
        }
        if let Some((certificate, key)) = &self.trust.identity {
            let identity = Identity::from_pkcs8(certificate, key).map_err(|e| error(&e))?;
            builder.identity(identity);
        }
        if self.protocol == Protocol::Grpc {
            builder.request_alpns(&["h2"]);
        }
        builder.build().map_err(|e| error(&e))
    }

    fn client(&self) -> Result<reqwest::Client, TelemetryError> {
        let error = |error: reqwest::Error| TelemetryError::Exporter(error.to_string());
        let mut builder = reqwest::Client::builder();
        if let Some(pem) = &self.trust.authorities {
            let authorities = reqwest::Certificate::from_pem_bundle(pem).map_err(error)?;
            builder = builder.tls_certs_only(authorities);
        }
        if let Some((certificate, key)) = &self.trust.identity {
            let identity = reqwest::Identity::from_pkcs8_pem(certificate, key).map_err(error)?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(error)
    }
}

fn refused(variable: &'static str, value: &str, accepted: &'static str) -> TelemetryError {
    TelemetryError::Variable {
        variable,
        value: value.to_owned(),
        accepted,
    }
}

fn file_fault(variable: &'static str, path: &str, why: &str) -> TelemetryError {
    TelemetryError::File {
        variable,
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Export, TelemetryError> {
        Export::read(|name| {
            variables
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn collector(variables: &[(&str, &str)]) -> Collector {
        match read(variables).expect("known") {
            Export::To(collector) => *collector,
            Export::Off(why) => panic!("off: {why}"),
        }
    }

    fn off(variables: &[(&str, &str)]) -> &'static str {
        match read(variables).expect("known") {
            Export::Off(why) => why,
            Export::To(collector) => panic!("to {}", collector.address()),
        }
    }

    #[test]
    fn without_an_endpoint_nothing_is_exported() {
        assert!(off(&[]).contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
    }

    #[test]
    fn an_endpoint_alone_exports_over_http() {
        let found = collector(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]);
        assert_eq!(found.protocol(), "http/protobuf");
        assert_eq!(found.address(), "http://collector:4318");
    }

    #[test]
    fn the_variables_of_traces_beat_the_general_ones() {
        let found = collector(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "https://me:secret@b:2",
            ),
        ]);
        assert_eq!(found.protocol(), "grpc");
        assert_eq!(found.address(), "https://b:2");
        assert_eq!(found.variable(), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    }

    #[test]
    fn an_exporter_without_an_endpoint_uses_the_standard_port_of_its_protocol() {
        let found = collector(&[("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(found.address(), "http://localhost:4318");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let found = collector(&[("OTEL_TRACES_EXPORTER", "otlp"), grpc]);
        assert_eq!(found.address(), "http://localhost:4317");
    }

    #[test]
    fn a_grpc_address_without_a_scheme_speaks_tls_unless_insecure() {
        let both = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ];
        assert_eq!(collector(&both).address(), "https://collector:4317");
        let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
        let found = collector(&[both[0], both[1], insecure]);
        assert_eq!(found.address(), "http://collector:4317");
    }

    #[test]
    fn a_disabled_sdk_exports_nothing() {
        let why = off(&[
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ]);
        assert!(why.contains("OTEL_SDK_DISABLED"), "{why}");
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_with_what_is_accepted() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (variables, part) in [
            (vec![("OTEL_TRACES_EXPORTER", "zipkin")], "otlp, none"),
            (
                vec![endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
                "http/protobuf",
            ),
            (
                vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")],
                "http://HOST:PORT",
            ),
            (
                vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")],
                "http://HOST:PORT",
            ),
            (
                vec![endpoint, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "none/ca.pem")],
                "none/ca.pem",
            ),
            (
                vec![endpoint, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "Cargo.toml")],
                "no certificate",
            ),
            (
                vec![endpoint, ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem")],
                "CLIENT_CERTIFICATE",
            ),
        ] {
            let error = read(&variables).expect_err("must be refused").to_string();
            let last = variables.last().expect("a variable").0;
            assert!(error.contains(part) && error.contains(last), "{error}");
        }
    }
}
