//! ask: asks a specialist about the picture. Every specialist has an actor of this kind.

use std::{sync::Arc, time::Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Exit, Next, choice, generation, pass, take_up};
use crate::{
    config::{CAPTION, SpecialistConfig, THINGS},
    delivery::Worked,
    engine::{Ask as Asks, Question, Ticket},
    envelope::Envelope,
    message::{AskMessage, Draft},
    names::Names,
    ports::{Located, Prompt},
    sampling::Sampling,
    task::{self, Expert, Found},
};

/// The actor.
pub(crate) struct Ask {
    pub(crate) config: SpecialistConfig,
    /// `None` where it is off.
    pub(crate) expert: Option<Expert>,
    pub(crate) next: Next,
    pub(crate) exit: Exit,
}

impl Actor for Ask {
    type Msg = AskMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<AskMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<AskMessage>,
        message: AskMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match take_up(message, self.exit.stage) {
            AskMessage::Arrived(envelope) => self.ask(myself, envelope),
            AskMessage::Answered(envelope, found) => {
                if let Some(envelope) = self.noted(envelope, found) {
                    self.next.pass(envelope);
                }
            }
        }
        Ok(())
    }
}

impl Ask {
    fn ask(&self, myself: ActorRef<AskMessage>, mut envelope: Envelope<Draft>) {
        let draft = &envelope.body;
        let (Some(expert), Some(image)) = (&self.expert, &draft.image) else {
            self.next.pass(envelope);
            return;
        };
        if self.config.task.has_nothing_to_ask(draft) {
            let worked = Worked::since(Instant::now());
            (envelope.delivery).worked(self.exit.stage, worked, None, Vec::new);
            self.next.pass(envelope);
            return;
        }
        let image = Arc::clone(image);
        let timeout = self.config.timeout;
        match expert {
            Expert::Generate(engine) => {
                let mut prompt = self.prompt(draft);
                // The record has the prompt as it is configured; the caption it has already.
                let text = Arc::clone(&prompt.text);
                prompt.text = filled(&text, draft);
                engine.ask(Asks {
                    question: Question { image, prompt },
                    ticket: Ticket::new(self.exit.stage, &mut envelope.delivery, timeout),
                    reply: Box::new(move |answer| {
                        pass(
                            &myself,
                            AskMessage::Answered(envelope, Found::Text(text, answer)),
                        );
                    }),
                });
            }
            Expert::Relate(engine) => {
                let question = Located {
                    image,
                    caption: draft.caption.text.as_str().into(),
                    groundings: draft.grounding.as_slice().into(),
                };
                engine.ask(Asks {
                    question,
                    ticket: Ticket::new(self.exit.stage, &mut envelope.delivery, timeout),
                    reply: Box::new(move |answer| {
                        pass(
                            &myself,
                            AskMessage::Answered(envelope, Found::Relations(answer)),
                        );
                    }),
                });
            }
            Expert::Read(engine) => engine.ask(Asks {
                question: image,
                ticket: Ticket::new(self.exit.stage, &mut envelope.delivery, timeout),
                reply: Box::new(move |answer| {
                    pass(
                        &myself,
                        AskMessage::Answered(envelope, Found::Lines(answer)),
                    );
                }),
            }),
        }
    }

    /// One of the prompts, by the image's hash.
    fn prompt(&self, draft: &Draft) -> Prompt {
        let seed = choice(&draft.request, self.exit.stage);
        let asking = self.config.task.asking();
        let prompts = asking.map_or(&[][..], |asking| &asking.prompts);
        let at = seed % prompts.len().max(1) as u64;
        Prompt {
            text: (prompts.get(at as usize)).map_or_else(|| Arc::from(""), Arc::clone),
            max_tokens: asking.map_or(0, |asking| asking.max_tokens),
            seed,
            sampling: asking.map_or_else(Sampling::default, |asking| asking.sampling.clone()),
        }
    }

    fn noted(&self, envelope: Envelope<Draft>, found: Found) -> Option<Envelope<Draft>> {
        let (exit, mode) = (&self.exit, self.config.mode);
        match found {
            Found::Text(prompt, answer) => {
                let (task, name) = (&self.config.task, self.config.name);
                exit.specialist(
                    envelope,
                    mode,
                    Some(&prompt),
                    answer,
                    generation,
                    |draft, found| {
                        task.note_text(draft, name, &prompt, found);
                    },
                )
            }
            Found::Relations(answer) => {
                let none = |_: Option<&_>| Vec::new();
                exit.specialist(envelope, mode, None, answer, none, task::note_relations)
            }
            Found::Lines(answer) => {
                let none = |_: Option<&_>| Vec::new();
                exit.specialist(envelope, mode, None, answer, none, task::note_lines)
            }
        }
    }
}

/// A prompt with what it has placeholders for; what stands in their place is not filled again.
fn filled(prompt: &Arc<str>, draft: &Draft) -> Arc<str> {
    if !prompt.contains(CAPTION) && !prompt.contains(THINGS) {
        return Arc::clone(prompt);
    }
    let names = Names::of(&draft.grounding);
    let things: Vec<_> = (draft.grounding.iter())
        .filter_map(|thing| names.get(&thing.id))
        .collect();
    let parts: Vec<_> = (prompt.split(THINGS))
        .map(|part| part.replace(CAPTION, &draft.caption.text))
        .collect();
    parts.join(&things.join(", ")).into()
}
