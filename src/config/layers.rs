//! The layers of a configuration, merged key by key, each key remembering its origin.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    fault::{Fault, Origin},
    show::redacted,
};

/// The defaults, embedded; every key is documented in there.
pub const DEFAULT: &str = include_str!("../../config/default.toml");

/// Where configuration is taken from besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// Environment variables; only those named `VILA2_SECTION__KEY` are looked at.
    pub environment: Vec<(String, String)>,
    /// The `key=value` of each `--set`.
    pub sets: Vec<String>,
}

/// All layers merged.
#[derive(Debug, Clone)]
pub struct Layers {
    pub(super) table: Table,
    origins: BTreeMap<String, Origin>,
    /// Names of `[[specialists]]`, in the order in which they came.
    specialists: Vec<String>,
    variables: Variables,
}

/// The environment, for keys of servers that are named by their variables.
#[derive(Clone)]
struct Variables(BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} variables, not shown", self.0.len())
    }
}

impl Layers {
    /// Merges all layers. A source that cannot be read is a fault, and left out.
    pub fn merge(sources: &Sources) -> (Self, Vec<Fault>) {
        let mut layers = Self {
            table: Table::new(),
            origins: BTreeMap::new(),
            specialists: Vec::new(),
            variables: Variables(sources.environment.iter().cloned().collect()),
        };
        let mut faults = Vec::new();
        let default = DEFAULT
            .parse::<Table>()
            .expect("bug: config/default.toml is TOML");
        layers.lay(default, &Origin::Default, &mut faults);
        if let Some(path) = &sources.file {
            match read(path) {
                Ok(table) => layers.lay(table, &Origin::File(path.clone()), &mut faults),
                Err(problem) => faults.push(Fault {
                    key: String::new(),
                    problem,
                    accepted: "a TOML file; `vila2 config show` prints one".to_owned(),
                    origin: Origin::File(path.clone()),
                }),
            }
        }
        let mut environment: Vec<_> = sources.environment.iter().collect();
        environment.sort();
        for (name, text) in environment {
            if let Some(path) = path_of_variable(name) {
                let overlay = nest(&path, value(&path, text));
                layers.lay(overlay, &Origin::Env(name.clone()), &mut faults);
            } else if let Some(meant) = layers.meant_by(name) {
                faults.push(Fault {
                    key: meant.clone(),
                    problem: "is not set by it: section and key have two underscores between them"
                        .to_owned(),
                    accepted: format!("VILA2_{}", meant.to_uppercase().replace('.', "__")),
                    origin: Origin::Env(name.clone()),
                });
            }
        }
        for set in &sources.sets {
            match set.split_once('=') {
                Some((key, text)) if key.split('.').all(|part| !part.trim().is_empty()) => {
                    let path: Vec<_> = key.split('.').map(|part| part.trim().to_owned()).collect();
                    let origin = Origin::Flag(path.join("."));
                    let overlay = nest(&path, value(&path, text.trim()));
                    layers.lay(overlay, &origin, &mut faults);
                }
                _ => faults.push(Fault {
                    key: String::new(),
                    problem: format!("`{set}` is no assignment"),
                    accepted: "section.key=value".to_owned(),
                    origin: Origin::Flag(set.clone()),
                }),
            }
        }
        (layers, faults)
    }

    /// Where the value of a dotted key came from; for a section, where any of it came from last; for a
    /// key that is not there, that of its section.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        if let Some(origin) = self.origins.get(key) {
            return origin.clone();
        }
        let prefix = format!("{key}.");
        let inside = self
            .origins
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix))
            .map(|(_, origin)| origin.clone())
            .max_by_key(strength);
        // What is missing is missing where its section was written.
        let around = || {
            key.rsplit_once('.')
                .map(|(section, _)| self.origin(section))
        };
        inside.or_else(around).unwrap_or(Origin::Default)
    }

    /// A variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.variables.0.get(name).cloned()
    }

    /// Every setting of these sections under its dotted key, as TOML, secrets left out; without
    /// those that say how fast, where and by whose leave the same is done.
    #[must_use]
    pub fn settings(&self, sections: &[&str]) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        for section in sections {
            if let Some(value) = self.table.get(*section) {
                spell(section, value, &mut settings);
            }
        }
        if sections.contains(&"stages") && !self.specialists.is_empty() {
            settings.insert("specialists".to_owned(), self.specialists.join(", "));
        }
        const SPEED: [&str; 8] = [
            "providers",
            "device",
            "parallel",
            "timeout_ms",
            "concurrency",
            "retries",
            "away_ms",
            "key_env",
        ];
        let kept = |key: &str| key.starts_with("rules.");
        settings.retain(|key, _| {
            let speed = SPEED.iter().any(|name| key.ends_with(&format!(".{name}")));
            kept(key) || !(speed || key.contains(".provider_options."))
        });
        settings
    }

    /// The key that a variable would set if its underscores were doubled.
    fn meant_by(&self, variable: &str) -> Option<String> {
        let words = variable.strip_prefix("VILA2_")?.to_lowercase();
        let mut keys = self.origins.keys();
        keys.find(|key| key.replace('.', "_") == words).cloned()
    }

    /// Names of `[[specialists]]`, in the order in which they came.
    pub(super) fn specialists(&self) -> &[String] {
        &self.specialists
    }

    fn lay(&mut self, mut overlay: Table, origin: &Origin, faults: &mut Vec<Fault>) {
        flatten_options(&mut overlay);
        let named = name_specialists(&mut overlay).unwrap_or_else(|problem| {
            faults.push(Fault {
                key: "specialists".to_owned(),
                problem,
                accepted: "[[specialists]], each with a name".to_owned(),
                origin: origin.clone(),
            });
            Vec::new()
        });
        for name in named {
            if !self.specialists.contains(&name) {
                self.specialists.push(name);
            }
        }
        lay(&mut self.table, overlay, "", origin, &mut self.origins);
    }
}

fn spell(key: &str, value: &Value, settings: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                spell(&format!("{key}.{name}"), value, settings);
            }
        }
        value => {
            settings.insert(key.to_owned(), redacted(key, value).to_string());
        }
    }
}

fn strength(origin: &Origin) -> u8 {
    match origin {
        Origin::Default => 0,
        Origin::File(_) => 1,
        Origin::Env(_) => 2,
        Origin::Flag(_) => 3,
    }
}

fn lay(
    base: &mut Table,
    overlay: Table,
    prefix: &str,
    origin: &Origin,
    origins: &mut BTreeMap<String, Origin>,
) {
    let path_of = |key: &str| match prefix {
        "" => key.to_owned(),
        prefix => format!("{prefix}.{key}"),
    };
    // A specialist's one prompt and its several are the same setting: a layer that has the one lays
    // it over the other.
    if prefix.starts_with("stages.") && prefix != "stages.caption" {
        for (key, other) in [("prompt", "prompts"), ("prompts", "prompt")] {
            if overlay.contains_key(key) {
                base.remove(other);
                origins.remove(&path_of(other));
            }
        }
    }
    for (key, value) in overlay {
        let path = path_of(&key);
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                lay(below, above, &path, origin, origins);
            }
            (_, Value::Table(above)) => {
                origins.remove(&path);
                let mut fresh = Table::new();
                lay(&mut fresh, above, &path, origin, origins);
                base.insert(key, Value::Table(fresh));
            }
            (_, value) => {
                origins.insert(path, origin.clone());
                base.insert(key, value);
            }
        }
    }
}

/// Each of `[[specialists]]` becomes the table `stages.NAME`, where every layer can change it.
/// Returns their names.
fn name_specialists(layer: &mut Table) -> Result<Vec<String>, String> {
    let Some(list) = layer.remove("specialists") else {
        return Ok(Vec::new());
    };
    let Value::Array(list) = list else {
        return Err("is no list of tables".to_owned());
    };
    let mut names = Vec::new();
    for one in list {
        let Value::Table(mut one) = one else {
            return Err("is no list of tables".to_owned());
        };
        let Some(Value::String(name)) = one.remove("name") else {
            return Err("has one without a name".to_owned());
        };
        let stages = layer.entry("stages").or_insert_with(|| Table::new().into());
        let Value::Table(stages) = stages else {
            return Err("stages is no table".to_owned());
        };
        let table = stages
            .entry(name.as_str())
            .or_insert_with(|| Table::new().into());
        if let Value::Table(table) = table {
            table.extend(one);
        }
        names.push(name);
    }
    Ok(names)
}

/// librdkafka's property names hold dots. `kafka.options` is flattened in every layer, so that
/// `"sasl.password"`, `sasl.password` and `VILA2_KAFKA__OPTIONS__SASL__PASSWORD` are one key.
fn flatten_options(layer: &mut Table) {
    let Some(Value::Table(kafka)) = layer.get_mut("kafka") else {
        return;
    };
    if let Some(Value::Table(options)) = kafka.get_mut("options") {
        let mut flat = Table::new();
        flatten(std::mem::take(options), "", &mut flat);
        *options = flat;
    }
}

fn flatten(table: Table, prefix: &str, flat: &mut Table) {
    for (key, value) in table {
        let path = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Table(inner) => flatten(inner, &path, flat),
            value => {
                flat.insert(path, value);
            }
        }
    }
}

fn read(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    text.parse::<Table>()
        .map_err(|error| format!("is not TOML: {}", error.to_string().trim_end()))
}

/// Variables without a double underscore are none of ours: Kubernetes, for one, gives every
/// container `VILA2_SERVICE_HOST` and the like where a service is called vila2.
fn path_of_variable(name: &str) -> Option<Vec<String>> {
    let path: Vec<String> = name
        .strip_prefix("VILA2_")?
        .split("__")
        .map(str::to_lowercase)
        .collect();
    (path.len() > 1 && path.iter().all(|part| !part.is_empty())).then_some(path)
}

/// Text as TOML, else as it stands. librdkafka's properties are texts: one that looks like a number
/// or a date (a password like `1e5`) is not to be written in another way.
fn value(path: &[String], text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok();
    let parsed = parsed.filter(|table| table.len() == 1);
    let is_option = path.len() > 2 && path[0] == "kafka" && path[1] == "options";
    match parsed.and_then(|mut table| table.remove("value")) {
        Some(value) if !is_option || value.is_str() => value,
        _ => Value::String(text.to_owned()),
    }
}

fn nest(path: &[String], value: Value) -> Table {
    let mut table = Table::new();
    if let [first, rest @ ..] = path {
        let value = if rest.is_empty() {
            value
        } else {
            Value::Table(nest(rest, value))
        };
        table.insert(first.clone(), value);
    }
    table
}
