//! `[stages]` and `[[specialists]]`: which model is asked what.

use std::{collections::BTreeMap, time::Duration};

use vila2_actors::{
    config::{CAPTION, THINGS},
    sampling::Sampling,
    stage::Stage,
};

use super::{
    Model,
    read::{count, millis, not_empty},
    reader::Section,
};

/// `[stages]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stages {
    /// The captioner.
    pub caption: CaptionStage,
    /// What examines the picture besides, in the order in which it is asked: what finds boxes stands
    /// before what relates them.
    pub specialists: Vec<Specialist>,
}

/// `[stages.caption]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionStage {
    /// A name in `[models]`.
    pub model: String,
    /// One is chosen per image.
    pub prompts: Vec<String>,
    /// Upper bound of generated tokens.
    pub max_tokens: u32,
    /// How they are chosen.
    pub sampling: Sampling,
}

/// `[stages.ground]`, `[stages.relate]`, `[stages.read_text]`, and each of `[[specialists]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Specialist {
    /// Its name, which is that of its stage.
    pub name: String,
    /// What it is asked for.
    pub kind: Kind,
    /// A name in `[models]`, or [`GEOMETRY`] for [`Kind::Relate`] without a prompt.
    pub model: String,
    /// One is chosen per image; none where no generator is asked.
    pub prompts: Vec<String>,
    /// Upper bound of generated tokens; 0 where no generator is asked.
    pub max_tokens: u32,
    /// How they are chosen.
    pub sampling: Sampling,
    /// What its failure means.
    pub mode: Mode,
    /// Longest work on one record; `None`: as long as the record may be worked on.
    pub timeout: Option<Duration>,
}

/// What a specialist is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Phrases with boxes.
    Ground,
    /// Relations between boxes.
    Relate,
    /// Lines of text.
    ReadText,
    /// An answer to a question.
    Answer,
}

/// The relater that needs no model.
pub const GEOMETRY: &str = "geometry";

/// What the failure of a specialist means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A dead letter.
    Required,
    /// A degraded record.
    Optional,
    /// It is not asked.
    Off,
}

const KINDS: [(&str, Kind); 4] = [
    ("ground", Kind::Ground),
    ("relate", Kind::Relate),
    ("read_text", Kind::ReadText),
    ("answer", Kind::Answer),
];

/// Names and kinds of those that are always there.
const BUILT_IN: [(&str, Kind); 3] = [
    ("ground", Kind::Ground),
    ("relate", Kind::Relate),
    ("read_text", Kind::ReadText),
];

/// The most tokens of an answer, where the table of a specialist says nothing.
const TOKENS: u32 = 160;

impl Stages {
    /// Those that are not off.
    pub fn asked(&self) -> impl Iterator<Item = &Specialist> {
        self.specialists.iter().filter(|one| one.mode != Mode::Off)
    }

    /// The names of the stages that ask a model.
    pub fn of_model<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a str> {
        let caption = (self.caption.model == model).then_some(Stage::Caption.as_str());
        let others = self.asked().filter(move |one| one.model == model);
        caption
            .into_iter()
            .chain(others.map(|one| one.name.as_str()))
    }
}

impl Specialist {
    /// Whether a generator is asked, by prompt.
    #[must_use]
    pub fn is_prompted(&self) -> bool {
        !self.prompts.is_empty()
    }

    /// Its key in the configuration.
    #[must_use]
    pub fn key(&self, of: &str) -> String {
        format!("stages.{}.{of}", self.name)
    }
}

/// Why a specialist cannot have this name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_word = name.starts_with(|c: char| c.is_ascii_lowercase())
        && (name.chars()).all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_word {
        return Err(format!("{name:?} is no name"));
    }
    let taken = Stage::FIXED.iter().any(|stage| stage.as_str() == name);
    if taken || name == "total" {
        return Err(format!("{name:?} is the name of something else"));
    }
    Ok(())
}

/// `appended`: names of `[[specialists]]`, in order.
pub(super) fn read(
    section: &Section<'_>,
    models: &BTreeMap<String, Model>,
    appended: &[String],
) -> Option<Stages> {
    let caption = section.section("caption", |caption| {
        if caption.is_empty_list("prompts") {
            caption.fault("prompts", "is empty", "at least one prompt");
        }
        let prompts = caption.texts("prompts", "a list of texts", |text| {
            not_empty(text)?;
            if text.contains(CAPTION) {
                return Err(format!("{text:?} has {CAPTION}, which is what it asks for"));
            }
            before_boxes(text)
        });
        CaptionStage {
            model: model_name(caption, models, &[]),
            prompts,
            max_tokens: count(caption, "max_tokens", 1..=8_192),
            sampling: sampling(caption),
        }
    });
    let built_in = BUILT_IN.map(|(name, kind)| (name.to_owned(), Some(kind)));
    let is_new = |name: &&String| BUILT_IN.iter().all(|(known, _)| known != &name.as_str());
    let new = appended.iter().filter(is_new);
    let mut wanted: Vec<_> = built_in.into_iter().collect();
    wanted.extend(new.map(|name| (name.clone(), None)));
    // One that is written as [stages.NAME], with its kind: as `config show` prints it.
    for name in section.tables_with("kind") {
        if name != "caption" && wanted.iter().all(|(known, _)| *known != name) {
            wanted.push((name, None));
        }
    }
    let mut specialists = Vec::new();
    for (name, kind) in wanted {
        specialists.push(section.section(&name, |one| specialist(one, &name, kind, models))?);
    }
    // What relates comes after all that finds; the order is kept otherwise.
    specialists.sort_by_key(|one| match one.kind {
        Kind::Ground => 0,
        Kind::Relate => 1,
        Kind::ReadText | Kind::Answer => 2,
    });
    Some(Stages {
        caption: caption?,
        specialists,
    })
}

fn specialist(
    section: &Section<'_>,
    name: &str,
    built_in: Option<Kind>,
    models: &BTreeMap<String, Model>,
) -> Specialist {
    if let Err(problem) = check_name(name) {
        let accepted = "a-z, 0-9 and _, a letter first, and none of intake, fetch, decode, caption, \
                        merge, publish, total";
        section.fault("name", &problem, accepted);
    }
    let kind = match built_in {
        Some(kind) => {
            if section.has("kind") && section.choice("kind", &KINDS) != kind {
                let problem = format!("{name} is built in, and of another kind");
                section.fault("kind", &problem, "no kind, or another name");
            }
            kind
        }
        None => section.choice("kind", &KINDS),
    };
    let own: &[&str] = if kind == Kind::Relate {
        &[GEOMETRY]
    } else {
        &[]
    };
    let timeout = if built_in.is_some() || section.has("timeout_ms") {
        millis(section, "timeout_ms", 0..=86_400_000)
    } else {
        Duration::ZERO
    };
    let mode = if built_in.is_some() || section.has("mode") {
        section.choice(
            "mode",
            &[
                ("required", Mode::Required),
                ("optional", Mode::Optional),
                ("off", Mode::Off),
            ],
        )
    } else {
        Mode::Optional
    };
    let model = model_name(section, models, own);
    let has_prompt = section.has("prompt") || section.has("prompts");
    let is_geometry = kind == Kind::Relate && model == GEOMETRY;
    if is_geometry && has_prompt {
        let key = if section.has("prompt") {
            "prompt"
        } else {
            "prompts"
        };
        let problem = "is a question, and geometry relates boxes without one";
        let accepted = "no prompt, or the name of a model that answers questions as `model`";
        section.fault(key, problem, accepted);
    }
    let is_asked = match kind {
        Kind::Relate => !is_geometry && !section.is_wrong("model"),
        Kind::ReadText => has_prompt,
        Kind::Ground | Kind::Answer => true,
    };
    let (prompts, max_tokens, sampling) = if is_asked {
        let tokens = if section.has("max_tokens") {
            count(section, "max_tokens", 1..=8_192)
        } else {
            TOKENS
        };
        let fits = match kind {
            Kind::Ground => before_boxes,
            _ => |_: &str| Ok(()),
        };
        (prompts(section, fits), tokens, sampling(section))
    } else {
        (Vec::new(), 0, Sampling::default())
    };
    if section.has("reads") {
        let accepted = "\"inline\": phrases with boxes [xmin,ymin,xmax,ymax], 0 to 999";
        section.choice("reads", &[("inline", ())]);
        if kind != Kind::Ground {
            section.fault(
                "reads",
                "only what grounds has a notation of boxes",
                accepted,
            );
        }
    }
    Specialist {
        name: name.to_owned(),
        kind,
        model,
        prompts,
        max_tokens,
        sampling,
        mode,
        timeout: (!timeout.is_zero()).then_some(timeout),
    }
}

/// A prompt that is asked before there are things with boxes.
fn before_boxes(text: &str) -> Result<(), String> {
    if text.contains(THINGS) {
        return Err(format!(
            "{text:?} has {THINGS}, and boxes are found only later or by its answer"
        ));
    }
    Ok(())
}

/// `prompts`, else the one `prompt`.
fn prompts(section: &Section<'_>, fits: fn(&str) -> Result<(), String>) -> Vec<String> {
    let fits = |text: &str| not_empty(text).and_then(|()| fits(text));
    if !section.has("prompts") {
        return vec![section.text("prompt", "a text", fits)];
    }
    if section.has("prompt") {
        let problem = "stands beside `prompt`, and only one of them can be asked";
        section.fault("prompts", problem, "`prompt` or `prompts`");
    }
    if section.is_empty_list("prompts") {
        section.fault("prompts", "is empty", "at least one prompt");
    }
    section.texts("prompts", "a list of texts", fits)
}

/// `sampling`, where it is there.
fn sampling(section: &Section<'_>) -> Sampling {
    if !section.has("sampling") {
        return Sampling::default();
    }
    let read = |section: &Section<'_>| {
        let usual = Sampling::default();
        let fraction =
            |key, bounds| (section.has(key)).then(|| section.fraction(key, bounds) as f32);
        let whole = |key| (section.has(key)).then(|| count(section, key, 0..=1_000_000));
        let stop = if section.has("stop") {
            section.texts("stop", "a list of texts", |text| match text {
                "" => Err("is empty, which ends every text before it begins".to_owned()),
                _ => Ok(()),
            })
        } else {
            Vec::new()
        };
        Sampling {
            temperature: fraction("temperature", 0.0..=10.0).unwrap_or(usual.temperature),
            top_k: whole("top_k").unwrap_or(usual.top_k),
            top_p: fraction("top_p", 0.01..=1.0).unwrap_or(usual.top_p),
            repetition_penalty: fraction("repetition_penalty", 0.1..=10.0),
            no_repeat_ngram_size: whole("no_repeat_ngram_size"),
            stop: stop.into(),
        }
    };
    section.section("sampling", read).unwrap_or_default()
}

fn model_name(
    section: &Section<'_>,
    models: &BTreeMap<String, Model>,
    built_in: &[&str],
) -> String {
    let names: Vec<_> = built_in
        .iter()
        .copied()
        .chain(models.keys().map(String::as_str))
        .collect();
    section.text("model", &names.join(", "), |text| {
        if names.contains(&text) {
            Ok(())
        } else {
            Err(format!("{text:?} is not in [models]"))
        }
    })
}
