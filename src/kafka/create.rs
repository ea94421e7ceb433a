//! Making the topics that are missing, as `doctor` would have them; those that are there stay as
//! they are.

use std::time::{Duration, Instant};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer as _,
    error::RDKafkaErrorCode,
};

use super::{
    Error, KafkaSettings, client,
    read::{self, absence, cluster_error},
};

/// How long each question may take, and the topics to appear.
const ANSWER: Duration = Duration::from_secs(10);
/// Wait between two looks at topics that are to appear.
const LOOK: Duration = Duration::from_millis(50);
/// Copies of each partition, where there are as many brokers.
const COPIES: usize = 3;
/// What is not read within 7 days is lost; what a redrive may want is kept for 30.
const KEPT: [&str; 3] = ["604800000", "604800000", "2592000000"];

/// What was found, or done, about one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The topic.
    pub topic: String,
    /// Whether it was made now; else it was there.
    pub created: bool,
    /// Its partitions.
    pub partitions: usize,
    /// Copies of each, of the partition that has fewest.
    pub copies: usize,
}

/// Makes those of the three topics that are missing, with `partitions` partitions each. Blocks.
///
/// # Errors
/// [`Error::Options`], [`Error::Client`], [`Error::Unreachable`]; [`Error::Broker`] with each topic
/// that cannot be looked at or made, and why. What could be made stays.
pub fn create(settings: &KafkaSettings, partitions: i32) -> Result<Vec<Made>, Error> {
    let names = &settings.topics;
    let names = [&names.images, &names.captions, &names.dead];
    let consumer = read::onlooker(settings, &settings.group)?;
    let brokers = match consumer.client().fetch_metadata(Some(names[0]), ANSWER) {
        Ok(metadata) => metadata.brokers().len(),
        Err(fault) => {
            let (brokers, detail) = (settings.brokers.clone(), cluster_error(&fault));
            let error = Error::Unreachable { brokers, detail };
            return Err(read::explained(&consumer, error));
        }
    };
    let (mut made, mut missing, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (name, kept) in names.into_iter().zip(KEPT) {
        match look(&consumer, settings, name)? {
            Ok(Some((partitions, copies))) => made.push(Made {
                topic: name.clone(),
                created: false,
                partitions,
                copies,
            }),
            Ok(None) => missing.push((name, kept)),
            Err(why) => faults.push(format!("topic `{name}` {why}")),
        }
    }
    if !faults.is_empty() {
        return Err(Error::Broker(faults.join("\n")));
    }
    if !missing.is_empty() {
        ask(settings, &missing, partitions, brokers.clamp(1, COPIES))?;
    }
    // The controller answers before the brokers show the topics to clients.
    let deadline = Instant::now() + ANSWER;
    for (name, _) in missing {
        let (partitions, copies) = loop {
            match look(&consumer, settings, name)? {
                Ok(Some(shape)) => break shape,
                _ if Instant::now() < deadline => std::thread::sleep(LOOK),
                _ => {
                    let text = format!(
                        "topic `{name}` was made, and does not appear within {ANSWER:?}; see the \
                         broker's log"
                    );
                    return Err(Error::Broker(text));
                }
            }
        };
        made.push(Made {
            topic: name.clone(),
            created: true,
            partitions,
            copies,
        });
    }
    made.sort_by_key(|made| names.iter().position(|name| **name == made.topic));
    Ok(made)
}

/// Partitions and copies; `None`: it is not there; an error says why it cannot be used.
type Found = Result<Option<(usize, usize)>, String>;

fn look(
    consumer: &rdkafka::consumer::BaseConsumer<read::Onlooker>,
    settings: &KafkaSettings,
    name: &str,
) -> Result<Found, Error> {
    let metadata = (consumer.client().fetch_metadata(Some(name), ANSWER)).map_err(|fault| {
        let (brokers, detail) = (settings.brokers.clone(), cluster_error(&fault));
        read::explained(consumer, Error::Unreachable { brokers, detail })
    })?;
    let found = metadata.topics().iter().find(|topic| topic.name() == name);
    let code = found.and_then(|topic| topic.error().map(RDKafkaErrorCode::from));
    Ok(match (found, code) {
        (Some(topic), None) if !topic.partitions().is_empty() => {
            let copies = topic.partitions().iter().map(|p| p.replicas().len()).min();
            Ok(Some((topic.partitions().len(), copies.unwrap_or_default())))
        }
        (
            _,
            None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic),
        ) => Ok(None),
        (_, code) => Err(absence(settings, name, code)),
    })
}

fn ask(
    settings: &KafkaSettings,
    topics: &[(&String, &str)],
    partitions: i32,
    copies: usize,
) -> Result<(), Error> {
    let client = |fault: String| Error::Client(fault);
    let admin: AdminClient<DefaultClientContext> = client::administrator(settings)?
        .create()
        .map_err(|fault| client(fault.to_string()))?;
    let copies = i32::try_from(copies).unwrap_or(1);
    let new: Vec<_> = topics
        .iter()
        .map(|(name, kept)| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies))
                .set("cleanup.policy", "delete")
                .set("retention.ms", kept);
            // One broker less must not stop writes, and one copy alone must not count as safe.
            match copies {
                3.. => topic.set("min.insync.replicas", "2"),
                _ => topic,
            }
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(ANSWER))
        .operation_timeout(Some(ANSWER));
    let answers = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|fault| client(fault.to_string()))?
        .block_on(admin.create_topics(&new, &options))
        .map_err(|fault| Error::Broker(cluster_error(&fault)))?;
    let faults: Vec<_> = answers
        .into_iter()
        .filter_map(Result::err)
        // Somebody else made it at the same moment.
        .filter(|(_, code)| *code != RDKafkaErrorCode::TopicAlreadyExists)
        .map(|(name, code)| format!("topic `{name}` cannot be made: {}", advice(code)))
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Broker(faults.join("\n")))
    }
}

fn advice(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => String::from(
            "this user may not; grant it CREATE on the topic or the cluster, or sign in as \
                 another user (kafka.options \"sasl.username\")",
        ),
        RDKafkaErrorCode::PolicyViolation => {
            String::from("the cluster has a policy against it; ask who runs the cluster to make it")
        }
        RDKafkaErrorCode::InvalidPartitions => {
            String::from("the broker refuses this number; choose another with --partitions")
        }
        RDKafkaErrorCode::InvalidTopic => String::from(
            "the broker refuses the name; letters, digits, `.`, `_` and `-`, at most 249 of them \
             (kafka.topics)",
        ),
        code => format!("{code}; see the broker's log"),
    }
}
