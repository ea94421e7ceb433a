//! What the HTTP client's errors mean.

use std::{error::Error, io, time::Duration};

use vila2_actors::error::FetchError;

use super::resolve::{Blocked, Unresolved};

/// Sorts an error of the client: refused by the guard, out of time, transient, or for good.
pub(super) fn failure(error: reqwest::Error, timeout: Duration) -> FetchError {
    if let Some(Blocked { host, address }) = find(&error) {
        return FetchError::BlockedAddress {
            host: host.clone(),
            address: address.clone(),
        };
    }
    if error.is_timeout() {
        return FetchError::Timeout(timeout);
    }
    let error = error.without_url();
    let text = describe(&error);
    if let Some(reason) = refused_certificate(&text) {
        return FetchError::Protocol(format!(
            "the server's certificate is refused: {reason} ({text})"
        ));
    }
    if is_transient(&error) {
        FetchError::Connection(text)
    } else {
        FetchError::Protocol(text)
    }
}

/// A broken connection may hold next time; a certificate that does not verify or an answer that is
/// no HTTP will be the same.
fn is_transient(error: &reqwest::Error) -> bool {
    if let Some(hyper) = find::<hyper::Error>(error) {
        return !(hyper.is_parse() || hyper.is_parse_too_large());
    }
    if find::<Unresolved>(error).is_some() {
        return true;
    }
    if let Some(io) = find::<io::Error>(error) {
        return !matches!(io.kind(), io::ErrorKind::Other | io::ErrorKind::InvalidData);
    }
    !error.is_connect() && !error.is_builder()
}

/// Why a certificate does not verify, from OpenSSL's words for it.
fn refused_certificate(text: &str) -> Option<&'static str> {
    const UNKNOWN: &str = "no authority that is trusted here signed it";
    const REASONS: [(&str, &str); 11] = [
        ("certificate has expired", "it has expired"),
        ("certificate is not yet valid", "it is not valid yet"),
        ("hostname mismatch", "it is for another host"),
        ("IP address mismatch", "it is for another host"),
        ("self-signed certificate", UNKNOWN),
        ("self signed certificate", UNKNOWN),
        ("unable to get local issuer certificate", UNKNOWN),
        ("unable to get issuer certificate", UNKNOWN),
        ("unable to verify the first certificate", UNKNOWN),
        ("certificate revoked", "it was revoked"),
        ("certificate verify failed", "it does not verify"),
    ];
    let known = REASONS.iter().find(|(words, _)| text.contains(words));
    known.map(|(_, reason)| *reason)
}

/// The first error of a type in a chain of causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

/// The chain of causes in one line, without repetition. The client's own first words ("error
/// sending request") say nothing where there is a cause.
fn describe(error: &dyn Error) -> String {
    let error = error.source().unwrap_or(error);
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        at = cause.source();
    }
    text
}
