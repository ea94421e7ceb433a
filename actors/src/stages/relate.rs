//! relate: asks how the groundings stand to each other.

use std::{sync::Arc, time::Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Exit, pass, take_up};
use crate::{
    annotation::SpatialRelation,
    delivery::Worked,
    engine::{Ask, Engine, Ticket},
    envelope::Envelope,
    message::{Draft, ReadTextMessage, RelateMessage},
    ports::Located,
    stage::Stage,
};

/// The actor.
pub(crate) struct Relate {
    /// `None` where it is off.
    pub(crate) engine: Option<Engine<Located, Vec<SpatialRelation>>>,
    pub(crate) next: ActorRef<ReadTextMessage>,
    pub(crate) exit: Exit,
}

impl Actor for Relate {
    type Msg = RelateMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<RelateMessage>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<RelateMessage>,
        message: RelateMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match take_up(message, Stage::Relate) {
            RelateMessage::Grounded(envelope) => self.ask(myself, envelope),
            RelateMessage::Answered(envelope, answer) => {
                let mode = self.exit.chain.config.relate.mode;
                let none = |_: Option<&_>| Vec::new();
                let related =
                    (self.exit).specialist(envelope, mode, None, answer, none, |draft, found| {
                        draft.spatial = found;
                    });
                if let Some(envelope) = related {
                    pass(&self.next, ReadTextMessage::Related(envelope));
                }
            }
        }
        Ok(())
    }
}

impl Relate {
    fn ask(&self, myself: ActorRef<RelateMessage>, mut envelope: Envelope<Draft>) {
        let draft = &envelope.body;
        let (Some(engine), Some(image)) = (&self.engine, &draft.image) else {
            pass(&self.next, ReadTextMessage::Related(envelope));
            return;
        };
        if draft.grounding.is_empty() {
            // Nothing was found, so there is nothing to relate: answered at once.
            let worked = Worked::since(Instant::now());
            (envelope.delivery).worked(Stage::Relate, worked, None, Vec::new);
            pass(&self.next, ReadTextMessage::Related(envelope));
            return;
        }
        let timeout = self.exit.chain.config.relate.timeout;
        engine.ask(Ask {
            question: Located {
                image: Arc::clone(image),
                caption: draft.caption.text.as_str().into(),
                groundings: draft.grounding.as_slice().into(),
            },
            ticket: Ticket::new(Stage::Relate, &mut envelope.delivery, timeout),
            reply: Box::new(move |answer| {
                pass(&myself, RelateMessage::Answered(envelope, answer));
            }),
        });
    }
}
