//! Fetching a model folder from a hub that speaks the Hugging Face hub's HTTP interface.
//!
//! ```text
//! list      api/models/{repo}/revision/{revision}: the commit and its files
//! layout    where files stand: the hub's cache, or a plain folder
//! transfer  one file: what the hub says of it, the bytes, resumed and verified
//! ```
//!
//! The crate `hf-hub` does the same and more; version 1.0 brings the hub's own chunked storage and a
//! second TLS library with it, which is a lot for a handful of requests.

mod layout;
mod transfer;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, StatusCode, Url, redirect::Policy};
use serde::Deserialize;

use super::hub::variant;
pub use layout::Layout;
use transfer::Hub;

/// The hub that is asked where no other is named.
pub const ENDPOINT: &str = "https://huggingface.co";

/// What to fetch, and from where.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// `HF_ENDPOINT`: scheme and host.
    pub endpoint: String,
    /// `HF_TOKEN`; sent to the endpoint's own host only.
    pub token: Option<String>,
    /// `organisation/name`.
    pub repository: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// The variant to take of every graph; `None`: the one that a folder is opened with, full
    /// precision, else the first there is.
    pub variant: Option<String>,
    /// Every file, whatever it is.
    pub everything: bool,
    /// Where to.
    pub layout: Layout,
    /// Further tries of a file after a transient failure.
    pub retries: u32,
    /// Wait before the first of them; doubles with each.
    pub backoff: Duration,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The folder, ready for `models.NAME.path`.
    pub folder: PathBuf,
    /// The commit.
    pub commit: String,
    /// Files that were there already.
    pub kept: usize,
    /// Files that were fetched.
    pub fetched: usize,
    /// Of those, how many had a SHA-256 to verify; the others were checked by their size.
    pub verified: usize,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress<'a> {
    /// The file.
    pub file: &'a str,
    /// Which of how many it is, from 1.
    pub at: (usize, usize),
    /// Bytes of it that are there, and all of them.
    pub bytes: (u64, u64),
}

/// Why a folder cannot be fetched.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PullError {
    #[error("`{0}` is no repository; accepted: organisation/name")]
    Repository(String),
    #[error("HF_ENDPOINT: {endpoint} is no address: {why}; accepted: https://host")]
    Endpoint { endpoint: String, why: String },
    #[error(
        "{url}: not found; check the repository's name and revision, or sign in with HF_TOKEN if it \
         is private"
    )]
    NotFound { url: String },
    #[error(
        "{url}: {status}; set HF_TOKEN to a token that may read this repository, and accept its terms \
         on the hub where it has any"
    )]
    Denied { url: String, status: StatusCode },
    #[error("{url}: {why}; run the command again, it goes on where it stopped")]
    Interrupted { url: String, why: String },
    #[error("{url}: {why}; is HF_ENDPOINT a hub?")]
    Answer { url: String, why: String },
    #[error(
        "{file}: {why}; what was fetched of it is thrown away, run the command again, and if that does \
         not help ask whoever runs the hub"
    )]
    Damaged { file: String, why: String },
    #[error("{repository} at {commit} has no file that is wanted ({wanted})")]
    Nothing {
        repository: String,
        commit: String,
        wanted: String,
    },
    #[error(
        "{repository} has no graphs of the variant {asked}; it has: {present}; choose one with --variant"
    )]
    Variant {
        repository: String,
        asked: String,
        present: String,
    },
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// The answer to what a revision holds.
#[derive(Debug, Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Fetches what is missing of a folder. What is there and whole stays; what was begun is gone on
/// with.
///
/// # Errors
/// [`PullError`]; whole files stay, for the next try.
pub async fn pull(
    settings: &PullSettings,
    mut progress: impl FnMut(PullProgress<'_>),
) -> Result<Pulled, PullError> {
    let hub = hub(settings)?;
    let Listing { sha, siblings } = hub.listing(&settings.revision).await?;
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    if !plain(&sha) {
        return Err(PullError::Answer {
            url: settings.endpoint.clone(),
            why: format!("{sha:?} is no commit"),
        });
    }
    let names: Vec<String> = (siblings.into_iter())
        .map(|sibling| sibling.rfilename)
        .collect();
    let there = variants(names.iter().map(String::as_str));
    let asked = settings.variant.as_deref();
    let has = |asked| {
        there
            .values()
            .any(|all| variant::choose(all, Some(asked)).is_some())
    };
    if let Some(asked) =
        asked.filter(|asked| !settings.everything && !there.is_empty() && !has(asked))
    {
        let present = there.values().flatten().map(String::as_str);
        return Err(PullError::Variant {
            repository: settings.repository.clone(),
            asked: asked.to_owned(),
            present: variant::words(present),
        });
    }
    let wanted: Vec<String> = names
        .iter()
        .filter(|name| settings.everything || is_wanted(name, &there, asked))
        .cloned()
        .collect();
    if wanted.is_empty() {
        return Err(PullError::Nothing {
            repository: settings.repository.clone(),
            commit: sha,
            wanted: "*.json, *.jinja, *.txt, onnx/*".to_owned(),
        });
    }
    if let Some(name) = wanted.iter().find(|name| !is_safe(name)) {
        return Err(PullError::Answer {
            url: settings.endpoint.clone(),
            why: format!("it names a file {name:?} outside of the folder"),
        });
    }
    let layout = &settings.layout;
    let mut pulled = Pulled {
        folder: layout.folder(&settings.repository, &sha),
        commit: sha.clone(),
        kept: 0,
        fetched: 0,
        verified: 0,
    };
    for (at, name) in wanted.iter().enumerate() {
        let facts = hub.facts(&sha, name).await?;
        let place = layout.place(&settings.repository, &sha, name, &facts.tag);
        if place.is_whole(facts.size, facts.sha256.as_deref()) {
            place.link()?;
            pulled.kept += 1;
            continue;
        }
        hub.fetch(&sha, name, &facts, &place, |bytes| {
            progress(PullProgress {
                file: name,
                at: (at + 1, wanted.len()),
                bytes: (bytes, facts.size.unwrap_or_default()),
            });
        })
        .await?;
        place.link()?;
        pulled.fetched += 1;
        pulled.verified += usize::from(facts.sha256.is_some());
    }
    layout.remember(&settings.repository, &settings.revision, &sha)?;
    Ok(pulled)
}

fn hub(settings: &PullSettings) -> Result<Hub, PullError> {
    let repository = settings.repository.trim_matches('/');
    let parts: Vec<_> = repository.split('/').collect();
    let legal = |part: &&str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(legal)
    };
    if parts.len() > 2 || !parts.iter().all(legal) {
        return Err(PullError::Repository(settings.repository.clone()));
    }
    let endpoint = |why: String| PullError::Endpoint {
        endpoint: settings.endpoint.clone(),
        why,
    };
    let base = Url::parse(&settings.endpoint).map_err(|error| endpoint(error.to_string()))?;
    if base.cannot_be_a_base() || !matches!(base.scheme(), "http" | "https") {
        return Err(endpoint("it has no scheme http or https".to_owned()));
    }
    let client = |policy| {
        Client::builder()
            .user_agent(concat!("vila2/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(15))
            .read_timeout(Duration::from_secs(60))
            .redirect(policy)
            .build()
            .map_err(|error| endpoint(error.to_string()))
    };
    Ok(Hub {
        asking: client(Policy::none())?,
        fetching: client(Policy::limited(5))?,
        endpoint: settings.endpoint.trim_end_matches('/').to_owned(),
        repository: repository.to_owned(),
        token: settings.token.clone(),
        retries: settings.retries,
        backoff: settings.backoff,
    })
}

/// Whether a file of a repository belongs to a model folder with these graphs.
fn is_wanted(file: &str, there: &BTreeMap<&str, BTreeSet<String>>, asked: Option<&str>) -> bool {
    if !file.starts_with("onnx/") {
        let known = ["json", "jinja", "txt"];
        let extension = Path::new(file).extension().and_then(|e| e.to_str());
        return !file.contains('/') && extension.is_some_and(|e| known.contains(&e));
    }
    graph_of(file)
        .is_some_and(|(graph, suffix)| variant::choose(&there[graph], asked) == Some(suffix))
}

/// The variants of each graph of a repository.
fn variants<'a>(files: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, BTreeSet<String>> {
    let mut there = BTreeMap::<_, BTreeSet<String>>::new();
    for (graph, suffix) in files.filter_map(graph_of) {
        there.entry(graph).or_default().insert(suffix.to_owned());
    }
    there
}

/// The graph and the suffix that a file of `onnx/` belongs to: `name[_variant].onnx`, with weights
/// beside it in `….onnx_data`, `….onnx_data_1`, …
fn graph_of(file: &str) -> Option<(&str, &str)> {
    let (stem, _) = file.strip_prefix("onnx/")?.split_once(".onnx")?;
    Some(variant::split(stem))
}

/// Whether a name from the hub stays inside its folder.
fn is_safe(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.split('/').all(part) && !name.contains(['\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 12] = [
        "config.json",
        "chat_template.jinja",
        "README.md",
        "model.safetensors",
        "onnx/embed_tokens_fp16.onnx",
        "onnx/embed_tokens_q4f32.onnx",
        "onnx/decoder_model_merged.onnx",
        "onnx/decoder_model_merged_q4.onnx",
        "onnx/decoder_model_merged_q4f16.onnx",
        "onnx/decoder_model_merged.onnx_data",
        "onnx/decoder_model_merged.onnx_data_1",
        "onnx/decoder_model_merged_q4.onnx_data",
    ];

    #[test]
    fn one_variant_of_each_graph_is_wanted_and_no_other() {
        let there = variants(FILES.into_iter());
        let wanted = |asked| -> Vec<&str> {
            let wanted = FILES
                .into_iter()
                .filter(|file| is_wanted(file, &there, asked));
            wanted.skip(2).map(|file| &file[5..]).collect()
        };
        assert_eq!(
            wanted(None),
            [
                "embed_tokens_fp16.onnx",
                "decoder_model_merged.onnx",
                "decoder_model_merged.onnx_data",
                "decoder_model_merged.onnx_data_1"
            ]
        );
        assert_eq!(
            wanted(Some("q4")),
            [
                "decoder_model_merged_q4.onnx",
                "decoder_model_merged_q4.onnx_data"
            ]
        );
        assert_eq!(wanted(Some("q4f32")), ["embed_tokens_q4f32.onnx"]);
    }

    #[test]
    fn names_that_leave_the_folder_are_not_safe() {
        for name in ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a\\..\\b"] {
            assert!(!is_safe(name), "{name}");
        }
        assert!(is_safe("onnx/model.onnx"));
    }
}
