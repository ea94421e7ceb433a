//! The whole path on one machine: pictures drawn from a seed, a web server on loopback, a broker
//! in the process, and the service as it is. Nothing in between is faked: the records published
//! are read from a topic, the answers come back through topics.

mod outcome;
mod plan;
pub mod server;
mod summary;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    app::{self, kafka_settings, service::Service},
    config::{Config, Layers},
    kafka::{
        self, Embedded, KafkaSettings,
        feeder::Feeder,
        read::{Reader, Received, Start},
    },
    report::{self, ReportError},
    scenes::{
        generate::{Formats, GenerateError, write_dataset},
        scene::Scene,
        score::{self, ScoreError},
    },
    shutdown::Shutdown,
};

pub use outcome::{Outcome, record_json};
pub use plan::{Expectation, Planned, plan};
pub use summary::{StageLatency, Summary};

use server::ImageServer;

/// Partitions of each topic.
const PARTITIONS: i32 = 3;
/// What a request takes in the input topic, headers included, at most.
const REQUEST_BYTES: usize = 512;
/// After so long without an answer the demo stops waiting.
const STALL: Duration = Duration::from_secs(180);
/// How long the last confirmations of the requests may take.
const CONFIRM: Duration = Duration::from_secs(60);
/// Total deadline of one fetch: the slow picture must not rule the demo.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest body: all scenes are far below it.
const MAX_BYTES: u64 = 4 << 20;

/// What to show.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seed of the scenes.
    pub seed: u64,
    /// How many scenes.
    pub count: u64,
    /// Where everything is left.
    pub out: PathBuf,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// So many scenes are drawn.
    Drawn(u64),
    /// The models are being loaded.
    Loading,
    /// So many requests will be published.
    Started(u64),
    /// So many requests are in the input topic.
    Published(u64),
    /// So many captions came back.
    Captions(u64),
    /// So many dead letters came back.
    DeadLetters(u64),
}

/// Why the demo could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service.
    #[error(transparent)]
    App(#[from] app::Error),
    /// The broker in the process, or its clients.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// The scenes.
    #[error(transparent)]
    Scenes(#[from] GenerateError),
    /// The score.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A file of the output folder.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A part ended before its time.
    #[error("{0}")]
    Broken(String),
}

/// What came of it.
#[derive(Debug)]
pub struct Shown {
    /// As in `summary.json`.
    pub summary: Summary,
    /// Dead letters by reason.
    pub dead_letters: Vec<(String, u64)>,
    /// What is missing or not as it should be; empty: all is well.
    pub faults: Vec<String>,
    /// The page.
    pub report: PathBuf,
}

/// Shows the whole path and leaves `images/`, `truth.jsonl`, `captions.jsonl`, `dead.jsonl`,
/// `summary.json` and `report.html` in the output folder.
///
/// # Errors
/// Whatever keeps it from being shown; what came back wrong or not at all is in [`Shown::faults`].
pub async fn show(
    settings: &Settings,
    config: &Config,
    layers: &Layers,
    shutdown: &mut Shutdown,
    progress: impl Fn(Event) + Send + Sync + Clone + 'static,
) -> Result<Shown, Error> {
    let records = usize::try_from(settings.count).unwrap_or(usize::MAX);
    Embedded::check(records, REQUEST_BYTES, PARTITIONS as usize)?;
    let truth = draw(settings, progress.clone()).await?;
    let scenes: Vec<Scene> = truth
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| Error::Broken(error.to_string())))
        .collect::<Result<_, _>>()?;

    let server = ImageServer::start(settings.out.join("images"))
        .await
        .map_err(|error| Error::Broken(format!("the web server: {error}")))?;
    let planned = plan(&server, &scenes);
    let broker = Embedded::start()?;
    let config = adapted(config, broker.brokers(), &server);
    let kafka = kafka_settings(&config);
    broker.create_topics(&kafka.topics, PARTITIONS)?;

    progress(Event::Loading);
    let service = tokio::select! {
        service = Service::start(&config, layers, None) => service?,
        _ = shutdown.requested() => return Err(app::Error::Interrupted.into()),
    };
    progress(Event::Started(planned.len() as u64));
    let exchanged = exchange(&service, &kafka, planned, shutdown, progress.clone()).await;
    let engines = service.engines();
    match exchanged {
        Ok(_) => service.stop().await,
        Err(_) => service.stop_after_fault().await,
    };
    let (outcome, elapsed) = exchanged?;

    let captions = outcome.captions();
    let score = score::score(&truth, &captions)?;
    let summary = Summary::new(
        &outcome,
        elapsed,
        engines
            .iter()
            .find(|engine| engine.name == config.stages.caption.model),
        score,
    );
    write(&settings.out.join("captions.jsonl"), &captions)?;
    write(&settings.out.join("dead.jsonl"), &outcome.dead())?;
    write(&settings.out.join("summary.json"), &summary.to_json())?;
    Ok(Shown {
        report: report::write(&settings.out)?,
        dead_letters: outcome.dead_by_reason(),
        faults: outcome.faults(),
        summary,
    })
}

/// The configuration, with the parts that make it a demo: broker, web server, short deadlines.
fn adapted(config: &Config, brokers: &str, server: &ImageServer) -> Config {
    let mut config = config.clone();
    config.kafka.brokers = brokers.to_owned();
    config.kafka.options.clear();
    config.fetch.timeout = FETCH_TIMEOUT;
    config.fetch.retries = 1;
    config.fetch.max_bytes = MAX_BYTES;
    config.fetch.allow_addresses.push(server.allow_entry());
    config.http = None;
    config
}

async fn draw(
    settings: &Settings,
    progress: impl Fn(Event) + Send + Sync + 'static,
) -> Result<String, Error> {
    let Settings { seed, count, out } = settings.clone();
    let drawn = tokio::task::spawn_blocking(move || {
        clear(&out)?;
        write_dataset(&out, count, seed, Formats::default(), &|done| {
            progress(Event::Drawn(done));
        })?;
        let path = out.join("truth.jsonl");
        fs::read_to_string(&path).map_err(|source| Error::File { path, source })
    });
    drawn
        .await
        .unwrap_or_else(|error| Err(Error::Broken(error.to_string())))
}

/// Removes what an earlier demo left, and nothing else.
fn clear(out: &Path) -> Result<(), Error> {
    let absent = |result: io::Result<()>, path: PathBuf| match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { path, source })
        }
        _ => Ok(()),
    };
    let images = out.join("images");
    absent(fs::remove_dir_all(&images), images)?;
    for name in [
        "truth.jsonl",
        "captions.jsonl",
        "dead.jsonl",
        "summary.json",
        "report.html",
    ] {
        let path = out.join(name);
        absent(fs::remove_file(&path), path)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

/// Publishes everything and reads the answers back at the same time: the broker in the process
/// forgets what is old. Returns the outcome and the time from the first request to the last
/// caption.
async fn exchange(
    service: &Service,
    kafka: &KafkaSettings,
    planned: Vec<Planned>,
    shutdown: &mut Shutdown,
    progress: impl Fn(Event) + Send + 'static + Clone,
) -> Result<(Outcome, Duration), Error> {
    let (sender, mut answers) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let readers = [
        reader(
            kafka.clone(),
            Topic::Captions,
            sender.clone(),
            Arc::clone(&stop),
        ),
        reader(kafka.clone(), Topic::Dead, sender, Arc::clone(&stop)),
    ];
    let requests: Vec<_> = planned
        .iter()
        .map(|planned| (planned.key.clone(), planned.value.clone()))
        .collect();
    let begun = Instant::now();
    let mut last_caption = begun;
    let mut publisher = publish(kafka.clone(), requests, progress.clone());
    let mut published = false;
    let mut outcome = Outcome::new(planned);
    let mut ended = Ok(());
    while ended.is_ok() && !(published && outcome.is_complete()) {
        tokio::select! {
            done = &mut publisher, if !published => {
                published = true;
                ended = done.unwrap_or_else(|error| Err(Error::Broken(error.to_string())));
            }
            answer = tokio::time::timeout(STALL, answers.recv()) => match answer {
                Ok(Some((Topic::Captions, received))) => {
                    last_caption = Instant::now();
                    progress(Event::Captions(outcome.take_caption(&received)));
                }
                Ok(Some((Topic::Dead, received))) => {
                    progress(Event::DeadLetters(outcome.take_dead(&received)));
                }
                Ok(None) => ended = Err(Error::Broken("the topics cannot be read".to_owned())),
                // What is missing is said at the end.
                Err(_) => break,
            },
            reason = service.failed() => ended = Err(app::Error::GaveUp(reason).into()),
            _ = shutdown.requested() => ended = Err(app::Error::Interrupted.into()),
        }
    }
    stop.store(true, Ordering::Relaxed);
    ended?;
    for reader in readers {
        reader
            .await
            .unwrap_or_else(|error| Err(kafka::Error::Broker(error.to_string())))?;
    }
    Ok((outcome, last_caption - begun))
}

#[derive(Debug, Clone, Copy)]
enum Topic {
    Captions,
    Dead,
}

fn reader(
    kafka: KafkaSettings,
    topic: Topic,
    answers: mpsc::UnboundedSender<(Topic, Received)>,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<Result<(), kafka::Error>> {
    tokio::task::spawn_blocking(move || {
        let name = match topic {
            Topic::Captions => &kafka.topics.captions,
            Topic::Dead => &kafka.topics.dead,
        };
        let reader = Reader::new(&kafka, name, Start::Beginning)?;
        while !stop.load(Ordering::Relaxed) {
            if let Some(received) = reader.next(Duration::from_millis(100))?
                && answers.send((topic, received)).is_err()
            {
                break;
            }
        }
        Ok(())
    })
}

fn publish(
    kafka: KafkaSettings,
    requests: Vec<(Vec<u8>, String)>,
    progress: impl Fn(Event) + Send + 'static,
) -> tokio::task::JoinHandle<Result<(), Error>> {
    tokio::task::spawn_blocking(move || {
        let mut feeder = Feeder::new(&kafka, &kafka.topics.images)?;
        for (key, value) in &requests {
            feeder.send(Some(key), Some(value.as_bytes()), &[])?;
            progress(Event::Published(feeder.progress().confirmed));
        }
        feeder.finish(CONFIRM, |now| progress(Event::Published(now.confirmed)))?;
        Ok(())
    })
}
