//! The broker, its topics, and the group.

use std::time::Duration;

use super::{Finding, bytes};
use crate::{
    app::kafka_settings,
    config::Config,
    kafka::{
        KafkaSettings,
        inspect::{Cluster, GroupFacts, TopicFacts, TopicSettings, inspect, producer_limit},
    },
};

/// Apache Kafka's own limit of a record, bytes.
const BROKER_DEFAULT: u64 = 1_048_588;
/// A record about a picture full of text is this large, bytes.
const LARGE_RECORD: u64 = 256 << 10;
/// Records should be kept at least this long: a night's outage must not lose any.
const KEPT: Duration = Duration::from_secs(12 * 3600);

/// What a topic is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Images,
    Captions,
    Dead,
}

/// What every topic is measured against.
struct Needs {
    /// The largest record our producer sends, bytes.
    producer: u64,
    /// The largest record the input topic takes, bytes.
    requests: u64,
    /// Longest time a record may be under way.
    record: Duration,
}

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let settings = kafka_settings(config);
    match inspect(&settings) {
        Ok(cluster) => {
            let needs = Needs {
                producer: producer_limit(&settings).unwrap_or(BROKER_DEFAULT),
                requests: requests(&cluster),
                record: config.limits.record,
            };
            judged(&settings, &cluster, &needs)
        }
        Err(error) => vec![Finding::told("broker", &error.to_string())],
    }
}

fn requests(cluster: &Cluster) -> u64 {
    let facts = cluster
        .topics
        .first()
        .and_then(|(_, facts)| facts.as_ref().ok());
    facts
        .and_then(|facts| facts.settings.as_ref().ok())
        .and_then(|settings| settings.max_message_bytes)
        .unwrap_or(BROKER_DEFAULT)
}

fn judged(settings: &KafkaSettings, cluster: &Cluster, needs: &Needs) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        "broker",
        format!(
            "{} answers: {} ({})",
            settings.brokers,
            plural(cluster.brokers.len(), "broker"),
            cluster.brokers.join(", ")
        ),
    )];
    for ((name, facts), role) in
        cluster
            .topics
            .iter()
            .zip([Role::Images, Role::Captions, Role::Dead])
    {
        let subject = format!("topic `{name}`");
        match facts {
            Ok(facts) => findings.extend(topic(&subject, role, facts, needs)),
            Err(why) => findings.push(Finding::told(subject, why)),
        }
    }
    let subject = format!("group `{}`", settings.group);
    findings.push(match &cluster.group {
        Ok(facts) => group(subject, facts),
        Err(why) => Finding::fault(
            subject,
            format!("its position cannot be read: {why}"),
            "mend the topic first; else grant this user READ on the group",
        ),
    });
    findings
}

fn topic(subject: &str, role: Role, facts: &TopicFacts, needs: &Needs) -> Vec<Finding> {
    let mut findings = Vec::new();
    let shape = format!(
        "{}, {}",
        plural(facts.partitions, "partition"),
        plural(facts.replicas, "replica")
    );
    if facts.leaderless > 0 {
        findings.push(Finding::fault(
            subject,
            format!("{} of {shape} without a leader", facts.leaderless),
            "bring the brokers back that hold its replicas",
        ));
    } else if facts.in_sync < facts.replicas {
        findings.push(Finding::warning(
            subject,
            format!("{shape}, of which only {} in step", facts.in_sync),
            "look after the brokers that lag behind",
        ));
    }
    match &facts.settings {
        Ok(settings) => {
            findings.extend(storage(subject, role, facts, settings, needs));
            if findings.is_empty() {
                findings.push(Finding::ok(subject, format!("{shape}; {}", said(settings))));
            }
        }
        Err(why) => findings.push(Finding::warning(
            subject,
            format!("{shape}; the broker does not tell retention and message size ({why})"),
            "grant this user DESCRIBE_CONFIGS on it to have them looked at here",
        )),
    }
    findings
}

/// Retention, compaction, message size and copies.
fn storage(
    subject: &str,
    role: Role,
    facts: &TopicFacts,
    settings: &TopicSettings,
    needs: &Needs,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(wanted) = settings.min_in_sync
        && role != Role::Images
        && wanted > facts.in_sync
    {
        findings.push(Finding::fault(
            subject,
            format!(
                "min.insync.replicas is {wanted} and {} in step: no write is confirmed",
                plural(facts.in_sync, "replica")
            ),
            "lower min.insync.replicas, or add replicas",
        ));
    }
    if let (true, Some(kept)) = (settings.deleted, settings.retention) {
        let (found, advice) = (
            format!("records are deleted after {}", time(kept)),
            format!("raise retention.ms to {} at least", KEPT.as_millis()),
        );
        if kept <= needs.record {
            let found = format!(
                "{found}, and one may be under way for {} (limits.record_ms)",
                time(needs.record)
            );
            findings.push(Finding::fault(subject, found, advice));
        } else if kept < KEPT {
            let found = match role {
                Role::Images => format!("{found}: those not read by then are lost"),
                _ => format!("{found}: whoever reads them must be quicker"),
            };
            findings.push(Finding::warning(subject, found, advice));
        }
    }
    if settings.compacted && role != Role::Captions {
        findings.push(Finding::warning(
            subject,
            "it is compacted: a record is dropped when another with its key follows",
            "set cleanup.policy to delete",
        ));
    }
    if let Some(taken) = settings.max_message_bytes {
        findings.extend(size(subject, role, taken, needs));
    }
    findings
}

/// Whether what we write fits.
fn size(subject: &str, role: Role, taken: u64, needs: &Needs) -> Option<Finding> {
    let limit = taken.min(needs.producer);
    let found = format!(
        "it takes records of {}, the producer sends up to {}",
        bytes(taken),
        bytes(needs.producer)
    );
    match role {
        Role::Images => None,
        Role::Captions if limit < LARGE_RECORD => Some(Finding::warning(
            subject,
            format!(
                "{found}: records about pictures full of text reach {}, and become dead letters \
                 (`output_too_large`)",
                bytes(LARGE_RECORD)
            ),
            format!("raise max.message.bytes of the topic to {BROKER_DEFAULT}"),
        )),
        Role::Dead if limit < needs.requests.min(needs.producer) || limit < LARGE_RECORD => {
            Some(Finding::warning(
                subject,
                format!(
                    "{found}, and requests may have {}: the dead letters of large ones lose their \
                     value",
                    bytes(needs.requests)
                ),
                format!(
                    "raise max.message.bytes of the topic, and kafka.options \
                     \"message.max.bytes\", to {}",
                    needs.requests + 4096
                ),
            ))
        }
        _ if taken < needs.producer => Some(Finding::warning(
            subject,
            format!("{found}: what lies between is refused only by the broker"),
            format!("set kafka.options \"message.max.bytes\" to {taken}"),
        )),
        _ if needs.requests > needs.producer.max(BROKER_DEFAULT) => Some(Finding::warning(
            subject,
            format!("{found}, and requests may have {}", bytes(needs.requests)),
            format!(
                "set kafka.options \"message.max.bytes\" to {}, and max.message.bytes of the topic",
                needs.requests + 4096
            ),
        )),
        _ => None,
    }
}

fn group(subject: String, facts: &GroupFacts) -> Finding {
    if !facts.beyond.is_empty() {
        return Finding::fault(
            subject,
            format!(
                "its committed offsets lie beyond the end of partitions {:?}: the topic was made \
                 anew",
                facts.beyond
            ),
            "reset them (kafka-consumer-groups.sh --reset-offsets --to-earliest), or choose another \
             kafka.group",
        );
    }
    if facts.missed > 0 {
        return Finding::warning(
            subject,
            format!(
                "{} behind; {} deleted before it read them",
                plural64(facts.behind, "record"),
                plural64(facts.missed, "record")
            ),
            "publish those again; run more processes, or raise retention.ms of the input topic",
        );
    }
    let behind = plural64(facts.behind, "record");
    Finding::ok(
        subject,
        if facts.known {
            format!("{behind} behind the end of the input")
        } else {
            format!("has read nothing yet; {behind} wait for it")
        },
    )
}

fn said(settings: &TopicSettings) -> String {
    let mut parts = Vec::new();
    parts.push(match (settings.deleted, settings.retention) {
        (true, Some(kept)) => format!("keeps records for {}", time(kept)),
        _ => "keeps records without end".to_owned(),
    });
    if let Some(most) = settings.retention_bytes {
        parts.push(format!("at most {} a partition", bytes(most)));
    }
    if settings.compacted {
        parts.push("keeps the last record of each key".to_owned());
    }
    if let Some(most) = settings.max_message_bytes {
        parts.push(format!("takes records of {}", bytes(most)));
    }
    parts.join(", ")
}

/// A time for people.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 2.0 * 86_400.0 => format!("{:.0} days", s / 86_400.0),
        s if s >= 2.0 * 3_600.0 => format!("{:.0} h", s / 3_600.0),
        s if s >= 120.0 => format!("{:.0} min", s / 60.0),
        s => format!("{s:.0} s"),
    }
}

fn plural(count: usize, what: &str) -> String {
    plural64(count as u64, what)
}

fn plural64(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

#[cfg(test)]
mod tests;
