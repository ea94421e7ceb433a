//! What the chain is told at its start: limits, prompts, modes. Checked by the outside.

use std::{sync::Arc, time::Duration};

use crate::{
    rules::Rules,
    sampling::Sampling,
    stage::{Path, Specialist},
};

/// Everything the chain can be told.
#[derive(Debug, Clone)]
pub struct ChainConfig {
    /// Bounds.
    pub limits: Limits,
    /// Retries of a fetch.
    pub fetch: FetchConfig,
    /// The captioner.
    pub caption: CaptionConfig,
    /// What its captions must not be.
    pub rules: Rules,
    /// What examines the picture besides, in the order in which it is asked. Relations are between
    /// the boxes that were found before.
    pub specialists: Vec<SpecialistConfig>,
    /// How often a record may fail in a model, or take the chain down, before it is a dead letter.
    pub attempts: u32,
    /// What is tolerated before the process gives up.
    pub tolerance: Tolerance,
    /// What spans say of the topics.
    pub names: Names,
}

/// Names that spans carry; nothing else depends on them.
#[derive(Debug, Clone)]
pub struct Names {
    /// The consumer group.
    pub group: Arc<str>,
    /// The output topic.
    pub captions: Arc<str>,
    /// The topic of dead letters.
    pub dead: Arc<str>,
}

/// Bounds of the chain.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Records on their way at once.
    pub records: usize,
    /// Bytes of bodies, pixels and what models make of them alive at once.
    pub image_bytes: u64,
    /// Work on one record, over all stages, after which it is dead-lettered as `stuck`. Waiting in
    /// a queue is no work.
    pub record: Duration,
    /// How long a drain may take.
    pub drain: Duration,
    /// Pictures decoded at once.
    pub decoders: usize,
}

/// Retries of a fetch.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// Further attempts after the first, on transient errors only.
    pub retries: u32,
    /// Wait before the first retry; doubles with each, and the server's `Retry-After` overrules it
    /// where it asks for more.
    pub backoff: Duration,
    /// The longest wait between two attempts.
    pub max_backoff: Duration,
    /// Hosts talked to at once: a bound on sockets. A wait between two attempts holds none.
    pub concurrency: usize,
    /// Bytes of credit that are taken before a request is sent, when nobody knows yet how large
    /// the body is.
    pub expected_bytes: u64,
}

/// The captioner.
#[derive(Debug, Clone)]
pub struct CaptionConfig {
    /// Name of the engine.
    pub engine: String,
    /// One is chosen per image, by a hash of (id, round, stage).
    pub prompts: Vec<Arc<str>>,
    /// Upper bound of generated tokens.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// What a specialist is asked.
#[derive(Debug, Clone)]
pub enum Task {
    /// Phrases with boxes, out of a text with inline boxes.
    Ground(Asking),
    /// How the boxes stand to each other.
    Relate {
        /// Name of the engine.
        engine: String,
    },
    /// The same, by a generator that says so in sentences.
    State(Asking),
    /// Lines of text.
    ReadText {
        /// Name of the engine.
        engine: String,
    },
    /// Lines of text, by a generator that writes where they stand.
    Transcribe(Asking),
    /// A question, whose answer is kept as it is.
    Answer(Asking),
}

/// A question to a generator.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Name of the engine; one engine computes the vision features of an image once, whoever asks.
    pub engine: String,
    /// One is chosen per image, by a hash of (id, round, name).
    pub prompts: Vec<Arc<str>>,
    /// Upper bound of generated tokens.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// What stands for the caption in a specialist's prompt.
pub const CAPTION: &str = "{caption}";

/// What stands for the names of the things that have boxes, in the prompt of a specialist that comes
/// after those which find them.
pub const THINGS: &str = "{things}";

/// A specialist, and how it takes part.
#[derive(Debug, Clone)]
pub struct SpecialistConfig {
    /// Its name.
    pub name: Specialist,
    /// What it is asked.
    pub task: Task,
    /// Whether it must answer.
    pub mode: Mode,
    /// How long it may work on one record, waiting not counted; `None`: as long as the record may
    /// be worked on.
    pub timeout: Option<Duration>,
}

/// Whether a specialist must answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Its failure is the record's failure.
    Required,
    /// Its failure gives a degraded record.
    #[default]
    Optional,
    /// It is not asked.
    Off,
}

impl SpecialistConfig {
    /// An optional one without a limit of time.
    #[must_use]
    pub fn new(name: &str, task: Task) -> Self {
        Self {
            name: Specialist::named(name),
            task,
            mode: Mode::default(),
            timeout: None,
        }
    }
}

impl ChainConfig {
    /// The stages, in path order.
    #[must_use]
    pub fn path(&self) -> Path {
        Path::through(self.specialists.iter().map(|one| one.name))
    }

    /// The specialist of a name.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn specialist_mut(&mut self, name: &str) -> &mut SpecialistConfig {
        let found = self.specialists.iter_mut();
        let mut found = found.filter(|one| one.name.as_str() == name);
        found.next().expect("bug: no such specialist")
    }
}

/// What is tolerated before the process gives up.
#[derive(Debug, Clone)]
pub struct Tolerance {
    /// Restarts of the chain within `window`; also how often one rebuild of a model is tried.
    pub restarts: usize,
    /// Rebuilds of one engine's model within `window`. More than `restarts`: a record that breaks
    /// the model costs one for each of its attempts.
    pub rebuilds: usize,
    /// The time in which `restarts` and `rebuilds` are counted.
    pub window: Duration,
    /// Records in a row that may fail as `model_failed` before the breaker asks every model a
    /// question that it must be able to answer.
    pub model_failed_run: u32,
}

impl Default for ChainConfig {
    fn default() -> Self {
        let engine = String::from("captioner");
        Self {
            limits: Limits::default(),
            fetch: FetchConfig::default(),
            caption: CaptionConfig {
                engine: engine.clone(),
                prompts: vec![Arc::from("Describe this image in detail.")],
                max_tokens: 256,
                sampling: Sampling::default(),
            },
            rules: Rules::default(),
            specialists: vec![
                SpecialistConfig::new(
                    "ground",
                    Task::Ground(Asking {
                        engine,
                        prompts: vec![Arc::from("Describe this image with locations.")],
                        max_tokens: 256,
                        sampling: Sampling::default(),
                    }),
                ),
                SpecialistConfig::new(
                    "relate",
                    Task::Relate {
                        engine: String::from("relate"),
                    },
                ),
                SpecialistConfig::new(
                    "read_text",
                    Task::ReadText {
                        engine: String::from("read_text"),
                    },
                ),
            ],
            attempts: 3,
            tolerance: Tolerance::default(),
            names: Names::default(),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self {
            group: Arc::from("vila2"),
            captions: Arc::from("captions"),
            dead: Arc::from("images.dead"),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            records: 2_000,
            image_bytes: 512 << 20,
            record: Duration::from_secs(300),
            drain: Duration::from_secs(25),
            decoders: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            retries: 2,
            backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(30),
            concurrency: 256,
            expected_bytes: 1 << 20,
        }
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            restarts: 5,
            rebuilds: 20,
            window: Duration::from_secs(60),
            model_failed_run: 20,
        }
    }
}
