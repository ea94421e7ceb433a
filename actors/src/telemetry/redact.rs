//! URLs as spans, records and details may show them.

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
#[must_use]
pub fn redacted(url: &str) -> String {
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

/// `url` without user and password, as a record may show it; one without them to the letter.
pub(crate) fn without_user(url: String) -> String {
    let Ok(mut parsed) = Url::parse(&url) else {
        return without_secret(&url);
    };
    if parsed.username().is_empty() && parsed.password().is_none() {
        return url;
    }
    // Only URLs without a host refuse, and those have no user.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.into()
}

/// A text that is no URL, without what may be meant as user and password: from the first `//` to
/// the last `@`.
pub(crate) fn without_secret(text: &str) -> String {
    let Some(at) = text.rfind('@') else {
        return text.to_owned();
    };
    let from = text[..at].find("//").map_or(0, |slashes| slashes + 2);
    format!("{}{REDACTED}{}", &text[..from], &text[at..])
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

    #[test]
    fn a_record_shows_a_url_without_its_user_and_any_other_to_the_letter() {
        for (url, shown) in [
            (
                "https://u:p@a.example/x.jpg?w=1#f",
                "https://a.example/x.jpg?w=1#f",
            ),
            (
                "https://u@a.example:8443/x.jpg",
                "https://a.example:8443/x.jpg",
            ),
            ("https://:p@a.example/x.jpg", "https://a.example/x.jpg"),
            ("http:\\\\u:p@a.example\\x.jpg", "http://a.example/x.jpg"),
            (" \thttp:/u:p%40q@a.example/x.jpg", "http://a.example/x.jpg"),
            ("ftp://u:p@a.example/x", "ftp://a.example/x"),
            (
                "HTTP://Example.org:80/a b@c.jpg?h=ä",
                "HTTP://Example.org:80/a b@c.jpg?h=ä",
            ),
            ("https://example.org", "https://example.org"),
        ] {
            assert_eq!(without_user(url.to_owned()), shown);
        }
    }

    #[test]
    fn a_text_that_is_no_url_does_not_show_what_may_be_a_password() {
        for (text, shown) in [
            ("http://user:secret@[::1", "http://REDACTED@[::1"),
            ("https://user:se/cr@et@host/x", "https://REDACTED@host/x"),
            ("user:secret@host//x", "REDACTED@host//x"),
            ("//user:secret@host/x", "//REDACTED@host/x"),
            ("no URL", "no URL"),
        ] {
            assert_eq!(without_secret(text), shown);
        }
    }
}
