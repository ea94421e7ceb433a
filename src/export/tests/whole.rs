//! The whole of an export: counts, filters, the folder, pictures.

use super::*;

const FORMATS: [Format; 5] = [
    Format::Webdataset,
    Format::Vila,
    Format::Llava,
    Format::Energon,
    Format::Hf,
];

#[test]
fn the_same_source_gives_the_same_bytes() {
    for format in FORMATS {
        let place = Place::of(40);
        let mut request = request(format, Text::Qa);
        request.shard_size = 7;
        let [one, two] = ["one", "two"].map(|name| {
            place.run(name, &request).expect("an export");
            tree(&place.out(name))
        });
        assert!(!one.is_empty());
        assert_eq!(one, two, "{format:?}");
    }
}

#[test]
fn what_is_read_is_written_or_left_out_by_a_reason() {
    for format in FORMATS {
        let mut place = Place::of(3);
        place.add("degraded")["status"] = "degraded".into();
        place.add("changed")["image"]["sha256"] = "00".into();
        place.add("gone")["url"] = "file:///nowhere/x.jpg".into();
        place.add("tar")["url"] = "/nowhere/x.tar#1".into();
        place.add("web")["url"] = "http://127.0.0.1:1/x.jpg".into();
        place.add("silent")["enriched"] = "".into();
        let mut request = request(format, Text::Enriched);
        request.complete_only = true;
        let report = place.run("out", &request).expect("an export");
        assert_eq!(
            (report.read, report.written, report.samples),
            (9, 3, 3),
            "{format:?}"
        );
        assert_eq!(
            report.left_out,
            BTreeMap::from([
                (Reason::Status, 1),
                (Reason::PictureChanged, 1),
                (Reason::PictureGone, 2),
                (Reason::FetchFailed, 1),
                (Reason::NoText, 1),
            ])
        );
    }
}

#[test]
fn the_newest_round_of_each_id_and_url() {
    let mut place = Place::of(2);
    let mut newer = place.records[0].clone();
    newer["round"] = 2.into();
    newer["caption"]["text"] = "Newer.".into();
    let mut other = newer.clone();
    other["url"] = place.records[1]["url"].clone();
    other["image"] = place.records[1]["image"].clone();
    other["round"] = 1.into();
    place.records.extend([newer, other]);
    let mut request = request(Format::Webdataset, Text::Caption);
    request.newest_round = true;
    let report = place.run("out", &request).expect("an export");
    assert_eq!((report.read, report.written), (4, 3));
    assert_eq!(report.left_out, BTreeMap::from([(Reason::OlderRound, 1)]));
}

#[test]
fn a_folder_that_holds_something_else_is_refused_and_left_as_it_is() {
    let place = Place::of(1);
    let out = place.out("out");
    fs::create_dir(&out).expect("a folder");
    fs::write(out.join("00000.tar"), "precious").expect("a file");
    let asked = request(Format::Webdataset, Text::Caption);
    let refused = place
        .run("out", &asked)
        .expect_err("it is full")
        .to_string();
    assert!(
        refused.contains("no export") && refused.contains("empty or new"),
        "{refused}"
    );
    assert_eq!(
        fs::read(out.join("00000.tar")).expect("a file"),
        b"precious"
    );

    place.run("other", &asked).expect("an export");
    let before = tree(&place.out("other"));
    let refused = place.run("other", &request(Format::Webdataset, Text::Original));
    let refused = refused.expect_err("another text").to_string();
    assert!(
        refused.contains("text is \"caption\" there, \"original\" now"),
        "{refused}"
    );
    assert_eq!(tree(&place.out("other")), before);
}

#[test]
fn an_interrupted_export_begins_over() {
    for format in FORMATS {
        let place = Place::of(30);
        let mut request = request(format, Text::Caption);
        request.shard_size = 4;
        place.run("whole", &request).expect("an export");
        let source = place.source();
        let fetching = Fetching {
            fetcher: Arc::new(Nobody),
            max_bytes: 1 << 20,
            retries: 0,
            handle: place.runtime.handle().clone(),
        };
        let (out, stop) = (place.out("cut"), AtomicBool::new(false));
        let cut = run(&source, &request, &out, fetching, &stop, &mut |note| {
            if let Note::Read(26) = note {
                stop.store(true, Ordering::Relaxed);
            }
        });
        assert!(matches!(cut, Err(Error::Stopped)), "{cut:?}");
        let whole = tree(&place.out("whole"));
        for (name, bytes) in tree(&out) {
            // under its final name only what is whole
            assert!(
                name.ends_with(".new") || whole.get(&name) == Some(&bytes),
                "{name}"
            );
        }
        place.run("cut", &request).expect("an export");
        assert_eq!(tree(&out), whole, "{format:?}");
    }
}

#[test]
fn a_line_that_is_no_record_is_named() {
    let place = Place::of(1);
    let source = place.source();
    for (line, part) in [
        ("{}", "schema"),
        ("not JSON", "line 2"),
        (r#"{"schema":"x/1"}"#, "line 2"),
    ] {
        let text = fs::read_to_string(source.path()).expect("records");
        let first = text.lines().next().expect("a line");
        fs::write(source.path(), format!("{first}\n{line}\n")).expect("records");
        let error = source
            .read(&mut |_| Ok(()))
            .expect_err("it is no record")
            .to_string();
        assert!(
            error.contains(part) && error.contains("records.jsonl line 2"),
            "{error}"
        );
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (format, text, verdicts, images) in [
        (Format::Hf, Text::Caption, true, true),
        (Format::Llava, Text::Caption, false, false),
        (Format::Vila, Text::Caption, false, false),
        (Format::Energon, Text::Qa, false, false),
    ] {
        let mut asked = request(format, text);
        asked.verdicts = verdicts.then(|| vec!["read".to_owned()]);
        asked.images = images;
        assert!(matches!(asked.check(), Err(Error::Refused(_))), "{asked:?}");
    }
}

#[test]
fn pictures_come_out_of_tars_by_key_and_by_the_samples_own_url() {
    let mut place = Place::of(2);
    let path = place.out("shard.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).expect("a tar"));
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).expect("a member");
    };
    put("a/one.jpg", b"picture 0");
    put("a/two.two.png", b"picture 1");
    put("a/two.json", br#"{"url": "http://example.org/2.png"}"#);
    tar.finish().expect("a tar");
    let tar_path = path.display().to_string();
    place.records[0]["url"] = format!("{tar_path}#a/one").into();
    place.records[1]["url"] = format!("{tar_path}#a/two").into();
    let report = place.run("out", &request(Format::Webdataset, Text::Caption));
    assert_eq!(report.expect("an export").written, 2);
    let written = members(&place.out("out/00000.tar"));
    assert_eq!(
        (&written[0].1[..], &written[3].1[..]),
        (&b"picture 0"[..], &b"picture 1"[..])
    );
}
