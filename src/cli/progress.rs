//! Progress on stderr: bars where it is a terminal; elsewhere lines from time to time, of what takes
//! long.

use std::{
    fmt,
    io::{IsTerminal as _, stderr},
    sync::Arc,
    time::{Duration, Instant},
};

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

/// How often there is a line where nobody looks at a terminal.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Lines of a log that say how far the work is.
pub(super) struct Lines {
    began: Instant,
    last: Instant,
    before: u64,
    count: Option<u64>,
}

impl Lines {
    /// Of work that goes on after `before`, to `count` where that is known.
    pub(super) fn new(before: u64, count: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            last: now,
            before,
            count,
        }
    }

    /// Writes a line where it is time for one.
    pub(super) fn note(&mut self, done: u64, dead: u64) {
        if self.last.elapsed() >= LINE_EVERY && !stderr().is_terminal() {
            self.last = Instant::now();
            output::note(&self.line(done, dead, self.began.elapsed()));
        }
    }

    fn line(&self, done: u64, dead: u64, took: Duration) -> String {
        let rate = done.saturating_sub(self.before) as f64 / took.as_secs_f64().max(0.001);
        let mut line = output::count(done);
        if let Some(count) = self.count {
            line.push_str(&format!(" of {}", output::count(count)));
        }
        line.push_str(" done");
        if dead > 0 {
            line.push_str(&format!(", {}", output::plural(dead, "dead letter")));
        }
        line.push_str(&format!(", {}", per_second(rate)));
        let left = self.count.unwrap_or(done).saturating_sub(done);
        if left > 0 && rate > 0.0 {
            line.push_str(&format!(", {} left", output::span(left as f64 / rate)));
        }
        line
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let minute = Duration::from_secs(60);
        let lines = Lines::new(1_000, Some(20_000));
        assert_eq!(
            lines.line(1_600, 3, minute),
            "1,600 of 20,000 done, 3 dead letters, 10.0/s, 30 min 40 s left"
        );
        assert_eq!(lines.line(1_000, 0, minute), "1,000 of 20,000 done, 0.0/s");
        assert_eq!(
            Lines::new(0, None).line(60, 1, minute),
            "60 done, 1 dead letter, 1.0/s"
        );
    }
}
