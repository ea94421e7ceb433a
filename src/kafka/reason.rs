//! Why a client has no connection: librdkafka's words, told apart from its noise, and what to do.
//!
//! librdkafka reports each broken connection as an error event or a log line, and then that all
//! brokers are down, which explains nothing. What explains is kept, and gets a remedy.

use std::sync::{Mutex, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Words of librdkafka, lower case, and what helps. The first that matches counts.
const REMEDIES: [(&[&str], &str); 12] = [
    (
        &["certificate verify failed", "could not be verified"],
        "the broker's certificate is not trusted, or is made out to another host name: set \
         kafka.options \"ssl.ca.location\" to the PEM file of the authority that signed it, and \
         use the name in the certificate in kafka.brokers",
    ),
    (
        &[
            "client ssl authentication might be required",
            "certificate required",
            "bad certificate",
        ],
        "the broker asks for a client certificate it trusts: set kafka.options \
         \"ssl.certificate.location\" and \"ssl.key.location\"",
    ),
    (
        &[
            "plaintext broker listener",
            "wrong version number",
            "packet length too long",
            "record layer failure",
            HUNG_UP_TLS,
        ],
        "the listener does not speak TLS: set kafka.options \"security.protocol\" to \"plaintext\" \
         (with a user: \"sasl_plaintext\"), or kafka.brokers to its TLS port",
    ),
    (
        &[
            "unsupported sasl mechanism",
            "supported mechanisms",
            "sasl handshake",
        ],
        "the broker does not offer this way of signing in: set kafka.options \"sasl.mechanism\" to \
         one that it offers",
    ),
    (
        &[
            "sasl authentication error",
            "authentication failed",
            "sasl scram authentication",
        ],
        "the broker does not accept this user: check kafka.options \"sasl.username\", \
         \"sasl.password\" and \"sasl.mechanism\"",
    ),
    (
        &["require sasl authentication"],
        "the listener wants a user: set kafka.options \"security.protocol\" to \"sasl_plaintext\" or \
         \"sasl_ssl\", with \"sasl.mechanism\", \"sasl.username\" and \"sasl.password\"",
    ),
    (
        &["connecting to a ssl listener", TLS_ANSWER, HUNG_UP],
        "the listener seems to speak TLS: set kafka.options \"security.protocol\" to \"ssl\" (with a \
         user: \"sasl_ssl\"), or kafka.brokers to its plaintext port",
    ),
    (
        &["failed to resolve", "name or service not known"],
        "the host name is not known here: check its spelling in kafka.brokers (or in the broker's \
         advertised.listeners) and the DNS",
    ),
    (
        &["connection refused"],
        "nothing listens there: start the broker, or set kafka.brokers to its host:port",
    ),
    (
        &["timed out", "no route to host", "network is unreachable"],
        "nothing answers there: check kafka.brokers, the network and its firewalls",
    ),
    (
        &["ssl"],
        "check kafka.options \"security.protocol\" and those that begin with \"ssl.\"",
    ),
    (
        &[""],
        "check kafka.brokers and kafka.options; `vila2 doctor` looks at both",
    ),
];

/// What stands in place of librdkafka's words where a TLS alert was read as an answer of Kafka.
const TLS_ANSWER: &str = "answers in tls";
/// What is added where a plaintext connection ended before the broker had said anything.
const HUNG_UP: &str = "in answer to the first request";
/// What is added where the broker ended a TLS connection before there was one.
const HUNG_UP_TLS: &str = "in the tls handshake";
/// The first bytes of a TLS alert or handshake, read as the length of an answer.
const TLS_LENGTHS: [std::ops::RangeInclusive<u32>; 2] =
    [0x1503_0000..=0x1503_04ff, 0x1603_0000..=0x1603_04ff];

/// The last thing a client said that explains a missing connection.
#[derive(Debug, Default)]
pub(super) struct LastReason(Mutex<Option<String>>);

impl LastReason {
    /// Takes note of an error event.
    pub(super) fn note_error(&self, error: &KafkaError, reason: &str) {
        if let Some(reason) = of_error(error, reason) {
            self.set(reason);
        }
    }

    /// Takes note of a log line; those that are not about a broken connection are passed over.
    pub(super) fn note_log(&self, facility: &str, message: &str) {
        if let Some(reason) = of_log(facility, message) {
            self.set(reason);
        }
    }

    /// What was noted last, with what to do about it.
    pub(super) fn told(&self) -> Option<String> {
        let reason = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason.as_deref().map(told)
    }

    fn set(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// The reason in an error event, if it holds one.
pub(super) fn of_error(error: &KafkaError, reason: &str) -> Option<String> {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AllBrokersDown) => None,
        _ => Some(plain(reason)),
    }
}

/// The reason in a log line, if it is about a broken connection.
pub(super) fn of_log(facility: &str, message: &str) -> Option<String> {
    (facility == "FAIL").then(|| plain(message))
}

/// A reason and what to do about it, in one sentence.
pub(super) fn told(reason: &str) -> String {
    format!("{reason}; {}", remedy(reason))
}

/// What helps against a reason.
pub(super) fn remedy(reason: &str) -> &'static str {
    let reason = reason.to_lowercase();
    REMEDIES
        .iter()
        .find(|(words, _)| words.iter().any(|word| reason.contains(word)))
        .map_or("", |(_, remedy)| remedy)
}

/// Without the name of librdkafka's thread in front and its state machine at the end.
fn plain(reason: &str) -> String {
    let reason = reason.trim();
    let reason = match (reason.starts_with("[thrd:"), reason.find("]: ")) {
        (true, Some(end)) => &reason[end + 3..],
        _ => reason,
    };
    let (reason, state) = reason.rsplit_once(" (after ").unwrap_or((reason, ""));
    if let Some((before, rest)) = reason.split_once("Invalid response size ") {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let length = digits.parse::<u32>().unwrap_or_default();
        if TLS_LENGTHS.iter().any(|range| range.contains(&length)) {
            return format!("{}{TLS_ANSWER}", before.replace("Receive failed: ", ""));
        }
    }
    let early = |state: &str| {
        ["CONNECT", "SSL_HANDSHAKE"]
            .iter()
            .any(|s| state.contains(s))
    };
    if reason.contains("ssl://") && reason.contains("Disconnected") && early(state) {
        return format!("{reason} {HUNG_UP_TLS}");
    }
    let mute = state.contains("in state APIVERSION_QUERY") && !reason.contains("ssl://");
    if mute && reason.contains("Disconnected") && !reason.contains("listener") {
        return format!("{reason} {HUNG_UP}");
    }
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_explains_is_kept_and_the_noise_is_not() {
        let last = LastReason::default();
        assert_eq!(last.told(), None);
        last.note_log(
            "FAIL",
            "[thrd:b:1/bootstrap]: b:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed: Connection \
             refused (after 0ms in state CONNECT, 1 identical error(s) suppressed)",
        );
        last.note_log("CONFWARN", "[thrd:app]: something else");
        last.note_error(
            &KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
            "1/1 brokers are down",
        );
        let told = last.told().unwrap();
        let words = "b:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed: Connection refused; ";
        assert!(told.starts_with(words), "{told}");
        assert!(told.contains("nothing listens there"), "{told}");
    }

    #[test]
    fn an_alert_of_tls_read_as_a_length_is_seen_through() {
        let reason = "b:1/bootstrap: Receive failed: Invalid response size 352518144 \
                      (0..100000000): increase receive.message.max.bytes (after 1ms in state UP)";
        assert_eq!(plain(reason), "b:1/bootstrap: answers in tls");
        assert!(remedy(&plain(reason)).contains("seems to speak TLS"));
        let hung_up = "b:1/bootstrap: Disconnected: connection reset by peer \
                       (after 6ms in state APIVERSION_QUERY)";
        assert!(remedy(&plain(hung_up)).contains("seems to speak TLS"));
        assert!(!remedy(&plain("b:1/1: Disconnected (after 9ms in state UP)")).contains("TLS"));
        let unready = "ssl://b:1/bootstrap: Disconnected: connection reset by peer \
                       (after 6ms in state SSL_HANDSHAKE)";
        assert!(remedy(&plain(unready)).contains("does not speak TLS"));
        let other = "Receive failed: Invalid response size 200000000 (0..100000000)";
        assert_eq!(plain(other), other);
    }

    #[test]
    fn each_refusal_has_a_remedy_of_its_own() {
        for (reason, part) in [
            (
                "SSL handshake failed: error:0A000086: certificate verify failed",
                "ssl.ca.location",
            ),
            (
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
                "does not speak TLS",
            ),
            (
                "Disconnected: requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?)",
                "seems to speak TLS",
            ),
            (
                "SASL authentication error: Authentication failed: Invalid username or password",
                "sasl.password",
            ),
            (
                "verify that security.protocol is correctly configured, broker might require SASL authentication",
                "wants a user",
            ),
            (
                "Failed to resolve 'kafka:9092': Name or service not known",
                "DNS",
            ),
            ("Connection setup timed out in state CONNECT", "firewalls"),
            ("SSL handshake failed: something new", "security.protocol"),
            ("something else", "vila2 doctor"),
        ] {
            assert!(
                remedy(reason).contains(part),
                "{reason}: {}",
                remedy(reason)
            );
        }
    }
}
