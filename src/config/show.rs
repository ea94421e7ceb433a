//! What is in effect, secrets left out.

use toml::{Table, Value};

use super::{Layers, Origin, endpoint};

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
                keys.push(Shown {
                    origin: layers.origin(&key),
                    value: redacted(&key, value),
                    key,
                });
            }
        }
    }
}

/// The value of a key as it may be shown.
pub(super) fn redacted(key: &str, value: &Value) -> Value {
    let secret = || Value::String(REDACTED.to_owned());
    if key.starts_with("kafka.options.") && SECRET.iter().any(|part| key.contains(part)) {
        return secret();
    }
    let of_a_model = key.strip_prefix("models.");
    match (of_a_model.and_then(|key| key.rsplit_once('.')), value) {
        (Some((_, "endpoint")), Value::String(url)) => {
            endpoint::shown(url).map_or_else(secret, Value::String)
        }
        // A key that was put in the place of its variable's name.
        (Some((_, "key_env")), Value::String(name)) if !endpoint::is_variable(name) => secret(),
        _ => value.clone(),
    }
}
