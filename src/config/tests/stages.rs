//! Specialists of one's own.

use super::*;

const TWO: &str = r#"
[[specialists]]
name = "style"
kind = "answer"
model = "scenes"
prompts = ["In what style?", "Drawn or painted?"]

[[specialists]]
name = "more_boxes"
kind = "ground"
model = "scenes"
prompt = "Where is everything?"
reads = "inline"
max_tokens = 40
mode = "required"

[[specialists]]
name = "read_text"
timeout_ms = 500
"#;

fn names(config: &Config) -> Vec<&str> {
    let specialists = config.stages.specialists.iter();
    specialists.map(|one| one.name.as_str()).collect()
}

fn found<'a>(config: &'a Config, name: &str) -> &'a Specialist {
    let mut specialists = config.stages.specialists.iter();
    specialists
        .find(|one| one.name == name)
        .expect("one of them")
}

#[test]
fn specialists_are_appended_and_what_finds_boxes_stands_before_what_relates_them() {
    let (_folder, path) = file(TWO);
    let config = load(&sources(Some(path), &[], &[]));
    assert_eq!(
        names(&config),
        ["ground", "more_boxes", "relate", "read_text", "style"]
    );
    let style = found(&config, "style");
    assert_eq!((style.kind, style.mode), (Kind::Answer, Mode::Optional));
    assert_eq!((style.prompts.len(), style.max_tokens), (2, 160));
    let boxes = found(&config, "more_boxes");
    assert_eq!((boxes.mode, boxes.max_tokens), (Mode::Required, 40));
    assert_eq!(boxes.prompts, ["Where is everything?"]);
    let reader = found(&config, "read_text");
    assert_eq!(reader.timeout, Some(Duration::from_millis(500)));
    assert_eq!(reader.model, "ppocr", "the rest of it stays");
    assert_eq!(config.models_in_use(), ["scenes", "ppocr"]);
}

#[test]
fn every_layer_changes_a_specialist_by_its_name() {
    let (_folder, path) = file(TWO);
    let config = load(&sources(
        Some(path),
        &[("VILA2_STAGES__STYLE__MAX_TOKENS", "7")],
        &["stages.more_boxes.mode=off", "stages.style.mode=required"],
    ));
    let style = found(&config, "style");
    assert_eq!((style.max_tokens, style.mode), (7, Mode::Required));
    assert_eq!(found(&config, "more_boxes").mode, Mode::Off);
}

#[test]
fn what_config_show_prints_is_the_same_again() {
    let (_folder, path) = file(TWO);
    let sources_of = |path| sources(Some(path), &[], &[]);
    let (config, layers) = Config::load(&sources_of(path)).expect("a good configuration");
    let lines = shown(&layers).into_iter();
    let lines = lines.map(|shown| format!("{} = {}\n", shown.key, shown.value));
    let printed: String = lines.collect();
    let (_folder, path) = file(&printed);
    assert_eq!(load(&sources_of(path)).stages, config.stages, "{printed}");
}

#[test]
fn wrong_specialists_are_told_with_their_keys() {
    for (text, key, part) in [
        ("specialists = 3", "specialists", "list of tables"),
        (
            "[[specialists]]\nkind = 'answer'",
            "specialists",
            "without a name",
        ),
        (
            "[[specialists]]\nname = 'Style'\nkind = 'answer'\nmodel = 'scenes'\nprompt = 'x'",
            "stages.Style.name",
            "no name",
        ),
        (
            "[[specialists]]\nname = 'fetch'\nkind = 'answer'\nmodel = 'scenes'\nprompt = 'x'",
            "stages.fetch.name",
            "something else",
        ),
        (
            "[[specialists]]\nname = 'x'\nmodel = 'scenes'\nprompt = 'x'",
            "stages.x.kind",
            "missing",
        ),
        (
            "[[specialists]]\nname = 'x'\nkind = 'answer'\nmodel = 'scenes'",
            "stages.x.prompt",
            "missing",
        ),
        (
            "[[specialists]]\nname = 'x'\nkind = 'relate'\nmodel = 'scenes'",
            "stages.x.prompt",
            "missing",
        ),
        (
            "[stages.relate]\nprompt = 'Where are {things}?'",
            "stages.relate.prompt",
            "geometry relates boxes without one",
        ),
        (
            "[stages.ground]\nprompt = 'Where are {things}?'",
            "stages.ground.prompt",
            "boxes are found only later",
        ),
        (
            "[stages.caption]\nprompts = ['What of {things}?']",
            "stages.caption.prompts",
            "boxes are found only later",
        ),
        (
            "[[specialists]]\nname = 'x'\nkind = 'answer'\nmodel = 'scenes'\nprompt = 'x'\nreads = 'json'",
            "stages.x.reads",
            "not known",
        ),
        (
            "[[specialists]]\nname = 'ground'\nkind = 'answer'",
            "stages.ground.kind",
            "another kind",
        ),
        ("[stages.x]\nmode = 'off'", "stages.x", "is not a key"),
        (
            "[stages.ground]\nprompt = 'x'\nprompts = ['y']",
            "stages.ground.prompts",
            "beside `prompt`",
        ),
        (
            "[stages.caption]\nprompts = ['Better than {caption}.']",
            "stages.caption.prompts",
            "which is what it asks for",
        ),
    ] {
        let (_folder, path) = file(text);
        let found = faults(&sources(Some(path), &[], &[]));
        let fits = |fault: &Fault| fault.key == key && fault.problem.contains(part);
        assert!(found.iter().any(fits), "{text}: {found:?}");
    }
}

#[test]
fn how_tokens_are_chosen_is_said_for_the_captioner_and_for_each_specialist() {
    let (_folder, path) = file(TWO);
    let config = load(&sources(
        Some(path),
        &[("VILA2_STAGES__STYLE__SAMPLING__TEMPERATURE", "1")],
        &[r#"stages.caption.sampling={top_p=0.9, temperature=0.7, stop=["\n"]}"#],
    ));
    let caption = &config.stages.caption.sampling;
    assert_eq!((caption.temperature, caption.top_p), (0.7, 0.9));
    assert_eq!((caption.top_k, &*caption.stop), (0, &["\n".to_owned()][..]));
    assert_eq!(found(&config, "style").sampling.temperature, 1.0);
    assert!(found(&config, "ground").sampling.is_greedy());
}

#[test]
fn a_wrong_way_of_choosing_tokens_is_refused_by_its_key() {
    let set = "stages.caption.sampling={temperature=-1, top_p=0, typical_p=0.5, stop=['']}";
    let faults = faults(&sources(None, &[], &[set]));
    for key in ["temperature", "top_p", "typical_p", "stop"] {
        let key = format!("stages.caption.sampling.{key}");
        assert!(faults.iter().any(|one| one.key == key), "{key}: {faults:?}");
    }
}

#[test]
fn one_prompt_and_several_are_one_setting_and_the_layer_above_has_it() {
    let (_folder, path) = file("[stages.ground]\nprompts = ['a', 'b']");
    let prompts = |sets: &[&str]| {
        let config = load(&sources(Some(path.clone()), &[], sets));
        found(&config, "ground").prompts.clone()
    };
    assert_eq!(prompts(&[]), ["a", "b"]);
    assert_eq!(prompts(&["stages.ground.prompt=c"]), ["c"]);
    assert_eq!(
        prompts(&["stages.ground.prompt=c", "stages.ground.prompts=[\"d\"]"]),
        ["d"]
    );
}
