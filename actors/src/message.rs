//! Every message between stages, in path order.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    annotation::{
        Answered, Caption, Degraded, Grounding, Merged, ModelFacts, SpatialRelation, TextLine,
    },
    delivery::Delivery,
    engine::Answer,
    envelope::Envelope,
    error::Reason,
    image::{Decoded, Fetched, Image, ImageFacts},
    ports::Generated,
    record::Request,
    stage::Stage,
    task::Found,
};

/// A message between stages carries exactly one delivery.
pub(crate) trait Carries {
    /// The delivery.
    fn delivery(&mut self) -> &mut Delivery;
}

/// intake → fetch: a request to get.
#[derive(Debug)]
pub struct Admitted(pub Envelope<Request>);

/// fetch → decode: a body to decode.
#[derive(Debug)]
pub struct Downloaded(pub Envelope<Body>);

/// A request with the body behind its URL.
#[derive(Debug)]
pub struct Body {
    /// The request.
    pub request: Request,
    /// The body.
    pub fetched: Fetched,
}

/// A request with its picture.
#[derive(Debug)]
pub struct Picture {
    /// The request.
    pub request: Request,
    /// The picture.
    pub decoded: Decoded,
}

/// To caption.
#[derive(Debug)]
pub enum CaptionMessage {
    /// decode → caption: a picture to describe.
    Decoded(Envelope<Picture>),
    /// engine → caption: its description, and how it was asked for.
    Answered(Envelope<Picture>, Asked, Answer<Generated>),
}

/// How a caption was asked for.
#[derive(Debug)]
pub struct Asked {
    /// The prompt.
    pub prompt: Arc<str>,
    /// How often so far, this time included.
    pub tries: u32,
}

/// What is known of an image from its caption on.
#[derive(Debug)]
pub struct Draft {
    /// The request.
    pub request: Request,
    /// The picture; `None` once every model has seen it.
    pub image: Option<Arc<Image>>,
    /// The file and the picture, for the record.
    pub facts: ImageFacts,
    /// The captioner's text.
    pub caption: Caption,
    /// Phrases with boxes.
    pub grounding: Vec<Grounding>,
    /// Relations.
    pub spatial: Vec<SpatialRelation>,
    /// Lines of text.
    pub text: Vec<TextLine>,
    /// What specialists of the kind `answer` said.
    pub answers: Vec<Answered>,
    /// Stage → model.
    pub models: BTreeMap<String, ModelFacts>,
    /// Specialists that failed.
    pub degraded: Vec<Degraded>,
    /// Rules that mark its caption.
    pub marks: Vec<String>,
}

/// To a specialist.
#[derive(Debug)]
pub enum AskMessage {
    /// caption, or the specialist before → ask: a described picture.
    Arrived(Envelope<Draft>),
    /// engine → ask: its answer.
    Answered(Envelope<Draft>, Found),
}

/// last specialist → merge: everything that was found.
#[derive(Debug)]
pub struct Examined(pub Envelope<Draft>);

/// A draft with its merged text.
#[derive(Debug)]
pub struct Finished {
    /// Everything that was found.
    pub draft: Draft,
    /// One text of it.
    pub merged: Merged,
}

/// To publish.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // moved once per record
pub enum PublishMessage {
    /// merge → publish: a caption to write.
    Merged(Envelope<Finished>),
    /// fetch → publish: a request whose answer is known.
    Repeated(Envelope<Request>),
    /// any stage → publish: a dead letter to write.
    Rejected(Envelope<Rejected>),
}

/// Why a record is a dead letter.
#[derive(Debug)]
pub struct Rejected {
    /// The request's id, where it was read.
    pub id: Option<String>,
    /// The stage that refused it.
    pub stage: Stage,
    /// The closed list.
    pub reason: Reason,
    /// What happened, in words; never empty.
    pub detail: String,
    /// How often it was tried.
    pub attempts: u32,
    /// It failed in a model like too many before it: the models have to answer first (see
    /// [`crate::breaker`]).
    pub held: bool,
}

impl Carries for Admitted {
    fn delivery(&mut self) -> &mut Delivery {
        &mut self.0.delivery
    }
}

impl Carries for Downloaded {
    fn delivery(&mut self) -> &mut Delivery {
        &mut self.0.delivery
    }
}

impl Carries for CaptionMessage {
    fn delivery(&mut self) -> &mut Delivery {
        match self {
            Self::Decoded(envelope) | Self::Answered(envelope, ..) => &mut envelope.delivery,
        }
    }
}

impl Carries for AskMessage {
    fn delivery(&mut self) -> &mut Delivery {
        match self {
            Self::Arrived(envelope) | Self::Answered(envelope, ..) => &mut envelope.delivery,
        }
    }
}

impl Carries for Examined {
    fn delivery(&mut self) -> &mut Delivery {
        &mut self.0.delivery
    }
}

impl Carries for PublishMessage {
    fn delivery(&mut self) -> &mut Delivery {
        match self {
            Self::Merged(envelope) => &mut envelope.delivery,
            Self::Repeated(envelope) => &mut envelope.delivery,
            Self::Rejected(envelope) => &mut envelope.delivery,
        }
    }
}
