//! A tiny Florence-2 in the shape of the public folders: what it says is what transformers' `generate`
//! says, token for token, greedily and with beams; and it can be every stage of the chain.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand_pcg::{Pcg64, rand_core::Rng as _};
use serde_json::{Value, json};
use support::program::run;
use vila2::models::{
    Florence2, Florence2Folder, ModelSettings, Runtime,
    answers::locations::{self, Shape},
    florence2::{Pixels, shape},
    open_generator,
    vlm::Cut as _,
};
use vila2_actors::{
    error::ModelError,
    image::Image,
    ports::{Generator, Place, Prompt, RequestId},
    sampling::Sampling,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/florence2")
}

fn goldens() -> Value {
    let text = fs::read_to_string(folder().join("goldens.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A question with the reference's answer.
struct Question {
    image: Arc<Image>,
    prompt: Prompt,
    ids: Vec<u32>,
    answer: Vec<u32>,
    ended: bool,
}

/// The picture of a golden: a file, or a part of it.
fn picture(golden: &Value) -> Arc<Image> {
    let images = folder().with_file_name("smolvlm").join("images");
    let file = images.join(golden["file"].as_str().unwrap());
    let whole = image::open(file).unwrap().to_rgb8();
    let part = match serde_json::from_value::<Option<[u32; 4]>>(golden["crop"].clone()).unwrap() {
        None => whole,
        Some([left, top, right, bottom]) => {
            image::imageops::crop_imm(&whole, left, top, right - left, bottom - top).to_image()
        }
    };
    let size = part.dimensions();
    Image::new(size.0, size.1, part.into_raw().into(), size)
}

/// What was asked with so many beams.
fn questions(beams: u64) -> Vec<Question> {
    let goldens = goldens();
    let ids = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    let mut questions = Vec::new();
    for golden in goldens["pictures"].as_array().unwrap() {
        let image = picture(golden);
        let answers = golden["answers"].as_array().unwrap();
        for one in answers.iter().filter(|one| one["beams"] == beams) {
            questions.push(Question {
                image: Arc::clone(&image),
                prompt: Prompt {
                    text: one["prompt"].as_str().unwrap().into(),
                    max_tokens: goldens["max_tokens"].as_u64().unwrap() as u32,
                    seed: 1,
                    sampling: Sampling::default(),
                },
                ids: ids(&one["prompt_ids"]),
                answer: ids(&one["ids"]),
                ended: one["ended"].as_bool().unwrap(),
            });
        }
    }
    questions
}

fn settings(beams: Option<usize>) -> ModelSettings {
    let mut settings = ModelSettings::new("florence", folder());
    // The reference goes on where a text repeats itself.
    settings.stop_on_repeat = false;
    settings.max_running = 64;
    settings.options.beams = beams;
    settings
}

fn load(settings: &ModelSettings) -> Result<Florence2, ModelError> {
    Runtime::get(None).expect("`make runtime` has been run");
    Florence2::load(&Florence2Folder::open(settings).unwrap(), settings)
}

fn admit(model: &mut Florence2, number: usize, question: &Question) {
    let (request, image) = (RequestId(number as u64), Arc::clone(&question.image));
    model.admit(request, image, &question.prompt).unwrap();
}

/// One step; those that ended with it are the reference's.
fn step(model: &mut Florence2, questions: &[Question], what: &str) -> usize {
    let ended = model.step_tokens().unwrap();
    for one in &ended {
        let one = one.as_ref().unwrap();
        let golden = &questions[one.request.0 as usize];
        let prompt = &golden.prompt.text;
        assert_eq!(one.tokens, golden.answer, "{what}, {prompt}");
        assert_eq!(one.probabilities.len(), one.tokens.len());
        if golden.ended {
            assert_eq!(one.finish, vila2_actors::annotation::Finish::Stop, "{what}");
        }
    }
    ended.len()
}

fn ask(model: &mut Florence2, questions: &[Question], together: usize) {
    let what = format!("{together} together");
    for start in (0..questions.len()).step_by(together) {
        let end = questions.len().min(start + together);
        for (number, question) in questions.iter().enumerate().take(end).skip(start) {
            admit(model, number, question);
        }
        let mut left = end - start;
        while left > 0 {
            left -= step(model, questions, &what);
        }
    }
}

#[test]
fn pixels_and_prompts_are_those_of_the_reference() {
    let opened = Florence2Folder::open(&settings(None)).unwrap();
    let config = fs::read(folder().join("preprocessor_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let pixels = Pixels::read(&config, "preprocessor_config.json").unwrap();
    for golden in goldens()["pictures"].as_array().unwrap() {
        let wanted: Vec<f32> = serde_json::from_value(golden["pixels"].clone()).unwrap();
        let found = pixels.tiles(&picture(golden)).pixels;
        let sampled = found.iter().step_by(691);
        for (found, wanted) in sampled.zip(&wanted) {
            assert!(
                (found - wanted).abs() < 1e-4,
                "{}: {found} {wanted}",
                golden["file"]
            );
        }
    }
    let questions = questions(1);
    assert!(questions.len() >= 20);
    for question in &questions {
        assert_eq!(opened.ids(&question.prompt.text).unwrap()[..], question.ids);
    }
}

#[test]
fn answers_are_the_references_alone_and_together_greedily_and_with_beams() {
    for beams in [1, 3] {
        let questions = questions(beams);
        assert!(questions.len() >= 30, "{}", questions.len());
        assert!(questions.iter().filter(|one| one.ended).count() > 5);
        let mut model = load(&settings((beams == 1).then_some(1))).unwrap();
        for together in [1, 7, questions.len()] {
            ask(&mut model, &questions, together);
        }
        assert!(model.encoded() > 0);
    }
}

#[test]
fn requests_that_come_and_go_at_random_change_nothing_for_the_others() {
    let mut random = Pcg64::new(3, 5);
    for beams in [1, 3] {
        let questions = questions(beams);
        let mut settings = settings(Some(beams as usize));
        settings.max_running = 12;
        let mut model = load(&settings).unwrap();
        let (mut next, mut ended, mut cancelled) = (0, 0, 0);
        let mut running = Vec::new();
        while ended + cancelled < questions.len() {
            while next < questions.len()
                && model.free_slots() > 0
                && !random.next_u32().is_multiple_of(3)
            {
                admit(&mut model, next, &questions[next]);
                // Some are to go, after none to three steps.
                let goes = next.is_multiple_of(6);
                running.push((next, goes.then(|| random.next_u32() % 4)));
                next += 1;
            }
            running.retain_mut(|(number, left)| {
                let gone = *left == Some(0);
                if gone {
                    model.cancel(RequestId(*number as u64));
                    cancelled += 1;
                }
                *left = left.map(|left: u32| left.saturating_sub(1));
                !gone
            });
            let now = model.step_tokens().unwrap();
            for one in now {
                let one = one.unwrap();
                let number = one.request.0 as usize;
                assert_eq!(one.tokens, questions[number].answer, "{beams} beams");
                running.retain(|(running, _)| *running != number);
                ended += 1;
            }
        }
        assert!(
            cancelled > 1 && ended > 20,
            "{cancelled} cancelled, {ended} ended"
        );
    }
}

#[test]
fn places_are_those_of_the_reference() {
    for golden in goldens()["texts"].as_array().unwrap() {
        let (task, text) = (
            golden["task"].as_str().unwrap(),
            golden["text"].as_str().unwrap(),
        );
        let size: (u32, u32) = serde_json::from_value(golden["size"].clone()).unwrap();
        let found = locations::read(text, shape(task), size, &["it".to_owned()]);
        let wanted = &golden["found"];
        // The reference rounds down to whole pixels, and drops letters beyond ASCII.
        let labels: Vec<String> = (found.iter())
            .map(|one| one.text.chars().filter(char::is_ascii).collect())
            .collect();
        assert_eq!(json!(labels), wanted["labels"], "{text}");
        let places: Vec<Vec<i64>> = (found.iter())
            .map(|one| match one.place {
                Place::Box(place) => place.0.iter().map(|side| *side as i64).collect(),
                Place::Quad(quad) => quad.0.iter().flatten().map(|side| *side as i64).collect(),
            })
            .collect();
        let key = match shape(task) {
            Shape::Boxes => "bboxes",
            Shape::Quads => "quad_boxes",
        };
        assert_eq!(json!(places), wanted[key], "{text}");
    }
}

#[test]
fn a_merged_decoder_alone_is_refused_with_the_graphs_that_are_wanted() {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("onnx")).unwrap();
    for part in ["", "onnx"] {
        for entry in fs::read_dir(folder().join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = match name {
                "decoder_model.onnx" => continue,
                "decoder_with_past_model.onnx" => "decoder_model_merged.onnx",
                name => name,
            };
            if path.is_file() {
                fs::copy(&path, copy.path().join(part).join(name)).unwrap();
            }
        }
    }
    let error = open_generator(&ModelSettings::new("florence", copy.path())).unwrap_err();
    let error = error.to_string();
    for wanted in [
        "onnx/decoder_model.onnx",
        "onnx/decoder_with_past_model.onnx",
    ] {
        assert!(error.contains(wanted), "{error}");
    }
}

/// The whole chain on one folder: caption, boxes, lines of text, and an answer.
#[test]
fn one_folder_is_every_stage_of_the_chain() {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("vila2.toml");
    let toml = format!(
        "[models]\nflorence = {{ path = {:?} }}\n\
         [stages.caption]\nmodel = 'florence'\nprompts = ['<MORE_DETAILED_CAPTION>']\nmax_tokens = 24\n\
         [stages.ground]\nmodel = 'florence'\nprompt = '<CAPTION_TO_PHRASE_GROUNDING>{{caption}}'\n\
         max_tokens = 60\n\
         [stages.read_text]\nmodel = 'florence'\nprompt = '<OCR_WITH_REGION>'\nmax_tokens = 60\n\
         [[specialists]]\nname = 'read'\nkind = 'answer'\nmodel = 'florence'\n\
         prompt = '<OCR_WITH_REGION>'\nmax_tokens = 60\n\
         [[specialists]]\nname = 'phrases'\nkind = 'answer'\nmodel = 'florence'\n\
         prompt = '<CAPTION_TO_PHRASE_GROUNDING>{{caption}}'\nmax_tokens = 60\n",
        folder()
    );
    fs::write(&config, toml).unwrap();
    let images = folder().with_file_name("smolvlm").join("images");
    let mut files: Vec<_> = (fs::read_dir(images).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "webp"))
        .collect();
    files.sort();
    files.truncate(12);
    let mut arguments = vec!["--config", config.to_str().unwrap(), "caption", "--json"];
    arguments.extend(files.iter().map(|path| path.to_str().unwrap()));
    let said = run(&arguments);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let mut found = BTreeMap::new();
    for line in said.stdout.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["status"], "complete", "{record}");
        let template = "<CAPTION_TO_PHRASE_GROUNDING>{caption}";
        assert_eq!(record["models"]["ground"]["prompt"], template);
        let size = (
            record["image"]["width"].as_u64().unwrap() as u32,
            record["image"]["height"].as_u64().unwrap() as u32,
        );
        // What the specialists noted is what stands in the same answers of the same model.
        let answer = |name: &str| {
            let mut answers = record["answers"].as_array().unwrap().iter();
            let one = answers.find(|one| one["specialist"] == name).unwrap();
            one["text"].as_str().unwrap().to_owned()
        };
        let boxes = locations::read(&answer("phrases"), Shape::Boxes, size, &[]);
        let quads = locations::read(&answer("read"), Shape::Quads, size, &[]);
        let noted = record["grounding"].as_array().unwrap();
        assert_eq!(noted.len(), boxes.len(), "{record}");
        for (noted, wanted) in noted.iter().zip(&boxes) {
            assert_eq!(noted["phrase"], wanted.text.as_str());
            assert!(noted["score"].as_f64().is_some_and(|score| score > 0.0));
        }
        assert_eq!(record["text"].as_array().unwrap().len(), quads.len());
        *found.entry("boxes").or_insert(0) += boxes.len();
        *found.entry("quads").or_insert(0) += quads.len();
    }
    assert!(found["boxes"] > 0, "{found:?}");
}

#[test]
fn a_model_that_says_not_where_lines_stand_reads_none_by_prompt() {
    let image = folder()
        .with_file_name("smolvlm")
        .join("images/scene-4242-000133.webp");
    let set = "stages.read_text={model='scenes', prompt='Read.', mode='required', timeout_ms=0}";
    let said = run(&["--set", set, "caption", image.to_str().unwrap()]);
    assert_eq!(said.code, 2, "{}", said.stderr);
    for part in [
        "stages.read_text.model",
        "gives texts without places",
        "<OCR_WITH_REGION>",
    ] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
}

#[test]
fn readers_that_are_asked_and_readers_that_are_not_are_not_taken_for_each_other() {
    let image = folder()
        .with_file_name("smolvlm")
        .join("images/scene-4242-000133.webp");
    let florence = format!("models.flo.path={}", folder().display());
    let refused = |sets: &[&str], parts: &[&str]| {
        let mut arguments = Vec::new();
        for set in sets {
            arguments.extend(["--set", set]);
        }
        arguments.extend(["caption", image.to_str().unwrap()]);
        let said = run(&arguments);
        assert_eq!(said.code, 2, "{}", said.stderr);
        assert!(said.stderr.contains("error: 1 fault"), "{}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{part:?}: {}", said.stderr);
        }
    };
    refused(
        &["stages.read_text.prompt='<OCR_WITH_REGION>'"],
        &[
            "stages.read_text.prompt: \"ppocr\" is PP-OCR, which reads lines of text and takes no \
             question",
        ],
    );
    refused(
        &[&florence, "stages.read_text.model=flo"],
        &[
            "stages.read_text.prompt: is missing: \"flo\" is no PP-OCR",
            "<OCR_WITH_REGION>",
        ],
    );
    refused(
        &[
            &florence,
            "models.flo.max_tiles=3",
            "stages.caption.model=flo",
            "stages.caption.prompts=[\"<CAPTION>\"]",
        ],
        &[
            "models.flo.max_tiles: ",
            "is a `florence2`, which has no use for it; accepted: beams;",
        ],
    );
}
