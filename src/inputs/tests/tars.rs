//! Tars, and what is in them.

use super::*;

/// Writes a tar of these members.
pub(super) fn tar(path: &Path, members: &[(&str, &str)]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        (tar.append_data(
            &mut header,
            OsStr::from_bytes(name.as_bytes()),
            content.as_bytes(),
        ))
        .unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn a_tar_gives_its_samples_with_what_stands_beside_the_pictures() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("shard #1.tar");
    tar(
        &path,
        &[
            ("a/000.txt", "from the text"),
            ("a/000.jpg", "picture 0"),
            (
                "a/000.json",
                r#"{"url": "http://h/0.jpg", "id": 7, "caption": "from the json"}"#,
            ),
            ("a/001.jpg", "picture 1"),
            ("a/001.txt", "only the text"),
            ("a/002.seg.png", "picture 2"),
            (
                "a/002.json",
                r#"{"url": "no url", "id": "", "caption": " "}"#,
            ),
            ("a/003.txt", "no picture"),
            ("a/.hidden.png", "none"),
            ("ü 004.png", "picture 4"),
            ("ü 004.json", "no json"),
        ],
    );
    let inputs = opened(&[&path]);
    assert_eq!((inputs.count(), inputs.skipped()), (Some(4), 2));
    let all = all(&inputs);
    let own = |key: &str| format!("{}#{key}", path.display());
    let about: Vec<_> = (all.iter())
        .map(|entry| {
            let request = request(entry);
            let caption = request["caption"].as_str().unwrap_or("-").to_owned();
            let id = request["id"].as_str().unwrap().to_owned();
            (
                entry.name.clone(),
                ask(entry).url.clone().unwrap(),
                id,
                caption,
            )
        })
        .collect();
    let expected = [
        ("a/000", Some("http://h/0.jpg"), "7", "from the json"),
        ("a/001", None, "a/001", "only the text"),
        ("a/002", None, "a/002", "-"),
        ("ü 004", None, "ü 004", "-"),
    ]
    .map(|(key, url, id, caption)| {
        let url = url.map_or_else(|| own(key), str::to_owned);
        (own(key), url, id.to_owned(), caption.to_owned())
    });
    assert_eq!(about, expected);
    for (entry, content) in all.iter().zip(["0", "1", "2", "4"]) {
        let member = crate::fetch::member::Member::of(&url(entry)).unwrap();
        assert_eq!(member.path, path);
        let bytes = fs::read(&path).unwrap();
        let at = usize::try_from(member.at).unwrap();
        assert_eq!(bytes[at..at + 9], *format!("picture {content}").as_bytes());
        assert_eq!(member.bytes, 9);
    }
}

#[test]
fn tars_that_are_cut_packed_or_without_pictures_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.tar");
    tar(
        &path,
        &[("0.png", &"x".repeat(2000)), ("1.png", &"y".repeat(2000))],
    );
    let whole = fs::read(&path).unwrap();
    for (length, part) in [
        (
            512 + 1000,
            "is cut off: its member 0.png is at bytes 512 to 2512",
        ),
        (512 + 2048 + 512 + 1999, "is cut off: its member 1.png"),
        (512 + 2048 + 100, "cannot be read as a tar"),
    ] {
        fs::write(&path, &whole[..length]).unwrap();
        let problem = refused(&[&path]);
        assert!(
            problem.contains(part)
                && problem.contains("got again") | problem.contains("get it again"),
            "{problem}"
        );
    }
    tar(&path, &[("0.txt", "x")]);
    assert!(refused(&[&path]).contains("a tar without pictures"));
    for name in ["a.tar.gz", "a.TGZ", "a.tar.zst"] {
        let path = home.path().join(name);
        fs::write(&path, "packed").unwrap();
        assert!(
            refused(&[&path]).contains("unpack it to a .tar first"),
            "{name}"
        );
    }
    let missing = home.path().join("missing.tar");
    assert!(refused(&[&missing]).contains("No such file"));
}

#[test]
fn a_member_whose_name_is_no_utf_8_is_an_entry_like_any_other() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    builder
        .append_data(&mut header, OsStr::from_bytes(b"\xff.png"), &b"x"[..])
        .unwrap();
    builder.finish().unwrap();
    let all = all(&opened(&[&path]));
    assert_eq!(all[0].name, format!("{}#\\xff", path.display()));
}

#[test]
fn a_key_names_one_picture_and_what_is_more_is_refused_or_counted() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.tar");
    tar(
        &path,
        &[
            ("a.jpg", "first"),
            ("a.jpg", "again"),
            ("a.seg.png", "mask"),
            ("b.JPG", "b"),
            ("b.jpg", "b too"),
            ("b.png", "beside"),
            ("a.jpg", "back"),
            ("a.webp", "beside it"),
            ("c.jpg", "c"),
            ("b.json", "{}"),
            ("d/a.jpg", "another"),
            ("c.png", "back"),
        ],
    );
    let inputs = opened(&[&path]);
    assert_eq!((inputs.count(), inputs.skipped()), (Some(8), 4));
    let told: Vec<_> = (all(&inputs).iter())
        .map(|entry| {
            let key = entry.name.rsplit('#').next().unwrap().to_owned();
            let bytes = || crate::fetch::member::Member::of(&url(entry)).unwrap().bytes;
            match &entry.content {
                Ok(_) => (key, bytes().to_string()),
                Err(refusal) => (key, refusal.detail.clone()),
            }
        })
        .collect();
    let more = |key: &str, member: &str| {
        let what = format!(
            "the tar has more than one picture of the key {key}, and {member} is not the first: \
             give each sample a key of its own"
        );
        (key.to_owned(), what)
    };
    let one = |key: &str, bytes: usize| (key.to_owned(), bytes.to_string());
    assert_eq!(
        told,
        [
            one("a", 5),
            more("a", "a.jpg"),
            one("b", 1),
            more("b", "b.jpg"),
            more("a", "a.jpg"),
            one("c", 1),
            one("d/a", 7),
            more("c", "c.png"),
        ]
    );
}

#[test]
fn links_are_refused_with_what_to_do_and_files_without_a_key_are_counted() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("links.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
    let mut file = |name: &str, link: Option<(tar::EntryType, &str)>| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        let Some((kind, target)) = link else {
            header.set_size(7);
            tar.append_data(&mut header, name, &b"picture"[..]).unwrap();
            return;
        };
        header.set_entry_type(kind);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    };
    file("x1.jpg", None);
    file("x2.jpg", Some((tar::EntryType::Link, "x1.jpg")));
    file("x3.jpg", Some((tar::EntryType::Symlink, "x1.jpg")));
    // Beside a picture it is one more of its sample; what is no picture is nothing.
    file("x4.jpg", None);
    file("x4.mask.png", Some((tar::EntryType::Link, "x1.jpg")));
    file("notes", Some((tar::EntryType::Symlink, "x1.jpg")));
    file(".jpg", None);
    file("d/.jpg", None);
    tar.finish().unwrap();
    let inputs = opened(&[&path]);
    assert_eq!((inputs.count(), inputs.skipped()), (Some(4), 3 + 1));
    let all = all(&inputs);
    let own = |key: &str| format!("{}#{key}", path.display());
    let names: Vec<_> = all.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(names, ["x1", "x2", "x3", "x4"].map(own));
    for (at, entry) in all.iter().enumerate() {
        match &entry.content {
            Ok(_) => assert!(at == 0 || at == 3, "{at}"),
            Err(refusal) => {
                let wanted = format!("x{}.jpg is a link in the tar", at + 1);
                assert_eq!(refusal.reason, "bad_request");
                assert!(refusal.detail.contains(&wanted), "{}", refusal.detail);
                assert!(refusal.detail.contains("--hard-dereference"));
            }
        }
    }
}

#[test]
fn a_pipe_with_a_pictures_name_is_no_picture_and_is_not_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe.jpg");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let inputs = opened(&[&pipe]);
    assert_eq!(inputs.count(), Some(1));
}
