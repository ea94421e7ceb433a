//! `vila2 run`: the service.

mod closing;
mod live;

use std::time::Instant;

use clap::Args;

use super::{Common, Failure, output, runtime};
use crate::{
    app::{
        chain_path,
        service::{Ended, Service},
    },
    config::{Config, Layers},
    shutdown::{Shutdown, Signal},
    telemetry::{self, Metrics, Traces},
};

use closing::Closing;
use live::Live;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Stop when everything that is in the topic at the start is settled, and show what was done
    #[arg(long)]
    until_end: bool,
    /// What was done as JSON
    #[arg(long, requires = "until_end")]
    json: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let (config, layers) = common.load_whole("info")?;
    let metrics = telemetry::start_metrics()?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let traces = Traces::start()?;
        let worked = work(&config, &layers, arguments, metrics).await;
        // Sends the last spans, however it ended; blocks.
        let _ = tokio::task::spawn_blocking(move || traces.stop()).await;
        worked
    });
    runtime.shutdown_background();
    result
}

/// Works to the end. Whatever that is, the service is stopped: what the broker confirmed is
/// committed and the group is left.
async fn work(
    config: &Config,
    layers: &Layers,
    arguments: &Arguments,
    metrics: Metrics,
) -> Result<(), Failure> {
    let mut shutdown = Shutdown::listen()?;
    let started = tokio::select! {
        started = Service::start(config, layers, Some(metrics.page)) => started,
        // The group is joined last: nothing of it is to be left here.
        signal = shutdown.requested() => return ended(Ended::Signal(signal)),
    };
    let service = started?;
    if let Some(address) = service.address() {
        let page = if service.has_page() {
            "the page of this service, "
        } else {
            ""
        };
        tracing::info!("{page}metrics and probes on http://{address}");
    }
    tracing::info!(
        brokers = config.kafka.brokers,
        group = config.kafka.group,
        topic = config.kafka.topics.images,
        "running"
    );
    let begun = Instant::now();
    let live = Live::new(metrics.figures.clone());
    let worked = tokio::select! {
        worked = service.work(&mut shutdown, arguments.until_end) => worked,
        () = live.watch(&service) => unreachable!("bug: watching never ends"),
    };
    live.clear();
    let (engines, took) = (service.engines(), begun.elapsed());
    match worked {
        Ok(_) => service.stop().await,
        Err(_) => service.stop_after_fault().await,
    };
    let worked = worked?;
    let path = chain_path(config);
    let closing = |took| Closing::new(&metrics.figures, &engines, &path, took);
    if worked == Ended::TopicEnd {
        let closing = closing(took);
        if arguments.json {
            output::json(&closing)?;
        } else {
            closing.print()?;
        }
    } else {
        // The drain belongs to it.
        tracing::info!("{}", closing(begun.elapsed()).summary());
    }
    ended(worked)
}

fn ended(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ended::Signal(Signal::Interrupt) => Err(Failure::Interrupted),
        Ended::Signal(Signal::Terminate) => Ok(()),
        Ended::TopicEnd => {
            output::note("the topic's end is settled");
            Ok(())
        }
    }
}
