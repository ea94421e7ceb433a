use serde_json::{Value, json};

use super::*;

/// A record with every member there can be.
fn whole(number: u32) -> Value {
    json!({
        "schema": "vila2.caption/1",
        "id": format!("id.{number}/ü"),
        "url": format!("http://host/{number}.jpg"),
        "round": number % 3,
        "meta": { "big": 12345678901234567u64, "deep": [1, { "a": null }], "text": "\"\n\u{1F600}" },
        "image": { "sha256": "ab".repeat(32), "width": 640, "height": 480, "format": "jpeg", "bytes": 1234567,
                   "phash": "0123456789abcdef" },
        "original_caption": "",
        "caption": { "text": "A large red circle.", "tokens": 5, "finish": "stop", "score": 0.75 },
        "grounding": [
            { "id": "g0", "phrase": "a large red circle", "box": [0.5, 1.25, 100.0, 200.0], "score": null },
            { "id": "g1", "phrase": "a ring", "box": [1.0, 2.0, 3.0, 4.0], "score": 0.1 },
        ],
        "text": [{ "id": "t0", "text": "open", "quad": [[0.0, 1.0], [2.0, 3.0], [4.5, 5.5], [6.0, 7.0]], "score": 0.99 }],
        "spatial": [{ "id": "s0", "subject": "g0", "relation": "left of", "object": "g1", "score": 1.0 }],
        "answers": [{ "id": "a0", "specialist": "style", "question": "Which?", "text": "Flat.", "tokens": 2, "finish": "length" }],
        "clauses": [
            { "text": "A large red circle.", "verdict": "grounded", "evidence": ["g0"], "id": "c0", "source": "caption",
              "span": [0, 19], "score": 0.5 },
            { "text": "It is nice.", "verdict": "unverified", "evidence": [] },
        ],
        "disputed": [{ "id": "d0", "text": "a blue ring", "kind": "attribute", "by": "caption", "against": "ground",
                       "evidence": ["g1"], "resolution": "dropped" }],
        "marks": ["repetition"],
        "enriched": "A large red circle. It is nice.",
        "models": { "caption": { "model": "scenes", "revision": "0123456789ab", "prompt": "Describe." },
                    "read_text": { "model": "ppocr", "revision": "0123456789ab" } },
        "status": "degraded",
        "degraded": [{ "stage": "relate", "reason": "no answer in time" }],
        "timings_ms": { "fetch": 1.5, "total": 20.0 },
        "queue_ms": {},
    })
}

/// One with what there must be, and nothing else.
fn bare() -> Value {
    let mut record = whole(0);
    let members = record.as_object_mut().unwrap();
    for name in [
        "meta",
        "original_caption",
        "answers",
        "disputed",
        "marks",
        "degraded",
    ] {
        members.remove(name);
    }
    for name in ["grounding", "text", "spatial", "clauses"] {
        members[name] = json!([]);
    }
    members["status"] = "complete".into();
    members["image"].as_object_mut().unwrap().remove("phash");
    members["caption"].as_object_mut().unwrap().remove("score");
    record
}

fn written(records: &[Value]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("captions-00000.parquet");
    let mut writer = RecordWriter::create(&path).unwrap();
    for record in records {
        writer.push(record.to_string().as_bytes()).unwrap();
        assert!(!path.exists(), "not before it is whole");
    }
    writer.finish().unwrap();
    (folder, path)
}

fn value(record: Result<Vec<u8>, Error>) -> Value {
    serde_json::from_slice(&record.unwrap()).unwrap()
}

#[test]
fn records_come_back_as_they_were() {
    let records: Vec<_> = (0..3000)
        .map(|number| {
            if number % 7 == 0 {
                bare()
            } else {
                whole(number)
            }
        })
        .collect();
    let (_folder, path) = written(&records);
    check(&path).unwrap();
    assert_eq!(count(&path).unwrap(), 3000);
    let back: Vec<_> = read(&path).unwrap().map(value).collect();
    assert_eq!(back, records);
    for number in [0, 1, 255, 256, 1023, 1024, 2999] {
        assert_eq!(
            value(row(&path, number)),
            records[number as usize],
            "{number}"
        );
    }
    assert!(
        row(&path, 3000)
            .unwrap_err()
            .to_string()
            .contains("has no row 3000")
    );
}

#[test]
fn digits_of_meta_are_kept() {
    let mut record = bare();
    record["meta"] = json!(1);
    let text = record
        .to_string()
        .replace("\"meta\":1", "\"meta\":1.50000000000000000001e400");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    let mut writer = RecordWriter::create(&path).unwrap();
    writer.push(text.as_bytes()).unwrap();
    writer.finish().unwrap();
    let back = read(&path).unwrap().next().unwrap().unwrap();
    let back = String::from_utf8(back).unwrap();
    assert!(
        back.contains("\"meta\":1.50000000000000000001e400"),
        "{back}"
    );
}

#[test]
fn what_is_no_file_of_records_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.parquet");
    fs::write(&path, "PAR1 and no more").unwrap();
    let error = check(&path).unwrap_err().to_string();
    assert!(error.contains("other.parquet"), "{error}");
    let mut writer = RecordWriter::create(&path).unwrap();
    let error = writer.push(b"no record").unwrap_err().to_string();
    assert!(error.contains("other.parquet"), "{error}");
}
