//! What the values of one column stand for, by its logical type, and the value of each.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat};
use half::f16;
use parquet::{
    basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical},
    data_type::Int96,
    schema::types::Type,
};
use vila2_actors::request::hex;

use super::cell::Cell;

/// The longest decimal that is read, in bytes: 256 bits are the most there is in use.
const DECIMAL: usize = 64;
const NANOS: i64 = 1_000_000_000;

/// The meaning of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Null,
    Bool,
    Signed,
    Unsigned32,
    Unsigned64,
    Float,
    Half,
    Text,
    Json,
    Bytes,
    Uuid,
    Decimal {
        precision: i32,
        scale: i32,
    },
    Date,
    /// Units in a second.
    Time(i64),
    Timestamp {
        per_second: i64,
        utc: bool,
    },
    /// Days and nanoseconds, as before there were timestamps.
    Int96,
    Interval,
}

impl Scalar {
    /// Of a column.
    ///
    /// # Errors
    /// The name of a type that cannot be said.
    pub(super) fn of(column: &Type) -> Result<Self, String> {
        let info = column.get_basic_info();
        let physical = column.get_physical_type();
        let per_second = |unit: &TimeUnit| match unit {
            TimeUnit::MILLIS => 1_000,
            TimeUnit::MICROS => 1_000_000,
            TimeUnit::NANOS => NANOS,
        };
        let length = match column {
            Type::PrimitiveType { type_length, .. } => *type_length,
            Type::GroupType { .. } => -1,
        };
        let found = match info.logical_type_ref() {
            Some(LogicalType::String | LogicalType::Enum) => Self::Text,
            Some(LogicalType::Json) => Self::Json,
            Some(LogicalType::Bson | LogicalType::Geometry(_) | LogicalType::Geography(_)) => {
                Self::Bytes
            }
            Some(LogicalType::Uuid) if length == 16 => Self::Uuid,
            Some(LogicalType::Float16) if length == 2 => Self::Half,
            Some(LogicalType::Decimal(decimal)) => Self::Decimal {
                precision: decimal.precision,
                scale: decimal.scale,
            },
            Some(LogicalType::Date) => Self::Date,
            Some(LogicalType::Time(time)) => Self::Time(per_second(&time.unit)),
            Some(LogicalType::Timestamp(timestamp)) => Self::Timestamp {
                per_second: per_second(&timestamp.unit),
                utc: timestamp.is_adjusted_to_u_t_c,
            },
            Some(LogicalType::Integer(whole)) => match (whole.is_signed, physical) {
                (true, _) => Self::Signed,
                (false, Physical::INT64) => Self::Unsigned64,
                (false, _) => Self::Unsigned32,
            },
            Some(LogicalType::Unknown) => Self::Null,
            Some(other) => return Err(format!("{other:?}")),
            None => Self::converted(column, physical),
        };
        Ok(found)
    }

    /// By what types were called before there were logical ones.
    fn converted(column: &Type, physical: Physical) -> Self {
        let timestamp = |per_second| Self::Timestamp {
            per_second,
            utc: true,
        };
        match column.get_basic_info().converted_type() {
            ConvertedType::UTF8 | ConvertedType::ENUM => Self::Text,
            ConvertedType::JSON => Self::Json,
            ConvertedType::DECIMAL => Self::Decimal {
                precision: column.get_precision(),
                scale: column.get_scale(),
            },
            ConvertedType::DATE => Self::Date,
            ConvertedType::TIME_MILLIS => Self::Time(1_000),
            ConvertedType::TIME_MICROS => Self::Time(1_000_000),
            ConvertedType::TIMESTAMP_MILLIS => timestamp(1_000),
            ConvertedType::TIMESTAMP_MICROS => timestamp(1_000_000),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 => {
                Self::Unsigned32
            }
            ConvertedType::UINT_64 => Self::Unsigned64,
            ConvertedType::INTERVAL => Self::Interval,
            _ => match physical {
                Physical::BOOLEAN => Self::Bool,
                Physical::INT32 | Physical::INT64 => Self::Signed,
                Physical::INT96 => Self::Int96,
                Physical::FLOAT | Physical::DOUBLE => Self::Float,
                Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => Self::Bytes,
            },
        }
    }

    /// Whether its values are text, or bytes that may be.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Bytes)
    }

    /// Whether its values are floats.
    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Half)
    }

    /// A value of a column of whole numbers.
    pub(super) fn whole(self, value: i64) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Unsigned32 => Cell::Number((value as u32).to_string()),
            Self::Unsigned64 => Cell::Number(value.cast_unsigned().to_string()),
            Self::Decimal { scale, .. } => decimal(&value.to_be_bytes(), scale),
            Self::Date => chrono::TimeDelta::try_days(value)
                .and_then(|days| NaiveDate::default().checked_add_signed(days))
                .map_or_else(|| wrong("date", value), |date| Cell::Text(date.to_string())),
            Self::Time(per_second) => {
                let (seconds, nanos) = split(value, per_second);
                (u32::try_from(seconds).ok())
                    .and_then(|seconds| {
                        NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)
                    })
                    .map_or_else(|| wrong("time", value), |time| Cell::Text(time.to_string()))
            }
            Self::Timestamp { per_second, utc } => {
                let (seconds, nanos) = split(value, per_second);
                timestamp(seconds, nanos, utc).unwrap_or_else(|| wrong("timestamp", value))
            }
            _ => Cell::Number(value.to_string()),
        }
    }

    /// A value of an INT96 column.
    pub(super) fn int96(value: &Int96) -> Cell {
        /// The Julian day of 1970-01-01.
        const EPOCH: i64 = 2_440_588;
        let data = value.data();
        let nanos = i64::from(data[1]) << 32 | i64::from(data[0]);
        let days = i64::from(data[2]) - EPOCH;
        let seconds = days * 86_400 + nanos.div_euclid(NANOS);
        let rest = u32::try_from(nanos.rem_euclid(NANOS)).unwrap_or_default();
        timestamp(seconds, rest, false).unwrap_or_else(|| wrong("timestamp", nanos))
    }

    /// A value of a column of bytes.
    pub(super) fn bytes(self, bytes: &[u8]) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Text | Self::Json => match std::str::from_utf8(bytes) {
                Ok(text) if self == Self::Json => Cell::Json(text.to_owned()),
                Ok(text) => Cell::Text(text.to_owned()),
                Err(error) => Cell::Wrong(format!("no UTF-8 ({error})")),
            },
            Self::Uuid => {
                let digits = hex(bytes);
                let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
                let parts = parts.map(|part| digits.get(part).unwrap_or_default());
                Cell::Text(parts.join("-"))
            }
            Self::Half => match bytes {
                [low, high] => Cell::Float(f64::from(f16::from_le_bytes([*low, *high]))),
                _ => Cell::Wrong(format!("{} bytes, not 2", bytes.len())),
            },
            Self::Decimal { scale, .. } => decimal(bytes, scale),
            Self::Interval => interval(bytes),
            _ => Cell::Bytes(bytes.to_vec()),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "boolean",
            Self::Signed | Self::Unsigned32 | Self::Unsigned64 => "integer",
            Self::Float => "float",
            Self::Half => "float16",
            Self::Text => "string",
            Self::Json => "JSON",
            Self::Bytes => "binary",
            Self::Uuid => "UUID",
            Self::Decimal { precision, scale } => {
                return write!(f, "decimal({precision}, {scale})");
            }
            Self::Date => "date",
            Self::Time(_) => "time",
            Self::Timestamp { .. } | Self::Int96 => "timestamp",
            Self::Interval => "interval",
        })
    }
}

fn wrong(what: &str, value: i64) -> Cell {
    Cell::Wrong(format!("{value} is no {what}"))
}

/// Whole seconds, and the nanoseconds above them.
fn split(value: i64, per_second: i64) -> (i64, u32) {
    let rest = value.rem_euclid(per_second) * (NANOS / per_second);
    (
        value.div_euclid(per_second),
        u32::try_from(rest).unwrap_or_default(),
    )
}

/// As ISO 8601 has it, to the last digit; `Z` where it is known to be UTC.
fn timestamp(seconds: i64, nanos: u32, utc: bool) -> Option<Cell> {
    let moment = DateTime::from_timestamp(seconds, nanos)?;
    let text = moment.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let text = if utc {
        &text
    } else {
        text.trim_end_matches('Z')
    };
    Some(Cell::Text(text.to_owned()))
}

/// The digits of a number in two's complement, highest byte first, with `scale` of them behind
/// the point.
fn decimal(bytes: &[u8], scale: i32) -> Cell {
    if bytes.len() > DECIMAL {
        return Cell::Wrong(format!("a decimal of {} bytes", bytes.len()));
    }
    let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut magnitude = bytes.to_vec();
    if is_negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|&byte| byte != 0) {
        let mut rest = 0_u32;
        for byte in &mut magnitude {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 10).unwrap_or_default();
            rest = value % 10;
        }
        digits.push(char::from_digit(rest, 10).unwrap_or('0'));
    }
    let behind = usize::try_from(scale).unwrap_or_default();
    while digits.len() <= behind {
        digits.push('0');
    }
    let (fraction, whole) = digits.split_at(behind);
    let mut text: String = whole.iter().rev().collect();
    if scale < 0 && text != "0" {
        text.push_str(&"0".repeat(usize::try_from(-scale).unwrap_or_default()));
    }
    if !fraction.is_empty() {
        text.push('.');
        text.extend(fraction.iter().rev());
    }
    if is_negative {
        text.insert(0, '-');
    }
    Cell::Number(text)
}

/// Months, days and milliseconds as ISO 8601 has spans.
fn interval(bytes: &[u8]) -> Cell {
    let Ok(bytes) = <[u8; 12]>::try_from(bytes) else {
        return Cell::Wrong(format!("{} bytes, not 12", bytes.len()));
    };
    let part =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (months, days, ms) = (part(0), part(4), part(8));
    Cell::Text(format!("P{months}M{days}DT{}.{:03}S", ms / 1000, ms % 1000))
}
