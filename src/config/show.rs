//! What is in effect, secrets left out.

use toml::{Table, Value};

use super::{Layers, Origin};

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// Parts of property names whose values are secrets.
const SECRET: [&str; 7] = [
    "password",
    "secret",
    "token",
    "credential",
    ".pem",
    "private",
    "oauthbearer.config",
];

/// One key in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Dotted key.
    pub key: String,
    /// Its value, or a stand-in for a secret.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Every key in effect, in order, secrets redacted.
#[must_use]
pub fn shown(layers: &Layers) -> Vec<Shown> {
    let mut keys = Vec::new();
    collect(&layers.table, "", layers, &mut keys);
    keys
}

fn collect(table: &Table, prefix: &str, layers: &Layers, keys: &mut Vec<Shown>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(inner) => collect(inner, &key, layers, keys),
            value => {
                let value = if is_secret(&key) {
                    Value::String(REDACTED.to_owned())
                } else {
                    value.clone()
                };
                keys.push(Shown {
                    origin: layers.origin(&key),
                    key,
                    value,
                });
            }
        }
    }
}

fn is_secret(key: &str) -> bool {
    key.starts_with("kafka.options.") && SECRET.iter().any(|part| key.contains(part))
}
