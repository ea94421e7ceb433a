//! publish: writes captions and dead letters, and settles what the broker confirmed. The bytes are
//! kept until then, and tried again for as long as that takes (see [`crate::writes`]).
//!
//! Captions come in no order. A write that was not confirmed may still have arrived, so trying it
//! again may repeat it: the repetition has the same `vila2-source`.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use opentelemetry::{
    Context,
    trace::{Status, TraceContextExt},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::take_up;
use crate::{
    breaker::Breaker,
    chain::Chain,
    delivery::Delivery,
    engine::panicked,
    envelope::Envelope,
    error::{PublishError, Reason},
    fingerprint::{Fingerprint, Identities},
    ledger::Outcome,
    message::{Finished, PublishMessage, Rejected},
    outgoing,
    ports::{Destination, Outgoing, Publisher},
    record::Request,
    stage::Stage,
};

/// Wait before an unavailable broker is tried again; doubles up to `LONGEST_WAIT`.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The actor: admits; each write is a task of its own.
pub(crate) struct Publish(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) chain: Arc<Chain>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) identities: Identities,
}

/// Why a write did not happen.
enum Unwritten {
    /// The epoch ended, or the process gives up.
    LetGo,
    TooLarge(String),
}

impl Actor for Publish {
    type Msg = PublishMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<PublishMessage>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<PublishMessage>,
        message: PublishMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let message = take_up(message, Stage::Publish);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            match message {
                PublishMessage::Merged(envelope) => inner.caption(envelope).await,
                PublishMessage::Repeated(envelope) => inner.repeat(envelope).await,
                PublishMessage::Rejected(envelope) => inner.dead_letter(envelope).await,
            }
        });
        Ok(())
    }
}

impl Inner {
    async fn caption(&self, envelope: Envelope<Finished>) {
        let Envelope { delivery, body } = envelope;
        let id = body.draft.request.id.clone();
        let context = self.send_span(&delivery, Destination::Captions, Some(&id));
        let config = &self.chain.config;
        let fingerprint = Fingerprint::of_draft(&body.draft, config, &self.identities);
        let outgoing = outgoing::caption(&delivery, body, &fingerprint, &context);
        match self.write(&delivery, &outgoing, &context).await {
            Ok(()) => {
                let (source, trace_id) = (&delivery.record().id, delivery.trace.id());
                tracing::debug!(%source, %trace_id, id, "published");
                delivery.settle(Outcome::Published);
            }
            Err(Unwritten::LetGo) => delivery.let_go(),
            Err(Unwritten::TooLarge(detail)) => {
                let envelope = Envelope::new(delivery, ());
                let reason = Reason::OutputTooLarge;
                let rejected = envelope.reject(Some(id), Stage::Publish, reason, detail, 1);
                self.dead_letter(rejected).await;
            }
        }
    }

    async fn repeat(&self, envelope: Envelope<Request>) {
        let Envelope { delivery, body } = envelope;
        let context = self.send_span(&delivery, Destination::Captions, Some(&body.id));
        let outgoing = outgoing::repeat(&delivery, body.id);
        match self.write(&delivery, &outgoing, &context).await {
            Ok(()) => delivery.settle(Outcome::Published),
            Err(Unwritten::LetGo) => delivery.let_go(),
            Err(Unwritten::TooLarge(detail)) => {
                let source = &delivery.record().id;
                (self.chain).fail(format!("no repeat can be written for {source}: {detail}"));
                delivery.let_go();
            }
        }
    }

    async fn dead_letter(&self, envelope: Envelope<Rejected>) {
        let Envelope { delivery, body } = envelope;
        if body.held && !self.breaker.hold(&delivery, body.stage).await {
            delivery.let_go();
            return;
        }
        let context = self.send_span(&delivery, Destination::Dead, body.id.as_deref());
        let outgoing = outgoing::dead_letter(&delivery, &body, &context);
        let bare = Outgoing {
            value: None,
            ..outgoing.clone()
        };
        let mut written = self.write(&delivery, &outgoing, &context).await;
        if let Err(Unwritten::TooLarge(_)) = written {
            // Better the reason without the bytes than a record that holds its partition for ever.
            written = self.write(&delivery, &bare, &context).await;
        }
        match written {
            Ok(()) => {
                tracing::info!(
                    source = %delivery.record().id,
                    trace_id = %delivery.trace.id(),
                    id = body.id,
                    stage = body.stage.as_str(),
                    reason = body.reason.as_str(),
                    attempts = body.attempts,
                    "dead letter: {}",
                    outgoing::detail(&body)
                );
                delivery.settle(Outcome::DeadLettered(body.reason));
            }
            Err(Unwritten::LetGo) => delivery.let_go(),
            Err(Unwritten::TooLarge(detail)) => {
                let source = &delivery.record().id;
                (self.chain).fail(format!(
                    "no dead letter can be written for {source}: {detail}"
                ));
                delivery.let_go();
            }
        }
    }

    /// Writes until it is confirmed, refused, or no longer ours.
    async fn write(
        &self,
        delivery: &Delivery,
        outgoing: &Outgoing,
        context: &Context,
    ) -> Result<(), Unwritten> {
        let (id, epoch) = (&delivery.record().id, delivery.epoch());
        let held = self.chain.writes.begin(outgoing.destination);
        let _working = self.chain.meters.counts.works(Stage::Publish);
        let (began, mut wait) = (Instant::now(), FIRST_WAIT);
        let result = loop {
            if !delivery.is_current() {
                break Err(Unwritten::LetGo);
            }
            let (publisher, again) = (Arc::clone(&self.publisher), outgoing.clone());
            let once = async move { publisher.publish(again).await };
            let result = (AssertUnwindSafe(once).catch_unwind().await)
                .unwrap_or_else(|panic| Err(PublishError::Unavailable(panicked(panic.as_ref()))));
            match result {
                Ok(()) => {
                    self.chain.observed(|observer| observer.written(outgoing));
                    break Ok(());
                }
                Err(PublishError::TooLarge { bytes, detail }) => {
                    break Err(Unwritten::TooLarge(format!("{bytes} bytes: {detail}")));
                }
                Err(PublishError::Fatal(detail)) => {
                    self.chain.fail(format!("the producer is broken: {detail}"));
                    break Err(Unwritten::LetGo);
                }
                // Where the ledger still says it is ours, a new term has just begun, or the
                // partition was lost and the group has not said yet whose it is: once more.
                Err(PublishError::Revoked) => {
                    held.failed(String::from(
                        "the group has to give out the partition first",
                    ));
                }
                Err(PublishError::Unavailable(detail)) => {
                    let trace_id = delivery.trace.id();
                    tracing::debug!(source = %id, %trace_id, "not written, trying again: {detail}");
                    held.failed(detail);
                }
            }
            tokio::select! {
                () = self.chain.ledger.stale(id, epoch) => {}
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        if !matches!(result, Err(Unwritten::LetGo)) {
            held.answered();
            (self.chain.meters.counts).worked(Stage::Publish, began.elapsed());
        }
        if delivery.trace.recording {
            if result.is_err() {
                context.span().set_status(Status::error("not written"));
            }
            context.span().end();
        }
        result
    }

    /// The span of the write; its context goes into the headers.
    fn send_span(&self, delivery: &Delivery, to: Destination, id: Option<&str>) -> Context {
        let trace = &delivery.trace;
        if trace.recording {
            self.chain.tracing.send(trace, to, id)
        } else {
            trace.root.clone()
        }
    }
}
