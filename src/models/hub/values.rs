//! Values of a folder's JSON files, read by name. A value of the wrong kind is a fault: what is
//! taken for something else in silence changes every text of the model.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::Fault;

/// An object of a file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file.
    pub file: &'static str,
    /// Where the object lies in it, with a dot at its end; empty for the file's own.
    pub within: &'static str,
    /// The object.
    pub object: &'a Value,
}

impl<'a> Source<'a> {
    /// All of a file.
    #[must_use]
    pub fn file(file: &'static str, object: &'a Value) -> Self {
        Self {
            file,
            within: "",
            object,
        }
    }

    /// `text_config` of `config.json`.
    #[must_use]
    pub fn text_config(config: &'a Value) -> Self {
        Self {
            file: "config.json",
            within: "text_config.",
            object: &config["text_config"],
        }
    }
}

/// Reads values, each of the first source that has it, and gathers what is wrong with them.
///
/// A key may have dots (`size.longest_edge`). `null` is as good as nothing.
#[derive(Debug)]
pub struct Values<'a> {
    sources: Vec<Source<'a>>,
    faults: Vec<Fault>,
}

impl<'a> Values<'a> {
    /// Looks into `sources`, in this order.
    pub fn new(sources: impl IntoIterator<Item = Source<'a>>) -> Self {
        Self {
            sources: sources.into_iter().collect(),
            faults: Vec::new(),
        }
    }

    /// What is wrong so far.
    #[must_use]
    pub fn faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Something else is wrong with the value of `key`.
    pub fn fault(&mut self, key: &str, what: &str) {
        let source = self.source(key).or(self.sources.first());
        if let Some(source) = source {
            let what = format!("`{}{key}` {what}", source.within);
            self.faults.push(Fault::new(source.file, what));
        }
    }

    /// A whole number in a range.
    pub fn whole(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<usize> {
        let (low, high) = (*range.start(), *range.end());
        let wanted = if high >= u64::from(u32::MAX) {
            format!("a whole number from {low}")
        } else {
            format!("a whole number from {low} to {high}")
        };
        self.read(key, &wanted, |value| {
            let number = value.as_u64().filter(|number| range.contains(number));
            number.and_then(|number| usize::try_from(number).ok())
        })
    }

    /// A number.
    pub fn number(&mut self, key: &str) -> Option<f64> {
        self.read(key, "a number", Value::as_f64)
    }

    /// As many numbers as asked for.
    pub fn numbers<const N: usize>(&mut self, key: &str) -> Option<[f32; N]> {
        self.read(key, &format!("a list of {N} numbers"), |value| {
            let numbers = value.as_array()?.iter();
            let numbers: Option<Vec<f32>> = numbers.map(|n| Some(n.as_f64()? as f32)).collect();
            numbers?.try_into().ok()
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A token's id.
    pub fn token(&mut self, key: &str) -> Option<u32> {
        self.read(key, "the id of a token", id)
    }

    /// One id or more.
    pub fn tokens(&mut self, key: &str) -> Option<Vec<u32>> {
        self.read(
            key,
            "the id of a token, or a list of ids",
            |value| match value {
                Value::Array(ids) if ids.is_empty() => None,
                Value::Array(ids) => ids.iter().map(id).collect(),
                one => id(one).map(|id| vec![id]),
            },
        )
    }

    /// Whatever `known` makes of a value.
    pub fn read<T>(
        &mut self,
        key: &str,
        wanted: &str,
        known: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = value(self.source(key)?.object, key);
        let read = known(value);
        if read.is_none() {
            self.fault(key, &format!("is {value}; it must be {wanted}"));
        }
        read
    }

    /// Values that must be there.
    pub fn needed(&mut self, keys: &[&str]) {
        for key in keys {
            if self.source(key).is_some() {
                continue;
            }
            let Some(first) = self.sources.first() else {
                continue;
            };
            let others = self.sources[1..].iter();
            let others: String = others
                .map(|source| format!(", so is `{}{key}` of {}", source.within, source.file))
                .collect();
            let what = format!("`{}{key}` is missing{others}", first.within);
            self.faults.push(Fault::new(first.file, what));
        }
    }

    /// The first source that has it.
    fn source(&self, key: &str) -> Option<&Source<'a>> {
        let mut sources = self.sources.iter();
        sources.find(|source| !value(source.object, key).is_null())
    }
}

fn value<'v>(object: &'v Value, key: &str) -> &'v Value {
    key.split('.').fold(object, |object, key| &object[key])
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(values: Values<'_>) -> Vec<String> {
        let faults = values.faults().into_iter();
        faults
            .map(|fault| format!("{}: {}", fault.file, fault.what))
            .collect()
    }

    #[test]
    fn the_first_source_that_has_a_value_counts_and_null_is_none() {
        let generation = json!({"eos_token_id": null, "num_beams": 3});
        let config =
            json!({"num_beams": 5, "text_config": {"eos_token_id": [2, 7], "size": {"height": 4}}});
        let mut values = Values::new([
            Source::file("generation_config.json", &generation),
            Source::text_config(&config),
        ]);
        assert_eq!(values.whole("num_beams", 1..=16), Some(3));
        assert_eq!(values.tokens("eos_token_id"), Some(vec![2, 7]));
        assert_eq!(values.whole("size.height", 1..=4096), Some(4));
        assert_eq!(values.flag("do_resize"), None);
        assert_eq!(told(values), [""; 0]);
    }

    #[test]
    fn values_of_a_wrong_kind_are_told_with_file_found_and_wanted() {
        let wrong = [
            json!("3"),
            json!(3.5),
            json!(true),
            json!(-1),
            json!(17),
            json!([3]),
        ];
        for wrong in wrong {
            let generation = json!({ "num_beams": wrong });
            let mut values = Values::new([Source::file("generation_config.json", &generation)]);
            assert_eq!(values.whole("num_beams", 1..=16), None);
            let wanted = format!(
                "generation_config.json: `num_beams` is {wrong}; it must be a whole number from 1 to 16"
            );
            assert_eq!(told(values), [wanted]);
        }
        let config = json!({"text_config": {
            "a": 4_294_967_296_u64, "b": [1, "2"], "c": "x", "d": [0.5, 0.5], "e": "true", "f": [],
        }});
        let mut values = Values::new([Source::text_config(&config)]);
        assert_eq!(values.token("a"), None);
        assert_eq!(values.tokens("b"), None);
        assert_eq!(values.number("c"), None);
        assert_eq!(values.numbers::<3>("d"), None);
        assert_eq!(values.flag("e"), None);
        assert_eq!(values.tokens("f"), None);
        assert_eq!(
            told(values),
            [
                "config.json: `text_config.a` is 4294967296; it must be the id of a token",
                "config.json: `text_config.b` is [1,\"2\"]; it must be the id of a token, or a list \
                 of ids",
                "config.json: `text_config.c` is \"x\"; it must be a number",
                "config.json: `text_config.d` is [0.5,0.5]; it must be a list of 3 numbers",
                "config.json: `text_config.e` is \"true\"; it must be true or false",
                "config.json: `text_config.f` is []; it must be the id of a token, or a list of ids",
            ]
        );
    }

    #[test]
    fn what_is_missing_is_told_with_every_place_where_it_may_stand() {
        let (generation, config) = (json!({}), json!({}));
        let mut values = Values::new([
            Source::file("generation_config.json", &generation),
            Source::text_config(&config),
        ]);
        values.needed(&["eos_token_id"]);
        assert_eq!(
            told(values),
            ["generation_config.json: `eos_token_id` is missing, so is \
                 `text_config.eos_token_id` of config.json"]
        );
    }
}
