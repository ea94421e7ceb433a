//! The columns.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};

/// The members of a record as columns; all may be null, as members may be absent.
pub(super) fn schema() -> SchemaRef {
    let times = || list(object([text("stage"), float("ms")]));
    Arc::new(Schema::new(vec![
        text("schema"),
        text("id"),
        text("url"),
        whole("round"),
        text("meta"),
        field(
            "image",
            object([
                text("sha256"),
                whole("width"),
                whole("height"),
                text("format"),
                whole("bytes"),
                text("phash"),
            ]),
        ),
        text("original_caption"),
        field(
            "caption",
            object([
                text("text"),
                whole("tokens"),
                text("finish"),
                float("score"),
            ]),
        ),
        field(
            "grounding",
            list(object([
                text("id"),
                text("phrase"),
                field("box", list(DataType::Float64)),
                float("score"),
            ])),
        ),
        field(
            "text",
            list(object([
                text("id"),
                text("text"),
                field("quad", list(list(DataType::Float64))),
                float("score"),
            ])),
        ),
        field(
            "spatial",
            list(object([
                text("id"),
                text("subject"),
                text("relation"),
                text("object"),
                float("score"),
            ])),
        ),
        field(
            "answers",
            list(object([
                text("id"),
                text("specialist"),
                text("question"),
                text("text"),
                whole("tokens"),
                text("finish"),
            ])),
        ),
        field(
            "clauses",
            list(object([
                text("id"),
                text("text"),
                text("verdict"),
                field("evidence", list(DataType::Utf8)),
                text("source"),
                field("span", list(DataType::Int64)),
                float("score"),
            ])),
        ),
        field(
            "disputed",
            list(object([
                text("id"),
                text("text"),
                text("kind"),
                text("by"),
                text("against"),
                field("evidence", list(DataType::Utf8)),
                text("resolution"),
            ])),
        ),
        field("marks", list(DataType::Utf8)),
        text("enriched"),
        field(
            "models",
            list(object([
                text("stage"),
                text("model"),
                text("revision"),
                text("prompt"),
            ])),
        ),
        text("status"),
        field("degraded", list(object([text("stage"), text("reason")]))),
        field("timings_ms", times()),
        field("queue_ms", times()),
    ]))
}

fn field(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

fn text(name: &str) -> Field {
    field(name, DataType::Utf8)
}

fn whole(name: &str) -> Field {
    field(name, DataType::Int64)
}

fn float(name: &str) -> Field {
    field(name, DataType::Float64)
}

fn object<const N: usize>(fields: [Field; N]) -> DataType {
    DataType::Struct(Fields::from(fields.to_vec()))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(field("item", item)))
}
