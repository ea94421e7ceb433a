//! The shapes in which folders of the SmolVLM family are public: each opens and writes what
//! transformers' `generate` writes, token for token, or is refused with what is wrong.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rand_pcg::{Pcg64, rand_core::Rng as _};
use support::{
    family::{Question, Shape, cached, folder, questions},
    program::{run, vila2},
};
use vila2::models::{
    ModelSettings, Options, Runtime, SmolVlm, SmolVlmFolder, Variant,
    generation::{Decoder, TextSides},
    open_generator, open_session,
};
use vila2_actors::{
    error::ModelError,
    ports::{Generator, RequestId},
};

const SHAPES: [Shape; 4] = [
    shape("four", "plain", false),
    shape("five", "plain", true),
    shape("four", "gqa", true),
    shape("five", "gqa", false),
];

const fn shape(files: &'static str, decoder: &'static str, flat: bool) -> Shape {
    Shape {
        files,
        decoder,
        flat,
    }
}

fn settings(path: &Path) -> ModelSettings {
    let mut settings = ModelSettings::new("eyes", path);
    // The reference goes on where a text repeats itself.
    settings.stop_on_repeat = false;
    settings.max_running = 64;
    settings
}

fn load(settings: &ModelSettings) -> Result<SmolVlm, ModelError> {
    Runtime::get(None).expect("`make runtime` has been run");
    let folder = SmolVlmFolder::open(settings).map_err(|e| ModelError::Broken(e.to_string()))?;
    SmolVlm::load(&folder, settings)
}

fn admit(model: &mut SmolVlm, number: usize, question: &Question) {
    let (request, image) = (RequestId(number as u64), Arc::clone(&question.image));
    model.admit(request, image, &question.prompt).unwrap();
}

/// One step; the answers that ended with it.
fn step(model: &mut SmolVlm, answers: &mut BTreeMap<usize, Vec<u32>>) {
    for ended in model.step_tokens().unwrap() {
        let ended = ended.unwrap();
        answers.insert(ended.request.0 as usize, ended.tokens);
    }
}

/// Asks everything, `together` questions at a time.
fn ask(model: &mut SmolVlm, questions: &[Question], together: usize) -> BTreeMap<usize, Vec<u32>> {
    let mut answers = BTreeMap::new();
    for (batch, chunk) in questions.chunks(together).enumerate() {
        for (at, question) in chunk.iter().enumerate() {
            admit(model, batch * together + at, question);
        }
        while answers.len() < (batch * together + chunk.len()) {
            step(model, &mut answers);
        }
    }
    answers
}

/// Asserts that answers are the reference's, which ends with its stop token.
fn assert_equal(what: &str, questions: &[Question], answers: &BTreeMap<usize, Vec<u32>>) {
    assert!(!answers.is_empty());
    for (at, answer) in answers {
        let golden = &questions[*at].answer;
        let rest = golden.strip_prefix(answer.as_slice());
        let same = rest.is_some_and(|rest| rest.len() <= 1);
        assert!(
            same,
            "{what}, question {at}: {answer:?} instead of {golden:?}"
        );
    }
}

#[test]
fn prompts_are_those_of_the_reference_with_markers_as_tokens_and_as_text() {
    let mut lengths = Vec::new();
    for files in ["four", "five"] {
        let folder = folder(shape(files, "plain", false));
        let opened = SmolVlmFolder::open(&settings(folder.path())).unwrap();
        let questions = questions(files);
        assert_eq!(questions.len(), 40);
        for question in &questions {
            let ids = opened.ids(&question.image, &question.prompt.text).unwrap();
            assert_eq!(ids[..], question.input, "{files}");
        }
        lengths.push(questions.iter().map(|q| q.input.len()).sum::<usize>());
    }
    // As text a marker is many tokens.
    assert!(lengths[1] > lengths[0] * 3 / 2, "{lengths:?}");
}

#[test]
fn words_that_the_tokenizers_configuration_names_are_heeded_wherever_it_names_them() {
    let folder = folder(SHAPES[1]);
    // The same tokens under other words.
    let renamed = |file: &str| {
        let path = folder.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("<fake_token_around_image>", "<edge>");
        fs::write(path, text.replace("<image>", "<picture>")).unwrap();
    };
    renamed("tokenizer.json");
    renamed("chat_template.jinja");
    let path = folder.path().join("tokenizer_config.json");
    let words = serde_json::json!({"image_token": "<picture>", "fake_image_token": "<edge>"});
    let mut nested = serde_json::json!({"extra_special_tokens": ["<picture>", "<edge>"]});
    nested["model_specific_special_tokens"] = words.clone();
    for config in [
        nested,
        serde_json::json!({ "extra_special_tokens": words }),
        words,
    ] {
        fs::write(&path, config.to_string()).unwrap();
        let opened = SmolVlmFolder::open(&settings(folder.path())).unwrap();
        for question in &questions("five")[..4] {
            let ids = opened.ids(&question.image, &question.prompt.text).unwrap();
            assert_eq!(ids[..], question.input, "{config}");
        }
    }
    fs::write(&path, "{}").unwrap();
    let error = SmolVlmFolder::open(&settings(folder.path()))
        .unwrap_err()
        .to_string();
    let told = "tokenizer.json: the token `<image>` is missing";
    assert!(error.contains(told), "{error}");
}

#[test]
fn every_shape_answers_as_the_reference_alone_and_in_batches() {
    for shape in SHAPES {
        let folder = folder(shape);
        let mut model = load(&settings(folder.path())).unwrap();
        let questions = questions(shape.files);
        for together in [1, 7, 40] {
            let answers = ask(&mut model, &questions, together);
            assert_eq!(answers.len(), 40);
            let what = format!("{shape:?}, {together} together");
            assert_equal(&what, &questions, &answers);
        }
    }
}

#[test]
fn every_shape_answers_as_the_reference_joined_and_evicted_at_random() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let folder = folder(shape);
        let mut model = load(&settings(folder.path())).unwrap();
        let questions = questions(shape.files);
        // Pictures that are known wait for nothing: who is admitted joins at once.
        ask(&mut model, &questions, questions.len());
        let before = model.figures().joins;
        let mut random = Pcg64::new(seed as u128, 1);
        let mut answers = BTreeMap::new();
        let (mut next, mut running, mut evicted) = (0, Vec::new(), 0);
        while next < questions.len() || !running.is_empty() {
            for _ in 0..random.next_u32() % 3 {
                if next < questions.len() && running.len() < 9 {
                    admit(&mut model, next, &questions[next]);
                    running.push(next);
                    next += 1;
                }
            }
            if !running.is_empty() && random.next_u32().is_multiple_of(8) {
                let at = random.next_u32() as usize % running.len();
                model.cancel(RequestId(running.remove(at) as u64));
                evicted += 1;
            }
            step(&mut model, &mut answers);
            running.retain(|number| !answers.contains_key(number));
        }
        let joins = model.figures().joins - before;
        assert!(
            evicted > 2 && joins > 10,
            "{evicted} evicted, {joins} joins"
        );
        assert_eq!(answers.len() + evicted, questions.len());
        assert_equal(&format!("{shape:?}"), &questions, &answers);
    }
}

#[test]
fn each_graph_may_have_its_own_variant_and_half_precision_answers_too() {
    for shape in [SHAPES[0], SHAPES[3]] {
        let folder = folder(shape);
        let mut settings = settings(folder.path());
        let full = load(&settings).unwrap().facts().revision;
        let each = [("decoder_model_merged".to_owned(), "fp16".to_owned())];
        settings.variant = Variant::Each(each.into());
        let mut model = load(&settings).unwrap();
        assert_ne!(model.facts().revision, full);
        // Where the two best logits are far apart, rounding to half precision does not matter.
        let mut questions = questions(shape.files);
        questions.retain(|question| question.margin > 0.1);
        assert!(questions.len() >= 5, "{}", questions.len());
        let alone = ask(&mut model, &questions, 1);
        assert_equal(&format!("{shape:?} in half precision"), &questions, &alone);
        let together = ask(&mut model, &questions, questions.len());
        assert_equal(&format!("{shape:?} together"), &questions, &together);
    }
}

/// Every path below a folder, with its size and the time of its content.
fn listing(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = path.symlink_metadata().unwrap();
            if facts.is_dir() {
                folders.push(path.clone());
            }
            found.push((path, facts.len(), facts.modified().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_cache_that_keeps_files_once_for_all_repositories_opens_and_stays_as_it_was() {
    let shapes = SHAPES.map(|shape| (shape, true));
    for (shape, shared) in shapes.into_iter().chain([(SHAPES[0], false)]) {
        let folder = folder(shape);
        let cache = tempfile::tempdir().unwrap();
        let snapshot = cached(folder.path(), cache.path(), shared);
        let before = listing(cache.path());
        let mut model = load(&settings(&snapshot)).unwrap();
        let questions = &questions(shape.files)[..6];
        assert_equal(
            &format!("{shape:?}"),
            questions,
            &ask(&mut model, questions, 3),
        );
        assert_eq!(listing(cache.path()), before);
        let plain = load(&settings(folder.path())).unwrap();
        assert_eq!(model.facts().revision, plain.facts().revision);
    }
}

#[test]
fn nothing_is_left_of_the_folder_where_shared_files_were_brought_together() {
    let (folder, cache) = (folder(SHAPES[0]), tempfile::tempdir().unwrap());
    let snapshot = cached(folder.path(), cache.path(), true);
    let own = tempfile::tempdir().unwrap();
    let ran = vila2(&["models", "check", &snapshot.display().to_string(), "--json"])
        .env("XDG_CACHE_HOME", own.path())
        .output()
        .unwrap();
    let ran = support::program::Ran::from(ran);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let graphs = own.path().join("vila2/graphs");
    assert_eq!(fs::read_dir(graphs).unwrap().count(), 0);
}

#[test]
fn a_prompt_in_several_runs_gives_the_logits_and_the_cache_of_one() {
    Runtime::get(None).expect("`make runtime` has been run");
    for shape in [SHAPES[0], SHAPES[3]] {
        let folder = folder(shape);
        let settings = settings(folder.path());
        let opened = SmolVlmFolder::open(&settings).unwrap();
        let graph = opened.graph("decoder_model_merged").unwrap();
        let session = open_session(&graph.path, &settings.session(graph)).unwrap();
        let sides = TextSides {
            hidden: Some(64),
            heads: Some(2),
            dim: Some(16),
        };
        let mut decoder = Decoder::new(session, graph, sides).unwrap();
        let mut random = Pcg64::new(5, 1);
        let embeds: Vec<f32> = (0..23 * 64)
            .map(|_| random.next_u32() as f32 / u32::MAX as f32 - 0.5)
            .collect();
        let mut logits = Vec::new();
        for most in [usize::MAX, 22, 10, 1] {
            let feed = decoder.layout().prompts(&[&embeds], 64);
            let empty = decoder.empty_cache(1).unwrap();
            let mut last = Vec::new();
            let cache = decoder
                .run_in_parts(feed, empty, most, |_, row| last.extend_from_slice(row))
                .unwrap();
            assert_eq!((cache.rows(), cache.length(), last.len()), (1, 23, 435));
            logits.push(last);
        }
        for parts in &logits[1..] {
            let worst = parts.iter().zip(&logits[0]).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < 1e-3, "{shape:?}");
        }
    }
}

#[test]
fn pictures_are_bounded_by_configuration_and_the_revision_says_so() {
    let folder = folder(SHAPES[0]);
    let mut settings = settings(folder.path());
    let mut revisions = vec![load(&settings).unwrap().facts().revision];
    let questions = questions("one_tile");
    assert!(questions.len() >= 5);
    for options in [
        Options {
            longest_edge: Some(32),
            ..Options::default()
        },
        Options {
            max_tiles: Some(1),
            ..Options::default()
        },
    ] {
        settings.options = options;
        let opened = SmolVlmFolder::open(&settings).unwrap();
        for question in &questions {
            let ids = opened.ids(&question.image, &question.prompt.text).unwrap();
            assert_eq!(ids[..], question.input);
        }
        let mut model = load(&settings).unwrap();
        let answers = ask(&mut model, &questions, 4);
        assert_equal("one tile", &questions, &answers);
        let revision = model.facts().revision;
        assert!(!revisions.contains(&revision));
        revisions.push(revision);
    }
}

#[test]
fn special_tokens_stay_in_the_text_where_that_is_asked_for() {
    let folder = folder(SHAPES[0]);
    let mut settings = settings(folder.path());
    // An answer with the marker of a tile in it: ids from 398 on.
    let mut questions = questions("four");
    questions.retain(|question| question.answer.iter().any(|id| (399..435).contains(id)));
    let question = questions.first().expect("an answer with a marker");
    let mut texts = Vec::new();
    for keep in [false, true] {
        settings.options.keep_special_tokens = keep;
        let mut model = load(&settings).unwrap();
        admit(&mut model, 0, question);
        let text = loop {
            if let Some((_, answer)) = model.step().unwrap().pop() {
                break answer.unwrap().text;
            }
        };
        texts.push(text);
    }
    assert!(!texts[0].contains("<row_"), "{texts:?}");
    assert!(texts[1].contains("<row_"), "{texts:?}");
}

#[test]
fn a_decoder_that_claims_padding_on_the_right_and_has_it_on_the_left_is_refused() {
    // A function that nothing calls, with the operator that wants its padding on the right.
    fn part(number: u8, content: &[u8]) -> Vec<u8> {
        let tag = u32::from(number) << 3 | 2;
        let mut bytes = Vec::new();
        for mut value in [tag, u32::try_from(content.len()).unwrap()] {
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        }
        bytes.extend(content);
        bytes
    }
    let opset = |domain: &str, version| [part(1, domain.as_bytes()), vec![0x10, version]].concat();
    let node = [
        part(1, b"x").repeat(7),
        ["y", "k", "v"]
            .map(|name| part(2, name.as_bytes()))
            .concat(),
        part(4, b"GroupQueryAttention"),
        part(7, b"com.microsoft"),
    ];
    let function = [
        part(1, b"unused"),
        part(4, b"x"),
        part(5, b"y"),
        part(7, &node.concat()),
        part(9, &opset("", 17)),
        part(9, &opset("com.microsoft", 1)),
        part(10, b"own"),
    ];
    let folder = folder(SHAPES[0]);
    let file = folder.path().join("onnx/decoder_model_merged.onnx");
    let mut graph = fs::read(&file).unwrap();
    graph.extend(part(25, &function.concat()));
    fs::write(&file, graph).unwrap();
    let error = load(&settings(folder.path())).unwrap_err().to_string();
    assert!(error.contains("padded on the right"), "{error}");
    assert!(error.contains("they differ by"), "{error}");
}

#[test]
fn sides_that_a_graph_leaves_unsaid_come_from_the_configuration() {
    let folder = folder(SHAPES[0]);
    let file = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // This graph says how many heads it has; the other leaves the width of one unsaid.
    config["text_config"]["num_key_value_heads"] = 3.into();
    fs::write(&file, config.to_string()).unwrap();
    load(&settings(folder.path())).unwrap();
    let gqa = support::family::folder(SHAPES[3]);
    let file = gqa.path().join("config.json");
    config["text_config"]["head_dim"] = 24.into();
    fs::write(&file, config.to_string()).unwrap();
    let error = load(&settings(gqa.path())).unwrap_err().to_string();
    assert!(error.contains("the decoder failed"), "{error}");
}

#[test]
fn inspection_tells_variants_and_padding_and_the_configuration_reaches_the_model() {
    let folder = folder(SHAPES[3]);
    let path = format!("models.eyes.path={}", folder.path().display());
    let sets = [
        path.as_str(),
        "models.eyes.variant.decoder_model_merged=fp16",
        "models.eyes.max_tiles=3",
    ];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["models", "inspect", "eyes", "--json"]
        .into_iter()
        .chain(sets)
        .collect();
    let ran = run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let facts = &told["folder"];
    assert_eq!(facts["padding"], "right");
    assert_eq!(facts["variants"]["decoder_model_merged"], "fp16");
    assert_eq!(facts["variants"]["embed_tokens"], "fp32");
    assert_eq!(facts["most_tiles"], 3);
    assert_eq!(told["graphs"].as_array().unwrap().len(), 3);
    let mut wrong = settings(folder.path());
    wrong.variant = Variant::all(Some("q2"));
    let error = open_generator(&wrong).unwrap_err().to_string();
    let words =
        "onnx/decoder_model_merged_q2.onnx: missing; of decoder_model_merged there are: fp32, fp16";
    assert!(error.contains(words), "{error}");
}
