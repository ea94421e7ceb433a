//! Every format, with the traps that break its loaders.

use super::*;

fn texts() -> [Text; 6] {
    [
        Text::Enriched,
        Text::Caption,
        Text::Original,
        Text::OriginalCaption(TEMPLATE.to_owned()),
        Text::Qa,
        Text::Mix(0.5),
    ]
}

/// The text that is expected of a record.
fn expected(record: &Value, text: &Text) -> String {
    text.compose(&parsed(record), None).expect("a text").text
}

#[test]
fn webdataset_is_as_img2dataset_writes_it() {
    for text in texts() {
        let place = Place::of(5);
        let mut request = request(Format::Webdataset, text.clone());
        request.shard_size = 2;
        let report = place.run("out", &request).expect("an export");
        assert_eq!(
            (report.read, report.written, report.samples, report.shards),
            (5, 5, 5, 3)
        );
        let out = place.out("out");
        assert_eq!(
            names(&out.join("00001.tar")),
            [
                "000010000.jpg",
                "000010000.txt",
                "000010000.json",
                "000010001.jpg",
                "000010001.txt",
                "000010001.json"
            ]
        );
        let third = &members(&out.join("00001.tar"))[..3];
        assert_eq!(third[0].1, b"picture 2");
        assert_eq!(
            String::from_utf8_lossy(&third[1].1),
            expected(&place.records[2], &text)
        );
        let json: Value = serde_json::from_slice(&third[2].1).expect("JSON");
        assert_eq!(json["key"], "000010000");
        assert_eq!(json["caption"], expected(&place.records[2], &text).as_str());
        assert_eq!(
            (json["width"].as_u64(), json["height"].as_u64()),
            (Some(200), Some(100))
        );
        assert_eq!(json["id"], "2");
        assert_eq!(json["url"], place.records[2]["url"]);
        assert_eq!(json["meta"], r#"{"big":12345678901234567890}"#);
        assert!(out.join("00002.tar").exists() && out.join("00002.parquet").exists());
    }
}

#[test]
fn no_field_of_a_json_is_null_or_nested_and_all_have_the_same_type() {
    let mut place = Place::of(1);
    let bare = place.add("bare");
    for member in ["meta", "original_caption"] {
        bare.as_object_mut().expect("an object").remove(member);
    }
    for member in ["grounding", "text", "spatial", "clauses"] {
        bare[member] = json!([]);
    }
    place
        .run("out", &request(Format::Webdataset, Text::Caption))
        .expect("an export");
    let members = members(&place.out("out/00000.tar"));
    let [full, bare] = [&members[2].1, &members[5].1].map(|bytes| {
        serde_json::from_slice::<serde_json::Map<String, Value>>(bytes).expect("an object")
    });
    assert_eq!(
        full.keys().collect::<Vec<_>>(),
        bare.keys().collect::<Vec<_>>()
    );
    for (name, value) in full.iter().chain(&bare) {
        assert!(value.is_string() || value.is_u64(), "{name}: {value}");
        assert_eq!(full[name].is_string(), bare[name].is_string(), "{name}");
    }
}

#[test]
fn an_id_with_dots_and_slashes_is_in_the_json_alone() {
    for format in [Format::Webdataset, Format::Vila, Format::Energon] {
        let mut place = Place::new();
        place.add("a/b.c/../d.tar.id");
        place
            .run("out", &request(format, Text::Enriched))
            .expect("an export");
        let members = members(&place.out("out/00000.tar"));
        assert_eq!(
            members
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>(),
            ["000000000.jpg", "000000000.txt", "000000000.json"]
        );
        let json: Value = serde_json::from_slice(&members[2].1).expect("JSON");
        assert_eq!(json["id"], "a/b.c/../d.tar.id");
    }
}

#[test]
fn no_txt_is_empty() {
    for format in [Format::Webdataset, Format::Vila, Format::Energon] {
        let mut place = Place::of(1);
        place.add("blank")["caption"]["text"] = "  ".into();
        place
            .add("no original")
            .as_object_mut()
            .expect("an object")
            .remove("original_caption");
        let report = place
            .run("out", &request(format, Text::Caption))
            .expect("an export");
        assert_eq!((report.read, report.written), (3, 2));
        assert_eq!(report.left_out, BTreeMap::from([(Reason::NoText, 1)]));
        for (name, bytes) in members(&place.out("out/00000.tar")) {
            assert!(!bytes.trim_ascii().is_empty(), "{name}");
        }
    }
}

#[test]
fn vila_has_its_list_of_shards_and_every_url_in_the_sidecar() {
    for text in texts() {
        let place = Place::of(3);
        let mut request = request(Format::Vila, text.clone());
        request.shard_size = 2;
        place.run("out", &request).expect("an export");
        let out = place.out("out");
        let size = |name: &str| fs::metadata(out.join(name)).expect("a shard").len();
        assert_eq!(
            json_of(&out.join("wids-meta.json")),
            json!({
                "name": "vila2", "__kind__": "VILA-WebDataset", "wids_version": 1,
                "shardlist": [
                    { "url": "00000.tar", "nsamples": 2, "filesize": size("00000.tar") },
                    { "url": "00001.tar", "nsamples": 1, "filesize": size("00001.tar") },
                ],
            })
        );
        let texts = json_of(&out.join("recaption/00000.tar.json"));
        let output = |record: &Value| json!({ "output": expected(record, &text) });
        let [first, second] = [0, 1].map(|at| &place.records[at]);
        let [one, two] = [first, second].map(|one| one["url"].as_str().expect("a URL"));
        assert_eq!(texts, json!({ one: output(first), two: output(second) }));
        // what the loader takes without the sidecar
        assert_eq!(members(&out.join("00001.tar"))[1].1, b"a ring");
    }
}

#[test]
fn a_url_with_two_texts_is_in_a_sidecar_once() {
    let mut place = Place::of(1);
    let first = place.records[0].clone();
    let mut other = first.clone();
    other["caption"]["text"] = "Another.".into();
    place.records.extend([first, other]);
    let report = place
        .run("out", &request(Format::Vila, Text::Caption))
        .expect("an export");
    assert_eq!((report.read, report.written), (3, 2));
    assert_eq!(report.left_out, BTreeMap::from([(Reason::SameUrl, 1)]));
}

#[test]
fn llava_is_one_list_and_begins_with_a_person_and_the_picture() {
    for text in texts() {
        let mut place = Place::of(2);
        place.records[1]["caption"]["text"] = "It reads <image>.".into();
        place
            .run("out", &request(Format::Llava, text.clone()))
            .expect("an export");
        let out = place.out("out");
        let data = json_of(&out.join("data.json"));
        let data = data.as_array().expect("a list");
        assert_eq!(data.len(), 2);
        assert_eq!(data[0]["id"], "0");
        assert_eq!(data[0]["image"], "images/00000/000000000.jpg");
        for (number, entry) in data.iter().enumerate() {
            let image = out.join(entry["image"].as_str().expect("a path"));
            assert_eq!(
                fs::read(image).expect("a picture"),
                format!("picture {number}").as_bytes()
            );
            let said = entry["conversations"].as_array().expect("turns");
            let all: String = said.iter().map(|turn| turn["value"].to_string()).collect();
            assert_eq!(all.matches("<image>").count(), 1, "{all}");
            let first = said[0]["value"].as_str().expect("a text");
            assert!(first.starts_with("<image>\n") && first.len() > 8, "{first}");
            for (at, turn) in said.iter().enumerate() {
                assert_eq!(turn["from"], ["human", "gpt"][at % 2]);
            }
        }
        let said = data[0]["conversations"].as_array().expect("turns");
        if text == Text::Qa {
            assert_eq!((said.len(), &said[1]["value"]), (8, &json!("a ring")));
        } else {
            assert_eq!(said.len(), 2);
            assert_eq!(
                said[1]["value"],
                expected(&place.records[0], &text).as_str()
            );
        }
        let info = json_of(&out.join("dataset_info.json"));
        assert_eq!(info["vila2"]["file_name"], "data.json");
        assert_eq!(
            info["vila2"]["columns"],
            json!({ "messages": "conversations", "images": "image" })
        );
    }
}

#[test]
fn energon_has_its_two_files_and_leaves_the_others_to_prepare() {
    for text in texts() {
        let place = Place::of(3);
        let mut request = request(Format::Energon, text.clone());
        request.shard_size = 2;
        let report = place.run("out", &request).expect("an export");
        let out = place.out("out");
        let tars: Vec<_> = (0..report.shards)
            .map(|shard| format!("{shard:05}.tar"))
            .collect();
        let mut files: Vec<_> = tree(&out).into_keys().collect();
        files.sort();
        let mut there = vec![
            ".nv-meta/dataset.yaml".to_owned(),
            ".nv-meta/split.yaml".to_owned(),
        ];
        there.extend(tars.clone());
        there.push("README.md".to_owned());
        assert_eq!(files, there);
        let split = yaml(&out.join(".nv-meta/split.yaml"));
        assert_eq!(split["exclude"], json!([]));
        assert_eq!(split["split_parts"]["train"], json!(tars));
        let dataset = yaml(&out.join(".nv-meta/dataset.yaml"));
        assert_eq!(dataset["sample_type"]["__module__"], "megatron.energon");
        if text == Text::Qa {
            assert_eq!((report.written, report.samples), (3, 12));
            assert_eq!(dataset["sample_type"]["__class__"], "VQASample");
            assert_eq!(
                dataset["field_map"],
                json!({ "image": "jpg", "context": "json[context]", "answers": "json[answers]" })
            );
            let first = members(&out.join("00000.tar"));
            assert_eq!(
                first[0],
                ("000000000000.jpg".to_owned(), b"picture 0".to_vec())
            );
            let json: Value = serde_json::from_slice(&first[2].1).expect("JSON");
            assert_eq!(json["answers"], json!(["a ring"]));
            assert!(
                json["context"]
                    .as_str()
                    .is_some_and(|asked| !asked.is_empty())
            );
        } else {
            assert_eq!(dataset["sample_type"]["__class__"], "CaptioningSample");
            assert_eq!(
                dataset["field_map"],
                json!({ "image": "jpg", "caption": "txt" })
            );
            let last = members(&out.join("00001.tar"));
            assert_eq!(last[0], ("000000002.jpg".to_owned(), b"picture 2".to_vec()));
            let said = expected(&place.records[2], &text);
            assert_eq!(String::from_utf8_lossy(&last[1].1), said);
        }
    }
}

fn yaml(path: &Path) -> Value {
    serde_yaml_ng::from_slice(&fs::read(path).expect("a file")).expect("YAML")
}

#[test]
fn keys_of_energon_are_the_same_whatever_is_left_out() {
    let mut place = Place::of(3);
    place.records[0]
        .as_object_mut()
        .expect("an object")
        .remove("original_caption");
    place
        .run("pixels", &request(Format::Energon, Text::Caption))
        .expect("an export");
    let mut texts = request(Format::Energon, Text::Original);
    texts.images = false;
    place.run("texts", &texts).expect("an export");
    assert_eq!(
        names(&place.out("texts/00000.tar")),
        [
            "000000001.txt",
            "000000001.json",
            "000000002.txt",
            "000000002.json"
        ]
    );
    assert!(names(&place.out("pixels/00000.tar")).contains(&"000000002.jpg".to_owned()));
}

#[test]
fn texts_for_a_join_have_the_keys_of_the_tars_the_pictures_are_in() {
    let mut place = Place::of(2);
    for (number, key) in ["part/one", "part/two"].iter().enumerate() {
        place.records[number]["url"] = format!("/gone/x.tar#{key}").into();
    }
    let mut texts = request(Format::Energon, Text::Caption);
    texts.images = false;
    place.run("out", &texts).expect("an export");
    let join = fs::read_to_string(place.out("out/.nv-meta/join.yaml")).expect("a file");
    assert!(join.contains("CaptioningSample") && join.contains("caption: txt"));
    assert_eq!(
        names(&place.out("out/00000.tar")),
        [
            "part/one.txt",
            "part/one.json",
            "part/two.txt",
            "part/two.json"
        ]
    );
}

#[test]
fn every_export_says_how_it_is_read_and_which_files_are_the_data() {
    for (format, files) in [
        (Format::Webdataset, "*.tar"),
        (Format::Vila, "*.tar"),
        (Format::Llava, "data.json"),
        (Format::Energon, "*.tar"),
        (Format::Hf, "data/*.parquet"),
    ] {
        let place = Place::of(1);
        let asked = request(format, Text::Caption);
        place.run("out", &asked).expect("an export");
        let card = fs::read_to_string(place.out("out/README.md")).expect("a card");
        let head = card.split("---\n").nth(1).expect("a head");
        let head: Value = serde_yaml_ng::from_str(head).expect("YAML");
        assert_eq!(head["configs"][0]["data_files"][0]["path"], files);
        assert!(
            card.contains(&format!("as `{}`, text `caption`", format.name())),
            "{card}"
        );
    }
}

#[test]
fn hugging_face_parquet_marks_its_pictures() {
    for text in texts() {
        let place = Place::of(3);
        let mut request = request(Format::Hf, text.clone());
        request.shard_size = 2;
        place.run("out", &request).expect("an export");
        let out = place.out("out");
        let files: Vec<_> = tree(&out).into_keys().collect();
        assert_eq!(
            files,
            [
                "README.md",
                "data/train-00000.parquet",
                "data/train-00001.parquet"
            ]
        );
        let (rows, note) = records::table::read(&out.join(&files[1])).expect("a table");
        assert_eq!(rows.len(), 2);
        let second: Value = serde_json::from_slice(&rows[1]).expect("a row");
        assert_eq!(second["text"], expected(&place.records[1], &text).as_str());
        assert_eq!(second["image"]["path"], "000000001.jpg");
        let said = &second["conversations"];
        assert_eq!(
            (&said[0]["from"], &said[1]["from"]),
            (&json!("human"), &json!("gpt"))
        );
        let question = said[0]["value"].as_str().expect("a question");
        assert!(question.starts_with("<image>\n"), "{question}");
        // arrow writes bytes as hex digits
        let hex: String = b"picture 1"
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(second["image"]["bytes"], hex.as_str());
        let features: Value = serde_json::from_str(&note["huggingface"]).expect("JSON");
        assert_eq!(
            features["info"]["features"]["image"],
            json!({ "_type": "Image" })
        );
    }
}
