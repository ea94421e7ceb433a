//! The composition root: the one place where Kafka, models, fetching, decoding and merging meet
//! the chain. [`service`] reads from and writes to Kafka, [`local`] answers in process.

pub mod captioning;
mod drawn;
pub mod exporting;
pub mod feeding;
pub mod gallery;
mod live;
pub mod local;
mod models;
pub mod service;
mod settings;
pub mod sidecar;

use std::sync::Arc;

use vila2_actors::{
    ledger::Ledger,
    pipeline::{Ports, StartError},
    ports::{Fetcher, Publisher},
};

use crate::{
    config::{Config, Fault, Faults, Layers, Read, Sources},
    decode::FileDecoder,
    fetch::HttpFetcher,
    kafka,
    merge::SentenceMerger,
};

pub use settings::{
    fetch_sockets, kafka as kafka_settings, model as model_settings, path as chain_path,
    reader as reader_settings,
};

pub(crate) use models::prompts as model_prompts;

use models::Models;

/// Why the chain cannot be started, or had to be given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings, model folders or ONNX Runtime: nothing was joined, nothing was read.
    #[error(transparent)]
    Config(#[from] Faults),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// The page for metrics and probes.
    #[error(
        "http.listen: cannot listen on {address}: {source}; set it to a free port of this machine, \
         or to \"off\""
    )]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The chain gave up: its restarts, or the run of failures it tolerates, are spent.
    #[error("gave up: {0}")]
    GaveUp(String),
    /// A signal came before the end.
    #[error("interrupted")]
    Interrupted,
}

/// Checks what settings alone cannot tell: model folders, ONNX Runtime, librdkafka's properties,
/// addresses. Loads no graph and reaches for nothing over the network.
///
/// # Errors
/// Every fault at once.
pub fn check(config: &Config, layers: &Layers) -> Result<(), Faults> {
    let mut faults = Vec::new();
    if let Err(Faults(found)) = check_settings(config, layers) {
        faults.extend(found);
    }
    if let Err(Faults(found)) = models::load(config, layers) {
        faults.extend(found);
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Faults(faults))
    }
}

/// The configuration of a command that needs the whole chain. Where its text has faults, those of
/// what the rest of it names come with them; where it has none, [`check`] is still to be called.
///
/// # Errors
/// Every fault at once.
pub fn load(sources: &Sources) -> Result<(Config, Layers), Faults> {
    let Read {
        config,
        layers,
        mut faults,
    } = Config::read(sources);
    match config {
        Some(config) if faults.is_empty() => return Ok((config, layers)),
        Some(config) => {
            if let Err(Faults(found)) = check(&config, &layers) {
                let new = |fault: &Fault| faults.iter().all(|known| known.key != fault.key);
                let found: Vec<_> = found.into_iter().filter(new).collect();
                faults.extend(found);
            }
        }
        None => {}
    }
    Err(Faults(faults))
}

/// Checks what the settings say of Kafka's clients and of fetching, and nothing else.
///
/// # Errors
/// Every fault at once.
pub fn check_settings(config: &Config, layers: &Layers) -> Result<(), Faults> {
    let mut faults = Vec::new();
    let fault = |key: &str, problem: String| Fault {
        origin: layers.origin(key),
        key: key.to_owned(),
        problem,
        accepted: String::new(),
    };
    match kafka::check_options(&settings::kafka(config)) {
        Err(kafka::Error::Options(found)) => {
            faults.extend(found.into_iter().map(|text| {
                let (name, why) = text.split_once(": ").unwrap_or(("", &text));
                Fault {
                    accepted: "a property of librdkafka (its CONFIGURATION.md lists them)"
                        .to_owned(),
                    ..fault(&format!("kafka.options.{name}"), why.to_owned())
                }
            }));
        }
        Err(other) => faults.push(fault("kafka", other.to_string())),
        Ok(()) => {}
    }
    if let Err(Faults(found)) = fetcher(config, layers) {
        faults.extend(found);
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Faults(faults))
    }
}

/// The fetcher as configured.
fn fetcher(config: &Config, layers: &Layers) -> Result<HttpFetcher, Faults> {
    HttpFetcher::new(&settings::fetch(config)).map_err(|found| {
        Faults(
            found
                .into_iter()
                .map(|fault| Fault {
                    key: fault.key.to_owned(),
                    problem: format!("{:?}: {}", fault.value, fault.problem),
                    accepted: fault.accepted.to_owned(),
                    origin: layers.origin(fault.key),
                })
                .collect(),
        )
    })
}

/// Everything the chain is built on, but for its input.
fn ports(
    models: Models,
    ledger: Arc<Ledger>,
    fetcher: Arc<dyn Fetcher>,
    decoder: FileDecoder,
    publisher: Arc<dyn Publisher>,
) -> Ports {
    Ports {
        ledger,
        fetcher,
        decoder: drawn::watched(decoder, models.drawn),
        merger: Arc::new(SentenceMerger),
        publisher,
        source: None,
        repeats: None,
        generators: models.generators,
        text_readers: models.text_readers,
        relaters: models.relaters,
    }
}

/// What keeps the chain from starting, as faults of the configuration: the models' own words.
fn start_faults(error: StartError, config: &Config, layers: &Layers) -> Faults {
    let faults = error.faults.into_iter().map(|problem| {
        // "model `name`: what is wrong with it"
        let named = (config.models.keys()).find_map(|name| {
            let rest = problem.strip_prefix(&format!("model `{name}`: "))?;
            let source = if config.is_endpoint(name) {
                "endpoint"
            } else {
                "path"
            };
            Some((format!("models.{name}.{source}"), rest.to_owned()))
        });
        if let Some(problem) = problem.strip_prefix("limits.image_bytes: ") {
            return Fault {
                origin: layers.origin("limits.image_bytes"),
                key: "limits.image_bytes".to_owned(),
                problem: problem.to_owned(),
                accepted: String::new(),
            };
        }
        let (key, problem) = named.unwrap_or_else(|| ("models".to_owned(), problem.clone()));
        Fault {
            origin: layers.origin(&key),
            key,
            problem,
            accepted: "a model that loads; `vila2 models check` tries one".to_owned(),
        }
    });
    Faults(faults.collect())
}
