use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::scenes::generate::{Formats, Generator};

const TRUTH: &str = r#"{"file":"a.jpg","width":100,"height":100,"background":"plain gray","caption":"x","objects":[{"id":"o1","shape":"star","color":"red","size":"small","box":[0,0,10,10]},{"id":"o2","shape":"ring","color":"blue","size":"large","box":[50,50,90,90]}],"texts":[{"text":"OPEN","quad":[[0,50],[9,50],[9,60],[0,60]]}],"relations":[{"subject":"o1","relation":"left of","object":"o2"}]}
{"file":"b.jpg","width":100,"height":100,"background":"plain gray","caption":"x","objects":[{"id":"o1","shape":"cross","color":"black","size":"small","box":[0,0,10,10]}],"texts":[],"relations":[]}
"#;

/// The record of a chain that makes no mistake.
fn perfect(scene: &Scene) -> Value {
    let phrase =
        |o: &super::super::scene::SceneObject| format!("a {} {} {}", o.size, o.color, o.shape);
    let phrases: Vec<String> = scene.objects.iter().map(phrase).collect();
    json!({
        "url": format!("http://127.0.0.1:80/images/{}", scene.file),
        "caption": {"text": format!("Objects on a {} background: {}.", scene.background, phrases.join(" and "))},
        "grounding": scene.objects.iter().zip(&phrases)
            .map(|(o, phrase)| json!({"id": o.id, "phrase": phrase, "box": o.bounds})).collect::<Vec<_>>(),
        "text": scene.texts.iter().map(|t| json!({"text": t.text})).collect::<Vec<_>>(),
        "spatial": scene.relations,
    })
}

#[test]
fn a_report_is_exactly_the_contracts_json() {
    let captions = r#"{"url":"http://h/a.jpg","caption":{"text":"a red star and a green star"},"grounding":[{"id":"g0","phrase":"a star","box":[0,0,10,10]},{"id":"g1","phrase":"a star","box":[50,50,90,90]}],"text":[{"text":"OPFN"}],"spatial":[{"subject":"g0","relation":"left of","object":"g1"},{"subject":"g0","relation":"near","object":"g1"}]}"#;
    let report = serde_json::to_value(score(TRUTH, captions).unwrap()).unwrap();
    let third = 2.0 * 0.5 * (1.0 / 3.0) / (0.5 + 1.0 / 3.0);
    assert_eq!(
        report,
        json!({
            // 1 of 2 mentions matched, 1 of 3 objects; the record of b.jpg is missing.
            "object": {"precision": 0.5, "recall": 1.0 / 3.0, "f1": third},
            // One colour given and right; colour and size expected.
            "attribute": {"precision": 1.0, "recall": 0.5, "f1": 2.0 / 3.0},
            "relation": {"precision": 0.5, "recall": 1.0, "f1": 2.0 / 3.0},
            "grounding": {"precision": 0.5, "recall": 1.0 / 3.0, "f1": third},
            "text": {"cer": 0.25, "word_recall": 0.0},
            "chair_i": 0.0,
            "chair_s": 0.0,
        })
    );
}

#[test]
fn hallucinations_are_counted_per_mention_and_per_caption() {
    let captions = "{\"url\":\"a.jpg\",\"caption\":{\"text\":\"a star, a ring and a circle\"}}\n\n\
                    {\"url\":\"b.jpg\",\"caption\":{\"text\":\"a cross\"}}\n";
    let report = score(TRUTH, captions).unwrap();
    assert_eq!((report.chair_i, report.chair_s), (0.25, 0.5));
    assert_eq!((report.object.precision, report.object.recall), (0.75, 1.0));
}

#[test]
fn no_captions_at_all_score_nothing() {
    let report = score(TRUTH, "").unwrap();
    for (name, prf) in report.prf_rows() {
        assert_eq!(
            (prf.precision, prf.recall, prf.f1),
            (0.0, 0.0, 0.0),
            "{name}"
        );
    }
    let single = report.single_rows().map(|(_, value)| value);
    assert_eq!(single, [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn the_last_record_of_a_file_counts() {
    let captions = "{\"url\":\"b.jpg\",\"caption\":{\"text\":\"a star\"}}\n\
                    {\"url\":\"b.jpg\",\"caption\":{\"text\":\"a cross\"}}\n";
    assert_eq!(score(TRUTH, captions).unwrap().object.precision, 1.0);
}

#[test]
fn an_unknown_file_is_an_error_with_its_name() {
    let error = score(TRUTH, "\n{\"url\":\"http://h/images/z.png?x=1\"}")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 2") && error.contains("z.png"),
        "{error}"
    );
}

#[test]
fn broken_and_repeated_lines_are_named() {
    let error = score("{}", "").unwrap_err().to_string();
    assert!(error.contains("truth line 1"), "{error}");
    let error = score(TRUTH, "{\"caption\":").unwrap_err().to_string();
    assert!(error.contains("captions line 1"), "{error}");
    let error = score(&format!("{TRUTH}{TRUTH}"), "")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("truth line 3") && error.contains("a.jpg"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_chain_without_mistakes_scores_one(seed in any::<u64>(), count in 1u64..5) {
        let generator = Generator::new(seed, Formats::Mixed).unwrap();
        let scenes: Vec<Scene> = (0..count).map(|index| generator.compose(index).scene).collect();
        let lines = |values: Vec<String>| values.join("\n");
        let truth = lines(scenes.iter().map(|s| serde_json::to_string(s).unwrap()).collect());
        let captions = lines(scenes.iter().rev().map(|s| perfect(s).to_string()).collect());
        let report = score(&truth, &captions).unwrap();
        for (name, prf) in report.prf_rows() {
            prop_assert_eq!((prf.precision, prf.recall, prf.f1), (1.0, 1.0, 1.0), "{}", name);
        }
        prop_assert_eq!(report.single_rows().map(|(_, v)| v), [0.0, 1.0, 0.0, 0.0]);
    }
}
