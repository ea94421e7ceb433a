//! Models that compute no numbers: always, for one picture, or from one token on. What fails fails
//! alone, and a model that always does is refused before it is given work.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use support::{
    graphs::{change, copy, pp_ocr, shipped},
    program::run,
};
use vila2::models::{
    ModelSettings, SessionSettings, SmolVlm, SmolVlmFolder, open_generator,
    ppocr::{self, ReaderSettings},
};
use vila2_actors::{
    error::ModelError,
    image::Image,
    ports::{Generator, Prompt, RequestId},
};

const VISION: &str = "onnx/vision_encoder.onnx";
const DECODER: &str = "onnx/decoder_model_merged.onnx";

const PATCHES: &str = "vision.embeddings.patch_embedding.weight";
/// A weight of one channel of the patches so large that only white ones are beyond f32.
const WHITE_ONLY: f32 = f32::MAX / 191.0;

fn settings(folder: &Path) -> ModelSettings {
    let mut settings = ModelSettings::new("caption", folder);
    // The reference goes on where a text repeats itself.
    settings.stop_on_repeat = false;
    settings
}

fn load(folder: &Path) -> Result<SmolVlm, ModelError> {
    let settings = settings(folder);
    SmolVlm::load(&SmolVlmFolder::open(&settings).unwrap(), &settings)
}

struct Question {
    image: Arc<Image>,
    prompt: Prompt,
    input: Vec<u32>,
    answer: Vec<u32>,
}

/// The questions of the goldens with the reference's answers.
fn goldens() -> Vec<Question> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/smolvlm");
    let text = fs::read_to_string(root.join("goldens.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let mut questions = Vec::new();
    for scene in value["scenes"].as_array().unwrap() {
        let file = root.join("images").join(scene["file"].as_str().unwrap());
        let image = picture(image::open(file).unwrap().to_rgb8());
        for answer in scene["answers"].as_array().unwrap() {
            questions.push(Question {
                image: Arc::clone(&image),
                prompt: Prompt {
                    text: answer["prompt"].as_str().unwrap().into(),
                    max_tokens: value["max_new_tokens"].as_u64().unwrap() as u32,
                    seed: 0,
                    sampling: vila2_actors::sampling::Sampling::default(),
                },
                input: ids(&answer["input_ids"]),
                answer: ids(&answer["generated_ids"]),
            });
        }
    }
    questions
}

fn picture(pixels: image::RgbImage) -> Arc<Image> {
    let size = pixels.dimensions();
    Image::new(size.0, size.1, pixels.into_raw().into(), size)
}

/// Asks everything in a batch of at most eight, one more every other step; every seventh step the
/// model answers its own question too where `checked`. The answers by question.
fn ask(
    model: &mut SmolVlm,
    questions: &[Question],
    checked: bool,
) -> BTreeMap<usize, Result<Vec<u32>, String>> {
    let mut answers = BTreeMap::new();
    let mut waiting = questions.iter().enumerate();
    let mut asked = 0;
    for step in 0.. {
        if answers.len() == questions.len() {
            break;
        }
        if step % 2 == 0
            && asked - answers.len() < 8
            && let Some((at, question)) = waiting.next()
        {
            let image = Arc::clone(&question.image);
            model
                .admit(RequestId(at as u64), image, &question.prompt)
                .unwrap();
            asked += 1;
        }
        for ended in model.step_tokens().unwrap() {
            let (request, answer) = match ended {
                Ok(ended) => (ended.request, Ok(ended.tokens)),
                Err((request, ModelError::Run(words))) => (request, Err(words)),
                Err((_, error)) => panic!("{error:?}"),
            };
            answers.insert(request.0 as usize, answer);
        }
        if checked && step % 7 == 0 {
            model.self_check().unwrap();
        }
    }
    answers
}

/// Without the token that ends it.
fn text(answer: &[u32]) -> &[u32] {
    answer.strip_suffix(&[3]).unwrap_or(answer)
}

#[test]
fn a_model_that_never_gives_numbers_is_refused_when_it_is_loaded() {
    for (graph, tensor, words) in [
        (
            VISION,
            "vision.encoder.layers.0.mlp.fc2.bias",
            "the vision encoder gave features that are no numbers",
        ),
        (
            DECODER,
            "text.norm.weight",
            "the decoder gives logits that are no numbers",
        ),
    ] {
        let folder = copy(&shipped());
        change(&folder.path().join(graph), tensor, |numbers| {
            numbers.fill(f32::NAN);
        });
        let error = load(folder.path()).unwrap_err();
        assert!(matches!(error, ModelError::Broken(_)), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");

        let path = folder.path().to_str().unwrap();
        let ran = run(&["models", "check", path]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        let set = format!("models.scenes.path={path}");
        let image = "tests/goldens/smolvlm/images/scene-4242-000010.png";
        let ran = run(&["--set", &set, "caption", image]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
}

#[test]
fn a_text_reader_that_never_gives_numbers_is_refused_when_it_is_loaded() {
    for (graph, tensor) in [
        ("ch_PP-OCRv4_det_infer.onnx", "batch_norm2d_0.b_0"),
        ("ch_PP-OCRv4_rec_infer.onnx", "batch_norm2d_148.b_0"),
    ] {
        let folder = copy(&pp_ocr());
        change(&folder.path().join(graph), tensor, |numbers| {
            numbers.fill(f32::NAN);
        });
        let settings = ReaderSettings {
            name: "reader".to_owned(),
            folder: folder.path().to_owned(),
            session: SessionSettings::default(),
        };
        let words = format!("{graph} gave probabilities that are no numbers");
        match ppocr::load(&settings)() {
            Err(ModelError::Broken(error)) => assert!(error.contains(&words), "{error}"),
            other => panic!("{:?}", other.map(|_| "loaded")),
        }
        let ran = run(&["models", "check", folder.path().to_str().unwrap()]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(&words), "{}", ran.stderr);
    }
}

#[test]
fn a_picture_without_features_fails_alone_and_its_neighbours_answer_as_without_it() {
    let folder = copy(&shipped());
    change(&folder.path().join(VISION), PATCHES, |weights| {
        weights[..3 * 8 * 8].fill(WHITE_ONLY);
    });
    let mut model = load(folder.path()).unwrap();
    let mut questions: Vec<_> = goldens().into_iter().take(12).collect();
    let alone: Vec<_> = (questions.iter())
        .map(|question| {
            let question = Question {
                image: Arc::clone(&question.image),
                prompt: question.prompt.clone(),
                input: Vec::new(),
                answer: Vec::new(),
            };
            ask(&mut model, &[question], false)
                .remove(&0)
                .unwrap()
                .unwrap()
        })
        .collect();
    let white = image::RgbImage::from_pixel(128, 128, image::Rgb([255; 3]));
    let prompt = questions[0].prompt.clone();
    for at in [0, 5, 9] {
        let white = Question {
            image: picture(white.clone()),
            prompt: prompt.clone(),
            input: Vec::new(),
            answer: Vec::new(),
        };
        questions.insert(at, white);
    }
    let answers = ask(&mut model, &questions, false);
    let mut neighbours = alone.iter();
    for (at, answer) in &answers {
        if [0, 5, 9].contains(at) {
            let words = answer.as_ref().unwrap_err();
            assert!(words.contains("features that are no numbers"), "{words}");
        } else {
            assert_eq!(answer.as_ref().unwrap(), neighbours.next().unwrap(), "{at}");
        }
    }
}

#[test]
fn through_the_whole_chain_such_a_picture_is_the_only_one_without_a_caption() {
    let folder = copy(&shipped());
    change(&folder.path().join(VISION), PATCHES, |weights| {
        weights[..3 * 8 * 8].fill(WHITE_ONLY);
    });
    let white = folder.path().join("white.png");
    image::RgbImage::from_pixel(128, 128, image::Rgb([255; 3]))
        .save(&white)
        .unwrap();
    let model = format!("models.scenes.path={}", folder.path().display());
    let images = "tests/goldens/smolvlm/images";
    let (one, two) = (
        format!("{images}/scene-4242-000010.png"),
        format!("{images}/scene-4242-000018.png"),
    );
    let ran = run(&[
        "--set",
        &model,
        "--set",
        "stages.ground.mode='off'",
        "--set",
        "stages.read_text.mode='off'",
        "caption",
        "--json",
        &one,
        white.to_str().unwrap(),
        &two,
    ]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    let words = "white.png: model_failed: the vision encoder gave features that are no numbers";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
}

#[test]
fn a_row_that_gives_no_numbers_any_more_fails_alone_and_harms_no_row_after_it() {
    let questions = goldens();
    let (mut times, mut asked) = (BTreeMap::new(), Vec::new());
    for question in &questions {
        asked.extend(question.input.iter().copied());
        let mut ids = text(&question.answer).to_vec();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            *times.entry(id).or_insert(0) += 1;
        }
    }
    // A word that some answers hold and no question does.
    let fair = |(id, times): &(&u32, &usize)| {
        **times > 4 && **times < questions.len() / 3 && !asked.contains(*id)
    };
    let (&word, &holding) = times.iter().find(fair).unwrap();
    let folder = copy(&shipped());
    change(
        &folder.path().join("onnx/embed_tokens.onnx"),
        "table.weight",
        |table| table[word as usize * 128..][..128].fill(f32::NAN),
    );
    let mut model = load(folder.path()).unwrap();
    // Pictures that are known wait for nothing: who is asked about again joins at once.
    ask(&mut model, &questions, false);
    let before = model.figures().joins;
    let answers = ask(&mut model, &questions, false);
    assert!(model.figures().joins > before);
    let mut failed = 0;
    for (at, answer) in &answers {
        let wanted = text(&questions[*at].answer);
        if wanted.contains(&word) {
            let words = answer.as_ref().unwrap_err();
            assert!(words.contains("logits that are no numbers"), "{words}");
            failed += 1;
        } else {
            assert_eq!(answer.as_deref(), Ok(wanted), "{at}");
        }
    }
    assert_eq!(failed, holding);
}

#[test]
fn a_self_check_between_two_steps_leaves_running_rows_as_they_are() {
    let mut model = load(&shipped()).unwrap();
    let questions: Vec<_> = goldens().into_iter().take(16).collect();
    let answers = ask(&mut model, &questions, true);
    for (at, answer) in &answers {
        assert_eq!(answer.as_deref(), Ok(text(&questions[*at].answer)), "{at}");
    }
}

#[test]
fn a_folder_put_in_the_place_of_another_is_what_the_next_rebuild_loads() {
    let folder = copy(&shipped());
    let load = open_generator(&settings(folder.path())).unwrap().load();
    let first = load().unwrap().facts().revision;
    let bias = "vision.embeddings.patch_embedding.bias";
    let vision: PathBuf = folder.path().join(VISION);
    change(&vision, bias, |numbers| numbers[0] += 0.5);
    let second = load().unwrap().facts().revision;
    assert_ne!(first, second);
    assert_eq!(
        second,
        SmolVlmFolder::open(&settings(folder.path()))
            .unwrap()
            .revision()
            .unwrap()
    );
}
