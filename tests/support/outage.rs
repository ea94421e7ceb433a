//! An output topic that is away: the shipped program on a real Apache Kafka whose only broker is
//! killed, or whose topic of captions is deleted, in the middle of its work.
//!
//! One harness, two lengths: short with short time-outs, and twelve minutes with librdkafka's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vila2::{
    demo::server::ImageServer,
    kafka::{
        Error, KafkaSettings,
        read::{self, Received},
    },
};

use super::{
    apache_kafka::ApacheKafka,
    engine::{self, Engine},
    group::Settled,
    relay,
    requests::{self, Numbered, Requests},
};

const PARTITIONS: i32 = 3;
/// `limits.drain_ms`.
pub const DRAIN: Duration = Duration::from_secs(2);
/// What comes on top of the drain: the last confirmations, leaving the group.
const GOODBYE: Duration = Duration::from_secs(15);
/// Beyond the outage, after so long without a change something is lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that runs.
pub struct Field {
    pub kafka: ApacheKafka,
    pub settings: KafkaSettings,
    pub engine: Engine,
    requests: Requests,
    sent: Vec<Numbered>,
    runtime: Runtime,
    _server: ImageServer,
    _folder: TempDir,
}

/// What was counted in the end.
#[derive(Debug)]
#[allow(dead_code)] // printed
pub struct Counted {
    /// Requests.
    pub sent: usize,
    /// Settled before the outage.
    pub before: usize,
    /// Different sources in the output topics at the end.
    pub answered: usize,
    /// Answers beyond the first of a source.
    pub repeated: usize,
    /// From the return until everything was committed.
    pub after_return: Duration,
}

impl Field {
    /// Starts everything; `options` are librdkafka's.
    pub fn start(program: PathBuf, options: &[(&str, &str)]) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let folder = TempDir::with_prefix("vila2-outage-").expect("a scratch folder");
        let (server, pictures) = runtime.block_on(requests::serve(folder.path(), 40, 9));
        let kafka = ApacheKafka::start();
        let mut settings = relay::settings(&kafka.brokers(), "outage");
        for (name, value) in options {
            settings
                .options
                .insert((*name).to_owned(), (*value).to_owned());
        }
        let topics = &settings.topics;
        kafka.create_topics(
            &[&topics.images, &topics.captions, &topics.dead],
            PARTITIONS,
        );
        // Far more room than records: what stops the intake is the outage alone.
        let limits = format!(
            "[stages.read_text]\nmode = \"off\"\n[runtime]\nthreads = 1\n\
             [limits]\nrecords = 500\ndrain_ms = {}\n",
            DRAIN.as_millis()
        );
        let fetch = Duration::from_secs(5);
        let config = engine::config(&settings, "engine", &server.allow_entry(), fetch, &limits);
        Self {
            engine: Engine::start(&program, folder.path(), "engine", &config),
            requests: Requests::new(9, &server, &pictures, 10),
            sent: Vec::new(),
            kafka,
            settings,
            runtime,
            _server: server,
            _folder: folder,
        }
    }

    /// Publishes more requests.
    pub fn publish(&mut self, count: usize) {
        let next = self.requests.take(count);
        requests::publish(&self.settings, &next);
        self.sent.extend(next);
    }

    /// Waits until so many records were answered by the engine.
    pub fn wait_for_answers(&self, count: usize) {
        self.until("answers", PATIENCE, || {
            let answered = self.engine.metric("vila2_records_total");
            answered.is_some_and(|answered| answered >= count as f64)
        });
    }

    /// Deletes the topic of captions and waits until it is gone.
    pub fn delete_captions(&self) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.settings.brokers)
            .create()
            .expect("an admin client");
        let captions = &self.settings.topics.captions;
        let options = AdminOptions::new();
        self.runtime
            .block_on(admin.delete_topics(&[captions], &options))
            .expect("an answer");
        relay::eventually("the topic is gone", || {
            matches!(
                read::bounds(&self.settings, captions),
                Err(Error::Topic { .. })
            )
        });
    }

    /// Makes the topic of captions again.
    pub fn create_captions(&self) {
        (self.kafka).create_topics(&[&self.settings.topics.captions], PARTITIONS);
    }

    /// Waits until the engine has said for `away` that a topic takes no writes, alive all the time;
    /// `each` is called with what `/readyz` says.
    pub fn outlast(&mut self, away: Duration, mut each: impl FnMut(&str)) {
        let deadline = Instant::now() + away + PATIENCE;
        loop {
            assert!(self.engine.is_running(), "it ended:\n{}", self.engine.log());
            let (live, said) = self.engine.get("/livez").expect("an answer");
            assert_eq!(live, 200, "{said}");
            let (ready, said) = self.engine.get("/readyz").expect("an answer");
            if let Some(seconds) = held_for(&said) {
                assert_eq!(ready, 503, "{said}");
                each(&said);
                if seconds >= away.as_secs() {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "{said}\n{}", self.engine.log());
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// The requests that are settled now, by key.
    pub fn settled(&self) -> BTreeSet<String> {
        let settled = Settled::now(&self.settings);
        (self.places().into_iter())
            .filter(|(_, (partition, offset))| settled.has(*partition, *offset))
            .map(|(key, _)| key)
            .collect()
    }

    /// Waits until everything is committed, then counts: every request that was not among `before`
    /// has an answer in the topics, and no source's answers differ.
    pub fn count(&mut self, before: &BTreeSet<String>) -> Counted {
        let returned = Instant::now();
        self.until("everything committed", PATIENCE, || {
            relay::is_committed(&self.settings)
        });
        let after_return = returned.elapsed();
        relay::eventually("ready again", || self.engine.is_ready());
        let topics = &self.settings.topics;
        let mut sources: BTreeMap<String, usize> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        for record in [&topics.captions, &topics.dead]
            .into_iter()
            .flat_map(|topic| self.everything(topic))
        {
            let source = record.header("vila2-source").expect("a source").to_owned();
            *sources.entry(source).or_default() += 1;
            keys.insert(key(&record));
        }
        let lost: Vec<_> = (self.sent.iter().map(|request| &request.key))
            .filter(|key| !keys.contains(*key) && !before.contains(*key))
            .collect();
        assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
        Counted {
            sent: self.sent.len(),
            before: before.len(),
            answered: sources.len(),
            repeated: sources.values().sum::<usize>() - sources.len(),
            after_return,
        }
    }

    /// SIGTERM: exit code 0 within the drain and a goodbye.
    pub fn terminate(&mut self) {
        let ended = self.engine.terminate(DRAIN + GOODBYE);
        let well = ended.is_some_and(|(status, _)| status.success());
        assert!(well, "SIGTERM: {ended:?}\n{}", self.engine.log());
    }

    fn until(&self, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + limit;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "never: {what}\n{}",
                self.engine.log()
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Key → place of every request.
    fn places(&self) -> BTreeMap<String, (i32, i64)> {
        let requests = self.everything(&self.settings.topics.images);
        (requests.iter())
            .map(|record| (key(record), (record.partition, record.offset)))
            .collect()
    }

    fn everything(&self, topic: &str) -> Vec<Received> {
        let bounds = read::bounds(&self.settings, topic).expect("a topic");
        let mut all = Vec::new();
        read::read_to_end(&self.settings, topic, &bounds, |record| {
            all.push(record);
            true
        })
        .expect("a topic");
        all
    }
}

fn key(record: &Received) -> String {
    String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned()
}

/// Seconds of the outage in what `/readyz` says.
fn held_for(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("takes no writes since ")?;
    rest.split(' ').next()?.parse().ok()
}
