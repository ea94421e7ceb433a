//! Parquet by logical type; `tests/lists/make.py` wrote the files, with the values expected here.

use ::parquet::{
    data_type::{Int32Type, Int64Type},
    file::writer::SerializedRowGroupWriter,
};

use super::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/lists")
        .join(name)
}

/// What is said of each row: the value, or the fault.
fn rows(path: &PathBuf, columns: &Columns) -> Vec<Result<String, String>> {
    let inputs = open(std::slice::from_ref(path), columns).unwrap();
    (items(&inputs[0], Position::default()).into_iter())
        .map(|item| {
            item.content
                .map(|value| String::from_utf8(value).expect("UTF-8"))
        })
        .collect()
}

/// A column in `meta`, as JSON text.
fn meta(name: &str, column: &str) -> Vec<String> {
    let columns = Columns {
        url: (name == "nested.parquet").then(|| "plain".to_owned()),
        meta: vec![column.to_owned()],
        ..Columns::default()
    };
    let begins = format!(",\"meta\":{{\"{column}\":");
    (rows(&file(name), &columns).into_iter())
        .map(|row| {
            let row = row.unwrap();
            serde_json::from_str::<Value>(&row).expect("JSON");
            let (_, value) = row.split_once(&begins).expect("meta");
            value.strip_suffix("}}").expect("the end").to_owned()
        })
        .collect()
}

/// A column as the id; `None`: there is none.
fn ids(name: &str, column: &str) -> Vec<Option<String>> {
    let columns = Columns {
        id: Some(column.to_owned()),
        ..Columns::default()
    };
    (rows(&file(name), &columns).into_iter())
        .map(|row| {
            let value: Value = serde_json::from_str(&row.unwrap()).unwrap_or_default();
            value["id"].as_str().map(str::to_owned)
        })
        .collect()
}

fn refused(path: PathBuf, columns: &Columns) -> String {
    let faults = open(&[path], columns).expect_err("a fault");
    faults[0].to_string()
}

#[test]
fn every_logical_type_goes_into_meta_exactly() {
    let nines = format!("-{}.1234567890", "9".repeat(66));
    let expected: [(&str, [&str; 3]); 24] = [
        (
            "uuid",
            [
                "\"cd613e30-d8f1-6adf-91b7-584a2265b1f5\"",
                "null",
                "\"00000000-0000-0000-0000-000000000001\"",
            ],
        ),
        ("d32", ["1.25", "-0.01", "null"]),
        ("d64", ["123456789012.345", "0.000", "null"]),
        (
            "d128",
            ["12345678901234567890123456789012345678", "-1", "null"],
        ),
        ("d256", [&nines, "0.0000000001", "null"]),
        ("half", ["0.90673828125", "-2.0", "null"]),
        ("f32", ["0.5", "null", "null"]),
        ("f64", ["0.1", "1e+22", "null"]),
        ("u8", ["255", "0", "null"]),
        ("u32", ["4294967295", "0", "null"]),
        ("u64", ["18446744073709551615", "0", "null"]),
        ("i64", ["-9223372036854775808", "0", "null"]),
        ("flag", ["true", "false", "null"]),
        ("date", ["\"2024-02-29\"", "\"1969-12-31\"", "null"]),
        ("t32", ["\"12:34:56.789\"", "\"00:00:00\"", "null"]),
        ("t64", ["\"12:34:56.123456789\"", "\"00:00:00\"", "null"]),
        (
            "ms",
            [
                "\"2024-02-29T12:34:56.123Z\"",
                "\"1969-12-31T23:59:59.999Z\"",
                "null",
            ],
        ),
        (
            "us",
            [
                "\"2024-02-29T12:34:56.123456Z\"",
                "\"1970-01-01T00:00:00Z\"",
                "null",
            ],
        ),
        (
            "ns",
            [
                "\"2024-02-29T12:34:56.123456789\"",
                "\"1970-01-01T00:00:00\"",
                "\"1969-12-31T23:59:59.999999999\"",
            ],
        ),
        (
            "s",
            ["\"2024-02-29T12:34:56\"", "\"1970-01-01T00:00:00\"", "null"],
        ),
        ("binary", ["\"AP+A\"", "\"dGV4dA==\"", "null"]),
        ("fixed", ["\"//4=\"", "\"YWI=\"", "null"]),
        ("word", ["\"a\"", "\"b\"", "\"a\""]),
        ("void", ["null", "null", "null"]),
    ];
    for name in ["scalars.parquet", "scalars_plain.parquet"] {
        for (column, values) in expected {
            assert_eq!(meta(name, column), values, "{column} of {name}");
        }
    }
    assert_eq!(
        meta("int96.parquet", "moment"),
        [
            "\"2024-02-29T12:34:56.123456789\"",
            "\"1969-12-31T23:59:59.999999999\"",
            "null"
        ]
    );
}

#[test]
fn lists_structs_and_maps_go_into_meta_as_json_across_row_groups() {
    for (column, values) in [
        ("numbers", ["[1,null,3]", "[]", "null", "[4]", "[5,6]"]),
        (
            "lists",
            ["[[1],[]]", "[null,[2,3]]", "[]", "null", "[[4,null]]"],
        ),
        (
            "point",
            [
                r#"{"x":1,"y":2.5}"#,
                "null",
                r#"{"x":null,"y":0.0}"#,
                r#"{"x":4,"y":null}"#,
                r#"{"x":5,"y":-1.0}"#,
            ],
        ),
        (
            "points",
            [
                r#"[{"x":1,"y":null},null]"#,
                "[]",
                "null",
                r#"[{"x":2,"y":1.5}]"#,
                r#"[{"x":3,"y":0.5}]"#,
            ],
        ),
        (
            "tags",
            [
                r#"{"a":1,"b":null}"#,
                "{}",
                "null",
                r#"{"c":3}"#,
                r#"{"a":5}"#,
            ],
        ),
        (
            "by_number",
            [
                r#"{"7":["x",null]}"#,
                "{}",
                "null",
                r#"{"8":[]}"#,
                r#"{"9":null}"#,
            ],
        ),
        ("point.y", ["2.5", "null", "0.0", "null", "-1.0"]),
    ] {
        assert_eq!(meta("nested.parquet", column), values, "{column}");
    }
}

#[test]
fn ids_are_text_whatever_the_column_is() {
    let some = |texts: [&str; 3]| texts.map(|text| (!text.is_empty()).then(|| text.to_owned()));
    for (column, values) in [
        (
            "uuid",
            [
                "cd613e30-d8f1-6adf-91b7-584a2265b1f5",
                "",
                "00000000-0000-0000-0000-000000000001",
            ],
        ),
        ("d32", ["1.25", "-0.01", ""]),
        ("u64", ["18446744073709551615", "0", ""]),
        ("float_id", ["1234567", "", "-3"]),
        ("binary", ["AP+A", "text", ""]),
        ("word", ["a", "b", "a"]),
        ("date", ["2024-02-29", "1969-12-31", ""]),
    ] {
        assert_eq!(ids("scalars.parquet", column), some(values), "{column}");
    }
}

#[test]
fn a_list_of_one_is_the_url_and_a_list_of_more_is_a_bad_row() {
    let rows = rows(&file("nested.parquet"), &Columns::default());
    let url = |n: usize| Ok(format!("http://example.org/{n}.jpg"));
    let none = || Err("no URL".to_owned());
    let two = Err("URL: a list of 2, where one is wanted".to_owned());
    assert_eq!(rows, [url(0), none(), two, none(), url(2)]);
}

#[test]
fn handed_files_give_their_right_values() {
    let columns = Columns {
        id: Some("uid".to_owned()),
        meta: vec!["price".to_owned(), "f16".to_owned()],
        ..Columns::default()
    };
    let found = rows(&file("uuid_decimal.parquet"), &columns);
    assert_eq!(found.len(), 200);
    assert_eq!(
        found[0].as_deref(),
        Ok(
            r#"{"url":"http://127.0.0.1:8917/p_plain.png?u0","id":"cd613e30-d8f1-6adf-91b7-584a2265b1f5","meta":{"price":1.25,"f16":0.90673828125}}"#
        )
    );
    assert!(found.iter().all(Result::is_ok));
    let found = rows(&file("list_url.parquet"), &Columns::default());
    let expected = (0..5).map(|n| Ok(format!("http://127.0.0.1:8917/p_plain.png?r{n}")));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn what_a_column_cannot_be_is_said_by_its_type_before_anything_is_read() {
    let scalars = |columns| refused(file("scalars.parquet"), &columns);
    let fault = scalars(Columns {
        url: Some("d32".to_owned()),
        id: Some("flag".to_owned()),
        caption: Some("i64".to_owned()),
        ..Columns::default()
    });
    for part in [
        "column `d32` for the URL (--url-column) is of the type decimal(9, 2), and a URL is a string",
        "column `flag` for the id (--id-column) is of the type boolean",
        "column `i64` for the caption (--caption-column) is of the type integer",
        "--meta-column passes it on",
    ] {
        assert!(fault.contains(part), "{part:?} is not in {fault:?}");
    }
    let fault = scalars(Columns {
        id: Some("bad_id".to_owned()),
        ..Columns::default()
    });
    assert!(
        fault.contains("column `bad_id` for the id (--id-column) is a float, and in row 2 2.5"),
        "{fault}"
    );
    let fault = refused(
        file("numbers_as_url.parquet"),
        &Columns {
            caption: Some("caption".to_owned()),
            ..Columns::default()
        },
    );
    for part in [
        // The exact name wins over `URL`.
        "column `url` for the URL (--url-column) is of the type integer",
        "column `caption` for the caption (--caption-column) is of the type list of string",
    ] {
        assert!(fault.contains(part), "{part:?} is not in {fault:?}");
    }
    let fault = refused(
        file("nested.parquet"),
        &Columns {
            url: Some("numbers".to_owned()),
            id: Some("url".to_owned()),
            ..Columns::default()
        },
    );
    for part in [
        "`numbers` for the URL (--url-column) is of the type list of integer",
        "`url` for the id",
    ] {
        assert!(fault.contains(part), "{part:?} is not in {fault:?}");
    }
}

#[test]
fn of_names_that_differ_by_case_the_exact_one_wins_and_else_both_are_said() {
    let named = Columns {
        url: Some("URL".to_owned()),
        ..Columns::default()
    };
    let found = rows(&file("numbers_as_url.parquet"), &named);
    assert_eq!(found[0].as_deref(), Ok("http://example.org/0.jpg"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.parquet");
    made(
        &path,
        "message m { required int32 URL; required int32 Url; }",
        |group| {
            for _ in 0..2 {
                let mut column = group.next_column().unwrap().unwrap();
                (column.typed::<Int32Type>().write_batch(&[1], None, None)).unwrap();
                column.close().unwrap();
            }
        },
    );
    let fault = refused(path, &Columns::default());
    assert!(
        fault.contains("the URL (--url-column) may be `URL` or `Url`: name one"),
        "{fault}"
    );
}

/// Writes one row group.
fn made(
    path: &PathBuf,
    schema: &str,
    write: impl FnOnce(&mut SerializedRowGroupWriter<'_, fs::File>),
) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    write(&mut group);
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn lists_as_they_were_written_before_are_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.parquet");
    let schema = "message m {
        OPTIONAL GROUP url (LIST) { REPEATED BYTE_ARRAY array (UTF8); }
        REPEATED INT32 bare;
        OPTIONAL GROUP structs (LIST) { REPEATED GROUP structs_tuple { REQUIRED INT32 x; } }
        REQUIRED GROUP old_map (MAP_KEY_VALUE) { REPEATED GROUP map { REQUIRED BYTE_ARRAY key; OPTIONAL INT64 value; } }
    }";
    made(&path, schema, |group| {
        let urls: Vec<_> = ["http://a", "http://b", "http://c"]
            .map(ByteArray::from)
            .into();
        let mut column = group.next_column().unwrap().unwrap();
        (column.typed::<ByteArrayType>())
            .write_batch(&urls, Some(&[2, 2, 2]), Some(&[0, 0, 0]))
            .unwrap();
        column.close().unwrap();
        // 1, 2; none; 3. The second of them may be null as a whole, so its levels are one deeper.
        for deep in [0, 1] {
            let levels = [1 + deep, 1 + deep, deep, 1 + deep];
            let mut column = group.next_column().unwrap().unwrap();
            (column.typed::<Int32Type>())
                .write_batch(&[1, 2, 3], Some(&levels), Some(&[0, 1, 0, 0]))
                .unwrap();
            column.close().unwrap();
        }
        let keys = [ByteArray::from("k"), ByteArray::from("l")];
        let mut column = group.next_column().unwrap().unwrap();
        (column.typed::<ByteArrayType>())
            .write_batch(&keys, Some(&[1, 0, 1]), Some(&[0, 0, 0]))
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        (column.typed::<Int64Type>())
            .write_batch(&[9], Some(&[2, 0, 1]), Some(&[0, 0, 0]))
            .unwrap();
        column.close().unwrap();
    });
    let columns = Columns {
        meta: ["bare", "structs", "old_map"].map(str::to_owned).into(),
        ..Columns::default()
    };
    let found: Vec<_> = rows(&path, &columns)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        found,
        [
            r#"{"url":"http://a","meta":{"bare":[1,2],"structs":[{"x":1},{"x":2}],"old_map":{"k":9}}}"#,
            r#"{"url":"http://b","meta":{"bare":[],"structs":[],"old_map":{}}}"#,
            r#"{"url":"http://c","meta":{"bare":[3],"structs":[{"x":3}],"old_map":{"l":null}}}"#,
        ]
    );
}
