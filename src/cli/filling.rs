//! Captions into a folder, with a bar or lines: for the commands that fill one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Failure, output, progress, runtime};
use crate::{
    app::{
        captioning::{Job, Progress, Ran},
        gallery::Gallery,
        local::Local,
    },
    config::{Config, Layers},
    inputs::Sample,
    shutdown::Shutdown,
    telemetry::Traces,
};

/// Sections of the configuration that change what is written.
pub(super) const SETTINGS: [&str; 4] = ["decode", "models", "rules", "stages"];

/// Runs a job; `tell` hears of every answer, and how long after the models were loaded it came. The
/// inner error is the job's, with the folder as far as it came.
///
/// # Errors
/// The chain does not start, or a signal came before it did.
pub(super) fn fill(
    config: &Config,
    layers: &Layers,
    job: Job,
    gallery: Arc<Gallery>,
    what: &str,
    mut tell: impl FnMut(Progress, Duration),
) -> Result<Ran, Failure> {
    let count = job.sample.as_ref().map(Sample::len).or(job.inputs.count());
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let traces = Traces::start()?;
        let mut shutdown = Shutdown::listen()?;
        let spinner = progress::spinner("loading the models");
        let repetitions = job.repetitions();
        let local = tokio::select! {
            local = Local::start(config, layers, Some(repetitions), Some(Arc::clone(&gallery))) => local?,
            _ = shutdown.requested() => return Err(Failure::Interrupted),
        };
        spinner.finish_and_clear();
        let before = job.folder.totals().read();
        let bar = match count {
            Some(count) => progress::bar_after(before, count, what),
            None => progress::counter(what),
        };
        let _beside = progress::beside(&bar);
        let mut lines = progress::Lines::new(before, count);
        let began = Instant::now();
        let mut each = |progress: Progress| {
            bar.set_position(progress.answered);
            lines.note(progress.answered, progress.dead);
            if progress.dead > 0 {
                let dead = output::plural(progress.dead, "dead letter");
                bar.set_message(format!("{dead} so far"));
            }
            tell(progress, began.elapsed());
        };
        let done = job.run(local, gallery, &mut shutdown, &mut each).await;
        bar.finish_and_clear();
        let _ = tokio::task::spawn_blocking(move || traces.stop()).await;
        Ok(done)
    })?;
    runtime.shutdown_background();
    Ok(done)
}
