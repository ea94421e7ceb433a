//! What the probes and the page of a running service look at.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use vila2_actors::{config::Mode, pipeline::PipelineHandle, stage::Stage};

use super::settings;
use crate::{
    config::{Config, Page},
    health::{Check, Probes},
    kafka::Status,
    report::live::{Ask, Facts, Live, Look, Readers, Running, StageFacts},
};

/// What there is to look at.
#[derive(Clone, Default)]
pub(super) struct Parts {
    /// Once the models are loaded.
    loaded: Arc<OnceLock<(PipelineHandle, Arc<Status>)>>,
    draining: Arc<AtomicBool>,
}

impl Parts {
    /// The chain runs.
    pub(super) fn are(&self, pipeline: PipelineHandle, status: Arc<Status>) {
        // Set once, at the start.
        let _ = self.loaded.set((pipeline, status));
    }

    /// A shutdown was asked for.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn pipeline(&self) -> Option<&PipelineHandle> {
        self.loaded.get().map(|(pipeline, _)| pipeline)
    }
}

/// Records in the partitions held that are not settled: in flight, or not read yet. `None` where
/// none is held, or their ends are not known yet.
pub(super) fn behind(pipeline: &PipelineHandle, status: &Status, topic: &str) -> Option<u64> {
    let (ends, intake) = (status.ends(), pipeline.intake());
    let open = |(number, end): (&i32, &i64)| {
        let open = intake.ledger().unsettled(topic, *number, *end);
        open.map(i64::unsigned_abs)
    };
    (!ends.is_empty()).then(|| ends.iter().filter_map(open).sum())
}

/// The page, where it is on.
pub(super) fn page(config: &Config, parts: &Parts, wedged_after: Duration) -> Option<Live> {
    let readers = match config.page {
        Page::Off => return None,
        Page::Loopback => Readers::ThisMachine,
        Page::On => Readers::Everyone,
    };
    let (parts, topic) = (parts.clone(), config.kafka.topics.images.clone());
    let ask: Ask = Arc::new(move || look(&parts, &topic, wedged_after));
    Some(Live::new(facts(config), readers, ask).expect("bug: the page's template is whole"))
}

fn look(parts: &Parts, topic: &str, wedged_after: Duration) -> Look {
    let (mut missing, mut broken) = (Vec::new(), None);
    let chain = parts.loaded.get().map(|(pipeline, status)| {
        let failed = || (pipeline.has_failed()).then(|| "the log says why".to_owned());
        broken = pipeline.wedged(wedged_after).or_else(failed);
        missing.extend(status.ready().err());
        missing.extend(pipeline.outages().iter().map(ToString::to_string));
        Running {
            activity: pipeline.activity(),
            engines: pipeline.engines(),
            behind: behind(pipeline, status, topic),
            image_bytes: pipeline.image_bytes(),
            oldest: pipeline.oldest(),
        }
    });
    Look {
        chain,
        missing,
        draining: parts.draining.load(Ordering::Relaxed),
        broken,
    }
}

fn facts(config: &Config) -> Facts {
    let chain = settings::chain(config);
    let mut stages = vec![StageFacts {
        stage: Stage::Caption.as_str(),
        engine: Some(chain.caption.engine.clone()),
        kind: "caption",
    }];
    // Engines of batches have the name of the first stage that asks them.
    let mut asked: BTreeMap<&str, &'static str> = BTreeMap::new();
    for one in &chain.specialists {
        let name = match one.task.asking() {
            Some(asking) => asking.engine.as_str(),
            None if one.mode == Mode::Off => "",
            None => asked.entry(one.task.engine()).or_insert(one.name.as_str()),
        };
        stages.push(StageFacts {
            stage: one.name.as_str(),
            engine: (one.mode != Mode::Off).then(|| name.to_owned()),
            kind: one.task.kind(),
        });
    }
    let topics = &config.kafka.topics;
    Facts {
        images: topics.images.clone(),
        captions: topics.captions.clone(),
        dead: topics.dead.clone(),
        group: config.kafka.group.clone(),
        records: chain.limits.records,
        image_bytes: chain.limits.image_bytes,
        tolerated: chain.tolerance.model_failed_run,
        stages,
    }
}

pub(super) fn probes(parts: &Parts, wedged_after: Duration) -> Probes {
    let (live, ready) = (parts.clone(), parts.clone());
    Probes {
        live: Arc::new(move || {
            let wedged = (live.pipeline()).and_then(|pipeline| pipeline.wedged(wedged_after));
            vec![Check {
                name: "chain",
                fault: wedged,
            }]
        }),
        ready: Arc::new(move || {
            let loaded = ready.loaded.get();
            let kafka = loaded.map_or(Ok(()), |(_, status)| status.ready());
            let outages = loaded.map_or_else(Vec::new, |(pipeline, _)| pipeline.outages());
            let outages: Vec<_> = outages.iter().map(ToString::to_string).collect();
            vec![
                Check::new("models", loaded.is_some(), || "loading".to_owned()),
                Check {
                    name: "kafka",
                    fault: match loaded {
                        Some(_) => kafka.err(),
                        None => Some("not joined yet".to_owned()),
                    },
                },
                Check::new("writes", outages.is_empty(), || outages.join("; ")),
            ]
        }),
    }
}
