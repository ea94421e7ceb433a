//! Looks at everything a running service needs, changes nothing, and says what to do.
//!
//! ```text
//! runtime     ONNX Runtime, its version, the execution providers
//! models      every model folder in use: whole, loads, passes its self-check
//! broker      brokers, topics, the group
//! addresses   what the address guard lets through
//! page        whether the address of metrics and probes is free
//! traces      whether the collector of spans takes them
//! limits      open files
//! ```

mod addresses;
mod broker;
mod collector;
mod limits;
mod models;
mod page;
mod runtime;

use std::{fmt, thread};

use serde::Serialize;

use crate::config::{Config, Layers};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and may surprise.
    Warning,
    /// `run` would not work, or not for long.
    Fault,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, for example ``topic `images` ``.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do; empty where there is nothing to do.
    pub advice: String,
}

impl Finding {
    fn ok(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            subject: subject.into(),
            found: found.into(),
            advice: String::new(),
        }
    }

    fn warning(
        subject: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            advice: advice.into(),
            ..Self::ok(subject, found)
        }
    }

    fn fault(
        subject: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Fault,
            advice: advice.into(),
            ..Self::ok(subject, found)
        }
    }

    /// A fault told by an error whose last part says what to do.
    fn told(subject: impl Into<String>, error: &str) -> Self {
        let (found, advice) = error.rsplit_once("; ").unwrap_or((error, ""));
        Self::fault(subject, found, advice)
    }
}

/// Looks at everything. The configuration itself is right already; see `config check`.
///
/// Blocks: an unreachable broker takes ten seconds, a large model as long as it takes to load.
#[must_use]
pub fn examine(config: &Config, layers: &Layers) -> Vec<Finding> {
    thread::scope(|scope| {
        // The broker may be slow, and so may the models.
        let broker = scope.spawn(|| broker::examine(config));
        let mut findings = vec![configuration(layers)];
        findings.extend(runtime::examine(config));
        findings.extend(models::examine(config));
        findings.extend(broker.join().unwrap_or_else(|_| {
            vec![Finding::fault(
                "broker",
                "looking at it failed",
                "report this: it is a bug",
            )]
        }));
        findings.extend(addresses::examine(config));
        findings.extend(page::examine(config));
        findings.push(collector::examine());
        findings.push(limits::examine(config));
        findings
    })
}

/// The worst of all findings.
#[must_use]
pub fn worst(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|finding| finding.level);
    levels.max().unwrap_or(Level::Ok)
}

fn configuration(layers: &Layers) -> Finding {
    let mut origins: Vec<String> = Vec::new();
    for shown in crate::config::shown(layers) {
        let origin = shown.origin.to_string();
        if origin != "default" && !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    let found = if origins.is_empty() {
        "the defaults, without faults".to_owned()
    } else {
        format!("without faults; over the defaults: {}", origins.join(", "))
    };
    Finding::ok("configuration", found)
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_an_error_is_the_advice() {
        let told = Finding::told("x", "nothing there; looked for a, b; run `make`");
        assert_eq!(told.found, "nothing there; looked for a, b");
        assert_eq!(told.advice, "run `make`");
        assert_eq!(worst(&[Finding::ok("a", "b"), told]), Level::Fault);
    }
}
