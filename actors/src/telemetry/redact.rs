//! URLs as spans may show them.

use url::Url;

/// What stands where a secret stood.
const REDACTED: &str = "REDACTED";

/// Query parameters that sign a URL: those OpenTelemetry names for `url.full`
/// (<https://opentelemetry.io/docs/specs/semconv/registry/attributes/url/>), and AWS's version 4.
const SIGNING: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
];

/// `url` without user, password and the values that sign it; all else as it was. What
/// cannot be read as a URL is not shown.
pub(crate) fn redacted(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return REDACTED.to_owned();
    };
    let mut changed = false;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        // Only URLs without a host refuse, and those have no user.
        changed =
            parsed.set_username(REDACTED).is_ok() && parsed.set_password(Some(REDACTED)).is_ok();
    }
    let query = parsed.query().map(|query| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if SIGNING.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
                changed = true;
                format!("{name}={REDACTED}")
            }
            _ => pair.to_owned(),
        });
        pairs.collect::<Vec<_>>().join("&")
    });
    if !changed {
        return url.to_owned();
    }
    parsed.set_query(query.as_deref());
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_passwords_and_signatures_are_not_shown() {
        let cases = [
            (
                "https://u:p@a.example/x.jpg",
                "https://REDACTED:REDACTED@a.example/x.jpg",
            ),
            (
                "https://u@a.example/x.jpg?w=1",
                "https://REDACTED:REDACTED@a.example/x.jpg?w=1",
            ),
            (
                "https://a.example/x.jpg?w=10&sig=abc%3D&se=2030#part",
                "https://a.example/x.jpg?w=10&sig=REDACTED&se=2030#part",
            ),
            (
                "https://b.s3.amazonaws.com/x?X-Amz-Credential=K%2F1&X-Amz-Date=2&x-amz-signature=f0",
                "https://b.s3.amazonaws.com/x?X-Amz-Credential=REDACTED&X-Amz-Date=2&x-amz-signature=REDACTED",
            ),
        ];
        for (url, shown) in cases {
            assert_eq!(redacted(url), shown);
        }
    }

    #[test]
    fn other_urls_are_shown_to_the_letter() {
        for url in [
            "HTTP://Example.org:80/a b.jpg?w=1&h=ä&signature_style=bold",
            "https://example.org",
            "ftp://example.org/x",
        ] {
            assert_eq!(redacted(url), url);
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        assert_eq!(redacted("http://user:secret@[::1"), REDACTED);
    }
}
