//! The chain in process, without Kafka: requests from a list, answers through a channel.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use url::Url;
use vila2_actors::{
    budget::ImageCredit,
    error::{FetchError, PublishError},
    image::Fetched,
    ledger::Ledger,
    list::ListSource,
    pipeline::{Pipeline, PipelineHandle},
    ports::{Destination, Fetcher, Outgoing, Publisher},
};

use super::{Error, check, fetcher, models, ports, settings, start_faults};
use crate::{
    config::{Config, Layers},
    decode::FileDecoder,
    fetch::HttpFetcher,
    shutdown::Shutdown,
};

/// The name under which the list stands in the ledger.
const TOPIC: &str = "arguments";
/// How long the chain may take to settle what is answered.
const SETTLE: Duration = Duration::from_secs(5);

/// A chain that answers in process.
pub struct Local {
    pipeline: PipelineHandle,
    answers: mpsc::UnboundedReceiver<Outgoing>,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The output record, as it would stand in the topic.
    Captioned(Bytes),
    /// A dead letter.
    Dead {
        /// One of the contract's reasons.
        reason: String,
        /// What happened.
        detail: String,
    },
}

impl Local {
    /// Loads every model. Of the file system exactly `files` can be fetched (as [`file_url`]
    /// names them), besides what the configuration allows anyway.
    ///
    /// # Errors
    /// Every fault.
    pub async fn start(config: &Config, layers: &Layers, files: &[PathBuf]) -> Result<Self, Error> {
        check(config, layers)?;
        let mut with_roots = config.clone();
        let parents = files.iter().filter_map(|file| file.parent());
        with_roots
            .fetch
            .file_roots
            .extend(parents.map(Path::to_owned));
        let fetcher = NamedFiles {
            configured: fetcher(config, layers)?,
            with_roots: fetcher(&with_roots, layers)?,
            named: files.iter().filter_map(|file| file_url(file)).collect(),
        };
        let (sender, answers) = mpsc::unbounded_channel();
        let ledger = Arc::new(Ledger::new());
        let ports = ports(
            models::load(config, layers)?,
            ledger,
            Arc::new(fetcher),
            FileDecoder::new(settings::decode(config)),
            Arc::new(Collector(sender)),
        );
        let pipeline = Pipeline::start(settings::chain(config), ports)
            .await
            .map_err(|error| start_faults(error, config, layers))?;
        Ok(Self { pipeline, answers })
    }

    /// Runs all requests and calls `each` with the index and the answer of every one as it comes,
    /// not in the list's order. Ends when all are answered.
    ///
    /// # Errors
    /// [`Error::GaveUp`], [`Error::Interrupted`].
    pub async fn answer(
        mut self,
        requests: Vec<Bytes>,
        shutdown: &mut Shutdown,
        mut each: impl FnMut(usize, Answer),
    ) -> Result<(), Error> {
        let mut open: HashSet<i64> = (0..).take(requests.len()).collect();
        let list = ListSource::new(self.pipeline.intake(), TOPIC);
        self.pipeline.set_source(list.clone());
        for request in requests {
            list.push(request);
        }
        let feeder = tokio::spawn(async move { list.run().await });
        let mut ended = Ok(());
        while !open.is_empty() && ended.is_ok() {
            tokio::select! {
                outgoing = self.answers.recv() => {
                    let outgoing = outgoing.expect("bug: the chain holds its publisher");
                    let offset = outgoing.source.offset;
                    // A restart of the chain may answer a request twice.
                    if open.remove(&offset) {
                        let index = usize::try_from(offset).expect("bug: offsets are indices");
                        each(index, answer(outgoing));
                    }
                }
                reason = self.pipeline.failed() => ended = Err(Error::GaveUp(reason)),
                _ = shutdown.requested() => ended = Err(Error::Interrupted),
            }
        }
        feeder.abort();
        if ended.is_ok() {
            self.pipeline.drain(SETTLE).await;
        }
        ended
    }
}

/// The `file:` URL of a path that exists, symbolic links resolved.
#[must_use]
pub fn file_url(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    Url::from_file_path(path).ok().map(String::from)
}

fn answer(outgoing: Outgoing) -> Answer {
    let header = |name: &str| {
        (outgoing.headers.iter())
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    match outgoing.destination {
        Destination::Captions => Answer::Captioned(outgoing.value.clone().unwrap_or_default()),
        Destination::Dead => Answer::Dead {
            reason: header("vila2-reason"),
            detail: header("vila2-detail"),
        },
    }
}

/// Every write is confirmed at once and handed to the one who asked.
struct Collector(mpsc::UnboundedSender<Outgoing>);

impl Publisher for Collector {
    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'static, Result<(), PublishError>> {
        // Nobody listens any more once the asker was interrupted.
        let _ = self.0.send(outgoing);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Opens the file system for the named files, and for nothing beside them.
struct NamedFiles {
    configured: HttpFetcher,
    with_roots: HttpFetcher,
    named: HashSet<String>,
}

impl Fetcher for NamedFiles {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        credit: &'a mut ImageCredit,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        if self.named.contains(url) {
            self.with_roots.fetch(url, credit)
        } else {
            self.configured.fetch(url, credit)
        }
    }
}
