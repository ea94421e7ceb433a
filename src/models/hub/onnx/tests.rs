use super::*;

/// A field with a length.
pub(in crate::models) fn part(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

/// An ONNX file with one operator, and one tensor that lies in `weights` (file, offset,
/// length).
pub(in crate::models) fn file(operator: &str, weights: Option<(&str, u64, u64)>) -> Vec<u8> {
    let mut graph = part(1, &part(4, operator.as_bytes()));
    if let Some((location, offset, length)) = weights {
        let entry = |key: &str, value: &str| {
            let both = [part(1, key.as_bytes()), part(2, value.as_bytes())].concat();
            part(13, &both)
        };
        let tensor = [
            entry("location", location),
            entry("offset", &offset.to_string()),
            entry("length", &length.to_string()),
            vec![14 << 3, 1],
        ];
        graph.extend(part(5, &tensor.concat()));
    }
    [vec![8, 10], part(7, &graph)].concat()
}

fn outline_of(bytes: &[u8]) -> Result<Outline, Unreadable> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.onnx");
    std::fs::write(&path, bytes).expect("a file");
    outline(&path)
}

#[test]
fn operators_and_places_of_weights_are_found() {
    let found = outline_of(&file("GroupQueryAttention", Some(("x.onnx_data", 64, 100))));
    let found = found.expect("a graph");
    assert!(found.group_query_attention);
    let expected = BTreeMap::from([("x.onnx_data".to_owned(), 164)]);
    assert_eq!(found.external, expected);
    let plain = outline_of(&file("MatMul", None)).expect("a graph");
    assert_eq!(plain, Outline::default());
}

#[test]
fn an_operator_inside_a_branch_is_found() {
    let branch = part(1, &part(4, b"GroupQueryAttention"));
    let attribute = part(5, &part(6, &branch));
    let graph = part(1, &[part(4, b"If"), attribute].concat());
    let found = outline_of(&[vec![8, 10], part(7, &graph)].concat()).expect("a graph");
    assert!(found.group_query_attention);
}

#[test]
fn a_cut_file_tells_the_size_it_should_have() {
    let whole = file("MatMul", Some(("w", 0, 300)));
    for length in 4..whole.len() {
        match outline_of(&whole[..length]) {
            Err(Unreadable::Cut { found, wanted }) => {
                assert_eq!((found, wanted), (length as u64, whole.len() as u64));
            }
            other => panic!("{length} bytes: {other:?}"),
        }
    }
}

#[test]
fn other_files_are_no_graphs() {
    for bytes in [
        &b"no graph"[..],
        b"{}",
        b"",
        &[0; 100],
        &[8, 10],
        b"\x89PNG\r\n",
    ] {
        let found = outline_of(bytes);
        assert!(
            matches!(found, Err(Unreadable::NoGraph)),
            "{bytes:?}: {found:?}"
        );
    }
}

#[test]
fn the_shipped_graphs_are_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [
        "models/scenes/onnx/decoder_model_merged.onnx",
        "target/runtime/rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    ] {
        let found = outline(&root.join(file)).expect("a graph");
        assert_eq!(found, Outline::default(), "{file}");
    }
}

#[test]
fn what_a_graph_takes_and_gives_is_read_without_its_weights() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = surface(&root.join("models/scenes/onnx/embed_tokens.onnx")).expect("a graph");
    let port = |name: &str, element: &str, shape: &[&str]| Port {
        name: name.to_owned(),
        element: element.to_owned(),
        shape: shape.iter().map(|side| (*side).to_owned()).collect(),
    };
    let sides = ["batch_size", "sequence_length"];
    assert_eq!(found.inputs, [port("input_ids", "i64", &sides)]);
    let embeds = port("inputs_embeds", "f32", &[sides[0], sides[1], "128"]);
    assert_eq!(found.outputs, [embeds]);
    assert!(found.operators.is_empty());
    let fused = root.join("tests/goldens/family/onnx/gqa/decoder_model_merged.onnx");
    let found = surface(&fused).expect("a graph");
    assert_eq!(found.operators.get("GroupQueryAttention"), Some(&2));
}

#[test]
fn weights_among_the_inputs_are_not_told_and_what_is_no_tensor_is_no_fault() {
    let value = |name: &str, content: &[u8]| [part(1, name.as_bytes()), part(2, content)].concat();
    let tensor = part(1, &[vec![8, 7], part(2, &part(1, &[8, 3]))].concat());
    let graph = [
        part(11, &value("ids", &tensor)),
        part(11, &value("weights", &tensor)),
        part(5, &part(8, b"weights")),
        part(12, &value("sequence", &part(4, b""))),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.onnx");
    std::fs::write(&path, [vec![8, 10], part(7, &graph.concat())].concat()).expect("a file");
    let found = surface(&path).expect("a graph");
    assert_eq!(found.inputs.len(), 1);
    assert_eq!(
        (found.inputs[0].element.as_str(), &found.inputs[0].shape[..]),
        ("i64", &["3".to_owned()][..])
    );
    assert_eq!(found.outputs[0].element, "?");
}
