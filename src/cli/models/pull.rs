//! `vila2 models pull`: fetches a model folder from a hub.

use std::{env, fs, path::PathBuf, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::photographs;
use crate::{
    cli::{Failure, output, runtime},
    models::{
        ModelSettings, Variant, overview,
        pull::{ENDPOINT, Layout, PullError, PullSettings, Pulled, pull},
    },
    shutdown::Shutdown,
};

/// Further tries of a file, and the wait before the first of them.
const RETRIES: (u32, Duration) = (5, Duration::from_millis(500));

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// organisation/name; left out: what there is for photographs
    #[arg(value_name = "REPOSITORY")]
    repository: Option<String>,
    /// A branch, tag or commit
    #[arg(long, default_value = "main")]
    revision: String,
    /// The graphs to take, for example fp16 or q4; left out: of each graph full precision, else the
    /// first there is
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// A plain folder for the files, instead of the hub's cache
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Every file of the repository, whatever it is
    #[arg(long)]
    all: bool,
    /// What was fetched, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Some(repository) = arguments.repository else {
        return Err(Failure::Usage(format!(
            "no repository is named; accepted: organisation/name, for photographs one of these\n{}",
            photographs::listed()
        )));
    };
    let settings = PullSettings {
        endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
        token: token(),
        repository,
        revision: arguments.revision.clone(),
        variant: arguments.variant.clone(),
        everything: arguments.all,
        layout: match arguments.out {
            Some(folder) => Layout::Plain(folder),
            None => Layout::Cache(cache().ok_or_else(|| {
                Failure::Usage(
                    "there is no home folder for the hub's cache; set HF_HOME, or name a folder with \
                     --out"
                        .to_owned(),
                )
            })?),
        },
        retries: RETRIES.0,
        backoff: RETRIES.1,
    };
    if variable("HF_HUB_OFFLINE").is_some_and(|value| value != "0") {
        return Err(Failure::Usage(
            "HF_HUB_OFFLINE forbids fetching; unset it to pull".to_owned(),
        ));
    }
    let runtime = runtime()?;
    let pulled = runtime.block_on(async {
        let mut shutdown = Shutdown::listen()?;
        let bar = bar();
        let work = pull(&settings, |progress| {
            let (at, of) = progress.at;
            bar.set_length(progress.bytes.1);
            bar.set_position(progress.bytes.0);
            let file = output::visible(progress.file);
            bar.set_message(format!("{at}/{of} {file}"));
        });
        let pulled = tokio::select! {
            pulled = work => pulled.map_err(failure),
            _ = shutdown.requested() => Err(Failure::Interrupted),
        };
        bar.finish_and_clear();
        pulled
    });
    runtime.shutdown_background();
    told(&settings, &pulled?, arguments.json)
}

fn told(settings: &PullSettings, pulled: &Pulled, json: bool) -> Result<(), Failure> {
    let Pulled {
        folder,
        commit,
        kept,
        fetched,
        verified,
    } = pulled;
    let overview = overview(&ModelSettings {
        variant: Variant::all(settings.variant.as_deref()),
        ..ModelSettings::new("", folder)
    });
    let path = folder.display();
    if json {
        output::json(&json!({
            "path": folder, "commit": commit, "fetched": fetched, "kept": kept,
            "verified": verified, "type": overview.kind, "revision": overview.revision,
            "faults": overview.faults,
        }))?;
    } else {
        output::line(&path.to_string())?;
        output::note(&format!(
            "commit {commit}: {fetched} files fetched ({verified} verified by SHA-256), {kept} were \
             there; use it with --set models.NAME.path={path}"
        ));
    }
    if overview.faults.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{path} is fetched, and no model this can run: {}; try another --variant, or another \
         repository",
        overview.faults.join("; ")
    )))
}

fn failure(error: PullError) -> Failure {
    match error {
        PullError::Repository(_) => Failure::Usage(format!(
            "{error}, for photographs one of these\n{}",
            photographs::listed()
        )),
        // A hub that does not tell strangers which repositories there are denies what is not there.
        PullError::NotFound { .. } | PullError::Denied { .. } => Failure::Failed(format!(
            "{error}; published for photographs:\n{}",
            photographs::listed()
        )),
        PullError::Endpoint { .. } => Failure::Usage(error.to_string()),
        error => Failure::Failed(error.to_string()),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn home() -> Option<PathBuf> {
    let configured = variable("HF_HOME").map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").map(PathBuf::from);
    let usual = || variable("HOME").map(|home| PathBuf::from(home).join(".cache"));
    configured.or_else(|| Some(cache().or_else(usual)?.join("huggingface")))
}

fn cache() -> Option<PathBuf> {
    let configured = variable("HF_HUB_CACHE").map(PathBuf::from);
    configured.or_else(|| Some(home()?.join("hub")))
}

/// `HF_TOKEN`, else what `huggingface-cli login` left.
fn token() -> Option<String> {
    variable("HF_TOKEN").or_else(|| {
        let kept = fs::read_to_string(home()?.join("token")).ok()?;
        let kept = kept.trim();
        (!kept.is_empty()).then(|| kept.to_owned())
    })
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {wide_msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}
