//! Progress on stderr; nothing where stderr is no terminal.

use std::{fmt, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::output;
use crate::telemetry;

/// A bar over a known count of `what`, with rate and time to go.
pub(super) fn bar(count: u64, what: &str) -> ProgressBar {
    ProgressBar::new(count)
        .with_style(bar_style().with_key("rate", rate).with_key("left", left))
        .with_prefix(what.to_owned())
}

/// The same, going on after `done`; the rate is that of the others since the bar was made.
pub(super) fn bar_after(done: u64, count: u64, what: &str) -> ProgressBar {
    let per_sec = move |state: &ProgressState| {
        let new = state.pos().saturating_sub(done);
        new as f64 / state.elapsed().as_secs_f64().max(0.001)
    };
    let rate = move |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = out.write_str(&per_second(per_sec(state)));
    };
    let left = move |state: &ProgressState, out: &mut dyn fmt::Write| {
        let to_do = state.len().unwrap_or_default().saturating_sub(state.pos());
        if state.pos() > done && to_do > 0 {
            let span = output::span(to_do as f64 / per_sec(state));
            let _ = write!(out, "{span} left");
        }
    };
    ProgressBar::new(count)
        .with_style(bar_style().with_key("rate", rate).with_key("left", left))
        .with_prefix(what.to_owned())
        .with_position(done)
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{prefix:>12} {bar:30} {human_pos}/{human_len}  {rate}  {left} {wide_msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A count of `what` whose end is not known, with its rate.
pub(super) fn counter(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix} {human_pos}  {rate}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("rate", rate);
    let counter = ProgressBar::new_spinner()
        .with_style(style)
        .with_prefix(what.to_owned());
    counter.enable_steady_tick(Duration::from_millis(120));
    counter
}

/// A sign of life for work of unknown length.
pub(super) fn spinner(message: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// Lets log lines step aside for a bar for as long as this lives.
pub(super) struct Beside;

/// Log lines are written above `bar` from here on.
pub(super) fn beside(bar: &ProgressBar) -> Beside {
    let drawn = bar.clone();
    telemetry::beside(Some(Arc::new(move |write| drawn.suspend(write))));
    Beside
}

impl Drop for Beside {
    fn drop(&mut self) {
        telemetry::beside(None);
    }
}

/// A rate as a person reads it: `3.2/s`, `48,210/s`.
pub(super) fn per_second(rate: f64) -> String {
    if rate < 99.95 {
        format!("{rate:.1}/s")
    } else {
        format!("{}/s", output::count(rate.round() as u64))
    }
}

fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    let _ = out.write_str(&per_second(state.per_sec()));
}

fn left(state: &ProgressState, out: &mut dyn fmt::Write) {
    let done = state.len().is_some_and(|len| state.pos() >= len);
    if state.pos() > 0 && !done {
        let _ = write!(out, "{} left", output::span(state.eta().as_secs_f64()));
    }
}
