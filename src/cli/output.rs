//! What goes to stdout: results, and nothing else.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::Failure;
pub(super) use crate::telemetry::visible;
use crate::telemetry::{colours, visible_json, visible_lines};

/// Writes text to stdout, and a line end; what a terminal would obey is shown instead.
///
/// # Errors
/// [`Failure::Closed`] where nobody reads any more.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    write(visible_lines(text).as_bytes())
}

/// As [`line`], with what it is about in front, bold on a terminal.
///
/// # Errors
/// As [`line`].
pub(super) fn headed(head: &str, text: &str) -> Result<(), Failure> {
    let (head, text) = (visible(head), visible_lines(text));
    if colours(&io::stdout()) {
        write(format!("\x1b[1m{head}\x1b[0m\n{text}").as_bytes())
    } else {
        write(format!("{head}\n{text}").as_bytes())
    }
}

/// Writes JSON as it is, and a line end; on a terminal, what it would obey is escaped.
///
/// # Errors
/// As [`line`].
pub(super) fn bytes(json: &[u8]) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        write(visible_json(&String::from_utf8_lossy(json)).as_bytes())
    } else {
        write(json)
    }
}

/// Writes a value as JSON: one line, or indented on a terminal.
///
/// # Errors
/// As [`line`].
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_vec_pretty(value)
    } else {
        serde_json::to_vec(value)
    };
    bytes(&text.map_err(|error| Failure::Failed(error.to_string()))?)
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(closed)
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

/// What became of captions that tripped a rule: rule → action → captions.
pub(super) fn rules(rules: &BTreeMap<String, BTreeMap<String, u64>>) -> String {
    let mut table = table(["rule", "action", "captions"]);
    for (rule, actions) in rules {
        for (action, captions) in actions {
            table.add_row([rule.clone(), action.clone(), count(*captions)]);
        }
    }
    right_aligned(&mut table, 2);
    table.to_string()
}

/// Columns for a table on stdout: those of the terminal, else enough for a file.
pub(super) fn width() -> u16 {
    const FILE: u16 = 120;
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.max(60),
        _ => FILE,
    }
}

/// Aligns the columns from `first` on to the right: they hold numbers.
pub(super) fn right_aligned(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Says something to the person, on stderr; what a terminal would obey is shown instead.
pub(super) fn note(text: &str) {
    // A person who closed stderr does not want to hear it.
    let _ = writeln!(io::stderr().lock(), "{}", visible_lines(text));
}

/// A count with its thousands apart: `12,345`.
pub(super) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// A count with what is counted: `1 letter`, `12,345 letters`.
pub(super) fn plural(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {what}{s}", count(number))
}

/// A span of time in two units at most: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A moment in UTC, from milliseconds since the Unix epoch: `2026-03-01 12:00:05`.
pub(super) fn instant(milliseconds: i64) -> String {
    chrono::DateTime::from_timestamp_millis(milliseconds).map_or_else(
        || "?".to_owned(),
        |moment| moment.format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

fn closed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::Closed
    } else {
        Failure::Failed(format!("cannot write to stdout: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(plural(1, "letter"), "1 letter");
        assert_eq!(plural(1_200, "letter"), "1,200 letters");
    }

    #[test]
    fn moments_are_dates_in_utc() {
        for (milliseconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_999, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_709_251_199_000, "2024-02-29 23:59:59"),
            (4_102_444_800_000, "2100-01-01 00:00:00"),
            (-1_000, "1969-12-31 23:59:59"),
        ] {
            assert_eq!(instant(milliseconds), text);
        }
    }

    #[test]
    fn spans_are_said_as_a_person_would() {
        for (seconds, text) in [
            (0.04, "0.0 s"),
            (3.12, "3.1 s"),
            (59.6, "1 min 0 s"),
            (59.4, "59 s"),
            (200.0, "3 min 20 s"),
            (7_500.0, "2 h 5 min"),
            (273_600.0, "3 d 4 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
