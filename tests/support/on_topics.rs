//! The shipped program on a test's broker and topics.

use std::process::{Command, Output};

use serde_json::Value;
use vila2::kafka::{KafkaSettings, Topics};

use super::program;

/// `vila2 ARGUMENTS` with the broker, group and topics of `settings`.
pub fn vila2(settings: &KafkaSettings, arguments: &[&str]) -> Command {
    let Topics {
        images,
        captions,
        dead,
    } = &settings.topics;
    let mut command = program::vila2(arguments);
    for (key, value) in [
        ("kafka.brokers", &settings.brokers),
        ("kafka.group", &settings.group),
        ("kafka.topics.images", images),
        ("kafka.topics.captions", captions),
        ("kafka.topics.dead", dead),
    ] {
        command.args(["--set", &format!("{key}='{value}'")]);
    }
    command
}

/// Runs it to a good end.
pub fn done(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The same, and what it said as JSON.
pub fn said(command: Command) -> Value {
    serde_json::from_slice(&done(command).stdout).unwrap()
}
