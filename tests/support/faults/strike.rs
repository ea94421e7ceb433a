//! One strike each: terminate, kill, take the broker away; and how long until work goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{DRAIN, Fault, Field, GOODBYE, IN_FLIGHT, LOOK_EVERY, PARTITIONS, PATIENCE, Row};
use crate::support::{
    answers::Answer,
    engine::Engine,
    group::{self, Settled},
    relay,
};

/// What a strike may repeat: everything written until `until_ms` for one of `partitions` that
/// `settled` does not cover, and `more` that was under way.
#[derive(Debug, Clone)]
pub struct Exposure {
    pub partitions: Vec<i32>,
    pub until_ms: i64,
    pub settled: Settled,
    pub more: usize,
}

impl Exposure {
    /// The sources that it exposed, once all answers are known, and when they were answered last before.
    pub fn of<'a>(&self, answers: &'a [Answer]) -> BTreeMap<&'a str, i64> {
        let mut exposed = BTreeMap::new();
        for answer in answers {
            if answer.written_ms <= self.until_ms
                && self.partitions.contains(&answer.partition())
                && !self.settled.covers(answer)
            {
                exposed.insert(answer.source.as_str(), answer.written_ms);
            }
        }
        exposed
    }
}

impl Field {
    /// Strikes, mends, waits until work goes on where it was struck, and notes the figures.
    pub(super) fn strike(&mut self, fault: Fault) {
        let mut row = Row::new(fault, self.answers.look().len());
        match fault {
            Fault::Terminate(engine) => self.terminate(engine, &mut row),
            Fault::Kill(engine) => self.kill(engine, &mut row),
            Fault::Broker => self.outage(&mut row),
        }
        self.report.rows.push(row);
    }

    /// SIGTERM while it has records in flight: it must end well, in time.
    fn terminate(&mut self, engine: usize, row: &mut Row) {
        let partitions = self.held_by(engine);
        let struck = &mut self.engines[engine];
        row.in_flight = struck.metric("vila2_in_flight_records");
        let told = now_ms();
        let ended = struck.terminate(DRAIN + GOODBYE);
        let (status, drained) =
            ended.unwrap_or_else(|| panic!("{} does not drain:\n{}", struck.name(), struck.log()));
        assert!(
            status.success() && drained <= DRAIN + GOODBYE,
            "{} ended with {status} after {drained:?}:\n{}",
            struck.name(),
            struck.log()
        );
        row.drained = Some(drained);
        row.all_drained = !struck
            .log()
            .contains("not all records were settled in time");
        struck.restart();
        row.recovered = self.recovery(&partitions, told);
    }

    /// `kill -9` while it has records in flight, and a start right after.
    fn kill(&mut self, engine: usize, row: &mut Row) {
        let partitions = self.held_by(engine);
        row.in_flight = self.engines[engine].metric("vila2_in_flight_records");
        self.engines[engine].kill();
        let killed = now_ms();
        // Nobody else has its partitions before its session has timed out, so this is what it had
        // committed; what the broker still took of it afterwards only makes the bound generous.
        row.exposure = Some(Exposure {
            partitions: partitions.clone(),
            until_ms: killed,
            settled: Settled::now(&self.settings),
            more: 0,
        });
        let started = Instant::now();
        self.engines[engine].restart();
        row.loaded = Some(started.elapsed());
        row.recovered = self.recovery(&partitions, killed);
    }

    /// The broker is killed and comes back on the same data, once both engines have noticed.
    fn outage(&mut self, row: &mut Row) {
        let in_flight = |engine: &Engine| engine.metric("vila2_in_flight_records");
        row.in_flight = self.engines.iter().map(in_flight).sum();
        let settled = Settled::now(&self.settings);
        self.kafka.kill();
        row.exposure = Some(Exposure {
            partitions: (0..PARTITIONS).collect(),
            until_ms: now_ms(),
            settled,
            // What was in flight may still be written and then be read again by another member.
            more: 2 * IN_FLIGHT,
        });
        relay::eventually("both engines notice the outage", || {
            self.engines.iter().all(|engine| !engine.is_ready())
        });
        let down = Instant::now();
        self.kafka.restart();
        row.loaded = Some(down.elapsed());
        // What the engines wrote while it was away counts as well: it came only now.
        let back = Instant::now();
        let all: Vec<i32> = (0..PARTITIONS).collect();
        let first = self.first_new(&all, |answer| answer.read > back);
        row.recovered = first.map(|first| first.read - back);
        for engine in &mut self.engines {
            assert!(
                engine.is_running(),
                "{} ended:\n{}",
                engine.name(),
                engine.log()
            );
        }
    }

    /// The partitions an engine holds, as the broker has it.
    fn held_by(&self, engine: usize) -> Vec<i32> {
        let held = group::holders(&self.settings);
        let own = held
            .get(self.engines[engine].name())
            .cloned()
            .unwrap_or_default();
        assert!(
            !own.is_empty(),
            "{} holds nothing: {held:?}",
            self.engines[engine].name()
        );
        own
    }

    /// Waits for the first answer to a request of these partitions for which `after` holds and that
    /// had none before. `None`: every request is answered, so none of them was left to come.
    fn first_new(&mut self, partitions: &[i32], after: impl Fn(&Answer) -> bool) -> Option<Answer> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = self.answers.answered(&self.requests) == self.requests.len();
            let answers = self.answers.look();
            let old = answers.iter().filter(|answer| !after(answer));
            let old: BTreeSet<&str> = old.map(|answer| answer.source.as_str()).collect();
            let new = answers.iter().find(|answer| {
                after(answer)
                    && partitions.contains(&answer.partition())
                    && !old.contains(answer.source.as_str())
            });
            if let Some(new) = new {
                return Some(new.clone());
            }
            if all {
                return None;
            }
            assert!(
                Instant::now() < deadline,
                "nothing new of partitions {partitions:?} within {PATIENCE:?}:\n{}\n{}",
                self.engines[0].log(),
                self.engines[1].log()
            );
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// How long after `since_ms` an engine wrote the first new answer of these partitions.
    fn recovery(&mut self, partitions: &[i32], since_ms: i64) -> Option<Duration> {
        let first = self.first_new(partitions, |answer| answer.written_ms > since_ms)?;
        let span = (first.written_ms - since_ms).unsigned_abs();
        Some(Duration::from_millis(span))
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
