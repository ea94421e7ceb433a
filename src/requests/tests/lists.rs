//! Lists of text: line ends, encodings, tables, JSON.

use super::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/lists")
        .join(name)
}

/// Reads a list of that name; every value and fault with its number. Reading goes on after each
/// item as if it had not been interrupted.
fn listed(
    name: &str,
    bytes: impl AsRef<[u8]>,
    columns: &Columns,
) -> Vec<(u64, Result<String, String>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let inputs = open(&[path], columns).unwrap();
    let all = items(&inputs[0], Position::default());
    assert_eq!(inputs[0].count, Some(all.len() as u64), "{name} is counted");
    for (at, item) in all.iter().enumerate() {
        assert_eq!(
            items(&inputs[0], item.after),
            all[at + 1..],
            "{name} after {at}"
        );
    }
    (all.into_iter())
        .map(|item| {
            let content = item.content.map(|value| String::from_utf8(value).unwrap());
            (item.first, content)
        })
        .collect()
}

fn values(name: &str, bytes: impl AsRef<[u8]>) -> Vec<String> {
    (listed(name, bytes, &Columns::default()).into_iter())
        .map(|(_, content)| content.unwrap())
        .collect()
}

fn refused(name: &str, bytes: impl AsRef<[u8]>, columns: &Columns) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let faults = open(&[path], columns).expect_err("a fault");
    faults[0].problem.clone()
}

fn captions(caption: &str) -> Columns {
    Columns {
        caption: Some(caption.to_owned()),
        ..Columns::default()
    }
}

fn utf16(text: &str, big_endian: bool) -> Vec<u8> {
    (text.encode_utf16())
        .flat_map(|unit| {
            if big_endian {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        })
        .collect()
}

#[test]
fn handed_lists_give_their_right_values() {
    let read = |name: &str| values(name, fs::read(file(name)).unwrap());
    let url = "http://127.0.0.1:8917/p_plain.png";
    assert_eq!(
        read("cr_only.txt"),
        [format!("{url}?cr1"), format!("{url}?cr2")]
    );
    assert_eq!(
        read("utf16.txt"),
        [format!("{url}?u16a"), format!("{url}?u16b")]
    );
    assert_eq!(
        read("url_tab_caption.tsv"),
        [format!(
            r#"{{"url":"{url}","caption":"a red ball on grey"}}"#
        )]
    );
}

#[test]
fn lines_end_at_lf_crlf_and_cr_alone() {
    let found = listed(
        "a.txt",
        "http://a\rhttp://b\r\n\r\n\nhttp://c\r\rhttp://d",
        &Columns::default(),
    );
    let expected = [
        (1, "http://a"),
        (2, "http://b"),
        (5, "http://c"),
        (7, "http://d"),
    ];
    assert_eq!(
        found,
        expected.map(|(line, url)| (line, Ok(url.to_owned())))
    );
}

#[test]
fn a_crlf_across_two_reads_is_one_line_end() {
    // Reads are 256 KiB.
    let url = format!("http://a/{}", "x".repeat((256 << 10) - 10));
    let found = listed("a.txt", format!("{url}\r\nhttp://b"), &Columns::default());
    assert_eq!(found, [(1, Ok(url)), (2, Ok("http://b".to_owned()))]);
}

#[test]
fn commas_stay_in_the_url_and_words_behind_it_are_refused_with_the_remedy() {
    let text = "http://a/x,y;z.jpg\nhttp://b\ta cat\nhttp://c a dog\n{\"url\": \"http://d e\"}\n\"http://f\"\n";
    let found = listed("a.txt", text, &Columns::default());
    assert_eq!(found[0], (1, Ok("http://a/x,y;z.jpg".to_owned())));
    for (at, parts) in [
        (1, ["a tab is in the line", ".tsv", "--caption-column"]),
        (2, ["a blank is in the line", "%20", "--caption-column"]),
    ] {
        let problem = found[at].1.clone().unwrap_err();
        assert_eq!(found[at].0, at as u64 + 1);
        for part in parts {
            assert!(problem.contains(part), "{part:?} is not in {problem:?}");
        }
    }
    assert_eq!(found[3].1.as_deref(), Ok("{\"url\": \"http://d e\"}"));
    assert_eq!(found[4].1.as_deref(), Ok("http://f"));
}

#[test]
fn utf_16_is_decoded_whatever_its_order_and_format() {
    for big_endian in [false, true] {
        let text = "\u{feff}http://a/é\r\nhttp://b/😀\r\n";
        assert_eq!(
            values("a.txt", utf16(text, big_endian)),
            ["http://a/é", "http://b/😀"]
        );
        let table = "\u{feff}url\tcaption\r\nhttp://a\tgrün\r\n";
        assert_eq!(
            values("a.tsv", utf16(table, big_endian)),
            [r#"{"url":"http://a","caption":"grün"}"#]
        );
        let table = table.replace('\t', ",");
        assert_eq!(
            values("a.csv", utf16(&table, big_endian)),
            [r#"{"url":"http://a","caption":"grün"}"#]
        );
        let array = "\u{feff}[\"http://a\", {\"url\": \"http://b\"}]";
        assert_eq!(
            values("a.json", utf16(array, big_endian)),
            ["http://a", "{\"url\": \"http://b\"}"]
        );
    }
    // Longer than what is decoded at a time, with pairs across its border.
    let text = format!("\u{feff}x{}\n", "😀".repeat(100_000));
    assert_eq!(values("a.txt", utf16(&text, false)), [text[3..].trim_end()]);
}

#[test]
fn what_is_no_list_is_named_with_what_to_do() {
    let tar = [vec![b'a'; 257], b"ustar\0".to_vec()].concat();
    for (bytes, what, remedy) in [
        (&b"\x1f\x8b\x08\0"[..], "gzip", "zcat"),
        (b"\x28\xb5\x2f\xfd\0", "zstd", "zstdcat"),
        (b"\xfd7zXZ\0\0", "xz", "xzcat"),
        (b"BZh91AY", "bzip2", "bzcat"),
        (b"PK\x03\x04\x14\0", "ZIP", "save the sheet as CSV"),
        (b"\x89PNG\r\n\x1a\n", "a picture", "vila2 caption"),
        (&tar, "a tar", "unpack"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "Git-LFS",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html><html>", "an HTML page", "login"),
        (b"\xff\xfe\0\0h\0\0\0", "UTF-32", "iconv"),
        (
            b"h\0t\0t\0p\0:\0/\0/\0a\0",
            "UTF-16LE without",
            "iconv -f UTF-16LE",
        ),
        (
            b"\0h\0t\0t\0p\0:\0/\0/\0a",
            "UTF-16BE without",
            "iconv -f UTF-16BE",
        ),
        (b"\0\x01\x02\xff\0\0\0", "zero bytes", "unpack"),
    ] {
        for name in ["a.txt", "a.csv", "a.tsv", "a.json", "a"] {
            let problem = refused(name, bytes, &Columns::default());
            assert!(
                problem.contains(what) && problem.contains(remedy),
                "{name}: {problem}"
            );
        }
    }
}

#[test]
fn one_stray_zero_byte_spoils_its_line_only() {
    let text = format!("http://a/\0b\n{}", "http://example.org/c.jpg\n".repeat(5));
    let found = values("a.txt", text);
    // The service refuses the first.
    assert_eq!((found.len(), found[0].as_str()), (6, "http://a/\0b"));
}

#[test]
fn csv_has_a_header_quotes_and_line_ends_inside_of_them() {
    let text = "id,caption,URL\r\n7,\"a \"\"red\"\", round\r\nball\",http://a/x\r\n\r\n\
                8,,\"http://b/x,y\"\r9,c,\n10,d,http://d,more\n11\n";
    let columns = Columns {
        id: Some("id".to_owned()),
        meta: vec!["caption".to_owned()],
        ..Columns::default()
    };
    let found = listed("a.csv", text, &columns);
    let expected = [
        Ok(
            r#"{"url":"http://a/x","id":"7","caption":"a \"red\", round\r\nball","meta":{"caption":"a \"red\", round\r\nball"}}"#,
        ),
        Ok(r#"{"url":"http://b/x,y","id":"8","meta":{"caption":null}}"#),
        Err("no URL"),
        Err("has 4 fields, the first line 3: a field that holds a comma needs quotes"),
        Err("no URL"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (at, expected) in expected.into_iter().enumerate() {
        assert_eq!(found[at].0, at as u64 + 2, "the header is row 1");
        let found = found[at].1.as_deref().map_err(String::as_str);
        assert_eq!(found, expected);
    }
}

#[test]
fn a_quote_that_is_never_closed_is_said_before_it_swallows_the_rows_after_it() {
    let rows = "http://b,b\n".repeat(10);
    let text = format!("url,caption\nhttp://a,\"open\n{rows}");
    let problem = refused("a.csv", &text, &Columns::default());
    assert!(
        problem.contains("a quote that opens in row 2 is never closed"),
        "{problem}"
    );
    let rows = "http://b,b\n".repeat(2 << 20);
    let text = format!("url,caption\nhttp://a,\"open\n{rows}");
    let problem = refused("a.csv", &text, &Columns::default());
    assert!(problem.contains("a row is longer than 16 MiB"), "{problem}");
    let rows = "\"http://b\",\"in \"\"quotes\"\"\"\n".repeat(2);
    assert_eq!(values("a.csv", format!("url,caption\n{rows}")).len(), 2);
}

#[test]
fn a_table_that_a_spreadsheet_set_apart_by_semicolons_is_read() {
    let found = values("a.csv", "url;caption\nhttp://a/x,y;a cat, asleep\n");
    assert_eq!(
        found,
        [r#"{"url":"http://a/x,y","caption":"a cat, asleep"}"#]
    );
}

#[test]
fn a_table_of_urls_alone_is_a_list_of_bare_urls() {
    for name in ["a.csv", "a.tsv"] {
        assert_eq!(
            values(name, "url\nhttp://a\nhttp://b\n"),
            ["http://a", "http://b"]
        );
        assert_eq!(values(name, "http://a\nhttp://b"), ["http://a", "http://b"]);
        assert!(values(name, "\u{feff}\n").is_empty());
        assert!(values(name, "url\n").is_empty());
    }
}

#[test]
fn a_table_without_a_header_takes_a_pair_or_numbers() {
    // The caption may come first, as in Conceptual Captions.
    assert_eq!(
        values(
            "a.tsv",
            "a \"red\" ball\thttp://a\n\"quoted\tball\"\thttp://b\n"
        ),
        [
            r#"{"url":"http://a","caption":"a \"red\" ball"}"#,
            r#"{"url":"http://b","caption":"quoted\tball"}"#,
        ]
    );
    let problem = refused("a.tsv", "1\thttp://a\ta cat\n", &Columns::default());
    assert!(
        problem.contains("3 columns") && problem.contains("--caption-column 2"),
        "{problem}"
    );
    let columns = Columns {
        url: Some("2".to_owned()),
        id: Some("1".to_owned()),
        ..captions("3")
    };
    let found = listed("a.tsv", "1\thttp://a\ta cat\n", &columns);
    assert_eq!(
        found[0].1.as_deref(),
        Ok(r#"{"url":"http://a","id":"1","caption":"a cat"}"#)
    );
    let problem = refused("a.tsv", "http://a\ta cat\n", &captions("TEXT"));
    assert!(
        problem.contains("no column `TEXT` for the caption"),
        "{problem}"
    );
    // A comma in a URL is not the end of it.
    let problem = refused("a.csv", "http://a/x,y\n", &Columns::default());
    assert!(
        problem.contains("2 columns") && problem.contains("quotes"),
        "{problem}"
    );
}

#[test]
fn quotes_in_a_tsv_that_are_none_lose_no_row() {
    let text = "url\tcaption\nhttp://a\t\"an open quote\nhttp://b\tb\n\
                http://c\t\"two\nlines\"\nhttp://d\t\"said\" she\nhttp://e\t\"\"\"e\"\"\"\nhttp://f\t\"end\n";
    assert_eq!(
        values("a.tsv", text),
        [
            r#"{"url":"http://a","caption":"\"an open quote"}"#,
            r#"{"url":"http://b","caption":"b"}"#,
            r#"{"url":"http://c","caption":"two\nlines"}"#,
            r#"{"url":"http://d","caption":"\"said\" she"}"#,
            r#"{"url":"http://e","caption":"\"e\""}"#,
            r#"{"url":"http://f","caption":"\"end"}"#,
        ]
    );
}

#[test]
fn of_columns_that_differ_by_case_the_exact_one_wins() {
    assert_eq!(
        values("a.csv", "URL,url,Url\nhttp://a,http://b,http://c\n"),
        ["http://b"]
    );
    let problem = refused("a.csv", "URL,Url\nhttp://a,http://b\n", &Columns::default());
    assert!(
        problem.contains("may be `URL` or `Url`: name one"),
        "{problem}"
    );
    let problem = refused("a.csv", "url,url\nhttp://a,http://b\n", &Columns::default());
    assert!(problem.contains("2 columns are called `url`"), "{problem}");
    let problem = refused("a.csv", "link,text\nhttp://a,b\n", &captions("TEXT"));
    for part in [
        "no column `url`",
        "no column `TEXT`",
        "are `link`, `text`",
        "--url-column",
    ] {
        assert!(problem.contains(part), "{part:?} is not in {problem:?}");
    }
}

#[test]
fn a_json_array_is_read_element_by_element() {
    let array = r#" [ {"url": "http://a", "meta": {"b": ["]", "\"}", [1]]}}
        , "http:\/\/b,c", 7, {broken}, {"url":"http://d"}]
    "#;
    let found = listed("a.json", array, &Columns::default());
    let expected = [
        Ok(r#"{"url": "http://a", "meta": {"b": ["]", "\"}", [1]]}}"#),
        Ok("http://b,c"),
        Err("is neither an object nor a URL"),
        Err("is not JSON"),
        Ok(r#"{"url":"http://d"}"#),
    ];
    assert_eq!(found.len(), expected.len());
    for ((number, found), (at, expected)) in found.iter().zip(expected.iter().enumerate()) {
        assert_eq!(*number, at as u64 + 1);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            _ => panic!("{found:?} is not {expected:?}"),
        }
    }
    assert!(values("a.json", "[]").is_empty());
    assert_eq!(
        values(
            "a.json",
            "{\"url\": \"http://a\"}\n{\"url\": \"http://b\"}\n"
        )
        .len(),
        2
    );
    for (text, part) in [
        ("[\"http://a\", \"http://b", "cut off at element 2"),
        ("[\"http://a\"", "cut off"),
        ("[\"http://a\"] []", "more text follows"),
        ("{\n  \"images\": [\"http://a\"]\n}", "one JSON object"),
    ] {
        let problem = refused("a.json", text, &Columns::default());
        assert!(problem.contains(part), "{problem}");
    }
}

#[test]
fn names_that_are_no_utf_8_are_told_apart() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().unwrap();
    let paths = [b"a\xff.txt", b"a\xfe.txt"].map(|name| {
        let path = folder.path().join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, "http://a\n").unwrap();
        path
    });
    let inputs = open(&paths, &Columns::default()).unwrap();
    assert!(inputs[0].name.ends_with("a\\xff.txt"), "{}", inputs[0].name);
    assert!(inputs[1].name.ends_with("a\\xfe.txt"), "{}", inputs[1].name);
}
