//! What travels between the stages: a delivery with what is known of its image so far.

use crate::{
    chain::Chain,
    delivery::{Cut, Delivery},
    error::Reason,
    ledger::Outcome,
    message::Rejected,
    stage::Stage,
};

/// A body that owns its delivery. Not `Clone`: one owner at a time, settled once.
#[derive(Debug)]
pub struct Envelope<T> {
    pub(crate) delivery: Box<Delivery>,
    /// What is known so far.
    pub body: T,
}

impl<T> Envelope<T> {
    pub(crate) fn new(delivery: Box<Delivery>, body: T) -> Self {
        Self { delivery, body }
    }

    /// The delivery.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The same delivery with another body.
    pub fn map<U>(self, next: impl FnOnce(T) -> U) -> Envelope<U> {
        Envelope {
            delivery: self.delivery,
            body: next(self.body),
        }
    }

    /// Ends the delivery with an answer that the broker confirmed.
    pub fn settle(self, outcome: Outcome) {
        self.delivery.settle(outcome);
    }

    /// Lets the delivery go unsettled.
    pub(crate) fn let_go(self) {
        self.delivery.let_go();
    }

    /// Turns it into a dead letter; what was known of the image is dropped, its credit goes back.
    pub(crate) fn reject(
        self,
        id: Option<String>,
        stage: Stage,
        reason: Reason,
        detail: impl Into<String>,
        attempts: u32,
    ) -> Envelope<Rejected> {
        drop(self.body);
        let mut delivery = self.delivery;
        delivery.credit.release();
        Envelope {
            delivery,
            body: Rejected {
                id,
                stage,
                reason,
                detail: detail.into(),
                attempts,
                held: false,
            },
        }
    }

    /// What becomes of it where a stage was cut off: a stuck record is a dead letter, a stale one
    /// is let go.
    pub(crate) fn cut(
        self,
        id: Option<String>,
        stage: Stage,
        cut: Cut,
        chain: &Chain,
    ) -> Option<Envelope<Rejected>> {
        match cut {
            Cut::Stale => {
                self.let_go();
                None
            }
            Cut::Expired => {
                let limit = chain.config.limits.record.as_millis();
                let detail = format!(
                    "not done within {limit} ms of work (limits.record_ms); it was in {}",
                    stage.as_str()
                );
                Some(self.reject(id, stage, Reason::Stuck, detail, 1))
            }
        }
    }
}
