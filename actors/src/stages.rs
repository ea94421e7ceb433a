//! The stages, in path order: one actor each. None knows another; each holds the mailbox of the
//! message it sends.

pub(crate) mod caption;
pub(crate) mod decode;
pub(crate) mod fetch;
pub(crate) mod ground;
pub(crate) mod merge;
pub(crate) mod publish;
pub(crate) mod read_text;
pub(crate) mod relate;

use std::sync::Arc;

use ractor::{ActorRef, Message};
use sha2::{Digest, Sha256};

use crate::{
    annotation::Degraded,
    chain::Chain,
    config::Mode,
    delivery::Cut,
    engine::{Answer, Failure},
    envelope::Envelope,
    error::Reason,
    message::{Carries, Draft, PublishMessage, Rejected},
    record::Request,
    stage::Stage,
};

/// Sends a message on. Where the next stage is gone, the chain restarts and the record comes
/// again: the envelope drops with the message.
pub(crate) fn pass<M: Message + Carries>(next: &ActorRef<M>, mut message: M) {
    message.delivery().in_hand = false;
    drop(next.cast(message));
}

/// A stage begins to work on a message: a panic from here on is about this record.
pub(crate) fn take_up<M: Carries>(mut message: M) -> M {
    message.delivery().in_hand = true;
    message
}

/// A number that depends on (id, round, stage) only: a replay chooses the same.
pub(crate) fn choice(request: &Request, stage: Stage) -> u64 {
    let mut hash = Sha256::new();
    hash.update(request.id.as_bytes());
    hash.update([0]);
    hash.update(request.round.to_be_bytes());
    hash.update(stage.as_str());
    let hash = hash.finalize();
    u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
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
        self.send(envelope.reject(Some(id), self.stage, reason, detail, attempts));
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
            Failure::Model { detail, attempts } => {
                self.reject(envelope, id, Reason::ModelFailed, detail, attempts);
            }
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
        note: impl FnOnce(&mut Draft, A),
    ) -> Option<Envelope<Draft>> {
        let Answer {
            result,
            worked,
            model,
        } = answer;
        let error = result.as_ref().err().map(Failure::words);
        (envelope.delivery).worked(self.stage, worked, error.as_deref(), || {
            model_name(&model.model)
        });
        let failure = match result {
            Ok(found) => {
                let mut facts = (*model).clone();
                facts.prompt = prompt.map(str::to_owned);
                (envelope.body.models).insert(self.stage.as_str().to_owned(), facts);
                note(&mut envelope.body, found);
                return Some(envelope);
            }
            Err(failure) => failure,
        };
        // Its own time may be up while the record still has some.
        let in_time = std::time::Instant::now() < envelope.delivery.deadline();
        let (reason, attempts) = match failure {
            Failure::Model { detail, attempts } => (detail, attempts),
            Failure::Cut(Cut::Expired) if in_time => (String::from("no answer in time"), 1),
            failure => {
                let id = envelope.body.request.id.clone();
                self.failure(envelope, id, failure);
                return None;
            }
        };
        if mode == Mode::Required {
            let id = envelope.body.request.id.clone();
            self.reject(envelope, id, Reason::ModelFailed, reason, attempts);
            return None;
        }
        self.chain.meters.degraded(self.stage);
        envelope.body.degraded.push(Degraded {
            stage: self.stage.as_str().to_owned(),
            reason,
        });
        Some(envelope)
    }

    fn send(&self, rejected: Envelope<Rejected>) {
        pass(&self.publish, PublishMessage::Rejected(rejected));
    }
}

/// The span attribute that names the model.
pub(crate) fn model_name(model: &str) -> Vec<opentelemetry::KeyValue> {
    vec![opentelemetry::KeyValue::new(
        "gen_ai.request.model",
        model.to_owned(),
    )]
}
