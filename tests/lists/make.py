#!/usr/bin/env python3
"""Writes the Parquet files of this folder that another writer than ours is wanted for.

    python3 make.py        (pyarrow 26)

The values that `src/requests/tests/typed.rs` expects are those below. `cr_only.txt`,
`url_tab_caption.tsv`, `utf16.txt`, `uuid_decimal.parquet` and `list_url.parquet` were handed in.
"""

import datetime
import decimal
import pathlib
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
D = decimal.Decimal
UTC = datetime.timezone.utc
URLS = [f"http://example.org/{n}.jpg" for n in range(3)]


def write(name, columns, **options):
    pq.write_table(pa.table(columns), HERE / name, compression="zstd", **options)


def scalars():
    nanos = pa.array([1709210096123456789, 0, -1], pa.timestamp("ns"))
    seconds = pa.array([1709210096, 0, None], pa.timestamp("s"))
    return {
        "url": URLS,
        "uuid": pa.array([uuid.UUID("cd613e30-d8f1-6adf-91b7-584a2265b1f5").bytes, None,
                          uuid.UUID(int=1).bytes], pa.uuid()),
        "d32": pa.array([D("1.25"), D("-0.01"), None], pa.decimal128(9, 2)),
        "d64": pa.array([D("123456789012.345"), D("0"), None], pa.decimal128(18, 3)),
        "d128": pa.array([D("12345678901234567890123456789012345678"), D(-1), None], pa.decimal128(38, 0)),
        "d256": pa.array([D("-" + "9" * 66 + ".1234567890"), D("0.0000000001"), None], pa.decimal256(76, 10)),
        "half": pa.array([0.90673828125, -2.0, float("nan")], pa.float16()),
        "f32": pa.array([0.5, float("inf"), None], pa.float32()),
        "f64": pa.array([0.1, 1e22, float("nan")], pa.float64()),
        "u8": pa.array([255, 0, None], pa.uint8()),
        "u32": pa.array([4294967295, 0, None], pa.uint32()),
        "u64": pa.array([18446744073709551615, 0, None], pa.uint64()),
        "i64": pa.array([-9223372036854775808, 0, None], pa.int64()),
        "flag": pa.array([True, False, None]),
        "date": pa.array([datetime.date(2024, 2, 29), datetime.date(1969, 12, 31), None]),
        "t32": pa.array([datetime.time(12, 34, 56, 789000), datetime.time(0), None], pa.time32("ms")),
        "t64": pa.array([45296123456789, 0, None], pa.time64("ns")),
        "ms": pa.array([1709210096123, -1, None], pa.timestamp("ms", tz="UTC")),
        "us": pa.array([1709210096123456, 0, None], pa.timestamp("us", tz="UTC")),
        "ns": nanos,
        "s": seconds,
        "binary": pa.array([b"\x00\xff\x80", b"text", None], pa.binary()),
        "fixed": pa.array([b"\xff\xfe", b"ab", None], pa.binary(2)),
        "word": pa.array(["a", "b", "a"]).dictionary_encode(),
        "void": pa.nulls(3),
        "float_id": pa.array([1234567.0, None, -3.0]),
        "bad_id": pa.array([1.0, 2.5, 3.0]),
    }


def nested():
    point = pa.struct([("x", pa.int32()), ("y", pa.decimal128(4, 1))])
    return {
        "url": pa.array([[URLS[0]], [], [URLS[1], URLS[2]], None, [None, URLS[2]]]),
        "plain": [f"http://example.org/{n}.jpg" for n in range(5)],
        "numbers": pa.array([[1, None, 3], [], None, [4], [5, 6]], pa.list_(pa.int64())),
        "lists": pa.array([[[1], []], [None, [2, 3]], [], None, [[4, None]]],
                          pa.list_(pa.list_(pa.int64()))),
        "point": pa.array([{"x": 1, "y": D("2.5")}, None, {"x": None, "y": D("0.0")},
                           {"x": 4, "y": None}, {"x": 5, "y": D("-1.0")}], point),
        "points": pa.array([[{"x": 1, "y": None}, None], [], None,
                            [{"x": 2, "y": D("1.5")}], [{"x": 3, "y": D("0.5")}]], pa.list_(point)),
        "tags": pa.array([[("a", 1), ("b", None)], [], None, [("c", 3)], [("a", 5)]],
                         pa.map_(pa.string(), pa.int64())),
        "by_number": pa.array([[(7, ["x", None])], [], None, [(8, [])], [(9, None)]],
                              pa.map_(pa.int64(), pa.list_(pa.string()))),
    }


write("scalars.parquet", scalars())
write("scalars_plain.parquet", scalars(), use_dictionary=False, data_page_version="2.0",
      store_decimal_as_integer=True)
write("int96.parquet", {
    "url": URLS,
    "moment": pa.array([1709210096123456789, -1, None], pa.timestamp("ns")),
}, use_deprecated_int96_timestamps=True)
write("nested.parquet", nested(), row_group_size=2)
write("numbers_as_url.parquet", {
    "url": pa.array([1, 2, 3]), "URL": URLS, "caption": [["a", "b"], ["c"], []],
})
write("all_bad.parquet", {"url": pa.array([None, "", " "])})
