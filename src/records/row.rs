//! A record's JSON as a row's JSON, and back.

use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue};

type Members = BTreeMap<String, Box<RawValue>>;

/// Members that are maps from a stage to something, and the name of a value that is no object.
const BY_STAGE: [(&str, &str); 3] = [("models", ""), ("timings_ms", "ms"), ("queue_ms", "ms")];

/// The row of a record.
pub(super) fn of_record(record: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut members: Members = serde_json::from_slice(record)?;
    for (name, value_name) in BY_STAGE {
        let Some(map) = members.get_mut(name) else {
            continue;
        };
        let stages: Map<String, Value> = serde_json::from_str(map.get())?;
        let rows = stages.into_iter().map(|(stage, value)| {
            let mut row = match value {
                Value::Object(row) => row,
                value => Map::from_iter([(value_name.to_owned(), value)]),
            };
            row.insert("stage".to_owned(), stage.into());
            Value::Object(row)
        });
        *map = serde_json::value::to_raw_value(&rows.collect::<Vec<_>>())?;
    }
    if let Some(meta) = members.get_mut("meta") {
        *meta = serde_json::value::to_raw_value(meta.get())?;
    }
    serde_json::to_vec(&members)
}

/// The record of a row.
pub(super) fn to_record(row: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut members: Members = serde_json::from_slice(row)?;
    for (name, value_name) in BY_STAGE {
        let Some(rows) = members.get_mut(name) else {
            continue;
        };
        let rows_there: Vec<Map<String, Value>> = serde_json::from_str(rows.get())?;
        let stages = rows_there.into_iter().filter_map(|mut row| {
            let Some(Value::String(stage)) = row.remove("stage") else {
                return None;
            };
            let value = if value_name.is_empty() {
                Value::Object(row)
            } else {
                row.remove(value_name)?
            };
            Some((stage, value))
        });
        *rows = serde_json::value::to_raw_value(&stages.collect::<Map<_, _>>())?;
    }
    if let Some(meta) = members.get_mut("meta") {
        let text: String = serde_json::from_str(meta.get())?;
        *meta = RawValue::from_string(text)?;
    }
    if let Some(grounding) = members.get_mut("grounding") {
        // the one member that is there where it is null
        let mut found: Vec<Map<String, Value>> = serde_json::from_str(grounding.get())?;
        for one in &mut found {
            one.entry("score").or_insert(Value::Null);
        }
        *grounding = serde_json::value::to_raw_value(&found)?;
    }
    serde_json::to_vec(&members)
}
