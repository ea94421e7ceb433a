//! The chain in process, without Kafka: requests through a channel, answers through another.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use vila2_actors::{
    budget::ImageCredit,
    error::{FetchError, PublishError},
    image::Fetched,
    ledger::Ledger,
    list::ListSource,
    pipeline::{Pipeline, PipelineHandle},
    ports::{Destination, Fetcher, Outgoing, Publisher, Repeats},
};

use super::{Error, check, fetcher, gallery::Gallery, models, ports, settings, start_faults};
use crate::{
    config::{Config, Layers},
    decode::FileDecoder,
    fetch::{HttpFetcher, member::Member},
    shutdown::Shutdown,
};

/// The name under which the requests stand in the ledger.
const TOPIC: &str = "arguments";
/// How long the chain may take to settle what is answered.
const SETTLE: Duration = Duration::from_secs(5);
/// The most requests from the first one without an answer on: what one slow host holds up.
const WINDOW: usize = 16_384;
/// Requests that wait to be admitted, at most.
const AHEAD: usize = 256;
/// How often it is looked whether there is room for the next request.
const LOOK: Duration = Duration::from_millis(20);

/// A chain that answers in process.
pub struct Local {
    pipeline: PipelineHandle,
    answers: mpsc::UnboundedReceiver<Handed>,
    named: Arc<Mutex<HashMap<String, usize>>>,
}

/// One request on its way into the chain.
#[derive(Debug)]
pub struct Query<T> {
    /// The value, as it would stand in the input topic; `None`: it is only passed on.
    pub request: Option<Bytes>,
    /// Whether its URL is of a file that a person named by its path: it is then read wherever it
    /// lies. Other `file:` URLs are read where the configuration allows it.
    pub names_file: bool,
    /// What comes back with the answer.
    pub with: T,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The output record, as it would stand in the topic.
    Captioned(Bytes),
    /// The answer is that of another request: see [`Repeats`].
    Repeated,
    /// It came without a request.
    NotAsked,
    /// A dead letter.
    Dead {
        /// One of the contract's reasons.
        reason: String,
        /// What happened.
        detail: String,
    },
}

/// An answer that counts as written once this is dropped.
#[derive(Debug)]
pub struct Receipt {
    /// Where the request stands among all, from 0 on; -1: there was none.
    pub offset: i64,
    _written: Option<oneshot::Sender<()>>,
}

impl Receipt {
    fn none() -> Self {
        Self {
            offset: -1,
            _written: None,
        }
    }
}

impl Local {
    /// Loads every model.
    ///
    /// # Errors
    /// Every fault.
    pub async fn start(
        config: &Config,
        layers: &Layers,
        repeats: Option<Arc<dyn Repeats>>,
        gallery: Option<Arc<Gallery>>,
    ) -> Result<Self, Error> {
        check(config, layers)?;
        let named: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let mut anywhere = config.clone();
        anywhere.fetch.file_roots = vec![PathBuf::from("/")];
        let fetcher = NamedFiles {
            configured: fetcher(config, layers)?,
            anywhere: fetcher(&anywhere, layers)?,
            named: Arc::clone(&named),
            max_bytes: config.fetch.max_bytes,
            gallery,
        };
        let (sender, answers) = mpsc::unbounded_channel();
        let mut ports = ports(
            models::load(config, layers)?,
            Arc::new(Ledger::new()),
            Arc::new(fetcher),
            FileDecoder::new(settings::decode(config)),
            Arc::new(Collector(sender)),
        );
        ports.repeats = repeats;
        let pipeline = Pipeline::start(settings::chain(config), ports)
            .await
            .map_err(|error| start_faults(error, config, layers))?;
        Ok(Self {
            pipeline,
            answers,
            named,
        })
    }

    /// Runs every request that comes out of `requests` and calls `each` with what came with it and
    /// the answer, as it comes, not in their order; at once for what comes without a request. Ends
    /// when all are answered and none comes any more, or when `each` fails. No more than a bounded
    /// number is in flight at a time.
    ///
    /// # Errors
    /// [`Error::GaveUp`], [`Error::Interrupted`]; the inner error is that of `each`.
    pub async fn answer<T, E>(
        mut self,
        mut requests: mpsc::Receiver<Query<T>>,
        shutdown: &mut Shutdown,
        mut each: impl FnMut(T, Answer, Receipt) -> Result<(), E>,
    ) -> Result<Result<(), E>, Error> {
        let list = ListSource::open(self.pipeline.intake(), TOPIC);
        self.pipeline.set_source(list.clone());
        let feeder = tokio::spawn({
            let list = Arc::clone(&list);
            async move { list.run().await }
        });
        let mut open: HashMap<i64, (T, Option<Named>)> = HashMap::new();
        let mut more = true;
        let mut result = Ok(());
        let mut ended = Ok(());
        while (more || !open.is_empty()) && ended.is_ok() && result.is_ok() {
            let (kept, unfed) = list.kept();
            let room = kept < WINDOW && unfed < AHEAD;
            tokio::select! {
                biased;
                // First: where answers and requests are always there, they must be heard, too.
                _ = shutdown.requested() => ended = Err(Error::Interrupted),
                reason = self.pipeline.failed() => ended = Err(Error::GaveUp(reason)),
                handed = self.answers.recv() => {
                    let Handed { outgoing, written } =
                        handed.expect("bug: the chain holds its publisher");
                    let receipt = Receipt {
                        offset: outgoing.source.offset,
                        _written: Some(written),
                    };
                    // A restart of the chain may answer a request twice.
                    if let Some((with, _named)) = open.remove(&receipt.offset) {
                        result = each(with, answer(outgoing), receipt);
                    }
                }
                query = requests.recv(), if more && room => match query {
                    Some(Query { request: Some(request), names_file, with }) => {
                        let named = names_file.then(|| self.name(&request));
                        open.insert(list.push(request), (with, named));
                    }
                    Some(Query { with, .. }) => {
                        result = each(with, Answer::NotAsked, Receipt::none());
                    }
                    None => {
                        more = false;
                        list.close();
                    }
                },
                () = tokio::time::sleep(LOOK), if more && !room => {}
            }
        }
        if ended.is_ok() && result.is_ok() {
            self.pipeline.drain(SETTLE).await;
        }
        feeder.abort();
        ended.map(|()| result)
    }

    /// The file of a request may be read until what this returns is dropped.
    fn name(&self, request: &Bytes) -> Named {
        let parsed = vila2_actors::request::parse(Some(request));
        let url = parsed.map(|request| request.url).unwrap_or_default();
        *lock(&self.named).entry(url.clone()).or_default() += 1;
        Named {
            url,
            all: Arc::clone(&self.named),
        }
    }
}

/// A file that may be read.
struct Named {
    url: String,
    all: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for Named {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if let Some(count) = all.get_mut(&self.url) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.url);
            }
        }
    }
}

fn lock(named: &Mutex<HashMap<String, usize>>) -> MutexGuard<'_, HashMap<String, usize>> {
    named.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(outgoing: Outgoing) -> Answer {
    let header = |name: &str| {
        (outgoing.headers.iter())
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    match (outgoing.destination, outgoing.value.clone()) {
        (Destination::Captions, Some(record)) => Answer::Captioned(record),
        (Destination::Captions, None) => Answer::Repeated,
        (Destination::Dead, _) => Answer::Dead {
            reason: header("vila2-reason"),
            detail: header("vila2-detail"),
        },
    }
}

/// A write on its way to the one who asked.
struct Handed {
    outgoing: Outgoing,
    written: oneshot::Sender<()>,
}

/// Every write is handed to the one who asked, and confirmed when he is done with it.
struct Collector(mpsc::UnboundedSender<Handed>);

impl Publisher for Collector {
    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'static, Result<(), PublishError>> {
        let (written, done) = oneshot::channel();
        // Nobody listens any more once the asker was interrupted.
        let _ = self.0.send(Handed { outgoing, written });
        Box::pin(async move {
            let _ = done.await;
            Ok(())
        })
    }
}

/// Opens the file system for what a person named: pictures by their paths, and members of tars.
struct NamedFiles {
    configured: HttpFetcher,
    anywhere: HttpFetcher,
    named: Arc<Mutex<HashMap<String, usize>>>,
    max_bytes: u64,
    gallery: Option<Arc<Gallery>>,
}

impl Fetcher for NamedFiles {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        credit: &'a mut ImageCredit,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let is_named = lock(&self.named).contains_key(url);
            let fetched = match Member::of(url).filter(|_| is_named) {
                Some(member) => member.read(url, self.max_bytes, credit).await,
                None if is_named => self.anywhere.fetch(url, credit).await,
                None => self.configured.fetch(url, credit).await,
            }?;
            if let Some(gallery) = &self.gallery {
                gallery.fetched(url, &fetched.body);
            }
            Ok(fetched)
        })
    }
}
