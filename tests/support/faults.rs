//! Two engines, one group, under fire: the shipped program on a real Apache Kafka is terminated,
//! killed and left without a broker while requests come in; then everything is counted.
//!
//! One harness, two sizes: `tests/kafka_faults.rs` is short, `benches/chaos.rs` is long. Every
//! strike comes at a number of answers drawn from the seed, never at a time.

mod report;
mod strike;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use vila2::{kafka::KafkaSettings, scenes::random::SceneRng};

pub use self::report::{Report, Row};
use super::{
    answers::Answers,
    apache_kafka::ApacheKafka,
    engine::{self, Engine},
    group, relay,
    requests::{self, Numbered, Requests},
};

/// Records one engine has in flight, at most; a part of the bound on duplicates.
const IN_FLIGHT: usize = 24;
/// What `limits.drain_ms` is set to.
const DRAIN: Duration = Duration::from_secs(20);
/// What comes on top of the drain: the last confirmations, leaving the group.
const GOODBYE: Duration = Duration::from_secs(10);
/// After so long without an answer something is lost.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the slow drip may last.
const FETCH: Duration = Duration::from_secs(5);
const PARTITIONS: i32 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is done, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGTERM to one of the two engines.
    Terminate(usize),
    /// `kill -9` of one of the two engines.
    Kill(usize),
    /// `kill -9` of the broker.
    Broker,
}

/// How large, and what comes in which order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of requests and of the moments of strikes.
    pub seed: u64,
    /// Requests in all.
    pub messages: usize,
    /// Of a hundred requests, how many are bad.
    pub bad_percent: u32,
    /// The strikes, one after the other.
    pub faults: Vec<Fault>,
    /// The program.
    pub program: PathBuf,
}

/// Everything that runs.
struct Field {
    plan: Plan,
    dice: SceneRng,
    kafka: ApacheKafka,
    settings: KafkaSettings,
    engines: [Engine; 2],
    answers: Answers,
    requests: Vec<Numbered>,
    report: Report,
}

/// Carries the plan out. Blocks for minutes.
///
/// # Panics
/// Where a part does not start or stop, or an engine ended by itself: with its log.
pub fn run(plan: Plan, progress: impl Fn(&str)) -> Report {
    let begun = Instant::now();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = TempDir::with_prefix("vila2-faults-").expect("a scratch folder");
    let (server, pictures) = runtime.block_on(requests::serve(folder.path(), 60, plan.seed));
    let kafka = ApacheKafka::start();
    let settings = relay::settings(&kafka.brokers(), "faults");
    let topics = &settings.topics;
    kafka.create_topics(
        &[&topics.images, &topics.captions, &topics.dead],
        PARTITIONS,
    );
    let limits = format!(
        "[stages.read_text]\nmode = \"off\"\n[runtime]\nthreads = 1\n\
         [limits]\nrecords = {IN_FLIGHT}\ndrain_ms = {}\n",
        DRAIN.as_millis()
    );
    let engines = ["engine-a", "engine-b"].map(|name| {
        let config = engine::config(&settings, name, &server.allow_entry(), FETCH, &limits);
        Engine::start(&plan.program, folder.path(), name, &config)
    });
    let mut requests = Requests::new(plan.seed, &server, &pictures, plan.bad_percent);
    let mut field = Field {
        dice: SceneRng::new(plan.seed, 1),
        answers: Answers::watch(&settings),
        requests: Vec::new(),
        report: Report::new(&plan),
        plan,
        kafka,
        settings,
        engines,
    };
    let shares = field.plan.faults.len() + 1;
    for number in 0..shares {
        field.both_hold_partitions();
        let share = (number + 1) * field.plan.messages / shares - field.requests.len();
        let next = requests.take(share);
        requests::publish(&field.settings, &next);
        let first = field.requests.len();
        field.requests.extend(next);
        if let Some(&fault) = field.plan.faults.get(number) {
            field.wait_for_answers(first, share);
            field.strike(fault);
            progress(&field.report.last_row());
        }
    }
    field.end();
    field.report.elapsed = begun.elapsed();
    field.report
}

impl Field {
    /// Waits until the group is stable and each engine has something to do.
    fn both_hold_partitions(&mut self) {
        let settings = &self.settings;
        let names = [self.engines[0].name(), self.engines[1].name()];
        relay::eventually("both engines hold partitions", || {
            let held = group::holders(settings);
            let all: usize = held.values().map(Vec::len).sum();
            let each = names
                .iter()
                .all(|name| held.get(*name).is_some_and(|own| !own.is_empty()));
            each && all == PARTITIONS as usize
        });
    }

    /// Waits until a part of the share, drawn from the seed, is answered: under a half, so that
    /// every engine is at work when it is struck.
    fn wait_for_answers(&mut self, first: usize, share: usize) {
        let part = share * self.dice.between(15, 40) as usize / 100;
        let (requests, engines) = (&self.requests[first..], &self.engines);
        let came = (self.answers).wait(PATIENCE, |answers| answers.answered(requests) >= part);
        assert!(
            came,
            "no answers:\n{}\n{}",
            engines[0].log(),
            engines[1].log()
        );
    }

    /// Waits for the last answer and for the last commit, ends the engines and judges.
    fn end(&mut self) {
        let requests = &self.requests;
        // What is lost is told by the verdict, with its name.
        (self.answers).wait(PATIENCE, |answers| {
            answers.answered(requests) == requests.len()
        });
        relay::eventually("nothing is in flight", || {
            (self.engines.iter()).all(|it| it.metric("vila2_in_flight_records") == Some(0.0))
        });
        relay::eventually("the group has committed the end", || {
            relay::is_committed(&self.settings)
        });
        for engine in &mut self.engines {
            let ended = engine.terminate(DRAIN + GOODBYE);
            let well = ended.is_some_and(|(status, _)| status.success());
            assert!(
                well,
                "SIGTERM of {}: {ended:?}\n{}",
                engine.name(),
                engine.log()
            );
        }
        let verdict = self.answers.judge(&self.requests, PATIENCE);
        self.report
            .conclude(&self.requests, self.answers.look(), verdict);
    }
}
