//! Looking a cluster over without changing it: for `doctor`, and for `run`, which says which of its
//! topics are missing.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier},
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
};

use super::{
    Error, KafkaSettings, client,
    read::{self, Onlooker, cluster_error},
    status,
};

/// How long each question may take.
const ANSWER: Duration = Duration::from_secs(10);
/// librdkafka's own limit of a record, bytes.
const DEFAULT_LIMIT: u64 = 1_000_000;

/// What a cluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `host:port` of every broker, as they are told to clients.
    pub brokers: Vec<String>,
    /// The three topics, in the order of the settings; `Err`: why it cannot be used, what to do.
    pub topics: Vec<(String, Result<TopicFacts, String>)>,
    /// Where the group stands on the input; `Err`: why that cannot be told.
    pub group: Result<GroupFacts, String>,
}

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// Partitions.
    pub partitions: usize,
    /// Partitions that nobody leads: they can neither be read nor written.
    pub leaderless: usize,
    /// Copies of the partition that has fewest.
    pub replicas: usize,
    /// Copies in step, of the partition that has fewest.
    pub in_sync: usize,
    /// Its configuration; `Err`: why the broker does not tell it.
    pub settings: Result<TopicSettings, String>,
}

/// The part of a topic's configuration that matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// `retention.ms`; `None`: no bound by age.
    pub retention: Option<Duration>,
    /// `retention.bytes` of a partition; `None`: no bound by size.
    pub retention_bytes: Option<u64>,
    /// `max.message.bytes`.
    pub max_message_bytes: Option<u64>,
    /// Whether `cleanup.policy` holds `compact`.
    pub compacted: bool,
    /// Whether `cleanup.policy` holds `delete`.
    pub deleted: bool,
    /// `min.insync.replicas`.
    pub min_in_sync: Option<usize>,
}

/// Where the group stands on the input topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// Whether it has committed anything at all.
    pub known: bool,
    /// Records between what is committed and the end.
    pub behind: u64,
    /// Records that retention deleted before they were read.
    pub missed: u64,
    /// Partitions whose committed offset lies beyond the end: the topic was made anew.
    pub beyond: Vec<i32>,
}

/// The largest record our producer sends, bytes: `message.max.bytes`.
///
/// # Errors
/// [`Error::Options`].
pub fn producer_limit(settings: &KafkaSettings) -> Result<u64, Error> {
    let config = client::writer(settings)?;
    let configured = config.get("message.max.bytes");
    Ok(configured
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(DEFAULT_LIMIT))
}

/// Asks the cluster. Creates, joins and commits nothing. Blocks, at most about a minute.
///
/// # Errors
/// [`Error::Options`], [`Error::Client`], [`Error::Unreachable`].
pub fn inspect(settings: &KafkaSettings) -> Result<Cluster, Error> {
    let consumer = read::onlooker(settings, &settings.group)?;
    let (brokers, metadata) = metadata(&consumer, settings)?;
    let mut configurations = describe(settings, &metadata)?;
    let topics: Vec<_> = metadata
        .into_iter()
        .map(|(name, found)| {
            let facts = found.map(|mut facts| {
                if let Some(settings) = configurations.remove(&name) {
                    facts.settings = settings;
                }
                facts
            });
            (name, facts)
        })
        .collect();
    let group = match &topics[0].1 {
        Ok(_) => group(settings).map_err(|error| error.to_string()),
        Err(_) => Err("its topic cannot be read".to_owned()),
    };
    Ok(Cluster {
        brokers,
        topics,
        group,
    })
}

/// Which of the three topics cannot be used, in words with what to do.
///
/// # Errors
/// [`Error::Options`], [`Error::Client`], [`Error::Unreachable`].
pub fn missing_topics(settings: &KafkaSettings) -> Result<Vec<String>, Error> {
    let consumer = read::onlooker(settings, &settings.group)?;
    let (_, topics) = metadata(&consumer, settings)?;
    Ok(topics
        .into_iter()
        .filter_map(|(name, found)| Some(format!("topic `{name}` {}", found.err()?)))
        .collect())
}

type Topics = Vec<(String, Result<TopicFacts, String>)>;

fn metadata(
    consumer: &BaseConsumer<Onlooker>,
    settings: &KafkaSettings,
) -> Result<(Vec<String>, Topics), Error> {
    let names = &settings.topics;
    let mut brokers = Vec::new();
    let mut topics = Vec::new();
    for name in [&names.images, &names.captions, &names.dead] {
        let metadata = consumer
            .client()
            .fetch_metadata(Some(name), ANSWER)
            .map_err(|fault| {
                let error = Error::Unreachable {
                    brokers: settings.brokers.clone(),
                    detail: cluster_error(&fault),
                };
                read::explained(consumer, error)
            })?;
        brokers = metadata
            .brokers()
            .iter()
            .map(|broker| format!("{}:{}", broker.host(), broker.port()))
            .collect();
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        let code = found.and_then(MetadataTopic::error);
        let facts = match (found, code) {
            (Some(found), None) if !found.partitions().is_empty() => Ok(facts(found)),
            _ => {
                let code = code.map(RDKafkaErrorCode::from);
                Err(read::absence(settings, name, code))
            }
        };
        topics.push((name.clone(), facts));
    }
    Ok((brokers, topics))
}

fn facts(topic: &MetadataTopic) -> TopicFacts {
    let partitions = topic.partitions();
    TopicFacts {
        partitions: partitions.len(),
        leaderless: partitions.iter().filter(|p| p.leader() < 0).count(),
        replicas: partitions
            .iter()
            .map(|p| p.replicas().len())
            .min()
            .unwrap_or(0),
        in_sync: partitions.iter().map(|p| p.isr().len()).min().unwrap_or(0),
        settings: Err("not asked".to_owned()),
    }
}

/// The configurations of the topics that are there.
fn describe(
    settings: &KafkaSettings,
    topics: &Topics,
) -> Result<BTreeMap<String, Result<TopicSettings, String>>, Error> {
    let there: Vec<&str> = topics
        .iter()
        .filter(|(_, found)| found.is_ok())
        .map(|(name, _)| name.as_str())
        .collect();
    if there.is_empty() {
        return Ok(BTreeMap::new());
    }
    let client = |fault: String| Error::Client(fault);
    let admin: AdminClient<Silent> = client::administrator(settings)?
        .create_with_context(Silent)
        .map_err(|fault| client(fault.to_string()))?;
    let asked: Vec<_> = there
        .iter()
        .map(|name| ResourceSpecifier::Topic(name))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let answer = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|fault| client(fault.to_string()))?
        .block_on(admin.describe_configs(&asked, &options));
    Ok(match answer {
        Err(fault) => there
            .iter()
            .map(|name| ((*name).to_owned(), Err(cluster_error(&fault))))
            .collect(),
        Ok(answers) => there
            .iter()
            .zip(answers)
            .map(|(name, answer)| {
                let answer = match answer {
                    // rdkafka passes a refusal on as a topic without any configuration.
                    Ok(resource) if resource.entries.is_empty() => {
                        Err("without DESCRIBE_CONFIGS on the topic?".to_owned())
                    }
                    Ok(resource) => Ok(topic_settings(&resource)),
                    Err(fault) => Err(fault.to_string()),
                };
                ((*name).to_owned(), answer)
            })
            .collect(),
    })
}

fn topic_settings(resource: &ConfigResource) -> TopicSettings {
    let text = |name: &str| {
        let entry = resource.get(name)?;
        entry.value.as_deref()
    };
    // −1 is no bound.
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let policies: Vec<&str> = text("cleanup.policy")
        .unwrap_or("delete")
        .split(',')
        .map(str::trim)
        .collect();
    TopicSettings {
        retention: number("retention.ms").map(Duration::from_millis),
        retention_bytes: number("retention.bytes"),
        max_message_bytes: number("max.message.bytes"),
        compacted: policies.contains(&"compact"),
        deleted: policies.contains(&"delete"),
        min_in_sync: number("min.insync.replicas").and_then(|n| usize::try_from(n).ok()),
    }
}

fn group(settings: &KafkaSettings) -> Result<GroupFacts, Error> {
    let topic = &settings.topics.images;
    let bounds = read::bounds(settings, topic)?;
    let committed = read::committed_offsets(settings, topic)?;
    Ok(position(&bounds, &committed))
}

fn position(bounds: &BTreeMap<i32, (i64, i64)>, committed: &BTreeMap<i32, i64>) -> GroupFacts {
    let mut facts = GroupFacts {
        known: !committed.is_empty(),
        ..GroupFacts::default()
    };
    for (&partition, &(first, end)) in bounds {
        let next = committed.get(&partition).copied().unwrap_or(first);
        if next > end {
            facts.beyond.push(partition);
        }
        facts.missed += first.saturating_sub(next).max(0).unsigned_abs();
        facts.behind += end.saturating_sub(next.max(first)).max(0).unsigned_abs();
    }
    facts
}

/// librdkafka's log goes where ours goes.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        status::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_behind_and_may_have_missed_what_was_deleted() {
        let bounds = BTreeMap::from([(0, (10, 20)), (1, (0, 5)), (2, (0, 3))]);
        let committed = BTreeMap::from([(0, 4), (1, 5), (2, 9)]);
        let facts = position(&bounds, &committed);
        assert_eq!((facts.behind, facts.missed), (10, 6));
        assert_eq!(facts.beyond, [2]);
        assert!(facts.known);
        let fresh = position(&bounds, &BTreeMap::new());
        assert_eq!((fresh.behind, fresh.missed, fresh.known), (18, 0, false));
    }
}
