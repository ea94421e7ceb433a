//! One value of a row, and how it reads as text and as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Number, value::RawValue};

use crate::requests::compose::quoted;

/// Above it, a float does not tell neighbours apart.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    /// Digits, as JSON has them.
    Number(String),
    Float(f64),
    Text(String),
    /// Bytes of which nothing more is known.
    Bytes(Vec<u8>),
    /// JSON text, as the column has it.
    Json(String),
    List(Vec<Cell>),
    Struct(Vec<(String, Cell)>),
    Map(Vec<(Cell, Cell)>),
    /// No value of the column's type, and why.
    Wrong(String),
}

impl Cell {
    /// As JSON; NaN and infinities, which JSON does not have, are null, bytes are base64.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn json(&self) -> Result<String, String> {
        Ok(match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(digits) => digits.clone(),
            Self::Float(value) => {
                Number::from_f64(*value).map_or_else(|| "null".to_owned(), |n| n.to_string())
            }
            Self::Text(text) => quoted(text),
            Self::Bytes(bytes) => quoted(&STANDARD.encode(bytes)),
            Self::Json(text) => match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => text.clone(),
                Err(_) => quoted(text),
            },
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::json).collect::<Result<_, _>>()?;
                format!("[{}]", items.join(","))
            }
            Self::Struct(members) => {
                let members: Vec<_> = (members.iter())
                    .map(|(name, value)| Ok(format!("{}:{}", quoted(name), value.json()?)))
                    .collect::<Result<_, String>>()?;
                format!("{{{}}}", members.join(","))
            }
            Self::Map(entries) => {
                let entries: Vec<_> = (entries.iter())
                    .map(|(key, value)| {
                        let key = key.name()?.unwrap_or_default();
                        Ok(format!("{}:{}", quoted(&key), value.json()?))
                    })
                    .collect::<Result<_, String>>()?;
                format!("{{{}}}", entries.join(","))
            }
            Self::Wrong(problem) => return Err(problem.clone()),
        })
    }

    /// As text of a URL or a caption.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn text(&self) -> Result<Option<String>, String> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) | Self::Json(text) => Ok(Some(text.clone())),
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(error) => Err(format!("no UTF-8 ({error})")),
            },
            Self::List(items) => {
                let mut some = items.iter().filter(|item| **item != Self::Null);
                match (some.next(), some.count()) {
                    (None, _) => Ok(None),
                    (Some(one), 0) => one.text(),
                    (Some(_), more) => Err(format!("a list of {}, where one is wanted", more + 1)),
                }
            }
            Self::Wrong(problem) => Err(problem.clone()),
            other => other.json().map(Some),
        }
    }

    /// As a name, of a picture or of an entry of a map: numbers are their digits, a float that is
    /// whole those of the whole number, bytes that are no text base64.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn name(&self) -> Result<Option<String>, String> {
        match self {
            Self::Float(value) if value.is_nan() => Ok(None),
            Self::Float(value) if value.fract() == 0.0 && value.abs() <= EXACT => {
                Ok(Some((*value as i64).to_string()))
            }
            Self::Float(value) => Err(format!("{value} is no whole number below 2^53")),
            Self::Bytes(bytes) => Ok(Some(match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => STANDARD.encode(bytes),
            })),
            other => other.text(),
        }
    }
}
