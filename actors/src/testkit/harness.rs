//! A whole chain on fakes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::fakes::{
    Answering, Decoding, FakeBatch, FakeDecoder, FakeFetcher, FakeGenerator, FakeMerger,
    FakePublisher, Fetching, Generating, Publishing, Seen, number_of,
};
use crate::{
    annotation::{EnrichedCaption, Quad, Relation, SpatialRelation, TextLine},
    config::{Asking, ChainConfig, Task},
    error::ModelError,
    image::Image,
    ledger::Ledger,
    list::ListSource,
    pipeline::{Pipeline, PipelineHandle, Ports, StartError},
    ports::{
        Destination, Footprint, Generator, Load, Located, Outgoing, Prompt, Relater, Repeats,
        Source, TextReader,
    },
};

/// What a fake does, by what it is given.
pub type Script<I, O> = Arc<dyn Fn(I) -> O + Send + Sync>;

/// Nothing a test waits for takes longer, or it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Scripts of all fakes; the default does everything right.
#[allow(missing_docs)] // the names are the documentation
#[derive(Clone)]
pub struct World {
    pub config: ChainConfig,
    pub body_bytes: u64,
    pub decoded_bytes: u64,
    pub slots: usize,
    /// What the generator holds of pictures.
    pub footprint: Footprint,
    /// (number, attempt from 1 on)
    pub fetch: Script<(u64, u32), Fetching>,
    pub decode: Script<u64, Decoding>,
    /// (number, prompt): captions and groundings.
    pub generate: Script<(u64, Prompt), Generating>,
    pub relate: Script<u64, Answering<Vec<SpatialRelation>>>,
    pub read_text: Script<u64, Answering<Vec<TextLine>>>,
    pub publish: Script<Outgoing, Publishing>,
    /// Called on every build of the generator; an error keeps it from being built.
    pub load: Script<(), Result<(), ModelError>>,
    /// What the generator answers to its own question.
    pub check: Script<(), Result<(), ModelError>>,
    /// What the text reader answers to its own question.
    pub check_reader: Script<(), Result<(), ModelError>>,
    /// What the source is told to hold.
    pub topic: &'static str,
    pub repeats: Option<Arc<dyn Repeats>>,
}

impl Default for World {
    fn default() -> Self {
        let mut config = ChainConfig::default();
        config.caption.prompts = vec![Arc::from("caption")];
        asking(&mut config, "ground").prompts = vec![Arc::from("ground")];
        config.fetch.backoff = Duration::from_millis(1);
        config.limits.record = Duration::from_secs(30);
        Self {
            config,
            body_bytes: 10,
            decoded_bytes: 100,
            slots: 4,
            footprint: Footprint::default(),
            fetch: Arc::new(|_| Fetching::Body),
            decode: Arc::new(|_| Decoding::Picture),
            generate: Arc::new(|(number, prompt)| World::generated(number, &prompt)),
            relate: Arc::new(|_| Answering::With(vec![relation()])),
            read_text: Arc::new(|number| Answering::With(vec![line(number)])),
            publish: Arc::new(|_| Publishing::Confirms),
            load: Arc::new(|()| Ok(())),
            check: Arc::new(|()| Ok(())),
            check_reader: Arc::new(|()| Ok(())),
            topic: "images",
            repeats: None,
        }
    }
}

impl World {
    /// What the default generator writes: `image 7`, or its location, in a number of steps that
    /// differs from image to image.
    #[must_use]
    pub fn generated(number: u64, prompt: &Prompt) -> Generating {
        let steps = 1 + (number % 7) as u32;
        match &*prompt.text {
            "ground" => {
                let text = format!("thing {number} [000,000,500,999], and a mat [100,100,999,999]");
                Generating::Text(text, steps)
            }
            _ => Generating::Text(format!("image {number}"), steps),
        }
    }

    /// Starts the chain.
    ///
    /// # Errors
    /// What [`Pipeline::start`] says.
    pub async fn try_start(self) -> Result<Harness, StartError> {
        let ledger = Arc::new(Ledger::new());
        let publisher = Arc::new(FakePublisher::new(Arc::clone(&ledger), self.publish));
        let (fetched, admitted) = (Seen::default(), Seen::default());
        let generator: Load<dyn Generator> = {
            let (script, seen, load, check) =
                (self.generate, admitted.clone(), self.load, self.check);
            let (slots, builds) = (self.slots, AtomicUsize::new(0));
            let footprint = self.footprint;
            Arc::new(move || {
                load(())?;
                Ok(Box::new(FakeGenerator {
                    check: Arc::clone(&check),
                    build: builds.fetch_add(1, Ordering::Relaxed) + 1,
                    name: String::from("fake"),
                    slots,
                    script: Arc::clone(&script),
                    seen: seen.clone(),
                    running: Vec::new(),
                    footprint,
                }))
            })
        };
        let (relate, read_text, check_reader) = (self.relate, self.read_text, self.check_reader);
        let relater: Load<Relater> = Arc::new(move || {
            Ok(Box::new(FakeBatch {
                name: "geometry",
                number: |located: &Located| number_of(&located.image),
                script: Arc::clone(&relate),
                check: Arc::new(|()| Ok(())),
            }))
        });
        let text_reader: Load<TextReader> = Arc::new(move || {
            Ok(Box::new(FakeBatch {
                name: "reader",
                number: |image: &Arc<Image>| number_of(image),
                script: Arc::clone(&read_text),
                check: Arc::clone(&check_reader),
            }))
        });
        let ports = Ports {
            ledger: Arc::clone(&ledger),
            fetcher: Arc::new(FakeFetcher {
                script: self.fetch,
                body_bytes: self.body_bytes,
                attempts: Default::default(),
                seen: fetched.clone(),
            }),
            decoder: Arc::new(FakeDecoder {
                script: self.decode,
                decoded_bytes: self.decoded_bytes,
            }),
            merger: Arc::new(FakeMerger),
            publisher: Arc::clone(&publisher) as _,
            source: None,
            repeats: self.repeats,
            generators: BTreeMap::from([(String::from("captioner"), generator)]),
            text_readers: BTreeMap::from([(String::from("read_text"), text_reader)]),
            relaters: BTreeMap::from([(String::from("relate"), relater)]),
        };
        let handle = Pipeline::start(self.config, ports).await?;
        let source = ListSource::new(handle.intake(), self.topic);
        handle.set_source(Arc::clone(&source) as Arc<dyn Source>);
        Ok(Harness {
            topic: self.topic,
            handle,
            source,
            publisher,
            ledger,
            fetched,
            admitted,
            pushed: 0,
        })
    }

    /// Starts the chain.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(self) -> Harness {
        self.try_start().await.expect("bug: the fakes load")
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// A running chain on fakes.
#[derive(Debug)]
#[allow(missing_docs)] // the names are the documentation
pub struct Harness {
    pub topic: &'static str,
    pub handle: PipelineHandle,
    pub source: Arc<ListSource>,
    pub publisher: Arc<FakePublisher>,
    pub ledger: Arc<Ledger>,
    /// Fetches that were begun.
    pub fetched: Seen,
    /// Requests that the generator was given.
    pub admitted: Seen,
    pushed: i64,
}

impl Harness {
    /// Adds requests for so many images, numbered on from the last.
    pub fn push(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.pushed;
            self.push_value(format!("http://fake/{number}"));
        }
    }

    /// Adds a request.
    pub fn push_value(&mut self, value: impl Into<bytes::Bytes>) {
        self.pushed = self.source.push(value) + 1;
    }

    /// Feeds until every request is settled.
    pub async fn run(&self) {
        self.patiently("every record settled", self.source.run())
            .await;
    }

    /// Feeds beside the test, until every request is settled.
    #[must_use]
    pub fn feeding(&self) -> tokio::task::JoinHandle<()> {
        let source = Arc::clone(&self.source);
        tokio::spawn(async move { source.run().await })
    }

    /// Waits for something that must happen.
    ///
    /// # Panics
    /// When it does not.
    pub async fn patiently<T>(&self, what: &str, wait: impl Future<Output = T>) -> T {
        let reason = async {
            match tokio::time::timeout(PATIENCE, wait).await {
                Ok(done) => Ok(done),
                Err(_) => Err(format!(
                    "never: {what}; {} in flight",
                    self.handle.in_flight()
                )),
            }
        };
        reason.await.unwrap_or_else(|never| panic!("{never}"))
    }

    /// Captions that were written, by offset of the request.
    ///
    /// # Panics
    /// When one is not a record.
    #[must_use]
    pub fn captions(&self) -> BTreeMap<i64, EnrichedCaption> {
        (self.publisher.written().into_iter())
            .filter(|outgoing| outgoing.destination == Destination::Captions)
            .map(|outgoing| {
                let value = outgoing.value.unwrap_or_default();
                let record = serde_json::from_slice(&value).expect("bug: a record is JSON");
                (outgoing.source.offset, record)
            })
            .collect()
    }

    /// Dead letters that were written, by offset of the request.
    #[must_use]
    pub fn dead(&self) -> BTreeMap<i64, Outgoing> {
        (self.publisher.written().into_iter())
            .filter(|outgoing| outgoing.destination == Destination::Dead)
            .map(|outgoing| (outgoing.source.offset, outgoing))
            .collect()
    }

    /// Offset and reason of the dead letters.
    #[must_use]
    pub fn reasons(&self) -> Vec<(i64, String)> {
        (self.dead().into_iter())
            .map(|(offset, outgoing)| (offset, header(&outgoing, "vila2-reason")))
            .collect()
    }

    /// Ends a test that was answered in full: every request has one terminal record, the ledger is
    /// at the end, nothing is in flight, and nothing was written twice.
    ///
    /// # Panics
    /// When that is not so.
    pub async fn finish(self) {
        let written = self.publisher.written();
        let answered: BTreeSet<_> = written.iter().map(|one| one.source.offset).collect();
        assert_eq!(
            answered,
            (0..self.pushed).collect(),
            "one terminal record each"
        );
        assert_eq!(written.len(), answered.len(), "nothing is written twice");
        let position = self.ledger.position(self.topic, 0);
        assert_eq!(position.map(|position| position.offset), Some(self.pushed));
        self.stop().await;
    }

    /// Ends a test: nothing is in flight once everything that can end has ended.
    ///
    /// # Panics
    /// When something is.
    pub async fn stop(self) {
        let drained = self.handle.drain(PATIENCE).await;
        assert_eq!(drained.left, 0, "every permit is home");
        assert_eq!(self.handle.image_bytes(), 0, "every byte is home");
        self.patiently("stopped", self.handle.stop()).await;
        assert_eq!(self.ledger.in_flight(), 0);
    }
}

/// What a specialist asks a generator.
///
/// # Panics
/// Where it asks none.
pub fn asking<'a>(config: &'a mut ChainConfig, name: &str) -> &'a mut Asking {
    match &mut config.specialist_mut(name).task {
        Task::Ground(asking) | Task::State(asking) | Task::Answer(asking) => asking,
        task => panic!("bug: {} asks no generator", task.kind()),
    }
}

/// A header of a write, empty where there is none.
pub(crate) fn header(outgoing: &Outgoing, name: &str) -> String {
    (outgoing.headers.iter())
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.clone())
        .unwrap_or_default()
}

fn relation() -> SpatialRelation {
    SpatialRelation {
        id: String::from("s0"),
        subject: String::from("g0"),
        relation: Relation::LeftOf,
        object: String::from("g1"),
        score: 1.0,
    }
}

fn line(number: u64) -> TextLine {
    TextLine {
        id: String::from("t0"),
        text: number.to_string(),
        quad: Quad([[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]]),
        score: 0.9,
    }
}
