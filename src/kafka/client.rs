//! librdkafka configurations: defaults, the caller's options, and what options may not touch.

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};

use super::{Error, KafkaSettings};

/// Properties that delivery rests on, and what to use instead.
const RESERVED: [(&str, &str); 11] = [
    ("bootstrap.servers", "set kafka.brokers"),
    ("metadata.broker.list", "set kafka.brokers"),
    ("group.id", "set kafka.group"),
    (
        "enable.auto.commit",
        "offsets are committed after the output is confirmed",
    ),
    (
        "enable.auto.offset.store",
        "offsets are committed after the output is confirmed",
    ),
    ("enable.partition.eof", "not used here"),
    ("enable.idempotence", "always on"),
    ("acks", "always all"),
    ("request.required.acks", "always all"),
    ("transactional.id", "set delivery.mode"),
    (
        "statistics.interval.ms",
        "fixed: readiness and lag come from it",
    ),
];

/// Properties whose values librdkafka refuses without naming those it takes.
const KNOWN: [(&str, &str); 3] = [
    (
        "security.protocol",
        "one of plaintext, ssl, sasl_plaintext, sasl_ssl",
    ),
    ("auto.offset.reset", "one of earliest, latest, error"),
    ("compression.type", "one of none, gzip, snappy, lz4, zstd"),
];

/// Checks `kafka.options` one by one, without a broker.
///
/// # Errors
/// [`Error::Options`] with every fault: unknown names, values librdkafka refuses (in its words),
/// and properties that delivery rests on. Values are never repeated: they may be secrets.
pub fn check_options(settings: &KafkaSettings) -> Result<(), Error> {
    let faults: Vec<String> = settings
        .options
        .iter()
        .filter_map(|(name, value)| {
            if let Some((_, instead)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
                return Some(format!("{name}: not to be set here: {instead}"));
            }
            let mut one = ClientConfig::new();
            one.set(name, value);
            let fault = one.create_native_config().err()?;
            let known = KNOWN.iter().find(|(property, _)| property == name);
            let known = known.map_or_else(String::new, |(_, values)| format!(" ({values})"));
            Some(format!("{name}: {}{known}", words(&fault, value)))
        })
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Options(faults))
    }
}

/// What librdkafka says of a bad property, without its value.
fn words(fault: &KafkaError, value: &str) -> String {
    let text = match fault {
        KafkaError::ClientConfig(_, text, _, _) => text.clone(),
        other => other.to_string(),
    };
    if value.is_empty() {
        text
    } else {
        text.replace(value, "…")
    }
}

/// What every client of the process has.
fn common(settings: &KafkaSettings) -> Result<ClientConfig, Error> {
    check_options(settings)?;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("client.id", "vila2")
        .set("statistics.interval.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000")
        .set("allow.auto.create.topics", "false");
    // OpenSSL is linked in and knows no CA of the system: without this a broker with a public
    // certificate would be refused.
    if !settings
        .options
        .keys()
        .any(|name| name.starts_with("ssl.ca."))
    {
        config.set("ssl.ca.location", "probe");
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    Ok(config)
}

fn with_options(mut config: ClientConfig, settings: &KafkaSettings) -> ClientConfig {
    for (name, value) in &settings.options {
        config.set(name, value);
    }
    config
}

/// A member of the group.
pub(super) fn group_member(settings: &KafkaSettings) -> Result<ClientConfig, Error> {
    let mut config = common(settings)?;
    config
        .set("group.id", &settings.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        // A record is a URL: a few thousand of them are little memory and seconds of work.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "100");
    Ok(with_options(config, settings))
}

/// A client that looks at topics or at a group's offsets and joins nothing.
pub(super) fn onlooker(settings: &KafkaSettings, group: &str) -> Result<ClientConfig, Error> {
    let mut config = common(settings)?;
    config
        .set("auto.offset.reset", "earliest")
        .set("statistics.interval.ms", "0")
        .set("fetch.wait.max.ms", "100");
    let mut config = with_options(config, settings);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false");
    Ok(config)
}

/// A client that asks for configurations and changes none.
pub(super) fn administrator(settings: &KafkaSettings) -> Result<ClientConfig, Error> {
    let mut config = common(settings)?;
    config.set("statistics.interval.ms", "0");
    Ok(with_options(config, settings))
}

/// The writer.
pub(super) fn writer(settings: &KafkaSettings) -> Result<ClientConfig, Error> {
    let mut config = common(settings)?;
    config
        .set("enable.idempotence", "true")
        .set("compression.type", "zstd")
        .set("linger.ms", "5")
        .set("queue.buffering.max.kbytes", "65536")
        // Requests and ids spread over the partitions the way the Java client spreads them.
        .set("partitioner", "murmur2_random");
    Ok(with_options(config, settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &[(&str, &str)]) -> KafkaSettings {
        let mut settings = KafkaSettings::new("127.0.0.1:1");
        for (name, value) in options {
            settings.options.insert((*name).into(), (*value).into());
        }
        settings
    }

    #[test]
    fn every_bad_option_is_reported_with_its_name() {
        let fault = check_options(&settings(&[
            ("no.such.property", "1"),
            ("linger.ms", "soon"),
            ("enable.auto.commit", "true"),
            ("fetch.min.bytes", "1"),
        ]))
        .unwrap_err()
        .to_string();
        assert!(
            fault.contains("no.such.property: No such configuration property"),
            "{fault}"
        );
        assert!(fault.contains("linger.ms: Invalid value"), "{fault}");
        assert!(
            fault.contains("enable.auto.commit: not to be set here"),
            "{fault}"
        );
        assert!(!fault.contains("fetch.min.bytes"), "{fault}");
    }

    #[test]
    fn the_value_of_a_refused_option_is_not_repeated() {
        let fault = check_options(&settings(&[("sasl.mechanism.secret", "hunter2")])).unwrap_err();
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }

    #[test]
    fn options_overrule_defaults() {
        let settings = settings(&[("compression.type", "lz4"), ("auto.offset.reset", "latest")]);
        assert_eq!(
            writer(&settings).unwrap().get("compression.type"),
            Some("lz4")
        );
        assert_eq!(
            group_member(&settings).unwrap().get("auto.offset.reset"),
            Some("latest")
        );
    }

    #[test]
    fn librdkafka_takes_the_defaults() {
        let settings = settings(&[]);
        for config in [
            group_member(&settings).unwrap(),
            writer(&settings).unwrap(),
            onlooker(&settings, "g").unwrap(),
        ] {
            config.create_native_config().unwrap();
        }
    }
}
