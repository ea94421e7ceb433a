//! merge: makes one text of caption and specialists. A pure function in an actor's coat.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Exit, pass, take_up};
use crate::{
    delivery::Worked,
    engine::panicked,
    envelope::Envelope,
    error::Reason,
    message::{Draft, Examined, Finished, PublishMessage},
    ports::{MergeInput, Merger},
    stage::Stage,
};

/// The actor.
pub(crate) struct Merge {
    pub(crate) merger: Arc<dyn Merger>,
    pub(crate) next: ActorRef<PublishMessage>,
    pub(crate) exit: Exit,
}

impl Actor for Merge {
    type Msg = Examined;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Examined>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Examined>,
        message: Examined,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Examined(mut envelope) = take_up(message, Stage::Merge);
        #[cfg(test)]
        crate::testkit::panic_in_the_stage(&envelope.body.request);
        self.let_go(&mut envelope);
        self.merge(envelope);
        Ok(())
    }
}

impl Merge {
    /// No model will look at the pixels any more: their credit goes back.
    fn let_go(&self, envelope: &mut Envelope<Draft>) {
        if let Some(image) = envelope.body.image.take() {
            let record = &envelope.delivery.record().id;
            let chain = &self.exit.chain;
            chain.observed(|observer| observer.seen(record, &image));
        }
        envelope.delivery.credit.release();
    }

    fn merge(&self, mut envelope: Envelope<Draft>) {
        let started = Instant::now();
        let draft = &envelope.body;
        let input = MergeInput {
            size: (draft.facts.width, draft.facts.height),
            original_caption: draft.request.original_caption.as_deref(),
            caption: &draft.caption,
            grounding: &draft.grounding,
            text: &draft.text,
            spatial: &draft.spatial,
        };
        let merged = catch_unwind(AssertUnwindSafe(|| self.merger.merge(input)))
            .map_err(|panic| panicked(panic.as_ref()));
        let error = merged.as_ref().err().map(String::as_str);
        (envelope.delivery).worked(Stage::Merge, Worked::since(started), error, Vec::new);
        match merged {
            Ok(merged) => {
                self.exit.chain.outcomes.worked(Stage::Merge);
                let envelope = envelope.map(|draft| Finished { draft, merged });
                pass(&self.next, PublishMessage::Merged(envelope));
            }
            Err(detail) => {
                let id = envelope.body.request.id.clone();
                (self.exit).reject(envelope, id, Reason::ModelFailed, detail, 1);
            }
        }
    }
}
