//! Reads typed values out of merged layers and collects every fault on the way: a wrong value
//! yields a placeholder, and the whole is refused at the end.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive};

use toml::{Table, Value};

use super::{
    fault::{Fault, Origin},
    layers::Layers,
};

/// A reader over all layers.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    faults: RefCell<Vec<Fault>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers, faults: Vec<Fault>) -> Self {
        Self {
            layers,
            faults: RefCell::new(faults),
        }
    }

    /// Reads the whole; keys that `read` did not ask for are faults.
    pub(super) fn root<T>(&'a self, read: impl FnOnce(&Section<'a>) -> T) -> T {
        let root = Section::new(self, String::new(), &self.layers.table);
        let value = read(&root);
        root.refuse_unknown();
        value
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }

    fn fault(&self, key: &str, problem: String, accepted: &str) {
        self.faults.borrow_mut().push(Fault {
            key: key.to_owned(),
            problem,
            accepted: accepted.to_owned(),
            origin: self.layers.origin(key),
        });
    }
}

/// One table of the configuration.
#[derive(Debug)]
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: String,
    table: &'a Table,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    fn new(reader: &'a Reader<'a>, path: String, table: &'a Table) -> Self {
        Self {
            reader,
            path,
            table,
            asked: RefCell::default(),
        }
    }

    /// A table inside this one; `None` (a fault) where it is something else.
    pub(super) fn section<T>(&self, key: &str, read: impl FnOnce(&Section<'a>) -> T) -> Option<T> {
        match self.get(key) {
            Some(Value::Table(table)) => {
                let section = Section::new(self.reader, self.path_of(key), table);
                let value = read(&section);
                section.refuse_unknown();
                Some(value)
            }
            Some(other) => {
                self.wrong(key, other, "a table");
                None
            }
            None => {
                self.fault(key, "is missing", "a table");
                None
            }
        }
    }

    /// Names and sections of a table whose keys are free to choose.
    pub(super) fn sections<T>(
        &self,
        key: &str,
        mut read: impl FnMut(&str, &Section<'a>) -> T,
    ) -> Vec<(String, T)> {
        self.section(key, |outer| {
            let names: Vec<_> = outer.table.keys().cloned().collect();
            names
                .into_iter()
                .filter_map(|name| {
                    let value = outer.section(&name, |section| read(&name, section))?;
                    Some((name, value))
                })
                .collect()
        })
        .unwrap_or_default()
    }

    /// Keys and scalars, as text, of a table whose keys are free to choose.
    pub(super) fn scalars(&self, key: &str) -> Vec<(String, String)> {
        self.section(key, |options| {
            let names: Vec<_> = options.table.keys().cloned().collect();
            names
                .into_iter()
                .filter_map(|name| {
                    let text = match options.get(&name)? {
                        Value::String(text) => text.clone(),
                        Value::Integer(number) => number.to_string(),
                        Value::Float(number) => number.to_string(),
                        Value::Boolean(flag) => flag.to_string(),
                        other => {
                            options.wrong(&name, other, "a text, a number, true or false");
                            return None;
                        }
                    };
                    Some((name, text))
                })
                .collect()
        })
        .unwrap_or_default()
    }

    /// A text that `check` finds right; `check` says what is wrong.
    pub(super) fn text(
        &self,
        key: &str,
        accepted: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> String {
        let text = match self.get(key) {
            Some(Value::String(text)) => text.clone(),
            // What the environment or a flag wrote without quotes may look like a number.
            Some(value @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_)))
                if self.written_without_quotes(key) =>
            {
                value.to_string()
            }
            Some(other) => {
                self.wrong(key, other, accepted);
                return String::new();
            }
            None => {
                self.fault(key, "is missing", accepted);
                return String::new();
            }
        };
        if let Err(problem) = check(&text) {
            self.fault(key, &problem, accepted);
        }
        text
    }

    /// A list of texts that `check` finds right, one by one.
    pub(super) fn texts(
        &self,
        key: &str,
        accepted: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<String> {
        let lone;
        let values = match self.get(key) {
            Some(Value::Array(values)) => values,
            Some(value @ Value::String(_)) if self.written_without_quotes(key) => {
                lone = vec![value.clone()];
                &lone
            }
            Some(other) => {
                self.wrong(key, other, accepted);
                return Vec::new();
            }
            None => {
                self.fault(key, "is missing", accepted);
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for value in values {
            match value {
                Value::String(text) => match check(text) {
                    Ok(()) => texts.push(text.clone()),
                    Err(problem) => self.fault(key, &problem, accepted),
                },
                other => self.wrong(key, other, accepted),
            }
        }
        texts
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &str, bounds: RangeInclusive<u64>) -> u64 {
        let accepted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        match self.get(key) {
            Some(Value::Integer(number)) => match u64::try_from(*number) {
                Ok(number) if bounds.contains(&number) => number,
                _ => {
                    self.fault(key, &format!("{number} is out of bounds"), &accepted);
                    *bounds.start()
                }
            },
            Some(other) => {
                self.wrong(key, other, &accepted);
                *bounds.start()
            }
            None => {
                self.fault(key, "is missing", &accepted);
                *bounds.start()
            }
        }
    }

    /// Whether a fault of this key was found: its value is a placeholder.
    pub(super) fn is_wrong(&self, key: &str) -> bool {
        let path = self.path_of(key);
        (self.reader.faults.borrow().iter()).any(|fault| fault.key == path)
    }

    /// A number within bounds, whole or not.
    pub(super) fn fraction(&self, key: &str, bounds: RangeInclusive<f64>) -> f64 {
        let accepted = format!("a number from {} to {}", bounds.start(), bounds.end());
        let number = match self.get(key) {
            Some(Value::Integer(number)) => *number as f64,
            Some(Value::Float(number)) => *number,
            Some(other) => {
                self.wrong(key, other, &accepted);
                return *bounds.start();
            }
            None => {
                self.fault(key, "is missing", &accepted);
                return *bounds.start();
            }
        };
        if bounds.contains(&number) {
            return number;
        }
        self.fault(key, &format!("{number} is out of bounds"), &accepted);
        *bounds.start()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> bool {
        match self.get(key) {
            Some(Value::Boolean(flag)) => *flag,
            Some(other) => {
                self.wrong(key, other, "true or false");
                false
            }
            None => {
                self.fault(key, "is missing", "true or false");
                false
            }
        }
    }

    /// One word of a closed list.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> T {
        let accepted = choices
            .iter()
            .map(|(word, _)| format!("{word:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        let mut chosen = choices[0].1;
        self.text(key, &accepted, |text| {
            match choices.iter().find(|(word, _)| *word == text) {
                Some((_, value)) => {
                    chosen = *value;
                    Ok(())
                }
                None => Err(format!("{text:?} is not known")),
            }
        });
        chosen
    }

    /// Marks a key of free choice as known.
    pub(super) fn seen(&self, key: &str) {
        self.asked.borrow_mut().insert(key.to_owned());
    }

    /// Marks every key of this section as known: it has a fault that says it all.
    pub(super) fn know_all(&self) {
        self.table.keys().for_each(|key| self.seen(key));
    }

    /// A variable of the environment, under its own name.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.reader.layers.variable(name)
    }

    /// Whether a key that may be left out is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.seen(key);
        self.table.contains_key(key)
    }

    /// Names of the tables in here that have a key.
    pub(super) fn tables_with(&self, key: &str) -> Vec<String> {
        let tables = self.table.iter();
        let found = tables.filter(|(_, value)| value.get(key).is_some());
        found.map(|(name, _)| name.clone()).collect()
    }

    /// Whether a table is there.
    pub(super) fn is_table(&self, key: &str) -> bool {
        matches!(self.table.get(key), Some(Value::Table(_)))
    }

    /// Whether a list is there and has no members.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        matches!(self.table.get(key), Some(Value::Array(values)) if values.is_empty())
    }

    /// Reports a fault of one key of this section.
    pub(super) fn fault(&self, key: &str, problem: &str, accepted: &str) {
        self.reader
            .fault(&self.path_of(key), problem.to_owned(), accepted);
    }

    fn wrong(&self, key: &str, value: &Value, accepted: &str) {
        self.fault(key, &format!("is {}", kind(value)), accepted);
    }

    fn written_without_quotes(&self, key: &str) -> bool {
        matches!(
            self.reader.layers.origin(&self.path_of(key)),
            Origin::Env(_) | Origin::Flag(_)
        )
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.table.get(key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn refuse_unknown(&self) {
        let asked = self.asked.borrow();
        for key in self.table.keys().filter(|key| !asked.contains(*key)) {
            let mut accepted: Vec<_> = asked.iter().map(String::as_str).collect();
            if self.path.is_empty() {
                // A list of tables, which the layers have read already.
                accepted.push("specialists");
            }
            let accepted = accepted.join(", ");
            self.fault(key, "is not a key", &accepted);
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
