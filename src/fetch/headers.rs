//! The two headers with a say: `Retry-After` and `X-Robots-Tag`.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// `Retry-After`, in seconds or as an HTTP date; a date in the past is no wait.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What stands before a colon in `X-Robots-Tag` without being an agent.
const WITH_VALUE: [&str; 4] = [
    "unavailable_after",
    "max-snippet",
    "max-image-preview",
    "max-video-preview",
];

/// The first directive of `X-Robots-Tag` that refuses us: plain, or scoped to our agent's token
/// (`vila2: noai, noindex`; a scope holds to the end of its header line or the next scope). `none`
/// is `noindex, nofollow`.
///
/// # Source
/// Google's "Robots meta tag, data-nosnippet, and X-Robots-Tag specifications"; `noai` and
/// `noimageai` as introduced by DeviantArt and read by img2dataset.
pub(super) fn opt_out(headers: &HeaderMap, token: &str, directives: &[String]) -> Option<String> {
    for line in headers.get_all("x-robots-tag") {
        let line = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
        let mut ours = true;
        for item in line.split(',') {
            let directive = match item.split_once(':') {
                Some((name, _)) if WITH_VALUE.contains(&name.trim()) => name,
                Some((agent, directive)) => {
                    ours = matches!(agent.trim(), "*") || agent.trim() == token;
                    directive
                }
                None => item,
            };
            let directive = directive.trim();
            let meaning = if directive == "none" {
                "noindex"
            } else {
                directive
            };
            if ours && directives.iter().any(|d| d == meaning) {
                return Some(format!("X-Robots-Tag: {directive}"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn tags(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                "x-robots-tag",
                HeaderValue::from_str(line).expect("a header"),
            );
        }
        let directives = ["noai", "noimageai", "noindex", "noimageindex"].map(str::to_owned);
        opt_out(&headers, "vila2", &directives)
    }

    #[test]
    fn plain_directives_opt_out() {
        for word in [
            "noai",
            "noimageai",
            "noindex",
            "noimageindex",
            "NoAI",
            "none",
        ] {
            assert!(tags(&[word]).is_some(), "{word}");
            assert!(
                tags(&["nofollow", &format!("nosnippet, {word}")]).is_some(),
                "{word}"
            );
        }
        assert_eq!(tags(&["nofollow, noarchive", "all"]), None);
        assert_eq!(tags(&[]), None);
    }

    #[test]
    fn a_scope_counts_only_for_its_agent() {
        assert!(tags(&["vila2: noai"]).is_some());
        assert!(tags(&["Vila2: nofollow, noindex"]).is_some());
        assert!(tags(&["*: noindex"]).is_some());
        assert_eq!(tags(&["googlebot: noindex, noai"]), None);
        assert!(tags(&["googlebot: noindex", "noai"]).is_some());
        assert!(tags(&["googlebot: nofollow, vila2: noai"]).is_some());
        assert_eq!(tags(&["vila2: nofollow, otherbot: noai"]), None);
    }

    #[test]
    fn directives_with_values_are_no_scopes() {
        assert!(tags(&["max-snippet: 20, noai"]).is_some());
        assert!(tags(&["unavailable_after: Wed, 25 Jun 2031 15:00:00 GMT", "noai"]).is_some());
        assert_eq!(tags(&["max-image-preview: large"]), None);
    }

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // 06 Nov 1994 08:49:37
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers, now)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            wait("Sun, 06 Nov 1994 08:50:37 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
    }
}
