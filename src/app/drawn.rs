//! Says once a process that a model in use knows drawn scenes only, when it meets a picture that
//! `vila2 scenes generate` did not write.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use vila2_actors::{
    error::DecodeError,
    image::{Decoded, ImageHeader},
    ports::Decoder,
};

use crate::{
    config::Config,
    models::{
        card::{DRAWN_SCENES, has_tag},
        photographs::FIRST,
    },
    scenes::mark::is_marked,
};

/// What is to be said of the models in use; `None`: none of them knows drawn scenes only. How a
/// model is one of those is told by its card.
pub(super) fn warning(config: &Config) -> Option<String> {
    let stages = &config.stages;
    let drawn = |name: &str| {
        let model = config.models.get(name);
        model.is_some_and(|model| model.endpoint.is_none() && has_tag(&model.path, DRAWN_SCENES))
    };
    let captions = drawn(&stages.caption.model);
    let mut others = stages
        .asked()
        .filter(|one| one.is_prompted() && drawn(&one.model));
    if captions {
        let name = &stages.caption.model;
        let off: Vec<_> = others
            .map(|one| format!(" --set {}=off", one.key("mode")))
            .collect();
        Some(format!(
            "models.{name} knows drawn scenes only (`vila2 scenes`): what it says of other pictures is \
             wrong. For photographs: `vila2 models pull {FIRST} --out smolvlm`, then `vila2 --set \
             models.{name}.path=smolvlm{} caption PICTURE`",
            off.concat()
        ))
    } else {
        let one = others.next()?;
        let (name, stage, off) = (&one.model, &one.name, one.key("mode"));
        Some(format!(
            "models.{name}, which stages.{stage} asks, knows drawn scenes only (`vila2 scenes`): its \
             boxes in other pictures are wrong; leave them out with `--set {off}=off`"
        ))
    }
}

/// A decoder that looks out for the first picture without the mark of drawn scenes.
pub(super) fn watched(decoder: impl Decoder, warning: Option<String>) -> Arc<dyn Decoder> {
    match warning {
        Some(warning) => Arc::new(Watched {
            decoder,
            warning,
            said: AtomicBool::new(false),
        }),
        None => Arc::new(decoder),
    }
}

struct Watched<D> {
    decoder: D,
    warning: String,
    said: AtomicBool,
}

impl<D: Decoder> Decoder for Watched<D> {
    fn header(&self, body: &[u8]) -> Result<ImageHeader, DecodeError> {
        self.decoder.header(body)
    }

    fn decode(&self, body: Bytes) -> Result<Decoded, DecodeError> {
        let foreign = !self.said.load(Ordering::Relaxed) && !is_marked(&body);
        let decoded = self.decoder.decode(body)?;
        // What is no picture meets no model.
        if foreign && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!("{}", self.warning);
        }
        Ok(decoded)
    }

    fn identity(&self) -> String {
        self.decoder.identity()
    }
}
