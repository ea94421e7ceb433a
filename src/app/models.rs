//! Models by the names of the configuration, checked together and loaded by their engines later.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use vila2_actors::ports::{Generator, Load, Relater, TextReader};

use super::{drawn, settings};
use crate::{
    config::{Config, Fault, Faults, GEOMETRY, Kind, Layers, Specialist, Stages},
    models::{self, LoadError},
};

/// How each model is built, on its engine's thread.
pub(super) struct Models {
    pub(super) generators: BTreeMap<String, Load<dyn Generator>>,
    pub(super) text_readers: BTreeMap<String, Load<TextReader>>,
    pub(super) relaters: BTreeMap<String, Load<Relater>>,
    /// What is to be said where one of them knows drawn scenes only.
    pub(super) drawn: Option<String>,
}

/// Finds ONNX Runtime, unless all models are behind endpoints, and reads every model folder in use; no
/// graph is loaded yet, and no server asked.
///
/// # Errors
/// Every fault at once.
pub(super) fn load(config: &Config, layers: &Layers) -> Result<Models, Faults> {
    let library = config.runtime.onnxruntime.as_deref();
    let mut faults = Vec::new();
    if config.runs_models()
        && let Err(error) = models::Runtime::get(library)
    {
        let key = "runtime.onnxruntime";
        let error = error.to_string();
        let problem = error.strip_prefix("runtime.onnxruntime ").unwrap_or(&error);
        faults.push(fault(layers, key, problem.to_owned(), ""));
    }
    if let Err(Faults(found)) = config.check_folders(layers) {
        faults.extend(found);
    }
    let folder = |name: &str| config.models.get(name).is_some_and(|m| m.path.is_dir());
    let there = |name: &str| config.is_endpoint(name) || folder(name);
    let stages = &config.stages;
    let mut models = Models {
        generators: BTreeMap::new(),
        text_readers: BTreeMap::new(),
        relaters: BTreeMap::new(),
        drawn: drawn::warning(config),
    };
    let names_of = |is: fn(&&Specialist) -> bool| {
        let specialists = stages.asked().filter(is);
        specialists.map(|one| &one.model).collect::<BTreeSet<_>>()
    };
    let mut names = names_of(|one| one.is_prompted());
    names.insert(&stages.caption.model);
    for name in names.into_iter().filter(|name| there(name)) {
        match models::open_generator(&settings::model(config, name)) {
            Ok(folder) => {
                for (key, prompt, max_tokens) in prompts(config, name) {
                    if let Err(problem) = folder.try_prompt(prompt, max_tokens) {
                        faults.push(fault(
                            layers,
                            &key,
                            format!("{prompt:?}: {problem}"),
                            ASKABLE,
                        ));
                    }
                }
                if !folder.places_lines() {
                    faults.extend(without_places(stages, layers, name));
                }
                models.generators.insert(name.clone(), folder.load());
            }
            Err(error) => match asked_of_ppocr(config, layers, name) {
                found if found.is_empty() => faults.extend(load_faults(layers, name, &error)),
                found => faults.extend(found),
            },
        }
    }
    let readers = names_of(|one| one.kind == Kind::ReadText && !one.is_prompted());
    for one in stages.asked() {
        if one.kind == Kind::ReadText && !one.is_prompted() && config.is_endpoint(&one.model) {
            faults.push(reads_no_places(layers, one, "is behind an endpoint"));
        }
    }
    for name in readers.into_iter().filter(|name| folder(name)) {
        let key = format!("models.{name}.path");
        let reader = settings::reader(config, name);
        let missing = models::ppocr::check(&reader.folder).err();
        if missing.is_some() && is_asked(&reader.folder) {
            faults.extend(without_question(stages, layers, name));
        } else {
            let missing = missing.into_iter().flatten();
            faults.extend(missing.map(|what| fault(layers, &key, what, "")));
        }
        (models.text_readers).insert(name.clone(), models::ppocr::load(&reader));
    }
    if (stages.asked()).any(|one| one.kind == Kind::Relate && !one.is_prompted()) {
        (models.relaters).insert(GEOMETRY.to_owned(), models::relate::load());
    }
    if faults.is_empty() {
        Ok(models)
    } else {
        Err(Faults(faults))
    }
}

/// Whether a folder is one of a model that is asked questions.
fn is_asked(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

/// The specialists that ask PP-OCR, which reads unasked; none where the model is something else.
fn asked_of_ppocr(config: &Config, layers: &Layers, model: &str) -> Vec<Fault> {
    let folder = settings::reader(config, model).folder;
    if !models::describe::is_pp_ocr(&folder) {
        return Vec::new();
    }
    let asking = config.stages.asked();
    let asking = asking.filter(|one| one.model == model && one.is_prompted());
    let told = asking.map(|one| {
        let key = if one.prompts.len() == 1 {
            "prompt"
        } else {
            "prompts"
        };
        let problem =
            format!("{model:?} is PP-OCR, which reads lines of text and takes no question");
        let accepted = "no prompt, or the name of a model that answers questions as `model`";
        fault(layers, &one.key(key), problem, accepted)
    });
    told.collect()
}

/// The specialists that have a model read text, with a prompt or without.
fn text_readers<'a>(
    stages: &'a Stages,
    model: &'a str,
    is_prompted: bool,
) -> impl Iterator<Item = &'a Specialist> {
    let asked = stages.asked();
    let readers = asked.filter(move |one| one.model == model && one.kind == Kind::ReadText);
    readers.filter(move |one| one.is_prompted() == is_prompted)
}

/// The specialists that have a model read text that waits for a question.
fn without_question<'a>(
    stages: &'a Stages,
    layers: &'a Layers,
    model: &'a str,
) -> impl Iterator<Item = Fault> {
    text_readers(stages, model, false).map(move |one| {
        let problem = format!("is missing: {model:?} is no PP-OCR, and reads where it is asked to");
        let accepted = "prompt = \"<OCR_WITH_REGION>\" for a folder of Florence-2; or a folder of \
                        PP-OCR (`make runtime`) as `model`";
        fault(layers, &one.key("prompt"), problem, accepted)
    })
}

/// The specialists that would have a model read lines of text that says not where they stand.
fn without_places<'a>(
    stages: &'a Stages,
    layers: &'a Layers,
    model: &'a str,
) -> impl Iterator<Item = Fault> {
    text_readers(stages, model, true).map(|one| reads_no_places(layers, one, "is asked by prompt"))
}

fn reads_no_places(layers: &Layers, one: &Specialist, how: &str) -> Fault {
    let problem = format!("{:?} {how}, and gives texts without places", one.model);
    let accepted = "a folder of PP-OCR (`make runtime`) without a prompt, or of Florence-2 with \
                    prompt = \"<OCR_WITH_REGION>\"; or mode = \"off\"";
    fault(layers, &one.key("model"), problem, accepted)
}

/// The prompts of the configuration that go to a model, with their keys and the longest answer.
pub(crate) fn prompts<'a>(
    config: &'a Config,
    model: &'a str,
) -> impl Iterator<Item = (String, &'a str, u32)> {
    let (caption, specialists) = (&config.stages.caption, config.stages.asked());
    let is_caption = caption.model == model;
    let captions = caption
        .prompts
        .iter()
        .filter(move |_| is_caption)
        .map(|prompt| {
            let key = "stages.caption.prompts".to_owned();
            (key, prompt.as_str(), caption.max_tokens)
        });
    let others = specialists
        .filter(move |one| one.model == model)
        .flat_map(|one| {
            let key = if one.prompts.len() == 1 {
                "prompt"
            } else {
                "prompts"
            };
            let prompts = one.prompts.iter();
            prompts.map(move |prompt| (one.key(key), prompt.as_str(), one.max_tokens))
        });
    captions.chain(others)
}

/// What a prompt should be.
const ASKABLE: &str = "a text that the model's chat template and length take";

/// What is wrong with a model, each thing a fault of its own. That there is no ONNX Runtime was
/// said before.
fn load_faults(layers: &Layers, name: &str, error: &LoadError) -> Vec<Fault> {
    let path = format!("models.{name}.path");
    match error {
        LoadError::Runtime(_) => Vec::new(),
        LoadError::Folder { error, .. } => {
            let folder = error.path.display();
            let told = error.faults.iter().map(|found| {
                let what = format!("{folder}/{}: {}", found.file, found.what);
                fault(layers, &path, what, WHOLE)
            });
            told.collect()
        }
        LoadError::Unsupported {
            path: folder,
            model_type,
            accepted: known,
            ..
        } => {
            let folder = folder.display();
            let what = format!("{folder}/config.json: no adapter reads a `{model_type}`");
            let accepted = format!("a folder whose `model_type` is one of {known}");
            vec![fault(layers, &path, what, &accepted)]
        }
        LoadError::Option {
            path: folder,
            model_type,
            key,
            accepted: known,
            ..
        } => {
            let folder = folder.display();
            let what = format!("{folder} is a `{model_type}`, which has no use for it");
            let accepted = format!("{known}; take the others away");
            vec![fault(
                layers,
                &format!("models.{name}.{key}"),
                what,
                &accepted,
            )]
        }
    }
}

/// What a model folder should be.
const WHOLE: &str = "a whole folder in the layout of the Hugging Face hub (`vila2 models pull` \
                     fetches one)";

fn fault(layers: &Layers, key: &str, problem: String, accepted: &str) -> Fault {
    Fault {
        origin: layers.origin(key),
        key: key.to_owned(),
        problem,
        accepted: accepted.to_owned(),
    }
}
