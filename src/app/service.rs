//! The chain between two ends of Kafka: what `run` and the demo are.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use vila2_actors::{
    engine::EngineStats,
    ledger::Ledger,
    pipeline::{Drained, Pipeline, PipelineHandle, Ports},
};

use super::{
    Error, check, fetcher,
    live::{self, Parts},
    models, ports, settings, start_faults,
};
use crate::{
    config::{Config, Layers},
    decode::FileDecoder,
    health::Page,
    kafka::{
        Consumer, Gate, KafkaPublisher, KafkaSettings, Status,
        inspect::missing_topics,
        read::{bounds, committed_offsets, is_settled, is_void},
    },
    report::live::Live,
    shutdown::{Shutdown, Signal},
};

/// How much longer than `limits.record_ms` a model call may run, or nothing be settled, before the
/// process counts as wedged: the chain itself dead-letters a record at the bound.
const GRACE: Duration = Duration::from_secs(60);
/// How long the last confirmations and the leaving of the group may take.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long the end of a topic that was settled before waits for the group.
const JOINING: Duration = Duration::from_secs(10);
/// How often the group's position is compared with the topic's end.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Under load only every so often.
const LOOKS_UNDER_LOAD: u64 = 4;
/// How often an unreachable broker is asked for the topic's end.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// A running service.
pub struct Service {
    pipeline: PipelineHandle,
    consumer: Consumer,
    publisher: KafkaPublisher,
    kafka: KafkaSettings,
    status: Arc<Status>,
    parts: Parts,
    page: Option<Page>,
    live: Option<Live>,
    _topics: Aborting,
    /// A model call that runs for longer, or records in flight of which none is settled for longer,
    /// mean that the process is wedged.
    wedged_after: Duration,
    drain: Duration,
}

/// How a service came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A signal asked for it.
    Signal(Signal),
    /// The topic's end, as it was at the start, is settled.
    TopicEnd,
}

impl Service {
    /// Checks everything, loads every model, then joins the group.
    ///
    /// # Errors
    /// Every fault, before the group is joined; an unreachable broker is none.
    pub async fn start(
        config: &Config,
        layers: &Layers,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self, Error> {
        Self::start_with(config, layers, metrics, |_| {}).await
    }

    /// The same on other ports: `change` gets those of the configuration. For tests that slow a
    /// model down or put something in its place.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub async fn start_with(
        config: &Config,
        layers: &Layers,
        metrics: Option<PrometheusHandle>,
        change: impl FnOnce(&mut Ports),
    ) -> Result<Self, Error> {
        let kafka = settings::kafka(config);
        Self::start_on(config, layers, metrics, kafka, change).await
    }

    /// The same with other settings of Kafka, too.
    async fn start_on(
        config: &Config,
        layers: &Layers,
        metrics: Option<PrometheusHandle>,
        kafka: KafkaSettings,
        change: impl FnOnce(&mut Ports),
    ) -> Result<Self, Error> {
        check(config, layers)?;
        let wedged_after = config.limits.record + GRACE;
        let parts = Parts::default();
        let (mut page, mut live) = (None, None);
        if let (Some(address), Some(metrics)) = (config.http, metrics) {
            live = live::page(config, &parts, wedged_after);
            let (probes, people) = (
                live::probes(&parts, wedged_after),
                live.as_ref().map(Live::router),
            );
            let served = Page::serve(address, metrics, probes, people).await;
            page = Some(served.map_err(|source| Error::Listen { address, source })?);
        }

        let ledger = Arc::new(Ledger::new());
        let gate = Arc::new(Gate::new(Arc::clone(&ledger)));
        let status = Arc::new(Status::new(&kafka.brokers));
        let publisher = KafkaPublisher::new(&kafka, Arc::clone(&gate), Arc::clone(&status))?;
        let fetcher = Arc::new(fetcher(config, layers)?);
        let mut ports = ports(
            models::load(config, layers)?,
            Arc::clone(&ledger),
            fetcher,
            FileDecoder::new(settings::decode(config)),
            Arc::new(publisher.clone()),
        );
        change(&mut ports);
        let pipeline = Pipeline::start(settings::chain(config), ports)
            .await
            .map_err(|error| start_faults(error, config, layers))?;
        if let Some(live) = &live {
            pipeline.set_observer(live.observer());
        }
        let consumer =
            Consumer::start(&kafka, pipeline.intake(), ledger, gate, Arc::clone(&status))?;
        pipeline.set_source(consumer.source());
        parts.are(pipeline.clone(), Arc::clone(&status));
        let topics = watch_topics(kafka.clone(), Arc::clone(&status), pipeline.clone());
        Ok(Self {
            pipeline,
            consumer,
            publisher,
            kafka,
            status,
            parts,
            page,
            live,
            _topics: Aborting(tokio::spawn(topics)),
            wedged_after,
            drain: config.limits.drain,
        })
    }

    /// Where metrics and probes are served.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.page.as_ref().map(Page::address)
    }

    /// Whether the page of the running service is there, too.
    #[must_use]
    pub fn has_page(&self) -> bool {
        self.live.is_some()
    }

    /// What consumer and producer know of the cluster.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What each engine did so far.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineStats> {
        self.pipeline.engines()
    }

    /// Records in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pipeline.in_flight()
    }

    /// Records in the partitions held that are not settled: in flight, or not read yet. `None`
    /// where none is held, or their ends are not known yet.
    #[must_use]
    pub fn behind(&self) -> Option<u64> {
        live::behind(&self.pipeline, &self.status, &self.kafka.topics.images)
    }

    /// Works until a signal comes, or, with `until_end`, until everything that is in the topic at
    /// the start is settled and committed. [`Service::stop`] is to be called in any case, after an
    /// error [`Service::stop_after_fault`].
    ///
    /// # Errors
    /// [`Error::GaveUp`]; with `until_end` also [`Error::Kafka`] where the topic is not there.
    pub async fn work(&self, shutdown: &mut Shutdown, until_end: bool) -> Result<Ended, Error> {
        let end = async {
            if until_end {
                self.topic_end().await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            signal = shutdown.requested() => Ok(Ended::Signal(signal)),
            ended = end => ended.map(|()| Ended::TopicEnd),
            reason = self.failed() => Err(Error::GaveUp(reason)),
        }
    }

    /// Ends with the reason when the service cannot go on.
    pub async fn failed(&self) -> String {
        let wedged = async {
            loop {
                tokio::time::sleep(GRACE / 12).await;
                if let Some(why) = self.pipeline.wedged(self.wedged_after) {
                    return why;
                }
                if self.consumer.has_ended() {
                    return "the consumer's thread ended".to_owned();
                }
            }
        };
        tokio::select! {
            reason = self.pipeline.failed() => reason,
            reason = wedged => reason,
        }
    }

    /// Stops the intake, waits within `limits.drain_ms` until every record is settled, commits and
    /// leaves the group.
    pub async fn stop(self) -> Drained {
        let limit = self.drain;
        self.stop_within(limit).await
    }

    /// The same after a fault, with no more time than writes under way need for their
    /// confirmations: those are settled and committed, so that the next process does not write them
    /// again. Whatever hangs is left behind.
    pub async fn stop_after_fault(self) -> Drained {
        let limit = self.drain.min(GOODBYE);
        self.stop_within(limit).await
    }

    async fn stop_within(self, limit: Duration) -> Drained {
        self.parts.drain();
        self.consumer.drain();
        let drained = self.pipeline.drain(limit).await;
        if drained.left > 0 {
            tracing::warn!(
                left = drained.left,
                "not all records were settled in time; they will be read again"
            );
        }
        if let Err(open) = self.publisher.flush(GOODBYE).await {
            tracing::warn!(open, "writes without a confirmation");
        }
        if let Err(error) = self.consumer.stop(GOODBYE).await {
            tracing::warn!("{error}");
        }
        drained
    }

    async fn topic_end(&self) -> Result<(), Error> {
        let ends = loop {
            let kafka = self.kafka.clone();
            match blocking(move || bounds(&kafka, &kafka.topics.images)).await {
                Ok(ends) => break ends,
                // What is not there has no end to wait for.
                Err(error @ crate::kafka::Error::Topic { .. }) => return Err(error.into()),
                Err(error) => tracing::warn!("{error}; asking again"),
            }
            tokio::time::sleep(ASK_EVERY).await;
        };
        let mut settled = is_settled(&ends, &BTreeMap::new());
        let mut before = None;
        for look in 1_u64.. {
            if settled {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            // Under load the broker is asked less often; a topic that never stops filling has an
            // end too.
            let idle = self.pipeline.in_flight() == 0;
            if !idle && look % LOOKS_UNDER_LOAD != 0 {
                continue;
            }
            let kafka = self.kafka.clone();
            let committed =
                match blocking(move || committed_offsets(&kafka, &kafka.topics.images)).await {
                    Ok(committed) => committed,
                    Err(error) => {
                        tracing::warn!("{error}; asking again");
                        continue;
                    }
                };
            settled = is_settled(&ends, &committed);
            if !settled && idle && before.as_ref() == Some(&committed) {
                let (kafka, ends) = (self.kafka.clone(), ends.clone());
                let left = committed.clone();
                let asked =
                    blocking(move || is_void(&kafka, &kafka.topics.images, &ends, &left)).await;
                settled = asked.unwrap_or_else(|error| {
                    tracing::debug!("what is left of the topic: {error}");
                    false
                });
            }
            before = Some(committed);
        }
        // A member that leaves mid-join blocks the next until its session times out, so wait until
        // joined.
        let joined = async {
            while !self.status.joined() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(JOINING, joined).await;
        Ok(())
    }
}

/// A task that ends with its owner.
struct Aborting(JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says every 10 s which topics are missing, until all are there: they may be made at any time.
/// While writes are held it asks again: a topic may have been deleted.
async fn watch_topics(kafka: KafkaSettings, status: Arc<Status>, pipeline: PipelineHandle) {
    loop {
        let asked = kafka.clone();
        match blocking(move || missing_topics(&asked)).await {
            Ok(missing) => {
                for missing in &missing {
                    tracing::warn!("{missing}; waiting for it");
                }
                let all_there = missing.is_empty();
                status.note_topics(missing);
                if all_there && pipeline.outages().is_empty() {
                    while pipeline.outages().is_empty() {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    continue;
                }
            }
            // That no broker answers is said by the clients.
            Err(error) => tracing::debug!("{error}"),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, crate::kafka::Error> + Send + 'static,
) -> Result<T, crate::kafka::Error> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => answer,
        Err(error) => Err(crate::kafka::Error::Broker(error.to_string())),
    }
}
