//! ground: asks a VLM for the same picture with locations, and reads the boxes out of its text.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Exit, choice, generation, pass, take_up};
use crate::{
    engine::{Ask, GenerateEngine, Question, Ticket},
    envelope::Envelope,
    message::{Draft, GroundMessage, RelateMessage},
    phrases,
    ports::Prompt,
    stage::Stage,
};

/// The actor.
pub(crate) struct Ground {
    /// `None` where it is off.
    pub(crate) engine: Option<GenerateEngine>,
    pub(crate) next: ActorRef<RelateMessage>,
    pub(crate) exit: Exit,
}

impl Actor for Ground {
    type Msg = GroundMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<GroundMessage>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<GroundMessage>,
        message: GroundMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let config = &self.exit.chain.config.ground;
        match take_up(message, Stage::Ground) {
            GroundMessage::Captioned(envelope) => self.ask(myself, envelope),
            GroundMessage::Answered(envelope, answer) => {
                let mode = config.specialist.mode;
                let grounded = (self.exit).specialist(
                    envelope,
                    mode,
                    Some(&config.prompt),
                    answer,
                    generation,
                    |draft, generated| {
                        let size = (draft.facts.width, draft.facts.height);
                        let found = phrases::parse(&generated.text, size);
                        if found.skipped > 0 {
                            let id = &draft.request.id;
                            tracing::debug!(id, skipped = found.skipped, "malformed boxes");
                        }
                        draft.grounding = found.groundings;
                    },
                );
                if let Some(envelope) = grounded {
                    pass(&self.next, RelateMessage::Grounded(envelope));
                }
            }
        }
        Ok(())
    }
}

impl Ground {
    fn ask(&self, myself: ActorRef<GroundMessage>, mut envelope: Envelope<Draft>) {
        let config = &self.exit.chain.config.ground;
        let (Some(engine), Some(image)) = (&self.engine, &envelope.body.image) else {
            pass(&self.next, RelateMessage::Grounded(envelope));
            return;
        };
        engine.ask(Ask {
            question: Question {
                image: Arc::clone(image),
                prompt: Prompt {
                    text: Arc::clone(&config.prompt),
                    max_tokens: config.max_tokens,
                    seed: choice(&envelope.body.request, Stage::Ground),
                },
            },
            ticket: Ticket::new(
                Stage::Ground,
                &mut envelope.delivery,
                config.specialist.timeout,
            ),
            reply: Box::new(move |answer| {
                pass(&myself, GroundMessage::Answered(envelope, answer));
            }),
        });
    }
}
