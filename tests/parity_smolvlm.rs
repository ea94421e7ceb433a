//! The smolvlm adapter writes what transformers' `generate` writes, token for token: each picture
//! alone, and joined into running batches at staggered steps.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use vila2::models::{
    ModelSettings, Runtime, SmolVlm, SmolVlmFolder, smolvlm::Preprocess, vlm::Cut as _,
};
use vila2_actors::{
    error::ModelError,
    image::Image,
    ports::{Generator, Prompt, RequestId},
};

/// Below this gap between the two best logits of a step, rounding may decide; see the goldens.
const MARGIN: f64 = 1e-3;

struct Golden {
    image: Arc<Image>,
    scene: Value,
}

struct Suite {
    folder: PathBuf,
    goldens: Vec<Golden>,
    max_tokens: u32,
}

/// One question of the goldens.
struct Question<'a> {
    image: &'a Arc<Image>,
    prompt: Prompt,
    answer: &'a Value,
}

impl Suite {
    fn read(model: &Path, goldens: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Runtime::get(None).expect("`make runtime` has been run");
        let goldens = root.join(goldens);
        let text = fs::read_to_string(goldens.join("goldens.json")).expect("committed goldens");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let scenes = value["scenes"].as_array().expect("scenes").iter();
        let read = |scene: &Value| {
            let file = goldens
                .join("images")
                .join(scene["file"].as_str().expect("a file"));
            let pixels = image::open(&file).expect("a picture").to_rgb8();
            let (width, height) = pixels.dimensions();
            Golden {
                image: Image::new(width, height, pixels.into_raw().into(), (width, height)),
                scene: scene.clone(),
            }
        };
        Self {
            folder: root.join(model),
            goldens: scenes.map(read).collect(),
            max_tokens: value["max_new_tokens"].as_u64().expect("a number") as u32,
        }
    }

    fn shipped() -> Self {
        Self::read(
            Path::new("models/scenes"),
            Path::new("tests/goldens/smolvlm"),
        )
    }

    fn questions(&self) -> Vec<Question<'_>> {
        self.goldens
            .iter()
            .flat_map(|golden| {
                let answers = golden.scene["answers"].as_array().expect("answers");
                answers.iter().map(|answer| Question {
                    image: &golden.image,
                    prompt: Prompt {
                        text: answer["prompt"].as_str().expect("a prompt").into(),
                        max_tokens: self.max_tokens,
                        seed: 0,
                        sampling: vila2_actors::sampling::Sampling::default(),
                    },
                    answer,
                })
            })
            .collect()
    }

    fn settings(&self) -> ModelSettings {
        let mut settings = ModelSettings::new("caption", &self.folder);
        // The reference goes on where a text repeats itself.
        settings.stop_on_repeat = false;
        settings
    }

    fn load(&self) -> SmolVlm {
        let settings = self.settings();
        let folder = SmolVlmFolder::open(&settings).expect("a whole folder");
        SmolVlm::load(&folder, &settings).expect("loads")
    }
}

/// Asks all questions, at most `slots` at a time, admitting one more every `stagger` steps.
/// Returns the generated ids by question, and how often a request joined a running batch.
fn ask(
    model: &mut SmolVlm,
    questions: &[Question<'_>],
    slots: usize,
    stagger: usize,
) -> (HashMap<u64, Vec<u32>>, u64) {
    let before = model.figures().joins;
    let mut answers = HashMap::new();
    let mut waiting = questions.iter().enumerate().peekable();
    let mut running = 0;
    let mut step = 0;
    while running > 0 || waiting.peek().is_some() {
        if running < slots
            && (running == 0 || step % stagger == 0)
            && let Some((at, question)) = waiting.next()
        {
            let request = RequestId(at as u64);
            model
                .admit(request, Arc::clone(question.image), &question.prompt)
                .expect("admitted");
            running += 1;
        }
        for ended in model.step_tokens().expect("a step") {
            let ended = ended.expect("an answer");
            answers.insert(ended.request.0, ended.tokens);
            running -= 1;
        }
        step += 1;
    }
    (answers, model.figures().joins - before)
}

/// How many answers differ from the goldens where the margin leaves no doubt.
fn differences(questions: &[Question<'_>], answers: &HashMap<u64, Vec<u32>>) -> Vec<String> {
    let mut differences = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        let golden: Vec<u32> = question.answer["generated_ids"]
            .as_array()
            .expect("ids")
            .iter()
            .map(|id| id.as_u64().expect("an id") as u32)
            .collect();
        // The golden ends with its stop token, where it ended by itself.
        let ours = &answers[&(at as u64)];
        let same = golden
            .strip_prefix(ours.as_slice())
            .is_some_and(|rest| rest.len() <= 1 && golden.len() - rest.len() == ours.len());
        let margin = question.answer["margin"].as_f64().expect("a margin");
        if !same && margin >= MARGIN {
            differences.push(format!("question {at}: {ours:?} instead of {golden:?}"));
        }
    }
    differences
}

fn assert_all_equal(suite: &Suite, slots: usize, stagger: usize) -> u64 {
    let questions = suite.questions();
    let mut model = suite.load();
    if slots > 1 {
        // One token of each first: pictures that are known wait for nothing, so that whether a
        // request joins depends on the steps and not on how fast tiles are prepared.
        let mut once = suite.questions();
        for question in &mut once {
            question.prompt.max_tokens = 1;
        }
        ask(&mut model, &once, slots, 1);
    }
    let (answers, joins) = ask(&mut model, &questions, slots, stagger);
    assert_eq!(answers.len(), questions.len());
    let differences = differences(&questions, &answers);
    assert!(
        differences.is_empty(),
        "{} of {} differ: {:#?}",
        differences.len(),
        questions.len(),
        &differences[..differences.len().min(3)]
    );
    joins
}

#[test]
fn the_shipped_goldens_cover_fifty_scenes_and_two_prompts_each() {
    let suite = Suite::shipped();
    assert!(suite.goldens.len() >= 50);
    for golden in &suite.goldens {
        let answers = golden.scene["answers"].as_array().expect("answers");
        assert!(answers.len() >= 2);
    }
}

#[test]
fn the_vision_encoder_is_fed_the_reference_pixels() {
    let suite = Suite::shipped();
    let text = fs::read_to_string(suite.folder.join("preprocessor_config.json")).expect("a file");
    let config = serde_json::from_str(&text).expect("JSON");
    let preprocess = Preprocess::read(&config).expect("whole");
    for golden in &suite.goldens {
        let pixels = &golden.scene["pixels"];
        let tiles = preprocess.tiles(&golden.image);
        let side = preprocess.side();
        assert_eq!(pixels["shape"], serde_json::json!([3, side, side]));
        let mut digest = Sha256::new();
        for at in 0..side * side {
            for channel in 0..3 {
                let value = tiles.pixels[channel * side * side + at];
                digest.update([((value * 0.5 + 0.5) * 255.0).round() as u8]);
            }
        }
        let digest = digest.finalize();
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(pixels["sha256"], hex, "{}", golden.scene["file"]);
        for sample in pixels["samples"].as_array().expect("samples") {
            let at = |i: usize| sample["at"][i].as_u64().expect("a place") as usize;
            let value = tiles.pixels[(at(0) * side + at(1)) * side + at(2)];
            assert_eq!(Some(f64::from(value)), sample["value"].as_f64());
        }
    }
}

#[test]
fn alone_every_text_is_the_references_token_for_token() {
    assert_all_equal(&Suite::shipped(), 1, 1);
}

#[test]
fn joined_at_staggered_steps_every_text_is_the_references_token_for_token() {
    let joins = assert_all_equal(&Suite::shipped(), 8, 3);
    assert!(joins > 20, "{joins} joins");
}

#[test]
fn admitted_as_slots_fall_free_every_text_is_the_references_token_for_token() {
    let joins = assert_all_equal(&Suite::shipped(), 5, 1);
    assert!(joins > 20, "{joins} joins");
}

#[test]
fn an_image_is_encoded_once_for_all_its_prompts() {
    let suite = Suite::shipped();
    let questions = suite.questions();
    let mut model = suite.load();
    let (answers, _) = ask(&mut model, &questions[..8], 8, 1);
    assert_eq!(answers.len(), 8);
    assert_eq!(model.encoded(), 4, "four images, two prompts each");
}

#[test]
fn a_cancelled_request_frees_its_slot_and_changes_no_other_text() {
    let suite = Suite::shipped();
    let questions = suite.questions();
    let mut model = suite.load();
    let slots = model.free_slots();
    for (at, question) in questions[..4].iter().enumerate() {
        let request = RequestId(at as u64);
        model
            .admit(request, Arc::clone(question.image), &question.prompt)
            .expect("admitted");
    }
    let mut answers = HashMap::new();
    let mut step = |model: &mut SmolVlm| {
        for ended in model.step_tokens().expect("a step") {
            let ended = ended.expect("an answer");
            answers.insert(ended.request.0, ended.tokens);
        }
        answers.clone()
    };
    for _ in 0..3 {
        step(&mut model);
    }
    assert_eq!(model.free_slots(), slots - 4);
    model.cancel(RequestId(1));
    assert_eq!(model.free_slots(), slots - 3);
    while model.free_slots() < slots {
        step(&mut model);
    }
    let mut answers = step(&mut model);
    assert!(!answers.contains_key(&1));
    let ids = questions[1].answer["generated_ids"]
        .as_array()
        .expect("ids");
    let golden = ids.iter().map(|id| id.as_u64().expect("an id") as u32);
    answers.insert(1, golden.collect());
    let differences = differences(&questions[..4], &answers);
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn a_prompt_that_holds_the_image_word_is_refused_and_the_others_go_on() {
    let suite = Suite::shipped();
    let questions = suite.questions();
    let mut model = suite.load();
    let prompt = Prompt {
        text: "What is <image>?".into(),
        ..questions[0].prompt.clone()
    };
    let refused = model.admit(RequestId(9), Arc::clone(questions[0].image), &prompt);
    assert!(matches!(refused, Err(ModelError::Input(_))), "{refused:?}");
    let (answers, _) = ask(&mut model, &questions[..1], 1, 1);
    assert!(differences(&questions[..1], &answers).is_empty());
}
