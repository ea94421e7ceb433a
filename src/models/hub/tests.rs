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

fn needs<'a>(graphs: &'a [&'a str]) -> Needs<'a> {
    Needs {
        graphs,
        chat_template: true,
    }
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

fn whole() -> TempDir {
    let dir = folder(&WHOLE);
    let graph = onnx::tests::file("MatMul", Some(("decoder_fp16.onnx_data", 0, 7)));
    fs::write(dir.path().join("onnx/decoder_fp16.onnx"), graph).expect("a file");
    dir
}

fn revision(dir: &TempDir) -> String {
    let hub = HubFolder::open(dir.path(), needs(&["decoder"]), &Variant::First);
    let hub = hub.expect("whole");
    hub.revision(None).expect("readable")
}

#[test]
fn a_whole_folder_is_read_with_its_variant_and_external_data() {
    let dir = whole();
    let hub = HubFolder::open(dir.path(), needs(&["decoder"]), &Variant::First).expect("whole");
    assert_eq!(hub.model_type, "smolvlm");
    assert_eq!(hub.chat_template, "in config");
    let graph = hub.graphs.get("decoder").expect("found");
    assert_eq!(graph.variant, "fp16");
    assert_eq!(graph.external_data.len(), 1);
    assert!(!graph.group_query_attention);
    let revision = hub.revision(None);
    assert_eq!(revision.expect("readable").len(), 12);
}

#[test]
fn every_file_on_which_answers_depend_changes_the_revision_and_nothing_else_does() {
    let dir = whole();
    let put = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).expect("a file");
        revision(&dir)
    };
    let mut seen = vec![revision(&dir)];
    assert_eq!(put("README.md", b"# A model"), seen[0]);
    assert_eq!(put("onnx/other.onnx", b"not asked for"), seen[0]);
    // The same content in another folder is the same model.
    assert_eq!(revision(&whole()), seen[0]);
    let graph = onnx::tests::file("Gemm", Some(("decoder_fp16.onnx_data", 0, 7)));
    for (name, bytes) in [
        (
            "config.json",
            br#"{"model_type": "smolvlm", "x": 1}"#.as_slice(),
        ),
        ("generation_config.json", br#"{"max_length": 20}"#),
        ("preprocessor_config.json", br#"{"size": 1}"#),
        ("processor_config.json", br#"{"image_seq_len": 64}"#),
        ("tokenizer_config.json", br#"{"chat_template": "another"}"#),
        (
            "tokenizer.json",
            TOKENIZER.replace("\"a\"", "\"b\"").as_bytes(),
        ),
        ("chat_template.jinja", b"in jinja"),
        ("onnx/decoder_fp16.onnx", &graph),
        ("onnx/decoder_fp16.onnx_data", b"weightS"),
    ] {
        let revision = put(name, bytes);
        assert!(!seen.contains(&revision), "{name}");
        seen.push(revision);
    }
}

#[test]
fn opening_a_folder_again_reads_no_graph_again() {
    let dir = whole();
    let reads = || {
        let inside = |read: &&std::path::PathBuf| read.starts_with(dir.path());
        digest::tests::READS.with_borrow(|reads| reads.iter().filter(inside).count())
    };
    let first = revision(&dir);
    let read = reads();
    assert!(read >= 2, "{read}");
    assert_eq!((revision(&dir), reads()), (first, read));
}

#[test]
fn what_stands_in_place_of_a_file_is_told_with_what_to_do() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 77\n";
    for (name, text, words) in [
        ("config.json", pointer, "a Git LFS pointer"),
        ("tokenizer.json", pointer, "a Git LFS pointer"),
        ("onnx/decoder_fp16.onnx", pointer, "a Git LFS pointer"),
        ("onnx/decoder_fp16.onnx_data", pointer, "a Git LFS pointer"),
        ("tokenizer.json", "<!DOCTYPE html><html>", "an HTML page"),
        ("chat_template.jinja", "<html>", "an HTML page"),
        ("onnx/decoder_fp16.onnx", "<html>", "an HTML page"),
        ("config.json", "", "empty"),
        ("tokenizer.json", "", "empty"),
        ("onnx/decoder_fp16.onnx", "", "empty"),
        ("config.json", r#"{"model_type": "smol"#, "cut off"),
        ("tokenizer.json", r#"{"version": "1.0", "#, "cut off"),
        (
            "onnx/decoder_fp16.onnx",
            "\u{8}\u{a}:\u{50}",
            "cut off: 4 bytes of at least 84",
        ),
        (
            "onnx/decoder_fp16.onnx_data",
            "weig",
            "cut off: 4 bytes of at least 7",
        ),
        ("onnx/decoder_fp16.onnx", "no graph", "no ONNX graph"),
    ] {
        let dir = whole();
        fs::write(dir.path().join(name), text).expect("a file");
        let error = HubFolder::open(dir.path(), needs(&["decoder"]), &Variant::First).unwrap_err();
        let fault = (error.faults.iter().find(|fault| fault.file == name))
            .unwrap_or_else(|| panic!("{name}: {error}"));
        assert!(fault.what.starts_with(words), "{error}");
        assert!(fault.what.contains("vila2 models pull"), "{error}");
    }
}

#[test]
fn a_template_file_comes_before_the_tokenizer_configuration() {
    let dir = whole();
    let json = dir.path().join("chat_template.json");
    fs::write(json, r#"{"chat_template": "in json"}"#).expect("a file");
    let hub = HubFolder::open(dir.path(), needs(&["decoder"]), &Variant::First).expect("whole");
    assert_eq!(hub.chat_template, "in json");
    fs::write(dir.path().join("chat_template.jinja"), "in jinja").expect("a file");
    let hub = HubFolder::open(dir.path(), needs(&["decoder"]), &Variant::First).expect("whole");
    assert_eq!(hub.chat_template, "in jinja");
}

#[test]
fn every_fault_of_a_folder_is_told_at_once() {
    let dir = folder(&[
        ("config.json", r#"{"model": "smolvlm"}"#),
        ("preprocessor_config.json", "[]"),
        ("tokenizer.json", "{}"),
    ]);
    let error = HubFolder::open(
        dir.path(),
        needs(&["vision_encoder", "decoder"]),
        &Variant::First,
    )
    .unwrap_err();
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

fn with_variants(files: &[&str]) -> TempDir {
    let dir = whole();
    fs::remove_file(dir.path().join("onnx/decoder_fp16.onnx")).expect("removed");
    for file in files {
        let graph = onnx::tests::file("MatMul", None);
        fs::write(dir.path().join("onnx").join(file), graph).expect("a file");
    }
    dir
}

/// The variants taken of `decoder` and `embed`, or every fault.
fn taken(dir: &TempDir, asked: &Variant) -> Result<String, String> {
    let hub = HubFolder::open(dir.path(), needs(&["decoder", "embed"]), asked);
    let hub = hub.map_err(|error| error.to_string())?;
    let taken: Vec<String> = (hub.graphs.iter())
        .map(|(name, graph)| format!("{name} {}", graph.variant))
        .collect();
    Ok(taken.join(", "))
}

#[test]
fn each_graph_has_its_own_variant() {
    let dir = with_variants(&[
        "decoder_q8.onnx",
        "decoder_q4f32.onnx",
        "decoder_merged.onnx",
        "embed_fp16.onnx",
    ]);
    let all = |word| Variant::All(String::from(word));
    let each = |graph: &str, word: &str| Variant::Each([(graph.into(), word.into())].into());
    assert_eq!(
        taken(&dir, &Variant::First).unwrap(),
        "decoder q8, embed fp16"
    );
    let error = taken(&dir, &all("q4f32")).unwrap_err();
    assert!(error.contains("variant = { embed = \"…\" }"), "{error}");
    assert!(!error.contains("decoder_q4f32"), "{error}");
    let mixed = taken(&dir, &each("decoder", "q4f32"));
    assert_eq!(mixed.unwrap(), "decoder q4f32, embed fp16");
    let error = taken(&dir, &all("q4")).unwrap_err();
    for words in [
        "onnx/decoder_q4.onnx: missing; of decoder there are: q8, q4f32",
        "onnx/embed_q4.onnx: missing; of embed there are: fp16",
    ] {
        assert!(error.contains(words), "{error}");
    }
    let error = taken(&dir, &each("embed", "fp32")).unwrap_err();
    let words = "onnx/embed.onnx: missing; of embed there are: fp16";
    assert!(error.contains(words), "{error}");
    let error = taken(&dir, &each("vision", "q4")).unwrap_err();
    assert!(error.contains("its graphs: decoder, embed"), "{error}");
    let error = taken(&with_variants(&["embed.onnx"]), &Variant::First).unwrap_err();
    let words = "onnx/decoder.onnx: missing, and so are the variants";
    assert!(error.contains(words), "{error}");
}

#[test]
fn picture_settings_of_transformers_5_come_before_those_of_4() {
    let dir = whole();
    let open = || HubFolder::open(dir.path(), needs(&["decoder"]), &Variant::First);
    let file = dir.path().join("processor_config.json");
    fs::write(&file, r#"{"image_processor": {"resample": 1}}"#).expect("a file");
    let (settings, from) = open().expect("whole").preprocessor;
    assert_eq!(
        (&settings["resample"], from),
        (&1.into(), "processor_config.json")
    );
    fs::remove_file(dir.path().join("preprocessor_config.json")).expect("removed");
    assert!(open().is_ok());
    fs::write(&file, "{}").expect("a file");
    let error = open().unwrap_err().to_string();
    let words = "preprocessor_config.json: missing, and processor_config.json has no \
                 `image_processor`";
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_missing_folder_is_one_fault() {
    let error = model_type(Path::new("no/such/folder")).unwrap_err();
    assert_eq!(error.faults.len(), 1);
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}
