//! The traits the outside implements. Nothing else of the world is known in here.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    annotation::{
        BoundingBox, Caption, Finish, Grounding, Merged, ModelFacts, Quad, SpatialRelation,
        TextLine,
    },
    budget::ImageCredit,
    certainty::Certainty,
    error::{DecodeError, FetchError, ModelError, PublishError},
    image::{Decoded, Fetched, Image, ImageHeader},
    record::RecordId,
    sampling::Sampling,
};

/// Fetches the bytes behind a URL. Called from many tasks at once.
pub trait Fetcher: Send + Sync + 'static {
    /// One attempt, within the total deadline. Room for the body is found before anything is asked
    /// for: where `credit` holds some already (the caller waited for it), a body that needs more
    /// than fits now ends the attempt with [`FetchError::NoRoom`]; where it holds none, this waits
    /// for room itself. Nothing waits for credit while a response is open. On success `credit`
    /// holds the body's bytes.
    ///
    /// # Errors
    /// See [`FetchError::disposition`]; retries are the caller's.
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        credit: &'a mut ImageCredit,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}

/// Knows which questions were asked before, so that the same picture under another name is not
/// captioned twice. Called from many tasks at once.
pub trait Repeats: Send + Sync + 'static {
    /// Whether `record` asks what another record asked before it: it is then written as a caption
    /// without a value ([`Outgoing::value`]), and goes through no model. The same record may ask
    /// again after a restart, and is no repeat of itself.
    fn is_repeat(&self, record: &RecordId, question: QuestionId) -> bool;
}

/// What a record asks: a hash over the bytes of its picture, its own prompt where it brings one, the
/// limit of tokens in effect, the caption that came with the picture, and the round. Of two records
/// of one chain with the same question one answer is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuestionId(pub [u8; 16]);

/// Decodes files into pixels. Called from blocking tasks, many at once.
pub trait Decoder: Send + Sync + 'static {
    /// Reads format and size from the header and refuses what is too big, without decoding.
    ///
    /// # Errors
    /// [`DecodeError`], always a rejection.
    fn header(&self, body: &[u8]) -> Result<ImageHeader, DecodeError>;

    /// Decodes the first frame, upright, sRGB.
    ///
    /// # Errors
    /// [`DecodeError`], always a rejection.
    fn decode(&self, body: Bytes) -> Result<Decoded, DecodeError>;

    /// Whatever changes the pixels that the same file decodes to: version and settings, in words
    /// that are the same whenever the pixels are. Part of the record's
    /// [`Fingerprint`](crate::fingerprint::Fingerprint).
    fn identity(&self) -> String;
}

/// Names one running request inside one generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A question to a generator.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The user's text; the adapter applies the chat template and places the image.
    pub text: Arc<str>,
    /// Upper bound of generated tokens.
    pub max_tokens: u32,
    /// Seed of what is drawn, from a hash of (id, round, stage): a replay draws the same.
    pub seed: u64,
    /// How its tokens are chosen.
    pub sampling: Sampling,
}

/// A generator's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The text, special tokens removed.
    pub text: String,
    /// Generated tokens, stop token excluded.
    pub tokens: u32,
    /// Why it ended.
    pub finish: Finish,
    /// How likely the model held it.
    pub certainty: Certainty,
    /// The places that it names, where its model writes them in a notation of its own; `None` where
    /// the text is to be read as it stands.
    pub placed: Option<Vec<Placed>>,
}

/// A part of an answer with its place in the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The phrase, or the line of text.
    pub text: String,
    /// Where it is.
    pub place: Place,
    /// Where both stand in the answer, in bytes.
    pub stretch: Range<usize>,
}

/// A place in a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// Of a thing.
    Box(BoundingBox),
    /// Of a line of text.
    Quad(Quad),
}

impl From<Generated> for Caption {
    fn from(generated: Generated) -> Self {
        let Generated {
            text,
            tokens,
            finish,
            certainty,
            placed: _,
        } = generated;
        Self {
            text,
            tokens,
            finish,
            score: certainty.mean(),
        }
    }
}

/// A VLM: the captioner, or any specialist by prompt. Owned by one engine thread.
pub trait Generator: 'static {
    /// How many more requests can run now.
    fn free_slots(&self) -> usize;

    /// A question about this image waits for a slot: what can be prepared on other threads may
    /// begin. Called for the few that come next, again and again. Nothing is owed for it.
    fn announce(&mut self, image: &Arc<Image>) {
        let _ = image;
    }

    /// Starts a request; its first token comes with one of the next [`Generator::step`]s, at the
    /// latest with the first one that has nothing else to do. The vision features of an image are
    /// computed once while the image is alive.
    ///
    /// # Errors
    /// [`ModelError::Input`] where the request itself is at fault: it becomes a `bad_request` and
    /// says nothing of the model. With any other error the whole generator is suspect.
    fn admit(
        &mut self,
        request: RequestId,
        image: Arc<Image>,
        prompt: &Prompt,
    ) -> Result<(), ModelError>;

    /// One token for every running request; returns those that ended. One that ended with
    /// [`ModelError::Run`] runs again, once and alone.
    ///
    /// # Errors
    /// An error of the whole step: nothing of it counts, and the engine admits the running
    /// requests again, one by one, after [`Generator::cancel`] of all.
    #[allow(clippy::type_complexity)]
    fn step(&mut self) -> Result<Vec<(RequestId, Result<Generated, ModelError>)>, ModelError>;

    /// Forgets a request; unknown ones are ignored.
    fn cancel(&mut self, request: RequestId);

    /// How much of the time since a request was admitted was no work on it: it waited for room, or
    /// for a server that was away. Asked while it runs, and once more right after the
    /// [`Generator::step`] that ended it.
    fn waited(&self, request: RequestId) -> Duration {
        let _ = request;
        Duration::ZERO
    }

    /// Answers a known-good question of its own, as it does when it is loaded. Called between two
    /// steps when many records in a row have failed; must leave running requests as they are.
    ///
    /// # Errors
    /// The model, and not the records, is at fault.
    fn self_check(&mut self) -> Result<(), ModelError>;

    /// Its entry in `models` of the output record, without prompt.
    fn facts(&self) -> ModelFacts;

    /// What it holds of pictures beside their pixels.
    fn footprint(&self) -> Footprint {
        Footprint::default()
    }
}

/// Bytes that a model holds of pictures, beside their own pixels: counted in `image_bytes`. What a
/// model holds of texts (weights, caches of keys and values) is its own affair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// At most, for all pictures that it prepares at the same time: taken out of the limit at the
    /// start, for good.
    pub preparing: u64,
    /// At most, for each picture while it is alive.
    pub per_image: u64,
}

/// A model that answers a batch in one run. Owned by one engine thread.
pub trait BatchModel: 'static {
    /// One input.
    type Question: Send + Sync + Clone + 'static;
    /// One answer.
    type Answer: Send + 'static;

    /// The most inputs of one run.
    fn max_batch(&self) -> usize;

    /// What it holds of pictures beside their pixels.
    fn footprint(&self) -> Footprint {
        Footprint::default()
    }

    /// Exactly one answer per input, in order. One that failed with [`ModelError::Run`] runs again,
    /// once and alone.
    ///
    /// # Errors
    /// An error of the whole run: the engine runs the members one by one.
    #[allow(clippy::type_complexity)]
    fn run(
        &mut self,
        batch: &[Self::Question],
    ) -> Result<Vec<Result<Self::Answer, ModelError>>, ModelError>;

    /// As [`Generator::self_check`].
    ///
    /// # Errors
    /// The model, and not the records, is at fault.
    fn self_check(&mut self) -> Result<(), ModelError>;

    /// Its entry in `models` of the output record.
    fn facts(&self) -> ModelFacts;
}

/// A text reader: image → lines.
pub type TextReader = dyn BatchModel<Question = Arc<Image>, Answer = Vec<TextLine>>;

/// A relater: image and groundings → relations.
pub type Relater = dyn BatchModel<Question = Located, Answer = Vec<SpatialRelation>>;

/// What a relater is asked.
#[derive(Debug, Clone)]
pub struct Located {
    /// The picture.
    pub image: Arc<Image>,
    /// The captioner's text: what both name is surer than what one names.
    pub caption: Arc<str>,
    /// What was found in it.
    pub groundings: Arc<[Grounding]>,
}

/// Builds a model on its engine's thread; called again to rebuild it.
pub type Load<M> = Arc<dyn Fn() -> Result<Box<M>, ModelError> + Send + Sync>;

/// What the merge is given.
#[derive(Debug, Clone, Copy)]
pub struct MergeInput<'a> {
    /// (width, height) of the original upright image: the frame of all coordinates.
    pub size: (u32, u32),
    /// The caption that came with the image.
    pub original_caption: Option<&'a str>,
    /// The captioner's text.
    pub caption: &'a Caption,
    /// Phrases with boxes.
    pub grounding: &'a [Grounding],
    /// Lines of text.
    pub text: &'a [TextLine],
    /// Relations.
    pub spatial: &'a [SpatialRelation],
}

/// Merges caption and specialists. Pure: the same input gives the same output.
pub trait Merger: Send + Sync + 'static {
    /// Merges.
    fn merge(&self, input: MergeInput<'_>) -> Merged;

    /// Whatever changes the text that is made of the same input: version and settings, in words
    /// that are the same whenever the text is. Part of the record's
    /// [`Fingerprint`](crate::fingerprint::Fingerprint).
    fn identity(&self) -> String;
}

/// Which topic a write goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Enriched captions.
    Captions,
    /// Dead letters.
    Dead,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The topic.
    pub destination: Destination,
    /// Key bytes.
    pub key: Option<Bytes>,
    /// Value bytes. `None`: a dead letter of a tombstone, or a caption that [`Repeats`] knows.
    pub value: Option<Bytes>,
    /// Headers, in order; values are UTF-8.
    pub headers: Vec<(&'static str, String)>,
    /// The record this answers; its partition decides whether the write may still happen.
    pub source: RecordId,
    /// The epoch of the delivery: an older one than the partition's present epoch is refused with
    /// [`PublishError::Revoked`].
    pub epoch: crate::record::Epoch,
}

/// Writes records.
pub trait Publisher: Send + Sync + 'static {
    /// Hands over one write; the future ends when the broker confirmed it.
    ///
    /// # Errors
    /// [`PublishError`]: each variant says what becomes of the record.
    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'static, Result<(), PublishError>>;
}

/// Looks on while the chain works, and changes nothing. Called between two messages of a stage: it
/// returns at once, never waits and never panics.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Every model has seen the picture of this record; its pixels are let go next.
    fn seen(&self, record: &RecordId, image: &Arc<Image>);

    /// The broker confirmed this caption or dead letter.
    fn written(&self, outgoing: &Outgoing);
}

/// The input, as far as the chain must steer it.
pub trait Source: Send + Sync + 'static {
    /// Goes back to the ledger's watermark on every partition held; called after a restart of the
    /// chain, when the epochs are already bumped.
    fn rewind(&self);
}
