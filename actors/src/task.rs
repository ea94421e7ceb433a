//! What a specialist is asked, and how its answer is noted in the draft.

use std::sync::Arc;

use crate::{
    annotation::{Answered, Grounding, SpatialRelation, TextLine},
    certainty::Certainty,
    config::{Asking, Task},
    engine::{Answer, Engine, GenerateEngine},
    image::Image,
    message::Draft,
    phrases,
    ports::{Generated, Located, Place, Placed},
    stage::Specialist,
    statements,
};

/// The engine that answers a specialist.
#[derive(Clone)]
pub(crate) enum Expert {
    /// A generator, by prompt.
    Generate(GenerateEngine),
    /// A relater.
    Relate(Engine<Located, Vec<SpatialRelation>>),
    /// A text reader.
    Read(Engine<Arc<Image>, Vec<TextLine>>),
}

/// What an engine answered.
#[derive(Debug)]
pub enum Found {
    /// A generator's text, and the prompt it answers.
    Text(Arc<str>, Answer<Generated>),
    /// Relations.
    Relations(Answer<Vec<SpatialRelation>>),
    /// Lines of text.
    Lines(Answer<Vec<TextLine>>),
}

impl Task {
    /// The prompts it asks, and how long an answer may be, where a generator answers it.
    #[must_use]
    pub fn asking(&self) -> Option<&Asking> {
        match self {
            Self::Ground(asking)
            | Self::State(asking)
            | Self::Transcribe(asking)
            | Self::Answer(asking) => Some(asking),
            Self::Relate { .. } | Self::ReadText { .. } => None,
        }
    }

    /// The name of the engine that answers it.
    #[must_use]
    pub fn engine(&self) -> &str {
        match self {
            Self::Ground(asking)
            | Self::State(asking)
            | Self::Transcribe(asking)
            | Self::Answer(asking) => &asking.engine,
            Self::Relate { engine } | Self::ReadText { engine } => engine,
        }
    }

    /// What it is about: `ground`, `relate`, `read_text` or `answer`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ground(_) => "ground",
            Self::Relate { .. } | Self::State(_) => "relate",
            Self::ReadText { .. } | Self::Transcribe(_) => "read_text",
            Self::Answer(_) => "answer",
        }
    }

    /// Whether there is nothing to ask about this picture.
    pub(crate) fn has_nothing_to_ask(&self, draft: &Draft) -> bool {
        match self {
            Self::Relate { .. } => draft.grounding.is_empty(),
            // Nothing can be said of one thing alone, and an answer costs a generation.
            Self::State(_) => draft.grounding.len() < 2,
            _ => false,
        }
    }

    /// Notes a generator's text. Ids go on where those of other specialists end.
    pub(crate) fn note_text(
        &self,
        draft: &mut Draft,
        specialist: Specialist,
        prompt: &str,
        generated: Generated,
    ) {
        if let Self::Answer(_) = self {
            let Generated {
                text,
                tokens,
                finish,
                certainty: _,
                placed: _,
            } = generated;
            draft.answers.push(Answered {
                id: format!("a{}", draft.answers.len()),
                specialist: specialist.as_str().to_owned(),
                question: prompt.to_owned(),
                text,
                tokens,
                finish,
            });
            return;
        }
        if let Self::State(_) = self {
            note_statements(draft, &generated);
            return;
        }
        if let Some(placed) = generated.placed {
            self.note_placed(draft, placed, &generated.certainty);
            return;
        }
        if let Self::Transcribe(_) = self {
            let id = &draft.request.id;
            tracing::debug!(id, "a text without places has no lines");
            return;
        }
        let size = (draft.facts.width, draft.facts.height);
        let found = phrases::parse(&generated.text, size);
        if found.skipped > 0 {
            let id = &draft.request.id;
            tracing::debug!(id, skipped = found.skipped, "malformed boxes");
        }
        for (mut grounding, stretch) in found.groundings.into_iter().zip(&found.stretches) {
            grounding.score = generated.certainty.of(stretch);
            grounding.id = format!("g{}", draft.grounding.len());
            draft.grounding.push(grounding);
        }
    }
}

impl Task {
    /// Notes what a generator itself has put in its place: things where boxes are asked for, lines
    /// where text is.
    fn note_placed(&self, draft: &mut Draft, placed: Vec<Placed>, certainty: &Certainty) {
        let mut lines = Vec::new();
        for Placed {
            text,
            place,
            stretch,
        } in placed
        {
            let score = certainty.of(&stretch);
            match (self, place) {
                (Self::Ground(_), Place::Box(bounding_box)) => draft.grounding.push(Grounding {
                    id: format!("g{}", draft.grounding.len()),
                    phrase: text,
                    bounding_box,
                    score,
                }),
                (Self::Transcribe(_), Place::Quad(quad)) => lines.push(TextLine {
                    id: String::new(),
                    text,
                    quad,
                    score: score.unwrap_or_default(),
                }),
                _ => {}
            }
        }
        note_lines(draft, lines);
    }
}

/// How sure a statement is whose words have no probabilities.
const NEUTRAL: f32 = 0.5;

/// Notes the relations that a text states. What is known already is not said twice, and what
/// contradicts it is left out: who was asked first is believed.
fn note_statements(draft: &mut Draft, generated: &Generated) {
    let found = statements::parse(&generated.text, &draft.grounding);
    let mut skipped = found.skipped;
    for stated in found.stated {
        let is_about = |known: &SpatialRelation, subject: &str, object: &str| {
            known.subject == subject && known.object == object
        };
        let (subject, object) = (stated.subject.as_str(), stated.object.as_str());
        let converse = stated.relation.converse();
        let is_taken = draft.spatial.iter().any(|known| {
            let relation = Some(known.relation);
            // Said the same way or the other way round; or its opposite.
            (is_about(known, subject, object) || is_about(known, object, subject))
                && (relation == Some(stated.relation) || relation == converse)
        });
        if is_taken {
            skipped += 1;
            continue;
        }
        draft.spatial.push(SpatialRelation {
            id: format!("s{}", draft.spatial.len()),
            score: generated.certainty.of(&stated.stretch).unwrap_or(NEUTRAL),
            subject: stated.subject,
            relation: stated.relation,
            object: stated.object,
        });
    }
    if skipped > 0 {
        let id = &draft.request.id;
        tracing::debug!(id, skipped, "statements that add no relation");
    }
}

/// Notes relations.
pub(crate) fn note_relations(draft: &mut Draft, found: Vec<SpatialRelation>) {
    for mut relation in found {
        relation.id = format!("s{}", draft.spatial.len());
        draft.spatial.push(relation);
    }
}

/// Notes lines of text.
pub(crate) fn note_lines(draft: &mut Draft, found: Vec<TextLine>) {
    for mut line in found {
        line.id = format!("t{}", draft.text.len());
        draft.text.push(line);
    }
}
