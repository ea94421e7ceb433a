//! The only place that builds sessions: providers by configuration, threads, memory.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Instant,
};

use ort::{
    ep::{self, ArbitrarilyConfigurableExecutionProvider as _, ExecutionProviderDispatch},
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
};

use super::{
    beside, disk,
    runtime::{Runtime, RuntimeError},
};

/// Where a graph runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// ONNX Runtime's own kernels on the host.
    Cpu,
    /// CUDA 13 with cuDNN 9.
    Cuda,
    /// TensorRT; for encoders of fixed shape, not for a decoder whose cache grows.
    Tensorrt,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cuda, Self::Tensorrt];

    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
        }
    }

    /// Whether the loaded library was built with it. It may still be refused for want of a device
    /// or of libraries: see [`try_provider`].
    ///
    /// # Errors
    /// [`SessionError::Runtime`] where there is no library.
    pub fn is_built_in(self, library: Option<&Path>) -> Result<bool, SessionError> {
        use ort::ep::ExecutionProvider as _;
        Runtime::get(library)?;
        let answer = match self {
            Self::Cpu => ep::CPU::is_available(),
            Self::Cuda => ep::CUDA::is_available(),
            Self::Tensorrt => ep::TensorRT::is_available(),
        };
        Ok(answer.unwrap_or(false))
    }

    fn dispatch(self, settings: &SessionSettings) -> ExecutionProviderDispatch {
        let SessionSettings { device, arena, .. } = settings;
        match self {
            Self::Cpu => ep::CPU::default().with_arena_allocator(*arena).build(),
            // Plain f32 products: parity with the CPU is worth more than TF32's speed.
            Self::Cuda => (settings.options_of(self))
                .fold(
                    ep::CUDA::default().with_tf32(false),
                    |cuda, (key, value)| cuda.with_arbitrary_config(key, value),
                )
                .with_device_id(*device)
                .build(),
            Self::Tensorrt => {
                let mut tensorrt = ep::TensorRT::default()
                    .with_engine_cache(true)
                    .with_timing_cache(true);
                // Else they go to the working directory, which may not be written.
                if let Some(cache) = disk::own_folder() {
                    let cache = cache.join("tensorrt").display().to_string();
                    tensorrt = tensorrt
                        .with_engine_cache_path(&cache)
                        .with_timing_cache_path(&cache);
                }
                (settings.options_of(self))
                    .fold(tensorrt, |tensorrt, (key, value)| {
                        tensorrt.with_arbitrary_config(key, value)
                    })
                    .with_device_id(*device)
                    .build()
            }
        }
        .error_on_failure()
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.as_str() == word)
            .ok_or_else(|| format!("provider `{word}` is not known; accepted: cpu, cuda, tensorrt"))
    }
}

/// How a session is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// Path of the ONNX Runtime library (`runtime.onnxruntime`); `None` searches.
    pub library: Option<PathBuf>,
    /// Tried in order. With [`Provider::Cpu`] in the list each fallback is logged; without it the
    /// list is mandatory.
    pub providers: Vec<Provider>,
    /// Which of several devices of a kind.
    pub device: i32,
    /// ONNX Runtime's own options of a provider, by their names there: those of TensorRT begin with
    /// `trt_`, the others are CUDA's.
    pub provider_options: BTreeMap<String, String>,
    /// Threads inside one operator; `None` leaves it to ONNX Runtime (one per core).
    pub threads: Option<usize>,
    /// Keep freed memory in ONNX Runtime's arena. Off for graphs whose input sizes vary widely and
    /// run seldom, where the arena only holds on to the largest.
    pub arena: bool,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            library: None,
            providers: vec![Provider::Cpu],
            device: 0,
            provider_options: BTreeMap::new(),
            threads: None,
            arena: true,
        }
    }
}

impl SessionSettings {
    /// The options of one provider.
    fn options_of(&self, provider: Provider) -> impl Iterator<Item = (&String, &String)> {
        let own = move |(key, _): &(&String, &String)| {
            key.starts_with("trt_") == (provider == Provider::Tensorrt)
        };
        self.provider_options.iter().filter(own)
    }
}

/// A session that cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// No ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The list of providers is empty.
    #[error("no provider for {}; accepted: cpu, cuda, tensorrt", graph.display())]
    NoProvider {
        /// The graph file.
        graph: PathBuf,
    },
    /// No provider of the list took the graph.
    #[error("{} cannot be opened: {}", graph.display(), tried.join("; "))]
    Open {
        /// The graph file.
        graph: PathBuf,
        /// What each provider said.
        tried: Vec<String>,
    },
}

/// Opens a graph file with the first provider of the list that takes it, and says in the log which
/// one that is. Nodes that a device does not know run on the CPU all the same: ONNX Runtime places
/// them there.
///
/// # Errors
/// [`SessionError`]; none of them goes away by trying again.
pub fn open_session(graph: &Path, settings: &SessionSettings) -> Result<Session, SessionError> {
    open_session_on(graph, settings).map(|(session, _)| session)
}

/// The same, with the provider that took the graph.
///
/// # Errors
/// As [`open_session`].
pub fn open_session_on(
    graph: &Path,
    settings: &SessionSettings,
) -> Result<(Session, Provider), SessionError> {
    let runtime = Runtime::get(settings.library.as_deref())?;
    if settings.providers.is_empty() {
        return Err(SessionError::NoProvider {
            graph: graph.to_path_buf(),
        });
    }
    let refused = |tried| SessionError::Open {
        graph: graph.to_path_buf(),
        tried,
    };
    let placed = beside::place(graph).map_err(|error| refused(vec![error]))?;
    let mut tried = Vec::new();
    for &provider in &settings.providers {
        let started = Instant::now();
        match open_with(runtime, placed.path(), settings, provider) {
            Ok(session) => {
                tracing::info!(
                    graph = %graph.display(),
                    %provider,
                    threads = settings.threads,
                    load_ms = started.elapsed().as_millis() as u64,
                    "graph runs on {provider}"
                );
                return Ok((session, provider));
            }
            Err(detail) => {
                tracing::warn!(graph = %graph.display(), %provider, detail, "provider refused");
                tried.push(format!("{provider}: {detail}"));
            }
        }
    }
    Err(refused(tried))
}

/// Tries one provider on one graph and keeps nothing.
///
/// # Errors
/// [`SessionError`], with what the provider said.
pub fn try_provider(
    graph: &Path,
    settings: &SessionSettings,
    provider: Provider,
) -> Result<(), SessionError> {
    let runtime = Runtime::get(settings.library.as_deref())?;
    let tried = beside::place(graph)
        .and_then(|placed| open_with(runtime, placed.path(), settings, provider));
    match tried {
        Ok(_) => Ok(()),
        Err(detail) => Err(SessionError::Open {
            graph: graph.to_path_buf(),
            tried: vec![format!("{provider}: {detail}")],
        }),
    }
}

fn open_with(
    runtime: &Runtime,
    graph: &Path,
    settings: &SessionSettings,
    provider: Provider,
) -> Result<Session, String> {
    let build = || -> ort::Result<Session> {
        let mut builder: SessionBuilder = Session::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            // One operator at a time, and no thread burns a core while it waits: the same cores
            // fetch and decode.
            .with_parallel_execution(false)?
            .with_intra_op_spinning(false)?
            // Shapes change at every step of a decoder: a planned memory pattern never fits.
            .with_memory_pattern(false)?
            .with_execution_providers([provider.dispatch(settings)])?;
        if let Some(threads) = settings.threads {
            builder = builder.with_intra_threads(threads)?;
        }
        builder.commit_from_file(graph)
    };
    build().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target/runtime/rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    }

    #[test]
    fn a_graph_opens_on_the_cpu() {
        let session = open_session(&graph(), &SessionSettings::default()).expect("opens");
        assert_eq!(session.inputs().len(), 1);
    }

    #[test]
    fn a_provider_that_is_not_there_falls_back_to_the_cpu_where_the_list_has_it() {
        let settings = SessionSettings {
            providers: vec![Provider::Cuda, Provider::Cpu],
            ..SessionSettings::default()
        };
        open_session(&graph(), &settings).expect("the CPU takes it");
    }

    #[test]
    fn a_list_without_cpu_is_mandatory() {
        let settings = SessionSettings {
            providers: vec![Provider::Tensorrt, Provider::Cuda],
            ..SessionSettings::default()
        };
        let message = open_session(&graph(), &settings).unwrap_err().to_string();
        assert!(message.contains("tensorrt: "), "{message}");
        assert!(message.contains("cuda: "), "{message}");
    }

    #[test]
    fn options_go_to_the_provider_that_knows_them() {
        let options =
            ["gpu_mem_limit", "trt_fp16_enable"].map(|key| (key.to_owned(), "1".to_owned()));
        let settings = SessionSettings {
            provider_options: options.into(),
            ..SessionSettings::default()
        };
        let of = |provider| -> Vec<&String> {
            let options = settings.options_of(provider);
            options.map(|(key, _)| key).collect()
        };
        assert_eq!(of(Provider::Cuda), ["gpu_mem_limit"]);
        assert_eq!(of(Provider::Tensorrt), ["trt_fp16_enable"]);
    }

    #[test]
    fn an_unknown_provider_is_refused_with_the_accepted_ones() {
        let message = "gpu".parse::<Provider>().unwrap_err();
        assert!(message.contains("cpu, cuda, tensorrt"), "{message}");
    }
}
