//! Starts and supervises the chain. `stages` in here is the only list of stages.

mod handle;
mod supervisor;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc};

use ractor::{ActorCell, ActorRef, SpawnErr};
use tokio::sync::Semaphore;

pub use self::handle::{Drained, PipelineHandle};
use crate::{
    breaker::Breaker,
    chain::{Abandoned, Chain},
    config::{ChainConfig, Mode, SpecialistConfig, Task},
    engine::{AnyEngine, Engine, GenerateEngine, Loading},
    fingerprint::Identities,
    intake::Intake,
    ledger::Ledger,
    message::{Admitted, PublishMessage},
    ports::{
        BatchModel, Decoder, Fetcher, Footprint, Generator, Load, Merger, Publisher, Relater,
        Repeats, Source, TextReader,
    },
    stage::Stage,
    stages::{
        Exit, Next,
        ask::Ask,
        caption::Caption,
        decode::{self, Decode, threads::Threads},
        fetch::{self, Fetch},
        merge::Merge,
        publish::{self, Publish},
    },
    task::Expert,
};

/// What the chain is built on.
pub struct Ports {
    /// The ledger that the source assigns partitions to and the publisher asks for epochs.
    pub ledger: Arc<Ledger>,
    /// Fetches bodies.
    pub fetcher: Arc<dyn Fetcher>,
    /// Finds records whose answer is known; `None`: every record is answered by itself.
    pub repeats: Option<Arc<dyn Repeats>>,
    /// Decodes pictures.
    pub decoder: Arc<dyn Decoder>,
    /// Merges findings.
    pub merger: Arc<dyn Merger>,
    /// Writes records.
    pub publisher: Arc<dyn Publisher>,
    /// The input; may be set later with [`PipelineHandle::set_source`].
    pub source: Option<Arc<dyn Source>>,
    /// Engine name → how its generator is built.
    pub generators: BTreeMap<String, Load<dyn Generator>>,
    /// Engine name → how its text reader is built.
    pub text_readers: BTreeMap<String, Load<TextReader>>,
    /// Engine name → how its relater is built.
    pub relaters: BTreeMap<String, Load<Relater>>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("generators", &self.generators.keys())
            .finish_non_exhaustive()
    }
}

/// Every fault that keeps the chain from starting, one a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", faults.join("\n"))]
pub struct StartError {
    /// The faults.
    pub faults: Vec<String>,
}

/// The chain.
#[derive(Debug)]
pub struct Pipeline;

impl Pipeline {
    /// Loads every model on its engine's thread, then starts the stages and opens the intake.
    /// Must be called within a tokio runtime, after metrics and traces were set up.
    ///
    /// # Errors
    /// Every model that could not be loaded, and every engine that is missing.
    pub async fn start(config: ChainConfig, ports: Ports) -> Result<PipelineHandle, StartError> {
        let chain = Arc::new(Chain::new(config, Arc::clone(&ports.ledger)));
        let engines = Engines::load(&chain, &ports).await?;
        chain.bytes.set_aside(engines.footprint.preparing);
        let threads = Threads::start(chain.config.limits.decoders).map_err(|error| StartError {
            faults: vec![format!("no threads for decoding: {error}")],
        })?;
        let intake = Intake::new(
            Arc::clone(&chain.ledger),
            chain.records.clone(),
            chain.writes.held(),
        );
        let any = engines.any();
        let parts = Arc::new(Parts {
            breaker: Arc::new(Breaker::new(Arc::clone(&chain), Arc::clone(&any))),
            threads: Arc::new(threads),
            sockets: semaphore(chain.config.fetch.concurrency),
            fetcher: ports.fetcher,
            repeats: ports.repeats,
            decoder: ports.decoder,
            merger: ports.merger,
            publisher: ports.publisher,
            engines,
            chain: Arc::clone(&chain),
        });
        PipelineHandle::supervise(chain, parts, intake, any, ports.source)
            .await
            .map_err(|error| StartError {
                faults: vec![format!("the stages cannot start: {error}")],
            })
    }
}

/// The engines, loaded.
struct Engines {
    caption: GenerateEngine,
    /// For each specialist of the configuration; `None` where it is off.
    experts: Vec<Option<Expert>>,
    /// Each engine once, however many stages ask it, in the order in which they do.
    all: Vec<(String, Expert)>,
    /// What all of them hold of pictures.
    footprint: Footprint,
}

/// Engines on their way.
struct Starting<'a> {
    chain: &'a Arc<Chain>,
    ports: &'a Ports,
    all: Vec<(String, Expert)>,
    loads: Vec<Loads>,
    faults: Vec<String>,
}

impl Starting<'_> {
    /// The generator of this name, started by the first stage that asks it.
    fn generator(&mut self, stage: Stage, name: &str) -> Option<GenerateEngine> {
        if let Some(Expert::Generate(engine)) = self.known(name) {
            return Some(engine.clone());
        }
        let load = Arc::clone(self.found(stage, name, self.ports.generators.get(name))?);
        let (engine, loading) = Engine::of_generator(name, load, self.chain);
        self.loads.push(Loads::new(name, &engine, loading));
        let expert = Expert::Generate(engine.clone());
        self.all.push((name.to_owned(), expert));
        Some(engine)
    }

    /// The engine that answers a specialist.
    fn expert(&mut self, config: &SpecialistConfig) -> Option<Expert> {
        let (stage, name) = (Stage::Ask(config.name), config.task.engine());
        // Models of different kinds may have one name.
        let key = format!("{} {name}", config.task.kind());
        match &config.task {
            Task::Ground(_) | Task::State(_) | Task::Transcribe(_) | Task::Answer(_) => {
                self.generator(stage, name).map(Expert::Generate)
            }
            Task::Relate { .. } => self.batch(
                stage,
                name,
                key,
                self.ports.relaters.get(name),
                Expert::Relate,
            ),
            Task::ReadText { .. } => self.batch(
                stage,
                name,
                key,
                self.ports.text_readers.get(name),
                Expert::Read,
            ),
        }
    }

    /// The engine of a model that answers batches, which has the name of the first stage that asks it.
    fn batch<M, Q, A>(
        &mut self,
        stage: Stage,
        name: &str,
        key: String,
        load: Option<&Load<M>>,
        expert: fn(Engine<Q, A>) -> Expert,
    ) -> Option<Expert>
    where
        M: BatchModel<Question = Q, Answer = A> + ?Sized,
        Q: Send + Sync + Clone + 'static,
        A: Send + 'static,
    {
        if let Some(known) = self.known(&key) {
            return Some(known.clone());
        }
        let load = Arc::clone(self.found(stage, name, load)?);
        let (engine, loading) = Engine::of_batch_model(stage.as_str(), load, self.chain);
        self.loads
            .push(Loads::new(stage.as_str(), &engine, loading));
        let expert = expert(engine);
        self.all.push((key, expert.clone()));
        Some(expert)
    }

    fn known(&self, key: &str) -> Option<&Expert> {
        let mut all = self.all.iter();
        all.find(|(known, _)| known == key)
            .map(|(_, expert)| expert)
    }

    fn found<T>(&mut self, stage: Stage, name: &str, found: Option<T>) -> Option<T> {
        if found.is_none() {
            let stage = stage.as_str();
            (self.faults).push(format!(
                "stage `{stage}` asks for engine `{name}`: there is none"
            ));
        }
        found
    }
}

impl Engines {
    /// Starts all threads at once and reports the faults of all.
    async fn load(chain: &Arc<Chain>, ports: &Ports) -> Result<Self, StartError> {
        let config = &chain.config;
        let mut starting = Starting {
            chain,
            ports,
            all: Vec::new(),
            loads: Vec::new(),
            faults: Vec::new(),
        };
        let caption = starting.generator(Stage::Caption, &config.caption.engine);
        let experts = (config.specialists.iter())
            .map(|one| {
                (one.mode != Mode::Off)
                    .then(|| starting.expert(one))
                    .flatten()
            })
            .collect();
        let Starting {
            all,
            mut loads,
            mut faults,
            ..
        } = starting;
        let mut footprint = Footprint::default();
        let mut holders = Vec::new();
        for one in &mut loads {
            match (&mut one.loading).await {
                Ok(Ok(holds)) => {
                    footprint.preparing += holds.preparing;
                    footprint.per_image += holds.per_image;
                    holders.push(format!("model `{}` {}", one.name, holds.preparing));
                }
                Ok(Err(error)) => faults.push(format!("model `{}`: {error}", one.name)),
                Err(_) => faults.push(format!("engine `{}` did not start", one.name)),
            }
        }
        let limit = config.limits.image_bytes;
        if footprint.preparing > limit / 2 {
            faults.push(format!(
                "limits.image_bytes: {limit} bytes are too few: of pictures that are being prepared \
                 models hold up to {} bytes ({}), and half of the limit is for files and pixels; \
                 set it to {} or more",
                footprint.preparing,
                holders.join(", "),
                footprint.preparing * 3,
            ));
        }
        match caption {
            Some(caption) if faults.is_empty() => Ok(Self {
                caption,
                experts,
                all,
                footprint,
            }),
            _ => {
                loads.iter().for_each(|one| (one.stop)());
                Err(StartError { faults })
            }
        }
    }

    fn any(&self) -> Arc<[Box<dyn AnyEngine>]> {
        let any = |expert: &Expert| -> Box<dyn AnyEngine> {
            match expert {
                Expert::Generate(engine) => Box::new(engine.clone()),
                Expert::Relate(engine) => Box::new(engine.clone()),
                Expert::Read(engine) => Box::new(engine.clone()),
            }
        };
        self.all.iter().map(|(_, expert)| any(expert)).collect()
    }
}

/// An engine that is loading.
struct Loads {
    name: String,
    loading: Loading,
    stop: Box<dyn Fn() + Send + Sync>,
}

impl Loads {
    fn new<Q, A>(name: &str, engine: &Engine<Q, A>, loading: Loading) -> Self
    where
        Q: Send + 'static,
        A: Send + 'static,
    {
        let stop = engine.clone();
        Self {
            name: name.to_owned(),
            loading,
            stop: Box::new(move || stop.stop()),
        }
    }
}

/// What the stages are built of, every time.
struct Parts {
    chain: Arc<Chain>,
    breaker: Arc<Breaker>,
    fetcher: Arc<dyn Fetcher>,
    repeats: Option<Arc<dyn Repeats>>,
    decoder: Arc<dyn Decoder>,
    merger: Arc<dyn Merger>,
    publisher: Arc<dyn Publisher>,
    engines: Engines,
    threads: Arc<Threads>,
    sockets: Arc<Semaphore>,
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)))
}

/// Running stages: the two that the intake sends to, and all of them.
struct Stages {
    fetch: ActorRef<Admitted>,
    publish: ActorRef<PublishMessage>,
    cells: Vec<ActorCell>,
}

/// Starts the stages, last to first, each linked to the supervisor: THE list.
async fn stages(parts: &Parts, supervisor: &ActorRef<Abandoned>) -> Result<Stages, SpawnErr> {
    let chain = &parts.chain;
    let mut cells = Vec::new();
    macro_rules! spawn {
        ($stage:expr) => {{
            let link = supervisor.get_cell();
            let (actor, _) = link.spawn_linked(None, $stage, ()).await?;
            cells.push(actor.get_cell());
            actor
        }};
    }
    let publish = spawn!(Publish(Arc::new(publish::Inner {
        publisher: Arc::clone(&parts.publisher),
        chain: Arc::clone(chain),
        breaker: Arc::clone(&parts.breaker),
        identities: Identities {
            decoder: parts.decoder.identity(),
            rules: chain.config.rules.identity(),
            merger: parts.merger.identity(),
        },
    })));
    let exit = |stage| Exit {
        stage,
        publish: publish.clone(),
        chain: Arc::clone(chain),
    };
    let merge = spawn!(Merge {
        merger: Arc::clone(&parts.merger),
        next: publish.clone(),
        exit: exit(Stage::Merge),
    });
    let mut next = Next::Merge(merge);
    let specialists = chain.config.specialists.iter().zip(&parts.engines.experts);
    for (config, expert) in specialists.rev() {
        let ask = spawn!(Ask {
            config: config.clone(),
            expert: expert.clone(),
            next,
            exit: exit(Stage::Ask(config.name)),
        });
        next = Next::Ask(ask);
    }
    let caption = spawn!(Caption {
        engine: parts.engines.caption.clone(),
        next,
        exit: exit(Stage::Caption),
    });
    let decode = spawn!(Decode(Arc::new(decode::Inner {
        decoder: Arc::clone(&parts.decoder),
        threads: Arc::clone(&parts.threads),
        kept_by_models: parts.engines.footprint.per_image,
        next: caption,
        exit: exit(Stage::Decode),
    })));
    let fetch = spawn!(Fetch(Arc::new(fetch::Inner {
        fetcher: Arc::clone(&parts.fetcher),
        repeats: parts.repeats.clone(),
        sockets: Arc::clone(&parts.sockets),
        next: decode,
        exit: exit(Stage::Fetch),
    })));
    Ok(Stages {
        fetch,
        publish,
        cells,
    })
}
