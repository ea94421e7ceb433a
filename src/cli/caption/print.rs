//! Answers on stdout, in the order of the inputs.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;
use vila2_actors::annotation::EnrichedCaption;

use super::{
    super::{Failure, output, progress, runtime},
    Arguments, kept_texts,
};
use crate::{
    app::{
        local::{Answer, Local, Query},
        sidecar::Sidecars,
    },
    config::{Config, Layers},
    inputs::{Ask, Entry, Fault, Inputs, Place, Sample},
    shutdown::Shutdown,
    telemetry::Traces,
};

/// Entries read ahead of the chain.
const READ_AHEAD: usize = 256;

pub(super) fn run(
    config: &Config,
    layers: &Layers,
    arguments: &Arguments,
    inputs: Arc<Inputs>,
    sample: Option<Sample>,
) -> Result<(), Failure> {
    let count = sample.as_ref().map(Sample::len).or(inputs.count());
    let mut printer = Printer {
        json: arguments.json,
        sidecars: arguments.txt.then(Sidecars::default),
        is_single: count == Some(1),
        waiting: BTreeMap::new(),
        next: 0,
        failed: 0,
    };
    let is_asked =
        |read: Result<(Entry, Place), Fault>| read.is_ok_and(|(entry, _)| entry.content.is_ok());
    let needs_models = !inputs.is_named_singly() || inputs.read(Place::default()).any(is_asked);
    if !needs_models {
        for (ordinal, read) in (0..).zip(inputs.read(Place::default())) {
            let (entry, _) = read.map_err(|fault| Failure::Failed(fault.to_string()))?;
            printer.take(ordinal, entry, Answer::NotAsked)?;
        }
        return printer.finish();
    }
    let runtime = runtime()?;
    let result: Result<(), Failure> = runtime.block_on(async {
        let traces = Traces::start()?;
        let mut shutdown = Shutdown::listen()?;
        let spinner = progress::spinner("loading the models");
        let local = tokio::select! {
            local = Local::start(config, layers, None, None) => local?,
            _ = shutdown.requested() => return Err(Failure::Interrupted),
        };
        spinner.finish_and_clear();
        let (sender, entries) = mpsc::channel(READ_AHEAD);
        let reader = std::thread::spawn(move || read(&inputs, sample.as_ref(), &sender));
        let bar = match count {
            Some(count) => progress::bar(count, "images"),
            None => progress::counter("images"),
        };
        let _beside = progress::beside(&bar);
        let answered = local
            .answer(entries, &mut shutdown, |(ordinal, entry), answer, _| {
                bar.inc(1);
                bar.suspend(|| printer.take(ordinal, entry, answer))
            })
            .await;
        bar.finish_and_clear();
        let _ = tokio::task::spawn_blocking(move || traces.stop()).await;
        answered??;
        match reader.join() {
            Ok(Err(fault)) => Err(Failure::Failed(fault.to_string())),
            _ => Ok(()),
        }
    });
    runtime.shutdown_background();
    result?;
    printer.finish()
}

/// Sends entries on, numbered from 0.
fn read(
    inputs: &Inputs,
    sample: Option<&Sample>,
    sender: &mpsc::Sender<Query<(u64, Entry)>>,
) -> Result<(), Fault> {
    let mut number = 0;
    for (ordinal, read) in (0..).zip(inputs.read(Place::default())) {
        let (entry, _) = read?;
        if sample.is_some_and(|sample| !sample.has(ordinal)) {
            continue;
        }
        let ask = entry.content.as_ref().ok();
        let query = Query {
            request: ask.map(|ask| ask.request.clone()),
            names_file: ask.is_some_and(Ask::names_file),
            with: (number, entry),
        };
        if sender.blocking_send(query).is_err() {
            break;
        }
        number += 1;
    }
    Ok(())
}

/// Prints answers in the order of the inputs, each as soon as those before it are there.
struct Printer {
    json: bool,
    sidecars: Option<Sidecars>,
    is_single: bool,
    waiting: BTreeMap<u64, (Entry, Answer)>,
    next: u64,
    failed: u64,
}

impl Printer {
    fn take(&mut self, ordinal: u64, entry: Entry, answer: Answer) -> Result<(), Failure> {
        self.waiting.insert(ordinal, (entry, answer));
        while let Some((entry, answer)) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.print(&entry, answer)?;
        }
        Ok(())
    }

    fn print(&mut self, entry: &Entry, answer: Answer) -> Result<(), Failure> {
        let name = output::visible(&entry.name);
        let record = match (answer, &entry.content) {
            (Answer::Captioned(record), Ok(ask)) => (record, ask),
            (Answer::Dead { reason, detail }, _) => {
                self.dead(&name, &reason, &detail);
                return Ok(());
            }
            (_, Err(refusal)) => {
                self.dead(&name, refusal.reason, &refusal.detail);
                return Ok(());
            }
            (Answer::Repeated | Answer::NotAsked, Ok(_)) => return Ok(()),
        };
        let (record, ask) = record;
        self.record(&name, &record, ask)
    }

    fn record(&mut self, name: &str, record: &[u8], ask: &Ask) -> Result<(), Failure> {
        let mut answer: EnrichedCaption = serde_json::from_slice(record)
            .map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        if let (Some(sidecars), Some(path)) = (&mut self.sidecars, &ask.path) {
            (sidecars.write(path, record)).map_err(|error| Failure::Failed(error.to_string()))?;
        }
        match &ask.url {
            _ if !self.json && self.is_single => output::line(&answer.enriched),
            _ if !self.json => output::line(&format!("{name}: {}", answer.enriched)),
            None => output::bytes(record),
            Some(url) => {
                url.clone_into(&mut answer.url);
                let record = serde_json::to_vec(&answer);
                output::bytes(&record.map_err(|error| Failure::Failed(error.to_string()))?)
            }
        }
    }

    fn dead(&mut self, name: &str, reason: &str, detail: &str) {
        self.failed += 1;
        let [reason, detail] = [reason, detail].map(output::visible);
        output::note(&format!("{name}: {reason}: {detail}"));
    }

    fn finish(self) -> Result<(), Failure> {
        let kept = kept_texts(self.sidecars.as_ref());
        match self.failed {
            0 if kept.is_some() => Err(Failure::Failed(kept.unwrap_or_default())),
            0 => Ok(()),
            failed => {
                let of = output::plural(self.next, "image");
                let kept = kept.map(|kept| format!("\n  {kept}")).unwrap_or_default();
                Err(Failure::Failed(format!("{failed} of {of} failed{kept}")))
            }
        }
    }
}
