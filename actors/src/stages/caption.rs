//! caption: asks the captioner to describe the picture.

use std::{collections::BTreeMap, sync::Arc};

use opentelemetry::KeyValue;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Exit, choice, generation, pass, take_up};
use crate::{
    config::CaptionConfig,
    engine::{Answer, Ask, Failure, GenerateEngine, Question, Ticket},
    envelope::Envelope,
    message::{CaptionMessage, Draft, GroundMessage, Picture},
    ports::{Generated, Prompt},
    record::Request,
    stage::Stage,
};

/// The actor.
pub(crate) struct Caption {
    pub(crate) engine: GenerateEngine,
    pub(crate) next: ActorRef<GroundMessage>,
    pub(crate) exit: Exit,
}

impl Actor for Caption {
    type Msg = CaptionMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<CaptionMessage>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<CaptionMessage>,
        message: CaptionMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match take_up(message) {
            CaptionMessage::Decoded(envelope) => self.ask(myself, envelope),
            CaptionMessage::Answered(envelope, prompt, answer) => {
                self.answered(envelope, &prompt, answer);
            }
        }
        Ok(())
    }
}

impl Caption {
    fn ask(&self, myself: ActorRef<CaptionMessage>, mut envelope: Envelope<Picture>) {
        let picture = &envelope.body;
        let prompt = prompt(&picture.request, &self.exit.chain.config.caption);
        let text = Arc::clone(&prompt.text);
        self.engine.ask(Ask {
            question: Question {
                image: Arc::clone(&picture.decoded.image),
                prompt,
            },
            ticket: Ticket::new(Stage::Caption, &mut envelope.delivery, None),
            reply: Box::new(move |answer| {
                pass(&myself, CaptionMessage::Answered(envelope, text, answer));
            }),
        });
    }

    fn answered(&self, envelope: Envelope<Picture>, prompt: &str, answer: Answer<Generated>) {
        let Answer {
            result,
            worked,
            model,
        } = answer;
        let Envelope { mut delivery, body } = envelope;
        let Picture { request, decoded } = body;
        let error = result.as_ref().err().map(Failure::words);
        delivery.worked(Stage::Caption, worked, error.as_deref(), || {
            let mut attributes = generation(result.as_ref().ok());
            attributes.push(KeyValue::new("gen_ai.request.model", model.model.clone()));
            attributes
        });
        let generated = match result {
            Ok(generated) => generated,
            Err(failure) => {
                drop(decoded);
                let envelope = Envelope::new(delivery, ());
                self.exit.failure(envelope, request.id, failure);
                return;
            }
        };
        let mut facts = (*model).clone();
        facts.prompt = Some(prompt.to_owned());
        let draft = Draft {
            request,
            image: Some(decoded.image),
            facts: decoded.facts,
            caption: generated.into(),
            grounding: Vec::new(),
            spatial: Vec::new(),
            text: Vec::new(),
            models: BTreeMap::from([(Stage::Caption.as_str().to_owned(), facts)]),
            degraded: Vec::new(),
        };
        pass(
            &self.next,
            GroundMessage::Captioned(Envelope::new(delivery, draft)),
        );
    }
}

/// The producer's prompt, else one of the configured by the image's hash; the producer's token
/// limit, never above the configured one.
fn prompt(request: &Request, config: &CaptionConfig) -> Prompt {
    let seed = choice(request, Stage::Caption);
    let text = match &request.options.prompt {
        Some(prompt) => Arc::from(prompt.as_str()),
        None => {
            let at = seed.checked_rem(config.prompts.len() as u64).unwrap_or(0);
            (config.prompts.get(at as usize)).map_or_else(|| Arc::from(""), Arc::clone)
        }
    };
    Prompt {
        text,
        max_tokens: max_tokens(request, config),
        seed,
    }
}

/// The limit of tokens in effect: the producer's, never above the configured one.
pub(crate) fn max_tokens(request: &Request, config: &CaptionConfig) -> u32 {
    let asked = request.options.max_tokens.unwrap_or(config.max_tokens);
    asked.min(config.max_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::CaptionOptions, request};

    fn config() -> CaptionConfig {
        CaptionConfig {
            engine: String::new(),
            prompts: ["a", "b", "c"].map(Arc::from).to_vec(),
            max_tokens: 10,
        }
    }

    fn request(id: usize, options: CaptionOptions) -> Request {
        let mut request = request::parse(Some(b"http://h/p")).expect("a request");
        request.id = id.to_string();
        request.options = options;
        request
    }

    #[test]
    fn prompts_are_spread_over_images_and_a_replay_chooses_the_same() {
        let chosen: Vec<_> = (0..300)
            .map(|id| prompt(&request(id, CaptionOptions::default()), &config()))
            .collect();
        for text in ["a", "b", "c"] {
            let count = chosen.iter().filter(|prompt| &*prompt.text == text).count();
            assert!((60..140).contains(&count), "{text}: {count}");
        }
        let again = prompt(&request(0, CaptionOptions::default()), &config());
        assert_eq!(again, chosen[0]);
        let mut next = request(0, CaptionOptions::default());
        next.round = 1;
        assert_ne!(prompt(&next, &config()).seed, again.seed);
    }

    #[test]
    fn options_overrule_within_limits() {
        let asked = |prompt: Option<&str>, max_tokens| CaptionOptions {
            prompt: prompt.map(str::to_owned),
            max_tokens,
        };
        let less = prompt(&request(0, asked(Some("mine"), Some(4))), &config());
        assert_eq!((&*less.text, less.max_tokens), ("mine", 4));
        let more = prompt(&request(0, asked(None, Some(40))), &config());
        assert_eq!(more.max_tokens, 10);
    }
}
