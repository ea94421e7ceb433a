//! The configuration: TOML in layers, checked once, with every fault reported at once.
//!
//! Embedded default < `--config FILE` < environment (`VILA2_SECTION__KEY`) < `--set a.b=value`.
//! `config/default.toml` documents every key. Past [`Config::load`] nothing reads the environment.

mod endpoint;
mod fault;
mod files;
mod layers;
mod read;
mod reader;
mod rules;
mod show;
mod stages;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

pub use endpoint::{Endpoint, Secret};
pub use fault::{Fault, Faults, Origin};
pub use layers::{DEFAULT, Layers, Sources};
pub use rules::{Phrase, Rules, Wording};
pub use show::{Shown, shown};
pub use stages::{CaptionStage, GEOMETRY, Kind, Mode, Specialist, Stages};

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Broker, group, topics.
    pub kafka: Kafka,
    /// Guarantees towards the output.
    pub delivery: Delivery,
    /// Fetching of URLs.
    pub fetch: Fetch,
    /// Decoding of files.
    pub decode: Decode,
    /// Models by name.
    pub models: BTreeMap<String, Model>,
    /// Which model answers which stage, and how.
    pub stages: Stages,
    /// What captions must not be.
    pub rules: Rules,
    /// Bounds of the whole.
    pub limits: Limits,
    /// ONNX Runtime.
    pub runtime: Runtime,
    /// The page for metrics and probes; `None`: off.
    pub http: Option<SocketAddr>,
    /// The page of the running service, on the same address.
    pub page: Page,
    /// Log lines.
    pub log: Log,
}

/// `[kafka]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// Comma-separated `host:port`.
    pub brokers: String,
    /// Consumer group.
    pub group: String,
    /// Topic names.
    pub topics: Topics,
    /// librdkafka properties, in order of their names. May hold secrets.
    pub options: Vec<(String, String)>,
}

/// `kafka.topics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Input.
    pub images: String,
    /// Output.
    pub captions: String,
    /// Dead letters.
    pub dead: String,
}

/// `[delivery]`. The mode is `at_least_once`, the only one there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Tries of one record.
    pub attempts: u32,
}

/// `[fetch]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// Total deadline of one try.
    pub timeout: Duration,
    /// Largest body, in bytes.
    pub max_bytes: u64,
    /// Further tries after a transient failure.
    pub retries: u32,
    /// What servers see.
    pub user_agent: String,
    /// Networks, addresses and addresses with ports that are allowed although private.
    pub allow_addresses: Vec<String>,
    /// Folders under which `file:` URLs may be read.
    pub file_roots: Vec<PathBuf>,
    /// Whether `X-Robots-Tag` is heeded.
    pub respect_opt_out: bool,
    /// Directives that refuse an image, lower case.
    pub opt_out_directives: Vec<String>,
}

/// `[decode]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Decode {
    /// Largest width × height.
    pub max_pixels: u64,
    /// Longest side handed to the models, in pixels.
    pub max_side: u32,
    /// Shortest side taken, in pixels.
    pub min_side: u32,
    /// Most that the longer side may be, as a multiple of the shorter; 0: anything.
    pub max_ratio: f64,
    /// What clear pixels show.
    pub background: Background,
    /// Images decoded at the same time.
    pub parallel: usize,
}

/// `decode.background`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// White, or black behind what is bright.
    Contrast,
    /// White.
    White,
    /// The colours stored under clear pixels.
    Stored,
}

/// One of `[models]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// Its folder, located (see [`locate`](crate::places::locate)); empty where it has none.
    pub path: PathBuf,
    /// The server that holds it instead of a folder.
    pub endpoint: Option<Endpoint>,
    /// Execution providers in order of preference.
    pub providers: Vec<String>,
    /// Which of several devices of a kind.
    pub device: i32,
    /// ONNX Runtime's own options of its providers.
    pub provider_options: BTreeMap<String, String>,
    /// Variants of the graphs; `None`: graph by graph full precision, else the first there is.
    pub variant: Option<Variant>,
    /// Longest side to which pictures are scaled before they are cut into tiles, pixels.
    pub longest_edge: Option<usize>,
    /// Most tiles of one picture, the whole picture's own among them.
    pub max_tiles: Option<usize>,
    /// How many texts are searched side by side; `None`: as many as the folder says.
    pub beams: Option<usize>,
    /// Whether special tokens stay in the text.
    pub keep_special_tokens: bool,
}

/// `models.NAME.variant`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Variant {
    /// One for all graphs, for example `fp16`.
    All(String),
    /// By graph.
    Each(BTreeMap<String, String>),
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Records in flight.
    pub records: usize,
    /// Bytes of images in flight.
    pub image_bytes: u64,
    /// Work on a record after which it is given up as stuck.
    pub record: Duration,
    /// Longest drain at shutdown.
    pub drain: Duration,
    /// Sequences one generator runs at the same time.
    pub sequences: usize,
}

/// `[runtime]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The library as configured; `None`: look for it.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of one model's operators; 0: one per core.
    pub threads: usize,
}

/// `http.page`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Nobody sees it.
    Off,
    /// It was not asked for, and nothing but this machine reaches `http.listen`.
    Loopback,
    /// It was asked for.
    On,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The lines' form.
    pub format: LogFormat,
    /// Levels by target.
    pub filter: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What was read, right or wrong.
#[derive(Debug)]
pub struct Read {
    /// With placeholders where a value is wrong; `None`: a section is missing.
    pub config: Option<Config>,
    /// Where each value came from.
    pub layers: Layers,
    /// What is wrong with it; without any there is a configuration.
    pub faults: Vec<Fault>,
}

impl Config {
    /// Merges all sources and checks every key.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn load(sources: &Sources) -> Result<(Self, Layers), Faults> {
        let read = Self::read(sources);
        match read.config {
            Some(config) if read.faults.is_empty() => Ok((config, read.layers)),
            _ => Err(Faults(read.faults)),
        }
    }

    /// The same, going on after faults, so that what the rest names can be looked at too.
    #[must_use]
    pub fn read(sources: &Sources) -> Read {
        let (layers, faults) = Layers::merge(sources);
        let (config, faults) = read::read(&layers, faults);
        Read {
            config,
            layers,
            faults,
        }
    }

    /// The sources of a process: the file and the assignments of its command line, and its
    /// environment.
    #[must_use]
    pub fn sources(file: Option<PathBuf>, sets: Vec<String>) -> Sources {
        Sources {
            file,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            sets,
        }
    }

    /// Whether a model is behind an endpoint, and has no folder.
    #[must_use]
    pub fn is_endpoint(&self, model: &str) -> bool {
        self.models
            .get(model)
            .is_some_and(|model| model.endpoint.is_some())
    }

    /// Whether a stage that is not off asks a model that is run here, by ONNX Runtime.
    #[must_use]
    pub fn runs_models(&self) -> bool {
        self.models_in_use()
            .iter()
            .any(|name| !self.is_endpoint(name))
    }

    /// The names of the models that the stages which are not off ask for.
    #[must_use]
    pub fn models_in_use(&self) -> Vec<&str> {
        let mut names = vec![self.stages.caption.model.as_str()];
        for specialist in self.stages.asked() {
            let name = specialist.model.as_str();
            if name != GEOMETRY && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests;
