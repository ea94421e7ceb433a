//! `vila2 demo`: the whole path on this machine.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use indicatif::{MultiProgress, ProgressBar};

use super::{Common, Failure, output, progress, runtime, scenes};
use crate::{
    app,
    demo::{self, Event, Settings, Shown},
    shutdown::Shutdown,
    telemetry::Traces,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Seed of the scenes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many scenes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Where pictures, records, figures and the report are left
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    out: PathBuf,
    /// The summary as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let (config, layers) = common.load_whole("warn")?;
    // Faults before anything is drawn.
    app::check(&config, &layers)?;
    let Arguments {
        seed,
        count,
        out,
        json,
    } = arguments;
    let settings = Settings { seed, count, out };
    let bars = Bars::new(count);
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let traces = Traces::start()?;
        let mut shutdown = Shutdown::listen()?;
        let progress = bars.clone();
        let shown = demo::show(&settings, &config, &layers, &mut shutdown, move |event| {
            progress.note(event);
        })
        .await;
        let _ = tokio::task::spawn_blocking(move || traces.stop()).await;
        Ok::<_, Failure>(shown?)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    bars.clear();
    let shown = result?;
    if json {
        output::json(&shown.summary)?;
    } else {
        print(&shown)?;
    }
    if shown.faults.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{} requests did not end as they should:\n  {}",
        shown.faults.len(),
        shown.faults.join("\n  ")
    )))
}

fn print(shown: &Shown) -> Result<(), Failure> {
    let summary = &shown.summary;
    let mut table = output::table(["stage", "images", "p50 ms", "p95 ms", "p99 ms"]);
    for stage in &summary.stages {
        table.add_row([
            stage.name.to_owned(),
            stage.count.to_string(),
            format!("{:.1}", stage.p50_ms),
            format!("{:.1}", stage.p95_ms),
            format!("{:.1}", stage.p99_ms),
        ]);
    }
    output::line(&table.to_string())?;
    output::line(
        "milliseconds of work a picture; total runs from arrival to answer, waiting included\n",
    )?;
    scenes::print(&summary.score)?;
    let mut table = output::table(["dead letters", "count"]);
    for (reason, count) in &shown.dead_letters {
        table.add_row([reason.clone(), count.to_string()]);
    }
    output::line(&table.to_string())?;
    if !summary.rules.is_empty() {
        output::line(&output::rules(&summary.rules))?;
    }
    output::line(&format!(
        "{} of {} images captioned, {} dead letters, {:.2} images/s; its model answered {:.1} \
         questions at a time, {} of them joined while others ran",
        summary.captions,
        summary.images,
        summary.dead_letters,
        summary.images_per_second,
        summary.caption_batch_mean,
        summary.joined_running_batch,
    ))?;
    output::line(&format!("report: {}", shown.report.display()))
}

/// One bar for each step along the path.
#[derive(Debug, Clone)]
struct Bars {
    all: MultiProgress,
    drawn: ProgressBar,
    loading: ProgressBar,
    published: ProgressBar,
    captions: ProgressBar,
    dead: ProgressBar,
}

impl Bars {
    fn new(count: u64) -> Self {
        let all = MultiProgress::new();
        Self {
            drawn: all.add(progress::bar(count, "drawn")),
            loading: progress::spinner("loading the models"),
            published: progress::bar(0, "published"),
            captions: progress::bar(count, "captions"),
            dead: progress::bar(0, "dead letters"),
            all,
        }
    }

    fn note(&self, event: Event) {
        match event {
            Event::Drawn(count) => self.drawn.set_position(count),
            Event::Loading => {
                self.all.add(self.loading.clone());
            }
            Event::Started(requests) => {
                self.loading.finish_and_clear();
                for bar in [&self.published, &self.captions, &self.dead] {
                    self.all.add(bar.clone());
                }
                self.published.set_length(requests);
                let images = self.captions.length().unwrap_or_default();
                self.dead.set_length(requests.saturating_sub(images));
                self.captions.reset();
                self.captions.tick();
            }
            Event::Published(count) => self.published.set_position(count),
            Event::Captions(count) => self.captions.set_position(count),
            Event::DeadLetters(count) => self.dead.set_position(count),
        }
    }

    fn clear(&self) {
        for bar in [
            &self.drawn,
            &self.loading,
            &self.published,
            &self.captions,
            &self.dead,
        ] {
            bar.finish();
        }
        // A terminal that went away does not want to be cleared.
        let _ = self.all.clear();
    }
}
