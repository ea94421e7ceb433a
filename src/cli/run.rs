//! `vila2 run`: the service.

use clap::Args;

use super::{Common, Failure, output, runtime};
use crate::{
    app::service::{Ended, Service},
    shutdown::{Shutdown, Signal},
    telemetry::{self, Traces},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Stop when everything that is in the topic at the start is settled
    #[arg(long)]
    until_end: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let (config, layers) = common.load_for_service()?;
    let metrics = telemetry::start_metrics()?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let traces = Traces::start()?;
        let mut shutdown = Shutdown::listen()?;
        let started = tokio::select! {
            started = Service::start(&config, &layers, Some(metrics)) => started,
            signal = shutdown.requested() => return ended(Ended::Signal(signal)),
        };
        let service = started?;
        if let Some(address) = service.address() {
            tracing::info!("metrics and probes on http://{address}");
        }
        tracing::info!(
            brokers = config.kafka.brokers,
            group = config.kafka.group,
            topic = config.kafka.topics.images,
            "running"
        );
        let worked = service.work(&mut shutdown, arguments.until_end).await;
        if worked.is_ok() {
            service.stop().await;
        }
        // Sends the last spans; blocks.
        let _ = tokio::task::spawn_blocking(move || traces.stop()).await;
        ended(worked?)
    });
    runtime.shutdown_background();
    result
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
