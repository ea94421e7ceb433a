//! read_text: asks for the lines of text in the picture. The last stage that sees it.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Exit, pass, take_up};
use crate::{
    annotation::TextLine,
    engine::{Ask, Engine, Ticket},
    envelope::Envelope,
    image::Image,
    message::{Draft, Read, ReadTextMessage},
    stage::Stage,
};

/// The actor.
pub(crate) struct ReadText {
    /// `None` where it is off.
    pub(crate) engine: Option<Engine<Arc<Image>, Vec<TextLine>>>,
    pub(crate) next: ActorRef<Read>,
    pub(crate) exit: Exit,
}

impl Actor for ReadText {
    type Msg = ReadTextMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<ReadTextMessage>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<ReadTextMessage>,
        message: ReadTextMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match take_up(message, Stage::ReadText) {
            ReadTextMessage::Related(envelope) => self.ask(myself, envelope),
            ReadTextMessage::Answered(envelope, answer) => {
                let mode = self.exit.chain.config.read_text.mode;
                let none = |_: Option<&_>| Vec::new();
                let read =
                    (self.exit).specialist(envelope, mode, None, answer, none, |draft, found| {
                        draft.text = found;
                    });
                if let Some(envelope) = read {
                    self.forward(envelope);
                }
            }
        }
        Ok(())
    }
}

impl ReadText {
    fn ask(&self, myself: ActorRef<ReadTextMessage>, mut envelope: Envelope<Draft>) {
        let (Some(engine), Some(image)) = (&self.engine, &envelope.body.image) else {
            self.forward(envelope);
            return;
        };
        let timeout = self.exit.chain.config.read_text.timeout;
        engine.ask(Ask {
            question: Arc::clone(image),
            ticket: Ticket::new(Stage::ReadText, &mut envelope.delivery, timeout),
            reply: Box::new(move |answer| {
                pass(&myself, ReadTextMessage::Answered(envelope, answer));
            }),
        });
    }

    fn forward(&self, mut envelope: Envelope<Draft>) {
        // No model will look at the pixels any more: their credit goes back early.
        if let Some(image) = envelope.body.image.take() {
            let record = &envelope.delivery.record().id;
            self.exit
                .chain
                .observed(|observer| observer.seen(record, &image));
        }
        envelope.delivery.credit.release();
        pass(&self.next, Read(envelope));
    }
}
