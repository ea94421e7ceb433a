//! `vila2 models check`: loads models, and sends a drawn picture through each.

use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};
use vila2_actors::{image::Image, ports::Prompt};

use super::settings;
use crate::{
    app::model_prompts,
    cli::{Failure, output, progress},
    config::Config,
    models::{
        LoadError, ModelSettings,
        describe::is_pp_ocr,
        endpoint, open_generator,
        ppocr::{self, ReaderSettings},
        trial,
    },
    scenes::generate::{Formats, Generator as Scenes},
};

/// Pictures that run together in the second trial.
const TOGETHER: usize = 8;
/// The seed of the pictures.
const SEED: u64 = 1;

pub(super) fn run(config: &Config, models: Vec<String>, json: bool) -> Result<(), Failure> {
    let named = if models.is_empty() {
        config
            .models_in_use()
            .into_iter()
            .map(str::to_owned)
            .collect()
    } else {
        models
    };
    let settings = named.iter().map(|model| settings(config, model));
    let settings = settings.collect::<Result<Vec<_>, _>>()?;
    let pictures = pictures().map_err(Failure::Failed)?;
    let mut failed = 0;
    for (name, settings) in named.iter().zip(&settings) {
        let spinner = progress::spinner(&format!("trying {name}"));
        let tried = if settings.endpoint.is_none() && is_pp_ocr(&settings.path) {
            reader(settings, &pictures)
        } else {
            generator(config, settings, &pictures)
        };
        spinner.finish_and_clear();
        match tried {
            Ok((line, mut value)) => {
                if json {
                    value["name"] = json!(name);
                    output::json(&value)?;
                } else {
                    output::line(&format!("{name}: {line}"))?;
                }
            }
            Err(problem) => {
                failed += 1;
                output::note(&format!("{name}: {problem}"));
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Failed(format!(
            "{failed} of {} models failed; `vila2 models inspect` shows what is in their folders",
            named.len()
        ))),
    }
}

fn pictures() -> Result<Vec<Arc<Image>>, String> {
    let scenes = Scenes::new(SEED, Formats::Mixed).map_err(|error| error.to_string())?;
    let drawn = (0..TOGETHER as u64).map(|index| {
        let picture = scenes.compose(index).draw();
        let (width, height) = picture.dimensions();
        Image::new(width, height, picture.into_raw().into(), (width, height))
    });
    Ok(drawn.collect())
}

fn generator(
    config: &Config,
    settings: &ModelSettings,
    pictures: &[Arc<Image>],
) -> Result<(String, Value), String> {
    let started = Instant::now();
    let folder = open_generator(settings).map_err(|error| match error {
        LoadError::Folder { error, .. } => error.to_string(),
        other => other.to_string(),
    })?;
    let faults: Vec<String> = model_prompts(config, &settings.name)
        .filter_map(|(key, prompt, max_tokens)| {
            let problem = folder.try_prompt(prompt, max_tokens).err()?;
            Some(format!("{key}: {prompt:?}: {problem}"))
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    // Whoever looks on does not want to wait for a server to come.
    let load = match &settings.endpoint {
        Some(endpoint) => endpoint::load(&settings.name, &endpoint.impatient()),
        None => folder.load(),
    };
    let mut model = load().map_err(|error| error.to_string())?;
    let loaded = started.elapsed();
    let caption = &config.stages.caption;
    let prompt = Prompt {
        text: caption.prompts[0].as_str().into(),
        max_tokens: caption.max_tokens,
        seed: 0,
        sampling: caption.sampling.clone(),
    };
    let mut ask = |pictures: &[Arc<Image>]| {
        let trial = trial::run(&mut *model, pictures, &prompt);
        trial.map_err(|error| format!("a picture through it: {error}"))
    };
    let alone = ask(&pictures[..1])?;
    let together = ask(pictures)?;
    let text = &alone.answers[0].text;
    // A server's first token does not come before its last.
    let first = match &settings.endpoint {
        Some(_) => String::new(),
        None => format!(
            " (first after {:.0} ms)",
            alone.first_token.as_secs_f64() * 1e3
        ),
    };
    let line = format!(
        "loads in {:.1} s, passes its self-check; {:.0} tokens/s alone{first}, {:.0} tokens/s \
         with {} pictures at once; it says: {text}",
        loaded.as_secs_f64(),
        alone.tokens_per_second(),
        together.tokens_per_second(),
        pictures.len(),
    );
    let value = json!({
        "load_ms": loaded.as_millis() as u64,
        "revision": model.facts().revision,
        "self_check": "passed",
        "alone": figures(&alone, settings),
        "together": figures(&together, settings),
        "text": text,
    });
    Ok((line, value))
}

fn figures(trial: &trial::Trial, settings: &ModelSettings) -> Value {
    let first_token = settings.endpoint.is_none().then_some(trial.first_token);
    json!({
        "pictures": trial.answers.len(),
        "tokens": trial.tokens(),
        "first_token_ms": first_token.map(|first| first.as_secs_f64() * 1e3),
        "total_ms": trial.total.as_secs_f64() * 1e3,
        "tokens_per_second": trial.tokens_per_second(),
    })
}

fn reader(settings: &ModelSettings, pictures: &[Arc<Image>]) -> Result<(String, Value), String> {
    let started = Instant::now();
    let reader = ReaderSettings::from(settings.clone());
    let mut reader = ppocr::load(&reader)().map_err(|error| error.to_string())?;
    let loaded = started.elapsed();
    let started = Instant::now();
    let mut texts = Vec::new();
    for picture in pictures {
        let answers = reader.run(std::slice::from_ref(picture));
        let answers = answers.map_err(|error| error.to_string())?;
        for lines in answers {
            let lines = lines.map_err(|error| format!("a picture through it: {error}"))?;
            texts.extend(lines.into_iter().map(|line| line.text));
        }
    }
    let each = started.elapsed() / u32::try_from(pictures.len()).unwrap_or(1);
    let line = format!(
        "loads in {:.1} s; {:.0} ms a picture; in {} drawn pictures it reads: {}",
        loaded.as_secs_f64(),
        each.as_secs_f64() * 1e3,
        pictures.len(),
        texts.join(", ")
    );
    let value = json!({
        "load_ms": loaded.as_millis() as u64,
        "revision": reader.facts().revision,
        "picture_ms": each.as_secs_f64() * 1e3,
        "texts": texts,
    });
    Ok((line, value))
}
