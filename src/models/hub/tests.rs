use std::fs;

use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("a scratch folder");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    }
    dir
}

const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "decoder": null, "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}"#;

const WHOLE: [(&str, &str); 6] = [
    ("config.json", r#"{"model_type": "smolvlm"}"#),
    ("preprocessor_config.json", "{}"),
    ("tokenizer.json", TOKENIZER),
    ("tokenizer_config.json", r#"{"chat_template": "in config"}"#),
    ("onnx/decoder_fp16.onnx", "graph"),
    ("onnx/decoder_fp16.onnx_data", "weights"),
];

#[test]
fn a_whole_folder_is_read_with_its_variant_and_external_data() {
    let dir = folder(&WHOLE);
    let hub = HubFolder::open(dir.path(), &["decoder"], None).expect("whole");
    assert_eq!(hub.model_type, "smolvlm");
    assert_eq!(hub.chat_template, "in config");
    let graph = hub.graphs.get("decoder").expect("found");
    assert_eq!(graph.variant, "fp16");
    assert_eq!(graph.external_data.len(), 1);
    assert!(!graph.group_query_attention);
    // SHA-256 of "graphweights".
    assert_eq!(hub.graphs.revision(), "e814e4e36a7a");
}

#[test]
fn a_template_file_comes_before_the_tokenizer_configuration() {
    let dir = folder(&WHOLE);
    let json = dir.path().join("chat_template.json");
    fs::write(json, r#"{"chat_template": "in json"}"#).expect("a file");
    let hub = HubFolder::open(dir.path(), &["decoder"], None).expect("whole");
    assert_eq!(hub.chat_template, "in json");
    fs::write(dir.path().join("chat_template.jinja"), "in jinja").expect("a file");
    let hub = HubFolder::open(dir.path(), &["decoder"], None).expect("whole");
    assert_eq!(hub.chat_template, "in jinja");
}

#[test]
fn every_fault_of_a_folder_is_told_at_once() {
    let dir = folder(&[
        ("config.json", r#"{"model": "smolvlm"}"#),
        ("preprocessor_config.json", "[]"),
        ("tokenizer.json", "{}"),
    ]);
    let error = HubFolder::open(dir.path(), &["vision_encoder", "decoder"], None).unwrap_err();
    let files: Vec<&str> = error.faults.iter().map(|f| f.file.as_str()).collect();
    assert_eq!(
        files,
        [
            "config.json",
            "preprocessor_config.json",
            "tokenizer_config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "onnx/decoder.onnx",
            "onnx/vision_encoder.onnx",
        ]
    );
    assert!(error.to_string().contains("`model_type`"), "{error}");
}

#[test]
fn an_unknown_variant_is_refused_with_the_accepted_ones() {
    let dir = folder(&WHOLE);
    let error = HubFolder::open(dir.path(), &["decoder"], Some("fp17")).unwrap_err();
    assert!(error.to_string().contains("fp32, fp16"), "{error}");
    let error = HubFolder::open(dir.path(), &["decoder"], Some("q4")).unwrap_err();
    assert_eq!(
        error.faults,
        [Fault::new("onnx/decoder_q4.onnx", "missing")]
    );
}

#[test]
fn a_missing_folder_is_one_fault() {
    let error = model_type(Path::new("no/such/folder")).unwrap_err();
    assert_eq!(error.faults.len(), 1);
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}
