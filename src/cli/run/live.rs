//! What goes on while the service runs: a live line in a terminal, else a log line a minute.

use std::{
    collections::VecDeque,
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use vila2_actors::telemetry::RECORDS;

use crate::{
    app::service::Service,
    cli::{output, progress},
    telemetry::{self, Figures},
};

/// How often the live line changes.
const DRAW_EVERY: Duration = Duration::from_millis(500);
/// How often it is logged where nobody looks at a terminal.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Over how long the rate of the live line is taken; that of a log line, since the one before.
const WINDOW: Duration = Duration::from_secs(30);

/// The line and where its figures come from.
pub(super) struct Live {
    figures: Arc<Figures>,
    /// `None`: stderr is no terminal.
    line: Option<ProgressBar>,
}

/// One look at the service.
struct Look {
    published: u64,
    dead: u64,
    in_flight: usize,
    /// Records in the member's partitions that are not settled, in flight or not read yet.
    /// `None`: no partition is held.
    behind: Option<u64>,
    /// Settled records a second, of late.
    rate: f64,
}

impl Live {
    pub(super) fn new(figures: Arc<Figures>) -> Self {
        let line = std::io::stderr().is_terminal().then(|| {
            let line = ProgressBar::new_spinner().with_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            let drawn = line.clone();
            telemetry::beside(Some(Arc::new(move |write| drawn.suspend(write))));
            line
        });
        Self { figures, line }
    }

    /// Shows how it goes, for ever.
    pub(super) async fn watch(&self, service: &Service) {
        let mut history = VecDeque::new();
        let mut said = Instant::now();
        let mut ticks = tokio::time::interval(DRAW_EVERY);
        loop {
            ticks.tick().await;
            let look = self.look(service, &mut history);
            if let Some(line) = &self.line {
                line.set_message(match service.status().ready() {
                    Ok(()) => look.line(),
                    Err(missing) => {
                        format!(
                            "{} · {}",
                            output::visible(&missing.to_string()),
                            look.line()
                        )
                    }
                });
                line.tick();
            } else if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                tracing::info!(
                    captions = look.published,
                    dead_letters = look.dead,
                    in_flight = look.in_flight,
                    behind = look.behind,
                    "{}{}",
                    progress::per_second(look.rate),
                    look.to_go()
                        .map(|span| format!(", {span} to go"))
                        .unwrap_or_default(),
                );
            }
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        telemetry::beside(None);
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }

    fn look(&self, service: &Service, history: &mut VecDeque<(Instant, u64)>) -> Look {
        let published = self.figures.counter(RECORDS, "published");
        let dead = self.figures.counter(RECORDS, "dead_lettered");
        let now = Instant::now();
        history.push_back((now, published + dead));
        let window = if self.line.is_some() {
            WINDOW
        } else {
            SAY_EVERY
        };
        while history.len() > 2 && now.duration_since(history[0].0) > window {
            history.pop_front();
        }
        let (since, before) = history[0];
        let seconds = now.duration_since(since).as_secs_f64();
        Look {
            published,
            dead,
            in_flight: service.in_flight(),
            behind: service.behind(),
            rate: (published + dead - before) as f64 / seconds.max(1.0),
        }
    }
}

impl Look {
    fn line(&self) -> String {
        let mut parts = vec![output::plural(self.published, "caption")];
        if self.dead > 0 {
            parts.push(output::plural(self.dead, "dead letter"));
        }
        parts.push(progress::per_second(self.rate));
        parts.push(format!(
            "{} in flight",
            output::count(self.in_flight as u64)
        ));
        parts.extend(match (self.behind, self.to_go()) {
            (None, _) => None,
            (Some(0), _) => Some("nothing waits".to_owned()),
            (Some(behind), None) => Some(format!("{} behind", output::count(behind))),
            (Some(behind), Some(span)) => {
                Some(format!("{} behind, {span} to go", output::count(behind)))
            }
        });
        parts.join(" · ")
    }

    fn to_go(&self) -> Option<String> {
        let behind = self.behind?;
        (behind > 0 && self.rate > 0.0).then(|| output::span(behind as f64 / self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_a_person_wants_to_know() {
        let mut look = Look {
            published: 12_345,
            dead: 6,
            in_flight: 64,
            behind: Some(7_200),
            rate: 2.0,
        };
        assert_eq!(
            look.line(),
            "12,345 captions · 6 dead letters · 2.0/s · 64 in flight · 7,200 behind, 1 h 0 min to go"
        );
        (look.dead, look.rate) = (0, 0.0);
        assert_eq!(
            look.line(),
            "12,345 captions · 0.0/s · 64 in flight · 7,200 behind"
        );
        (look.behind, look.in_flight) = (Some(0), 0);
        assert_eq!(
            look.line(),
            "12,345 captions · 0.0/s · 0 in flight · nothing waits"
        );
        (look.behind, look.published) = (None, 1);
        assert_eq!(look.line(), "1 caption · 0.0/s · 0 in flight");
    }
}
