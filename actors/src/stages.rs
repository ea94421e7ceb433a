//! The stages, in path order: one actor each. None knows another; each holds the mailbox of the
//! message it sends.

pub(crate) mod ask;
pub(crate) mod caption;
pub(crate) mod decode;
pub(crate) mod fetch;
pub(crate) mod merge;
pub(crate) mod publish;

use std::sync::Arc;

use opentelemetry::{KeyValue, StringValue, Value};
use ractor::{ActorRef, Message};
use sha2::{Digest, Sha256};

use crate::{
    annotation::{Degraded, Finish},
    chain::Chain,
    config::Mode,
    delivery::Cut,
    engine::{Answer, Failure},
    envelope::Envelope,
    error::Reason,
    message::{AskMessage, Carries, Draft, Examined, PublishMessage, Rejected},
    ports::Generated,
    record::Request,
    stage::Stage,
};

/// Sends a message on. Where the next stage is gone, the chain restarts and the record comes
/// again: the envelope drops with the message.
pub(crate) fn pass<M: Message + Carries>(next: &ActorRef<M>, mut message: M) {
    message.delivery().in_hand = false;
    drop(next.cast(message));
}

/// A stage begins to work on a message: its record is there from now on, and a panic is about it.
pub(crate) fn take_up<M: Carries>(mut message: M, stage: Stage) -> M {
    let delivery = message.delivery();
    delivery.in_hand = true;
    delivery.place.enter(stage);
    message
}

/// A number that depends on (id, round, stage) only: a replay chooses the same.
pub(crate) fn choice(request: &Request, stage: Stage) -> u64 {
    number(choice_hash(request, stage))
}

/// Another such number for each try after the first (0).
pub(crate) fn choice_again(request: &Request, stage: Stage, again: u32) -> u64 {
    if again == 0 {
        return choice(request, stage);
    }
    number(choice_hash(request, stage).chain_update(again.to_be_bytes()))
}

fn choice_hash(request: &Request, stage: Stage) -> Sha256 {
    Sha256::new()
        .chain_update(request.id.as_bytes())
        .chain_update([0])
        .chain_update(request.round.to_be_bytes())
        .chain_update(stage.as_str())
}

fn number(hash: Sha256) -> u64 {
    let hash = hash.finalize();
    u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
}

/// What comes behind the caption, and behind a specialist.
#[derive(Debug, Clone)]
pub(crate) enum Next {
    /// The next specialist.
    Ask(ActorRef<AskMessage>),
    /// The merge.
    Merge(ActorRef<Examined>),
}

impl Next {
    /// Sends a draft on.
    pub(crate) fn pass(&self, envelope: Envelope<Draft>) {
        match self {
            Self::Ask(next) => pass(next, AskMessage::Arrived(envelope)),
            Self::Merge(next) => pass(next, Examined(envelope)),
        }
    }
}

/// The way out of a stage for what goes no further.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(crate) stage: Stage,
    pub(crate) publish: ActorRef<PublishMessage>,
    pub(crate) chain: Arc<Chain>,
}

impl Exit {
    /// Sends it on as a dead letter.
    pub(crate) fn reject<T>(
        &self,
        envelope: Envelope<T>,
        id: String,
        reason: Reason,
        detail: impl Into<String>,
        attempts: u32,
    ) {
        let mut rejected = envelope.reject(Some(id), self.stage, reason, detail, attempts);
        if reason == Reason::ModelFailed {
            let (outcomes, run) = (
                &self.chain.outcomes,
                self.chain.config.tolerance.model_failed_run,
            );
            rejected.body.held = !outcomes.failed(self.stage, &rejected.body.detail, run);
        }
        self.send(rejected);
    }

    /// Ends what was cut off.
    pub(crate) fn cut<T>(&self, envelope: Envelope<T>, id: String, cut: Cut) {
        if let Some(stuck) = envelope.cut(Some(id), self.stage, cut, &self.chain) {
            self.send(stuck);
        }
    }

    /// Ends what an engine did not answer.
    pub(crate) fn failure<T>(&self, envelope: Envelope<T>, id: String, failure: Failure) {
        match failure {
            Failure::Model {
                reason,
                detail,
                attempts,
            } => self.reject(envelope, id, reason, detail, attempts),
            Failure::Cut(cut) => self.cut(envelope, id, cut),
            Failure::Held => envelope.let_go(),
        }
    }

    /// What a specialist found, noted in times, span and `models`. Where it failed: a degraded
    /// draft if it is optional, else the record's end.
    pub(crate) fn specialist<A>(
        &self,
        mut envelope: Envelope<Draft>,
        mode: Mode,
        prompt: Option<&str>,
        answer: Answer<A>,
        attributes: impl FnOnce(Option<&A>) -> Vec<KeyValue>,
        note: impl FnOnce(&mut Draft, A),
    ) -> Option<Envelope<Draft>> {
        let Answer {
            result,
            worked,
            model,
        } = answer;
        let error = result.as_ref().err().map(Failure::words);
        (envelope.delivery).worked(self.stage, worked, error.as_deref(), || {
            let mut attributes = attributes(result.as_ref().ok());
            attributes.push(KeyValue::new("gen_ai.request.model", model.model.clone()));
            attributes
        });
        let failure = match result {
            Ok(found) => {
                self.chain.outcomes.worked(self.stage);
                let mut facts = (*model).clone();
                facts.prompt = prompt.map(str::to_owned);
                (envelope.body.models).insert(self.stage.as_str().to_owned(), facts);
                note(&mut envelope.body, found);
                return Some(envelope);
            }
            Err(failure) => failure,
        };
        // Its own time may be up while the record still has some.
        let in_time = !envelope.delivery.left().is_zero();
        let (reason, detail, attempts) = match failure {
            Failure::Model {
                reason,
                detail,
                attempts,
            } => (reason, detail, attempts),
            Failure::Cut(Cut::Expired) if in_time => {
                let detail = String::from("no answer in time");
                (Reason::ModelFailed, detail, 1)
            }
            failure => {
                let id = envelope.body.request.id.clone();
                self.failure(envelope, id, failure);
                return None;
            }
        };
        if mode == Mode::Required {
            let id = envelope.body.request.id.clone();
            self.reject(envelope, id, reason, detail, attempts);
            return None;
        }
        self.chain.meters.degraded(self.stage);
        tracing::warn!(
            source = %envelope.delivery.record().id,
            trace_id = %envelope.delivery.trace.id(),
            id = envelope.body.request.id,
            stage = self.stage.as_str(),
            "goes on without this specialist: {detail}"
        );
        envelope.body.degraded.push(Degraded {
            stage: self.stage.as_str().to_owned(),
            reason: detail,
        });
        Some(envelope)
    }

    fn send(&self, rejected: Envelope<Rejected>) {
        pass(&self.publish, PublishMessage::Rejected(rejected));
    }
}

/// What a span says of a generation, besides the model: OpenTelemetry's conventions for generative
/// AI.
pub(crate) fn generation(generated: Option<&Generated>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("gen_ai.operation.name", "generate_content"),
        KeyValue::new("gen_ai.provider.name", "vila2"),
        KeyValue::new("gen_ai.output.type", "text"),
    ];
    if let Some(generated) = generated {
        let finish = match generated.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Repeat => "repeat",
        };
        let finish = Value::Array(vec![StringValue::from(finish)].into());
        let tokens = i64::from(generated.tokens);
        attributes.push(KeyValue::new("gen_ai.response.finish_reasons", finish));
        attributes.push(KeyValue::new("gen_ai.usage.output_tokens", tokens));
    }
    attributes
}
