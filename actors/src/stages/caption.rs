//! caption: asks the captioner to describe the picture, and holds its text against the rules.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use opentelemetry::KeyValue;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Exit, Next, choice, choice_again, generation, pass, take_up};
use crate::{
    annotation::ModelFacts,
    config::CaptionConfig,
    engine::{Answer, Ask, GenerateEngine, Question, Ticket},
    envelope::Envelope,
    error::Reason,
    message::{Asked, CaptionMessage, Draft, Picture},
    ports::{Generated, Prompt},
    record::Request,
    rules::{Action, Judged, Ruling},
    stage::Stage,
};

/// The actor.
pub(crate) struct Caption {
    pub(crate) engine: GenerateEngine,
    pub(crate) next: Next,
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
        match take_up(message, Stage::Caption) {
            CaptionMessage::Decoded(envelope) => self.ask(myself, envelope, 1, Duration::ZERO),
            CaptionMessage::Answered(envelope, asked, answer) => {
                self.answered(myself, envelope, &asked, answer);
            }
        }
        Ok(())
    }
}

impl Caption {
    /// Asks for the nth time, after so much work on earlier answers.
    fn ask(
        &self,
        myself: ActorRef<CaptionMessage>,
        mut envelope: Envelope<Picture>,
        tries: u32,
        spent: Duration,
    ) {
        let picture = &envelope.body;
        let prompt = prompt(&picture.request, &self.exit.chain.config.caption, tries - 1);
        let asked = Asked {
            prompt: Arc::clone(&prompt.text),
            tries,
        };
        self.engine.ask(Ask {
            question: Question {
                image: Arc::clone(&picture.decoded.image),
                prompt,
            },
            ticket: Ticket::new(Stage::Caption, &mut envelope.delivery, None).again(spent),
            reply: Box::new(move |answer| {
                pass(&myself, CaptionMessage::Answered(envelope, asked, answer));
            }),
        });
    }

    fn answered(
        &self,
        myself: ActorRef<CaptionMessage>,
        mut envelope: Envelope<Picture>,
        asked: &Asked,
        answer: Answer<Generated>,
    ) {
        let Answer {
            result,
            worked,
            model,
        } = answer;
        let chain = &self.exit.chain;
        let attributes = |generated: Option<&Generated>| {
            let mut attributes = generation(generated);
            attributes.push(KeyValue::new("gen_ai.request.model", model.model.clone()));
            attributes
        };
        let generated = match result {
            Ok(generated) => generated,
            Err(failure) => {
                let words = failure.words();
                (envelope.delivery)
                    .worked(Stage::Caption, worked, Some(&words), || attributes(None));
                let id = envelope.body.request.id.clone();
                self.exit.failure(envelope.map(drop), id, failure);
                return;
            }
        };
        let ruling = chain.config.rules.judge(Judged {
            text: &generated.text,
            finish: generated.finish,
            prompt: &asked.prompt,
            tries: asked.tries,
        });
        let attributes = || attributes(Some(&generated));
        if let Ruling::Retry(tripped) = ruling {
            chain.meters.ruled(&tripped.rule, Action::Retry);
            let why = tripped.to_string();
            (envelope.delivery).tried(Stage::Caption, worked, &why, attributes);
            self.ask(myself, envelope, asked.tries + 1, worked.work());
            return;
        }
        let tripped = match &ruling {
            Ruling::Reject(tripped) => Some(tripped.to_string()),
            _ => None,
        };
        (envelope.delivery).worked(Stage::Caption, worked, tripped.as_deref(), attributes);
        // Once a record, however often it was asked for: its text is no fault of the model.
        chain.outcomes.worked(Stage::Caption);
        match ruling {
            Ruling::Pass(marks) => {
                let mut facts = (*model).clone();
                facts.prompt = Some(asked.prompt.to_string());
                self.captioned(envelope, generated, facts, &marks);
            }
            Ruling::Reject(tripped) | Ruling::Retry(tripped) => {
                chain.meters.ruled(&tripped.rule, Action::Reject);
                let id = envelope.body.request.id.clone();
                (self.exit).reject(envelope, id, Reason::Rule, tripped.to_string(), asked.tries);
            }
        }
    }

    /// Sends a picture on with its caption.
    fn captioned(
        &self,
        envelope: Envelope<Picture>,
        generated: Generated,
        facts: ModelFacts,
        marks: &[Arc<str>],
    ) {
        for rule in marks {
            self.exit.chain.meters.ruled(rule, Action::Mark);
        }
        let envelope = envelope.map(|Picture { request, decoded }| Draft {
            request,
            image: Some(decoded.image),
            facts: decoded.facts,
            caption: generated.into(),
            grounding: Vec::new(),
            spatial: Vec::new(),
            text: Vec::new(),
            answers: Vec::new(),
            models: BTreeMap::from([(Stage::Caption.as_str().to_owned(), facts)]),
            degraded: Vec::new(),
            marks: marks.iter().map(ToString::to_string).collect(),
        });
        self.next.pass(envelope);
    }
}

/// The producer's prompt, else one of the configured by the image's hash, and with every further
/// try the next of them; the producer's token limit, never above the configured one. Each try has
/// a seed of its own.
fn prompt(request: &Request, config: &CaptionConfig, again: u32) -> Prompt {
    let text = match &request.options.prompt {
        Some(prompt) => Arc::from(prompt.as_str()),
        None => {
            let count = config.prompts.len().max(1) as u64;
            let first = choice(request, Stage::Caption) % count;
            let at = (first + u64::from(again)) % count;
            (config.prompts.get(at as usize)).map_or_else(|| Arc::from(""), Arc::clone)
        }
    };
    Prompt {
        text,
        max_tokens: max_tokens(request, config),
        seed: choice_again(request, Stage::Caption, again),
        sampling: config.sampling.clone(),
    }
}

/// The limit of tokens in effect: the producer's, never above the configured one.
pub(crate) fn max_tokens(request: &Request, config: &CaptionConfig) -> u32 {
    let asked = request.options.max_tokens.unwrap_or(config.max_tokens);
    asked.min(config.max_tokens)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{record::CaptionOptions, request, sampling::Sampling};

    fn config() -> CaptionConfig {
        CaptionConfig {
            engine: String::new(),
            prompts: ["a", "b", "c"].map(Arc::from).to_vec(),
            max_tokens: 10,
            sampling: Sampling::default(),
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
            .map(|id| prompt(&request(id, CaptionOptions::default()), &config(), 0))
            .collect();
        for text in ["a", "b", "c"] {
            let count = chosen.iter().filter(|prompt| &*prompt.text == text).count();
            assert!((60..140).contains(&count), "{text}: {count}");
        }
        let again = prompt(&request(0, CaptionOptions::default()), &config(), 0);
        assert_eq!(again, chosen[0]);
        let mut next = request(0, CaptionOptions::default());
        next.round = 1;
        assert_ne!(prompt(&next, &config(), 0).seed, again.seed);
    }

    #[test]
    fn a_further_try_has_the_next_prompt_and_a_seed_of_its_own() {
        let request = request(7, CaptionOptions::default());
        let tries: Vec<_> = (0..4).map(|n| prompt(&request, &config(), n)).collect();
        let at = |text: &str| ["a", "b", "c"].iter().position(|known| *known == text);
        let first = at(&tries[0].text).expect("one of them");
        for (nth, asked) in tries.iter().enumerate() {
            assert_eq!(at(&asked.text), Some((first + nth) % 3), "try {nth}");
        }
        let seeds: HashSet<_> = tries.iter().map(|asked| asked.seed).collect();
        assert_eq!(seeds.len(), 4);
        assert_eq!(prompt(&request, &config(), 2), tries[2], "a replay");
    }

    #[test]
    fn the_producers_prompt_stays_in_a_further_try() {
        let options = CaptionOptions {
            prompt: Some("mine".to_owned()),
            max_tokens: None,
        };
        let request = request(0, options);
        let (first, second) = (
            prompt(&request, &config(), 0),
            prompt(&request, &config(), 1),
        );
        assert_eq!((&*first.text, &*second.text), ("mine", "mine"));
        assert_ne!(first.seed, second.seed);
    }

    #[test]
    fn options_overrule_within_limits() {
        let asked = |prompt: Option<&str>, max_tokens| CaptionOptions {
            prompt: prompt.map(str::to_owned),
            max_tokens,
        };
        let less = prompt(&request(0, asked(Some("mine"), Some(4))), &config(), 0);
        assert_eq!((&*less.text, less.max_tokens), ("mine", 4));
        let more = prompt(&request(0, asked(None, Some(40))), &config(), 0);
        assert_eq!(more.max_tokens, 10);
    }
}
