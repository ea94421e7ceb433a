//! One record on its way: permit, identity, epoch, credit, trace, clock.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::{
    KeyValue,
    trace::{Status, TraceContextExt},
};

use crate::{
    activity::Place,
    budget::{ImageCredit, RecordPermit},
    chain::Chain,
    ledger::Outcome,
    record::{Epoch, Record},
    stage::Stage,
    telemetry::Trace,
};

/// Why a stage got no answer although nothing was wrong with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It was worked on for as long as it may be.
    Expired,
    /// Its epoch ended.
    Stale,
}

/// When a stage worked on a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Worked {
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    /// The part of it that was waiting for credit or for the next attempt.
    pub(crate) waited: Duration,
    /// Work before it that came to nothing: runs of a model that failed.
    pub(crate) before: Duration,
}

impl Worked {
    pub(crate) fn since(started: Instant) -> Self {
        Self {
            started,
            ended: Instant::now(),
            waited: Duration::ZERO,
            before: Duration::ZERO,
        }
    }

    /// The work in it, with what came to nothing before.
    pub(crate) fn work(&self) -> Duration {
        self.whole().saturating_sub(self.waited) + self.before
    }

    /// From its start to its end.
    pub(crate) fn whole(&self) -> Duration {
        self.ended.saturating_duration_since(self.started)
    }
}

/// A record on its way. Exactly one owner holds it at a time; it settles once. Dropped without an
/// answer in its own epoch it counts as abandoned, and the chain restarts.
#[derive(Debug)]
pub struct Delivery {
    record: Record,
    epoch: Epoch,
    /// Work spent on it so far. Waiting for what is ours (credit, sockets, threads, engines, other
    /// records) is no work of the record.
    spent: Duration,
    chain: Arc<Chain>,
    pub(crate) trace: Trace,
    /// Queue and work of the stages that were done with it.
    times: Vec<(Stage, Duration, Duration)>,
    /// When it came to the present stage.
    entered: Instant,
    done: bool,
    /// A stage works on it; false in a mailbox and with an engine.
    pub(crate) in_hand: bool,
    /// The stage it is at.
    pub(crate) place: Place,
    // Dropped in this order, after `Drop`: the ledger knows first, the permit goes home last.
    pub(crate) credit: ImageCredit,
    _permit: RecordPermit,
}

impl Delivery {
    pub(crate) fn new(
        record: Record,
        epoch: Epoch,
        permit: RecordPermit,
        chain: Arc<Chain>,
    ) -> Box<Self> {
        let trace = chain.tracing.receive(&record);
        Box::new(Self {
            spent: Duration::ZERO,
            entered: record.received,
            record,
            epoch,
            trace,
            times: Vec::new(),
            done: false,
            in_hand: true,
            place: chain.meters.counts.place(),
            credit: chain.bytes.credit(),
            chain,
            _permit: permit,
        })
    }

    /// The record as it came.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The epoch it was admitted in.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How much longer it may be worked on; at zero it is stuck.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.chain.config.limits.record.saturating_sub(self.spent)
    }

    /// Counts work that [`Delivery::worked`] does not: waits that somebody else asked for.
    pub(crate) fn charge(&mut self, work: Duration) {
        self.spent += work;
    }

    /// Whether it may still be published and settled.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.chain.ledger.is_current(&self.record.id, self.epoch)
    }

    /// Runs `work` for `left` at most, and only as long as its epoch lasts.
    pub(crate) async fn within<T>(
        &self,
        left: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Cut> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            result = &mut work => Ok(result),
            () = self.chain.ledger.stale(&self.record.id, self.epoch) => Err(Cut::Stale),
            () = tokio::time::sleep(left) => Err(Cut::Expired),
        }
    }

    /// Waits for something of ours, as long as it takes and the epoch lasts.
    pub(crate) async fn waits<T>(&self, wait: impl Future<Output = T>) -> Result<T, Cut> {
        let mut wait = pin!(wait);
        tokio::select! {
            biased;
            result = &mut wait => Ok(result),
            () = self.chain.ledger.stale(&self.record.id, self.epoch) => Err(Cut::Stale),
        }
    }

    /// Notes what a stage did, in timings, metrics and a span; `attributes` are only made where
    /// somebody records.
    pub(crate) fn worked(
        &mut self,
        stage: Stage,
        worked: Worked,
        error: Option<&str>,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) {
        let Worked {
            started,
            ended,
            waited,
            before,
        } = worked;
        let queue =
            (started.saturating_duration_since(self.entered) + waited).saturating_sub(before);
        let work = worked.work();
        self.spent += work;
        self.chain.meters.counts.worked(stage, work);
        if stage.is_timed() {
            self.times.retain(|(timed, ..)| *timed != stage);
            self.times.push((stage, queue, work));
            (self.chain.meters).worked(stage, queue.as_secs_f64(), work.as_secs_f64());
        }
        self.entered = ended;
        if self.trace.recording {
            let mut attributes = attributes();
            attributes.push(KeyValue::new("vila2.queue_ms", milliseconds(queue)));
            attributes.push(KeyValue::new("vila2.work_ms", milliseconds(work)));
            let (tracing, times) = (&self.chain.tracing, (started, ended));
            tracing.stage(&self.trace, stage.as_str(), times, error, attributes);
        }
    }

    /// Shows an answer that the stage does not take in a span of its own; the stage's next one
    /// counts its work, as [`Worked::before`].
    pub(crate) fn tried(
        &self,
        stage: Stage,
        worked: Worked,
        why: &str,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) {
        if self.trace.recording {
            let (tracing, times) = (&self.chain.tracing, (worked.started, worked.ended));
            tracing.stage(&self.trace, stage.as_str(), times, Some(why), attributes());
        }
    }

    /// Milliseconds of work per stage, `total` from received until now.
    pub(crate) fn timings_ms(&self) -> BTreeMap<String, f64> {
        let mut timings = self.named(|(_, work)| work);
        let total = milliseconds(self.record.received.elapsed());
        timings.insert(String::from("total"), total);
        timings
    }

    /// Milliseconds of waiting per stage.
    pub(crate) fn queue_ms(&self) -> BTreeMap<String, f64> {
        self.named(|(queue, _)| queue)
    }

    fn named(&self, part: impl Fn((Duration, Duration)) -> Duration) -> BTreeMap<String, f64> {
        let named = self.times.iter().map(|&(stage, queue, work)| {
            let name = stage.as_str().to_owned();
            (name, milliseconds(part((queue, work))))
        });
        named.collect()
    }

    /// Ends it with an answer that the broker confirmed.
    pub(crate) fn settle(mut self: Box<Self>, outcome: Outcome) {
        self.done = true;
        let counted = (self.chain.ledger).settle(&self.record.id, self.epoch, outcome);
        if !counted {
            return;
        }
        match outcome {
            Outcome::Published => self.chain.meters.published(),
            Outcome::DeadLettered(reason) => {
                self.chain.meters.dead_lettered(reason);
                self.end_with(reason.as_str());
            }
            Outcome::Abandoned => {}
        }
    }

    /// Lets it go without an answer: its epoch ended, or the whole chain gives up and leaves it
    /// unsettled for the next process.
    pub(crate) fn let_go(mut self: Box<Self>) {
        self.done = true;
        self.end_with("let_go");
    }

    fn end_with(&self, error: &'static str) {
        if self.trace.recording {
            let span = self.trace.root.span();
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(error));
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let id = &self.record.id;
        if (self.chain.ledger).settle(id, self.epoch, Outcome::Abandoned) {
            self.end_with("abandoned");
            if self.in_hand && std::thread::panicking() {
                // The panic is about this record; what was in the mailbox is innocent.
                (self.chain.ledger).blame(id, self.epoch, Stage::Intake);
            }
            self.chain.abandoned(id.clone(), self.epoch);
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}
