//! What goes to stdout: results, and nothing else.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::Failure;

/// Writes one line to stdout.
///
/// # Errors
/// [`Failure::Closed`] where nobody reads any more.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(closed)
}

/// Writes bytes as they are, and a line end.
///
/// # Errors
/// As [`line`].
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(closed)
}

/// Writes a value as JSON: one line, or indented on a terminal.
///
/// # Errors
/// As [`line`].
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    line(&text.map_err(|error| Failure::Failed(error.to_string()))?)
}

/// A table with a header, to be printed with [`line`].
pub(super) fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// Columns for a table on stdout: those of the terminal, else enough for a file.
pub(super) fn width() -> u16 {
    const FILE: u16 = 120;
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.max(60),
        _ => FILE,
    }
}

/// Says something to the person, on stderr.
pub(super) fn note(text: &str) {
    // A person who closed stderr does not want to hear it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn closed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::Closed
    } else {
        Failure::Failed(format!("cannot write to stdout: {error}"))
    }
}
