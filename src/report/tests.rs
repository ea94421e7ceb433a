use serde_json::json;

use super::*;

fn record() -> Value {
    json!({
        "schema": "vila2.caption/1", "id": "a", "url": "http://127.0.0.1:1/images/a.png", "round": 0,
        "image": {"sha256": "0".repeat(64), "width": 40, "height": 30, "format": "png", "bytes": 3},
        "original_caption": "a <b>picture</b>",
        "caption": {"text": "One object: a red circle.", "tokens": 7, "finish": "stop"},
        "grounding": [{"id": "g0", "phrase": "a red circle", "box": [1.0, 2.0, 11.0, 22.0], "score": null}],
        "text": [{"id": "t0", "text": "HI", "quad": [[1, 1], [5, 1], [5, 4], [1, 4]], "score": 0.91}],
        "spatial": [],
        "clauses": [
            {"text": "One object: a red circle.", "verdict": "unverified", "evidence": []},
            {"text": "The red circle is on the left.", "verdict": "grounded", "evidence": ["g0"]},
        ],
        "enriched": "One object: a red circle. The red circle is on the left.",
        "models": {"caption": {"model": "scenes", "revision": "0123456789ab", "prompt": "p"},
                   "ground": {"model": "scenes", "revision": "0123456789ab", "prompt": "q"}},
        "status": "degraded", "degraded": [{"stage": "relate", "reason": "it broke"}],
        "marks": ["repetition", "no_<b>"],
        "timings_ms": {"fetch": 2.0, "caption": 6.0, "total": 10.0}, "queue_ms": {"caption": 2.0}
    })
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = |name: &str, text: String| fs::write(folder.path().join(name), text).expect(name);
    fs::create_dir(folder.path().join("images")).expect("images");
    file("images/a.png", "png".to_owned());
    file("captions.jsonl", format!("{}\n", record()));
    let letter = json!({"key": null, "value": "no url", "headers": {"vila2-reason": "bad_request",
        "vila2-stage": "intake", "vila2-detail": "not a <URL>", "vila2-attempts": "1"}});
    file("dead.jsonl", format!("{letter}\n\n"));
    let stage = json!({"count": 1, "p50_ms": 2.0, "p95_ms": 2.0, "p99_ms": 2.0});
    let summary = json!({"images": 1, "captions": 1, "dead_letters": 1, "images_per_second": 3.25,
        "stages": {"fetch": stage}, "score": {"object": {"precision": 0.5, "recall": 1.0, "f1": 0.67},
        "text": {"cer": 0.1, "word_recall": 0.9}, "chair_i": 0.5, "chair_s": 1.0}});
    file("summary.json", summary.to_string());
    folder
}

#[test]
fn the_page_holds_pictures_marks_clauses_waterfall_and_dead_letters() {
    let folder = folder();
    let html = fs::read_to_string(write(folder.path()).expect("the page")).expect("the file");
    for part in [
        "data:image/png;base64,cG5n",
        r#"data-id="g0""#,
        r#"<rect x="1.0" y="2.0" width="10.0" height="20.0" stroke="hsl(200, 90%, 45%)""#,
        r#"points="1.0,1.0 5.0,1.0 5.0,4.0 1.0,4.0""#,
        r#"class="clause grounded""#,
        r#"class="work s-caption" x="40.0" width="60.0""#,
        "relate (it broke)",
        "marked by rules: repetition, no_&lt;b&gt;",
        "bad_request",
        "caption, ground: <b>scenes</b>",
        "90.0 %",
    ] {
        assert!(html.contains(part), "the page lacks {part}");
    }
}

#[test]
fn text_from_the_world_is_escaped() {
    let folder = folder();
    let html = fs::read_to_string(write(folder.path()).expect("the page")).expect("the file");
    assert!(!html.contains("<b>picture</b>") && !html.contains("not a <URL>"));
}

#[test]
fn a_broken_line_is_named_with_file_and_number() {
    let folder = folder();
    fs::write(folder.path().join("dead.jsonl"), "{}\n{oops\n").expect("the file");
    let error = write(folder.path()).expect_err("a broken file").to_string();
    assert!(error.contains("dead.jsonl, line 2"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder();
    fs::remove_file(folder.path().join("summary.json")).expect("removed");
    let error = write(folder.path())
        .expect_err("a missing file")
        .to_string();
    assert!(error.contains("summary.json"), "{error}");
}
