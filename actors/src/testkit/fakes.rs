//! The fakes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::harness::Script;
use crate::{
    annotation::{Finish, Merged, ModelFacts},
    budget::ImageCredit,
    certainty::Certainty,
    error::{DecodeError, FetchError, ModelError, PublishError},
    image::{Decoded, Fetched, Image, ImageFacts, ImageHeader},
    ledger::Ledger,
    ports::{
        BatchModel, Decoder, Fetcher, Footprint, Generated, Generator, MergeInput, Merger,
        Outgoing, Prompt, Publisher, RequestId,
    },
};

/// What the fetcher does.
#[derive(Debug)]
pub enum Fetching {
    /// Brings a body.
    Body,
    /// Fails.
    Fails(FetchError),
    /// Panics.
    Panics,
    /// Never answers.
    Never,
}

/// What the decoder does.
#[derive(Debug)]
pub enum Decoding {
    /// Decodes.
    Picture,
    /// Refuses the header.
    RefusesHeader(DecodeError),
    /// Refuses the body.
    Refuses(DecodeError),
    /// Panics.
    Panics,
}

/// What a generator does with a request.
#[derive(Debug, Clone)]
pub enum Generating {
    /// Writes the text in so many steps.
    Text(String, u32),
    /// Repeats itself after so many steps, and is stopped with this text.
    Repeats(String, u32),
    /// Refuses the input on admission.
    Refuses,
    /// Blames this request in its first step.
    Fails,
    /// Fails the whole step.
    FailsTheStep,
    /// Breaks.
    Breaks,
    /// Panics in the step.
    Panics,
    /// Runs for ever.
    Never,
}

/// What a one-shot model does with a question.
#[derive(Debug, Clone)]
pub enum Answering<A> {
    /// Answers.
    With(A),
    /// Refuses the input.
    Refuses,
    /// Fails on this question.
    Fails,
    /// Fails the whole run.
    FailsTheRun,
    /// Panics.
    Panics,
}

/// What the publisher does with a write.
#[derive(Debug)]
pub enum Publishing {
    /// Confirms it.
    Confirms,
    /// Fails it.
    Fails(PublishError),
    /// Panics.
    Panics,
    /// Confirms it once [`FakePublisher::release`] is called.
    Holds,
}

/// Counts what a fake saw; a test waits on it.
#[derive(Debug, Clone)]
pub struct Seen(Arc<watch::Sender<usize>>);

impl Default for Seen {
    fn default() -> Self {
        Self(Arc::new(watch::channel(0).0))
    }
}

impl Seen {
    /// Sees once more.
    pub fn add(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// How often so far.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Ends when it was seen so often.
    pub async fn reaches(&self, count: usize) {
        let mut seen = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = seen.wait_for(|seen| *seen >= count).await;
    }
}

/// The number an image holds.
#[must_use]
pub fn number_of(image: &Image) -> u64 {
    u64::from(u32::from_le_bytes([
        image.pixels[0],
        image.pixels[1],
        image.pixels[2],
        0,
    ]))
}

pub(super) struct FakeFetcher {
    pub(super) script: Script<(u64, u32), Fetching>,
    pub(super) body_bytes: u64,
    pub(super) attempts: Mutex<HashMap<u64, u32>>,
    pub(super) seen: Seen,
}

impl Fetcher for FakeFetcher {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        credit: &'a mut ImageCredit,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let number = url.rsplit('/').next().unwrap_or_default().to_owned();
            let attempt = {
                let key = number.parse().unwrap_or(u64::MAX);
                let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
                let attempt = attempts.entry(key).or_default();
                *attempt += 1;
                (key, *attempt)
            };
            self.seen.add();
            let fetching = (self.script)(attempt);
            // A real answer takes a while: others ask in the meantime.
            tokio::task::yield_now().await;
            credit.reserve(self.body_bytes).await?;
            match fetching {
                Fetching::Body => Ok(Fetched {
                    body: Bytes::from(number),
                    final_url: url.to_owned(),
                    content_type: None,
                }),
                Fetching::Fails(error) => Err(error),
                Fetching::Panics => panic!("the fetcher has a bug"),
                Fetching::Never => std::future::pending().await,
            }
        })
    }
}

pub(super) struct FakeDecoder {
    pub(super) script: Script<u64, Decoding>,
    pub(super) decoded_bytes: u64,
}

fn number(body: &[u8]) -> u64 {
    (std::str::from_utf8(body).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

impl Decoder for FakeDecoder {
    fn header(&self, body: &[u8]) -> Result<ImageHeader, DecodeError> {
        match (self.script)(number(body)) {
            Decoding::RefusesHeader(error) => Err(error),
            _ => Ok(ImageHeader {
                format: "png",
                width: 1,
                height: 1,
                decoded_bytes: self.decoded_bytes,
            }),
        }
    }

    fn decode(&self, body: Bytes) -> Result<Decoded, DecodeError> {
        let number = number(&body);
        match (self.script)(number) {
            Decoding::Picture => {}
            Decoding::Refuses(error) | Decoding::RefusesHeader(error) => return Err(error),
            Decoding::Panics => panic!("the decoder has a bug"),
        }
        let pixels = Bytes::copy_from_slice(&(number as u32).to_le_bytes()[..3]);
        Ok(Decoded {
            image: Image::new(1, 1, pixels, (100, 200)),
            facts: ImageFacts {
                sha256: format!("{number:064x}"),
                width: 100,
                height: 200,
                format: String::from("png"),
                bytes: body.len() as u64,
            },
        })
    }

    fn identity(&self) -> String {
        String::from("fake")
    }
}

pub(super) fn facts(model: &str) -> ModelFacts {
    ModelFacts {
        model: model.to_owned(),
        revision: String::from("0123456789ab"),
        prompt: None,
    }
}

pub(super) struct FakeGenerator {
    pub(super) name: String,
    pub(super) slots: usize,
    pub(super) script: Script<(u64, Prompt), Generating>,
    pub(super) seen: Seen,
    pub(super) running: Vec<(RequestId, Generating, u32)>,
    pub(super) check: Script<(), Result<(), ModelError>>,
    /// How often it was built, this time included.
    pub(super) build: usize,
    pub(super) footprint: Footprint,
}

impl Generator for FakeGenerator {
    fn free_slots(&self) -> usize {
        self.slots - self.running.len()
    }

    fn admit(
        &mut self,
        request: RequestId,
        image: Arc<Image>,
        prompt: &Prompt,
    ) -> Result<(), ModelError> {
        assert!(self.free_slots() > 0, "admitted without a free slot");
        let does = (self.script)((number_of(&image), prompt.clone()));
        self.seen.add();
        match does {
            Generating::Refuses => Err(ModelError::Input(String::from("no such picture"))),
            does => {
                self.running.push((request, does, 0));
                Ok(())
            }
        }
    }

    fn step(&mut self) -> Result<Vec<(RequestId, Result<Generated, ModelError>)>, ModelError> {
        for (_, does, _) in &self.running {
            match does {
                Generating::Panics => panic!("the model has a bug"),
                Generating::Breaks => return Err(ModelError::Broken(String::from("session lost"))),
                Generating::FailsTheStep => return Err(ModelError::Run(String::from("NaN"))),
                _ => {}
            }
        }
        let mut ended = Vec::new();
        self.running.retain_mut(|(id, does, steps)| {
            *steps += 1;
            match does {
                Generating::Text(text, wanted) | Generating::Repeats(text, wanted)
                    if *steps >= *wanted =>
                {
                    let generated = Generated {
                        text: text.clone(),
                        tokens: *steps,
                        finish: match does {
                            Generating::Repeats(..) => Finish::Repeat,
                            _ => Finish::Stop,
                        },
                        certainty: Certainty::default(),
                        placed: None,
                    };
                    ended.push((*id, Ok(generated)));
                    false
                }
                Generating::Fails => {
                    ended.push((*id, Err(ModelError::Run(String::from("bad row")))));
                    false
                }
                _ => true,
            }
        });
        // A real step takes a while: others get their turn on a small machine.
        std::thread::yield_now();
        Ok(ended)
    }

    fn cancel(&mut self, request: RequestId) {
        self.running.retain(|(id, ..)| *id != request);
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        (self.check)(())
    }

    fn footprint(&self) -> Footprint {
        self.footprint
    }

    fn facts(&self) -> ModelFacts {
        let mut facts = facts(&self.name);
        facts.revision.truncate(10);
        facts.revision += &format!("{:02x}", self.build);
        facts
    }
}

pub(super) struct FakeBatch<Q, A> {
    pub(super) name: &'static str,
    pub(super) number: fn(&Q) -> u64,
    pub(super) script: Script<u64, Answering<A>>,
    pub(super) check: Script<(), Result<(), ModelError>>,
}

impl<Q: Clone + Send + Sync + 'static, A: Send + 'static> BatchModel for FakeBatch<Q, A> {
    type Question = Q;
    type Answer = A;

    fn max_batch(&self) -> usize {
        4
    }

    fn run(&mut self, batch: &[Q]) -> Result<Vec<Result<A, ModelError>>, ModelError> {
        (batch.iter())
            .map(|question| match (self.script)((self.number)(question)) {
                Answering::With(answer) => Ok(Ok(answer)),
                Answering::Refuses => Ok(Err(ModelError::Input(String::from("no such picture")))),
                Answering::Fails => Ok(Err(ModelError::Run(String::from("bad row")))),
                Answering::FailsTheRun => Err(ModelError::Run(String::from("NaN"))),
                Answering::Panics => panic!("the model has a bug"),
            })
            .collect()
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        (self.check)(())
    }

    fn facts(&self) -> ModelFacts {
        facts(self.name)
    }
}

pub(super) struct FakeMerger;

impl Merger for FakeMerger {
    fn merge(&self, input: MergeInput<'_>) -> Merged {
        assert_ne!(input.caption.text, "unmergeable", "the merger has a bug");
        Merged {
            enriched: input.caption.text.clone(),
            clauses: Vec::new(),
        }
    }

    fn identity(&self) -> String {
        String::from("fake")
    }
}

/// Keeps every write that it confirmed.
pub struct FakePublisher {
    ledger: Arc<Ledger>,
    script: Script<Outgoing, Publishing>,
    written: Arc<Mutex<Vec<Outgoing>>>,
    released: Arc<watch::Sender<bool>>,
    /// Writes that were handed over, confirmed or not.
    pub handed_over: Seen,
}

impl FakePublisher {
    pub(super) fn new(ledger: Arc<Ledger>, script: Script<Outgoing, Publishing>) -> Self {
        Self {
            ledger,
            script,
            written: Arc::default(),
            released: Arc::new(watch::channel(false).0),
            handed_over: Seen::default(),
        }
    }

    /// Confirms what is held, and from now on everything.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// What was confirmed, in order.
    #[must_use]
    pub fn written(&self) -> Vec<Outgoing> {
        (self.written.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Publisher for FakePublisher {
    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'static, Result<(), PublishError>> {
        if !self.ledger.is_current(&outgoing.source, outgoing.epoch) {
            return Box::pin(async { Err(PublishError::Revoked) });
        }
        self.handed_over.add();
        let publishing = (self.script)(outgoing.clone());
        let (written, mut released) = (Arc::clone(&self.written), self.released.subscribe());
        Box::pin(async move {
            match publishing {
                Publishing::Confirms => {}
                Publishing::Fails(error) => return Err(error),
                Publishing::Panics => panic!("the publisher has a bug"),
                Publishing::Holds => drop(released.wait_for(|released| *released).await),
            }
            (written.lock().unwrap_or_else(PoisonError::into_inner)).push(outgoing);
            Ok(())
        })
    }
}

impl std::fmt::Debug for FakePublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakePublisher").finish_non_exhaustive()
    }
}
