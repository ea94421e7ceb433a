//! The figures of a run, and what is wrong with them.

use std::{collections::BTreeSet, fmt, time::Duration};

use comfy_table::{Table, presets};

use super::{DRAIN, Fault, GOODBYE, Plan, strike::Exposure};
use crate::support::{
    answers::{Answer, Verdict},
    requests::Numbered,
};

/// K3, and more than E9 asks: from the broker's return, or from the kill, to the first new answer.
const RECOVERY: Duration = Duration::from_secs(60);

/// One commit a second is made; a strike later than this after the last one shows that it is not.
const UNCOMMITTED: Duration = Duration::from_secs(8);

/// One strike.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was done.
    pub fault: Fault,
    /// Answers that had come by then, duplicates included.
    pub after: usize,
    /// Records in flight just before, as the engines said; the gauge is up to a second old.
    pub in_flight: Option<f64>,
    /// Start of the process until its models are loaded, or of the broker until its port is open.
    pub loaded: Option<Duration>,
    /// From the signal, or from the broker's return, to the first new answer of the partitions hit;
    /// `None` where all of theirs had come before.
    pub recovered: Option<Duration>,
    /// From SIGTERM to the exit.
    pub drained: Option<Duration>,
    /// Nothing was left at the end of the drain.
    pub all_drained: bool,
    /// What may be repeated.
    pub exposure: Option<Exposure>,
    /// Most duplicates that this strike may cause.
    pub bound: usize,
    /// How long before the strike the oldest answer was written that was not yet committed.
    pub uncommitted: Option<Duration>,
}

impl Row {
    pub(super) fn new(fault: Fault, after: usize) -> Self {
        Self {
            fault,
            after,
            in_flight: None,
            loaded: None,
            recovered: None,
            drained: None,
            all_drained: true,
            exposure: None,
            bound: 0,
            uncommitted: None,
        }
    }
}

/// The whole run.
#[derive(Debug)]
pub struct Report {
    /// What it was drawn from.
    pub seed: u64,
    /// The strikes, in order.
    pub rows: Vec<Row>,
    /// Requests sent.
    pub requests: usize,
    /// Of them bad.
    pub bad: usize,
    /// What came.
    pub verdict: Verdict,
    /// Sum of the rows' bounds.
    pub bound: usize,
    /// Duplicates that no strike explains by name.
    pub unexplained: usize,
    /// Duplicates that may be without a name: what was in flight when the broker went away.
    pub nameless: usize,
    /// From the first start to the verdict.
    pub elapsed: Duration,
}

impl Report {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            rows: Vec::new(),
            requests: 0,
            bad: 0,
            verdict: Verdict::default(),
            bound: 0,
            unexplained: 0,
            nameless: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// The last strike in words.
    pub(super) fn last_row(&self) -> String {
        self.rows.last().map_or_else(String::new, |row| {
            format!(
                "{:?} after {} answers: goes on after {:?}",
                row.fault, row.after, row.recovered
            )
        })
    }

    /// Counts what each strike may have repeated, and compares.
    pub(super) fn conclude(&mut self, requests: &[Numbered], answers: &[Answer], verdict: Verdict) {
        self.requests = requests.len();
        self.bad = requests.iter().filter(|one| one.refused.is_some()).count();
        let mut named = BTreeSet::new();
        for row in &mut self.rows {
            if let Some(exposure) = &row.exposure {
                let exposed = exposure.of(answers);
                let oldest = exposed.values().min();
                row.uncommitted =
                    oldest.map(|at| Duration::from_millis((exposure.until_ms - at).unsigned_abs()));
                row.bound = exposed.len() + exposure.more;
                self.nameless += exposure.more;
                named.extend(exposed.into_keys());
            }
        }
        self.bound = self.rows.iter().map(|row| row.bound).sum();
        let unexplained = verdict.repeated.iter().map(|answer| answer.source.as_str());
        self.unexplained = unexplained.filter(|source| !named.contains(source)).count();
        self.verdict = verdict;
    }

    /// Everything that does not hold; empty: all is well.
    pub fn faults(&self) -> Vec<String> {
        let Verdict {
            lost,
            wrong,
            repeated,
            duplicates_left,
        } = &self.verdict;
        let mut faults = wrong.clone();
        let mut must = |holds: bool, else_: String| {
            if !holds {
                faults.push(else_);
            }
        };
        must(lost.is_empty(), format!("lost: {lost:?}"));
        must(
            repeated.len() <= self.bound,
            format!("{} duplicates, {} allowed", repeated.len(), self.bound),
        );
        must(
            self.unexplained <= self.nameless,
            format!("{} duplicates of what was settled", self.unexplained),
        );
        must(
            *duplicates_left == 0,
            format!("{duplicates_left} requests answered twice under different sources"),
        );
        let idle = self.rows.iter().filter(|row| row.recovered.is_none());
        let idle = idle.count();
        must(
            2 * idle <= self.rows.len(),
            format!("{idle} strikes hit partitions that had nothing left to do"),
        );
        for row in &self.rows {
            must(
                row.recovered.is_none_or(|after| after <= RECOVERY),
                format!("{:?}: went on after {:?}", row.fault, row.recovered),
            );
            must(
                row.uncommitted.is_none_or(|since| since <= UNCOMMITTED),
                format!(
                    "{:?}: nothing committed for {:?}",
                    row.fault, row.uncommitted
                ),
            );
            must(
                row.all_drained && row.drained.is_none_or(|taken| taken <= DRAIN + GOODBYE),
                format!("{:?}: not drained, {:?}", row.fault, row.drained),
            );
        }
        faults
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY).set_header([
            "strike",
            "after answers",
            "in flight",
            "may repeat",
            "uncommitted for, s",
            "drain, s",
            "start, s",
            "first new answer, s",
        ]);
        let seconds = |time: Option<Duration>| {
            time.map_or_else(
                || "–".to_owned(),
                |time| format!("{:.1}", time.as_secs_f64()),
            )
        };
        for row in &self.rows {
            table.add_row([
                match row.fault {
                    Fault::Terminate(engine) => format!("SIGTERM engine {engine}"),
                    Fault::Kill(engine) => format!("kill -9 engine {engine}"),
                    Fault::Broker => "kill -9 broker".to_owned(),
                },
                row.after.to_string(),
                row.in_flight
                    .map_or_else(|| "–".to_owned(), |count| count.to_string()),
                row.bound.to_string(),
                seconds(row.uncommitted),
                seconds(row.drained),
                seconds(row.loaded),
                seconds(row.recovered),
            ]);
        }
        writeln!(f, "{table}")?;
        let count = |of: fn(&Fault) -> bool| self.rows.iter().filter(|row| of(&row.fault)).count();
        writeln!(
            f,
            "seed {}: {} requests ({} bad); {} SIGTERM, {} kills of an engine, {} of the broker; \
             {:.0} s",
            self.seed,
            self.requests,
            self.bad,
            count(|fault| matches!(fault, Fault::Terminate(_))),
            count(|fault| matches!(fault, Fault::Kill(_))),
            count(|fault| matches!(fault, Fault::Broker)),
            self.elapsed.as_secs_f64()
        )?;
        writeln!(
            f,
            "lost {}, wrong {}; duplicates {} of {} allowed, {} after dropping by vila2-source",
            self.verdict.lost.len(),
            self.verdict.wrong.len(),
            self.verdict.repeated.len(),
            self.bound,
            self.verdict.duplicates_left
        )
    }
}
