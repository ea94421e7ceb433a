//! The whole chain, as the service runs it: requests in a topic of the broker in this process,
//! pictures over HTTP from a server on loopback, captions back from a topic. The specialists are
//! off, so that it does the bare loop's work and no more. Broker and server share the machine.

use std::{collections::HashMap, path::Path, time::Duration};

use serde_json::{Value, json};
use vila2::{
    app::{kafka_settings, service::Service},
    config::{Config, Layers, Sources},
    demo::server::ImageServer,
    kafka::{
        Embedded, KafkaSettings,
        feeder::Feeder,
        read::{Reader, Start},
    },
};

use super::workload::Workload;

/// Partitions of each topic.
const PARTITIONS: i32 = 3;

/// After so long without a caption the run is given up.
const STALL: Duration = Duration::from_secs(120);

/// The service with its surroundings, started once.
pub struct Chain {
    runtime: tokio::runtime::Runtime,
    service: Option<Service>,
    server: ImageServer,
    kafka: KafkaSettings,
    reader: Reader,
    runs: usize,
    _broker: Embedded,
}

impl Chain {
    /// Starts everything; the pictures lie in `folder` as `0`, `1`, ….
    pub fn new(workload: &Workload, folder: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let server = runtime.block_on(ImageServer::start(folder))?;
        let broker = Embedded::start()?;
        let (mut config, layers) = configuration(workload)?;
        config.kafka.brokers = broker.brokers().to_owned();
        config.fetch.allow_addresses.push(server.allow_entry());
        config.http = None;
        let kafka = kafka_settings(&config);
        broker.create_topics(&kafka.topics, PARTITIONS)?;
        let service = runtime.block_on(Service::start(&config, &layers, None))?;
        let reader = Reader::new(&kafka, &kafka.topics.captions, Start::Beginning)?;
        Ok(Self {
            runtime,
            service: Some(service),
            server,
            kafka,
            reader,
            runs: 0,
            _broker: broker,
        })
    }

    /// Publishes every picture once and waits for the captions. Returns the number of tokens of
    /// each answer, in order.
    pub fn run(&mut self, workload: &Workload) -> anyhow::Result<Vec<usize>> {
        self.runs += 1;
        let mut feeder = Feeder::new(&self.kafka, &self.kafka.topics.images)?;
        for (at, picture) in workload.pictures.iter().enumerate() {
            let id = format!("{}-{at}", self.runs);
            let request = json!({
                "url": self.server.image_url(&at.to_string()),
                "id": id,
                "options": { "max_tokens": picture.max_tokens },
            });
            let value = request.to_string();
            feeder.send(Some(id.as_bytes()), Some(value.as_bytes()), &[])?;
        }
        feeder.finish(STALL, |_| {})?;
        let mut lengths = HashMap::new();
        while lengths.len() < workload.pictures.len() {
            let received = (self.reader.next(STALL)?)
                .ok_or_else(|| anyhow::anyhow!("no caption for {STALL:?}"))?;
            let record: Value = serde_json::from_slice(&received.value.unwrap_or_default())?;
            let id = record["id"].as_str().unwrap_or_default();
            if let Some((run, at)) = id.split_once('-')
                && run == self.runs.to_string()
            {
                let tokens = record["caption"]["tokens"].as_u64().unwrap_or(0);
                lengths.insert(at.parse::<usize>()?, tokens as usize);
            }
        }
        Ok((0..lengths.len()).map(|at| lengths[&at]).collect())
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            self.runtime.block_on(service.stop());
        }
    }
}

/// The default configuration, with one model and no specialists.
fn configuration(workload: &Workload) -> anyhow::Result<(Config, Layers)> {
    let mut sets = vec![
        format!("models.bench.path={}", json!(workload.model)),
        "models.bench.providers=[\"cpu\"]".to_owned(),
        "stages.caption.model=bench".to_owned(),
        format!("stages.caption.prompts=[{}]", json!(&*workload.prompt)),
        "stages.caption.max_tokens=128".to_owned(),
        format!("limits.sequences={}", workload.sequences),
        format!("runtime.threads={}", workload.threads.unwrap_or(0)),
    ];
    for stage in ["ground", "relate", "read_text"] {
        sets.push(format!("stages.{stage}.mode=off"));
    }
    Ok(Config::load(&Sources {
        file: None,
        environment: Vec::new(),
        sets,
    })?)
}
