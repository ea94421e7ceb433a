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
    annotation::{SpatialRelation, TextLine},
    breaker::Breaker,
    chain::{Abandoned, Chain},
    config::{ChainConfig, Mode},
    engine::{AnyEngine, Engine, GenerateEngine, Loading},
    fingerprint::Identities,
    image::Image,
    intake::Intake,
    ledger::Ledger,
    message::{Admitted, PublishMessage},
    ports::{
        Decoder, Fetcher, Footprint, Generator, Load, Located, Merger, Publisher, Relater, Repeats,
        Source, TextReader,
    },
    stage::Stage,
    stages::{
        Exit,
        caption::Caption,
        decode::{self, Decode, threads::Threads},
        fetch::{self, Fetch},
        ground::Ground,
        merge::Merge,
        publish::{self, Publish},
        read_text::ReadText,
        relate::Relate,
    },
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
    /// The text reader, unless `read_text` is off.
    pub text_reader: Option<Load<TextReader>>,
    /// The relater, unless `relate` is off.
    pub relater: Option<Load<Relater>>,
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
    ground: Option<GenerateEngine>,
    relate: Option<Engine<Located, Vec<SpatialRelation>>>,
    read_text: Option<Engine<Arc<Image>, Vec<TextLine>>>,
    /// Each generator once, however many stages use it.
    generators: BTreeMap<String, GenerateEngine>,
    /// What all of them hold of pictures.
    footprint: Footprint,
}

impl Engines {
    /// Starts all threads at once and reports the faults of all.
    async fn load(chain: &Arc<Chain>, ports: &Ports) -> Result<Self, StartError> {
        let config = &chain.config;
        let mut faults = Vec::new();
        let mut loads: Vec<Loads> = Vec::new();
        let mut generators = BTreeMap::new();
        let grounds = config.ground.specialist.mode != Mode::Off;
        let used = [
            (Stage::Caption, Some(&config.caption.engine)),
            (Stage::Ground, grounds.then_some(&config.ground.engine)),
        ];
        for (stage, name) in used {
            let Some(name) = name else { continue };
            if generators.contains_key(name) {
                continue;
            }
            let Some(load) = ports.generators.get(name) else {
                let stage = stage.as_str();
                faults.push(format!(
                    "stage `{stage}` asks for engine `{name}`: there is none"
                ));
                continue;
            };
            let (engine, loading) = Engine::of_generator(name, Arc::clone(load), chain);
            loads.push(Loads::new(name, &engine, loading));
            generators.insert(name.clone(), engine);
        }
        let relate = specialist(
            Stage::Relate,
            config.relate.mode,
            &ports.relater,
            &mut faults,
        )
        .map(|load| Engine::of_batch_model("relate", load, chain))
        .map(|(engine, loading)| {
            loads.push(Loads::new("relate", &engine, loading));
            engine
        });
        let mode = config.read_text.mode;
        let read_text = specialist(Stage::ReadText, mode, &ports.text_reader, &mut faults)
            .map(|load| Engine::of_batch_model("read_text", load, chain))
            .map(|(engine, loading)| {
                loads.push(Loads::new("read_text", &engine, loading));
                engine
            });
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
        match generators.get(&config.caption.engine).cloned() {
            Some(caption) if faults.is_empty() => Ok(Self {
                caption,
                ground: (grounds.then(|| generators.get(&config.ground.engine).cloned())).flatten(),
                relate,
                read_text,
                generators,
                footprint,
            }),
            _ => {
                loads.iter().for_each(|one| (one.stop)());
                Err(StartError { faults })
            }
        }
    }

    fn any(&self) -> Arc<[Box<dyn AnyEngine>]> {
        fn boxed<E: AnyEngine + Clone + 'static>(engine: &E) -> Box<dyn AnyEngine> {
            Box::new(engine.clone())
        }
        (self.generators.values().map(boxed))
            .chain(self.relate.iter().map(boxed))
            .chain(self.read_text.iter().map(boxed))
            .collect()
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

fn specialist<M: ?Sized>(
    stage: Stage,
    mode: Mode,
    load: &Option<Load<M>>,
    faults: &mut Vec<String>,
) -> Option<Load<M>> {
    if mode == Mode::Off {
        return None;
    }
    if load.is_none() {
        faults.push(format!("stage `{}` is on and has no model", stage.as_str()));
    }
    load.clone()
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
    let read_text = spawn!(ReadText {
        engine: parts.engines.read_text.clone(),
        next: merge,
        exit: exit(Stage::ReadText),
    });
    let relate = spawn!(Relate {
        engine: parts.engines.relate.clone(),
        next: read_text,
        exit: exit(Stage::Relate),
    });
    let ground = spawn!(Ground {
        engine: parts.engines.ground.clone(),
        next: relate,
        exit: exit(Stage::Ground),
    });
    let caption = spawn!(Caption {
        engine: parts.engines.caption.clone(),
        next: ground,
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
