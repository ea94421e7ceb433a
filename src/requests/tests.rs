use std::{fs, path::PathBuf, sync::Arc};

use ::parquet::{
    basic::{Compression, GzipLevel, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use serde_json::{Value, json};

use super::{resume::Resume, *};

mod lists;
mod typed;

/// The columns that datasets of image URLs have.
const SCHEMA: &str = "message schema {
    OPTIONAL INT64 SAMPLE_ID;
    OPTIONAL BYTE_ARRAY URL (UTF8);
    OPTIONAL BYTE_ARRAY TEXT (UTF8);
    REQUIRED DOUBLE similarity;
    REQUIRED INT64 WIDTH;
}";

/// Writes rows `from..to` in groups of `group`; row 3 has no URL, row 5 one that is no UTF-8, row 7
/// no id and no text.
fn write(path: &PathBuf, rows: std::ops::Range<i64>, group: usize, codec: Compression) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder().set_compression(codec).build();
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let rows: Vec<i64> = rows.collect();
    for rows in rows.chunks(group) {
        let mut group = writer.next_row_group().unwrap();
        let with = |missing: &[i64]| -> Vec<i16> {
            rows.iter()
                .map(|row| i16::from(!missing.contains(row)))
                .collect()
        };
        let present = |missing: &[i64]| -> Vec<i64> {
            rows.iter()
                .copied()
                .filter(|row| !missing.contains(row))
                .collect()
        };
        let text = |row: &i64| match row {
            5 => ByteArray::from(vec![b'h', 0xff, 0xfe]),
            row => ByteArray::from(format!("https://example.org/{row}.jpg").into_bytes()),
        };
        let mut column = group.next_column().unwrap().unwrap();
        let levels = with(&[7]);
        (column
            .typed::<Int64Type>()
            .write_batch(&present(&[7]), Some(&levels), None))
        .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let urls: Vec<_> = present(&[3]).iter().map(text).collect();
        (column
            .typed::<ByteArrayType>()
            .write_batch(&urls, Some(&with(&[3])), None))
        .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<_> = present(&[7])
            .iter()
            .map(|row| ByteArray::from(format!("picture {row}").into_bytes()))
            .collect();
        (column
            .typed::<ByteArrayType>()
            .write_batch(&texts, Some(&levels), None))
        .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let similarities: Vec<f64> = rows.iter().map(|row| *row as f64 / 4.0).collect();
        (column
            .typed::<DoubleType>()
            .write_batch(&similarities, None, None))
        .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        (column.typed::<Int64Type>().write_batch(rows, None, None)).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn items(input: &Input, from: Position) -> Vec<Item> {
    input
        .read(from)
        .unwrap()
        .map(Result::unwrap)
        .collect::<Vec<_>>()
}

fn columns() -> Columns {
    Columns {
        url: None,
        id: Some("SAMPLE_ID".to_owned()),
        caption: Some("TEXT".to_owned()),
        meta: vec!["similarity".to_owned(), "WIDTH".to_owned()],
    }
}

#[test]
fn rows_of_every_common_codec_become_requests() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codec) in [
        ("plain", Compression::UNCOMPRESSED),
        ("snappy", Compression::SNAPPY),
        ("gzip", Compression::GZIP(GzipLevel::default())),
        ("zstd", Compression::ZSTD(ZstdLevel::default())),
        ("lz4", Compression::LZ4_RAW),
    ] {
        let path = folder.path().join(format!("{name}.parquet"));
        write(&path, 0..9, 4, codec);
        let inputs = open(&[path], &columns()).unwrap();
        assert_eq!((inputs[0].count, inputs[0].is_text()), (Some(9), false));
        let items = items(&inputs[0], Position::default());
        assert_eq!(items.len(), 9, "{name}");
        for (row, item) in items.iter().enumerate() {
            let number = row as u64 + 1;
            assert_eq!((item.first, item.rows()), (number, 1));
            let url = format!("https://example.org/{row}.jpg");
            let meta = json!({"similarity": row as f64 / 4.0, "WIDTH": row});
            let expected = match row {
                3 => Err("no URL".to_owned()),
                5 => {
                    let fault = item.content.clone().unwrap_err();
                    assert!(fault.starts_with("URL: no UTF-8"), "{fault}");
                    continue;
                }
                7 => Ok(json!({"url": url, "meta": meta})),
                _ => Ok(json!({
                    "url": url, "id": row.to_string(), "caption": format!("picture {row}"),
                    "meta": meta,
                })),
            };
            let found = item
                .content
                .clone()
                .map(|value| serde_json::from_slice::<Value>(&value).unwrap());
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn a_url_alone_is_a_bare_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, 0..2, 10, Compression::SNAPPY);
    let inputs = open(&[path], &Columns::default()).unwrap();
    let items = items(&inputs[0], Position::default());
    let first = items[0].content.clone().unwrap();
    assert_eq!(first, b"https://example.org/0.jpg");
}

#[test]
fn reading_goes_on_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.parquet");
    write(&rows, 0..3_000, 1_300, Compression::SNAPPY);
    let lines = folder.path().join("lines.txt");
    fs::write(
        &lines,
        "\u{feff}http://a\r\n\n  http://b\n{\"url\": 1}\n\nhttp://c",
    )
    .unwrap();
    for input in open(&[rows, lines], &Columns::default()).unwrap() {
        let all = items(&input, Position::default());
        assert_eq!(Some(all.len() as u64), input.count);
        for at in [1, 2, 1_299, 1_300, 1_301, 2_599, 2_600, 2_999] {
            let Some(item) = all.get(at - 1) else {
                continue;
            };
            assert_eq!(items(&input, item.after), all[at..], "after {at}");
        }
    }
}

#[test]
fn lines_keep_their_numbers_and_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.txt");
    fs::write(&path, b"\xef\xbb\xbfhttp://a\r\n\n  \xff\xfe \nhttp://c").unwrap();
    let inputs = open(&[path], &Columns::default()).unwrap();
    let found: Vec<_> = items(&inputs[0], Position::default())
        .into_iter()
        .map(|item| (item.first, item.content.unwrap()))
        .collect();
    let expected: [(u64, &[u8]); 3] = [(1, b"http://a"), (3, b"\xff\xfe"), (4, b"http://c")];
    assert_eq!(found, expected.map(|(line, text)| (line, text.to_vec())));
}

#[test]
fn every_fault_is_said_at_once_with_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("a.parquet"), 0..2, 10, Compression::SNAPPY);
    fs::write(path("b.parquet"), "no parquet").unwrap();
    fs::write(path("c.parquet"), "PAR1 and then nothing").unwrap();
    fs::create_dir(path("empty")).unwrap();
    fs::write(path("text"), "http://a\n").unwrap();
    let wrong = Columns {
        url: Some("link".to_owned()),
        id: Some("key".to_owned()),
        ..Columns::default()
    };
    let named = [
        "a.parquet",
        "b.parquet",
        "c.parquet",
        "empty",
        "nowhere",
        "text",
    ];
    let faults = open(&named.map(path), &wrong).unwrap_err();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    for (fault, parts) in faults.iter().zip([
        &[
            "a.parquet: no column `link` for the URL (--url-column)",
            "no column `key` for the id",
            "its columns are `SAMPLE_ID`, `URL`, `TEXT`, `similarity`, `WIDTH`",
        ][..],
        &["b.parquet: no Parquet file"],
        &["c.parquet: no Parquet file that can be read"],
        &["empty: a folder without *.parquet files"],
        &["nowhere: No such file"],
        &["text: is text", "--format"],
    ]) {
        for part in parts {
            assert!(fault.contains(part), "{part:?} is not in {fault:?}");
        }
    }
    assert_eq!(faults.len(), 6, "{faults:?}");
}

#[test]
fn what_is_neither_text_nor_parquet_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    let packed = write("urls.txt.gz", b"\x1f\x8b\x08\x00\x00rest");
    // Not UTF-8, and yet lines: the service answers them with dead letters.
    let lines = write("lines.txt", b"http://a.example/\xff\n\xfe\n");
    let faults = open(&[packed, lines.clone()], &Columns::default()).expect_err("a fault");
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0]
            .problem
            .contains("packed with gzip, so it is neither text nor Parquet"),
        "{}",
        faults[0]
    );
    let inputs = open(&[lines], &Columns::default()).expect("lines");
    assert_eq!(inputs[0].count, Some(2));
}

#[test]
fn a_folder_stands_for_its_parquet_files_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "part-2.parquet",
        "part-1.parquet",
        "_SUCCESS",
        "part-1.parquet.crc",
    ] {
        write(&folder.path().join(name), 0..2, 10, Compression::SNAPPY);
    }
    let inputs = open(&[folder.path().to_owned()], &Columns::default()).unwrap();
    let names: Vec<_> = inputs
        .iter()
        .map(|input| input.name.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["part-1.parquet", "part-2.parquet"]);
}

#[test]
fn a_damaged_stretch_is_one_fault_and_the_next_group_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, 10..2_010, 1_000, Compression::SNAPPY);
    let mut bytes = fs::read(&path).unwrap();
    // In the first group's pages; the footer stays whole.
    for byte in &mut bytes[4..4_000] {
        *byte = 0xaa;
    }
    fs::write(&path, bytes).unwrap();
    let inputs = open(&[path], &columns()).unwrap();
    let items = items(&inputs[0], Position::default());
    assert_eq!((items[0].first, items[0].rows()), (1, 1_000));
    assert!(items[0].content.is_err());
    assert_eq!(items.len(), 1_001);
    assert!(items[1..].iter().all(|item| item.content.is_ok()));
    assert_eq!(items[1_000].after.at, 2_000);
}

#[test]
fn a_resume_file_is_kept_and_told_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines.txt");
    fs::write(&lines, "http://a\nhttp://b\n").unwrap();
    let state = folder.path().join("state.json");
    let inputs = open(std::slice::from_ref(&lines), &Columns::default()).unwrap();
    let mut resume = Resume::open(&state, "images", &inputs).unwrap();
    assert_eq!(resume.position(&inputs[0]), Some(Position::default()));
    let position = Position { at: 9, number: 1 };
    resume.note(&inputs[0], position, false);
    resume.save().unwrap();
    let mut resume = Resume::open(&state, "images", &inputs).unwrap();
    assert_eq!(resume.position(&inputs[0]), Some(position));
    resume.note(&inputs[0], Position { at: 18, number: 2 }, true);
    resume.save().unwrap();
    let resume = Resume::open(&state, "images", &inputs).unwrap();
    assert_eq!(resume.position(&inputs[0]), None, "it is done");

    let faults = Resume::open(&state, "pictures", &inputs).unwrap_err();
    assert!(faults[0].to_string().contains("topic `images`"));
    fs::write(&lines, "http://a\n").unwrap();
    let changed = open(&[lines], &Columns::default()).unwrap();
    let faults = Resume::open(&state, "images", &changed).unwrap_err();
    assert!(
        faults[0].to_string().contains("has changed"),
        "{}",
        faults[0]
    );
    let stdin = open(&["-".into()], &Columns::default()).unwrap();
    let faults = Resume::open(&state, "images", &stdin).unwrap_err();
    assert!(faults[0].to_string().contains("cannot be resumed"));
    fs::write(&state, "{}").unwrap();
    let faults = Resume::open(&state, "images", &changed).unwrap_err();
    assert!(faults[0].to_string().contains("no resume file"));
}
