//! E8, the soak: the shipped program under load for an hour, with every kind of bad request among
//! the good ones, its memory, files and threads sampled from outside.
//!
//! ```text
//! cargo bench --profile release --bench soak -- --minutes 60
//! ```
//!
//! Ends with 1 where a request has no answer or a wrong one, records stay in flight, the program
//! ended early or did not drain. Requests come in bursts, so that it is idle at times and full at
//! others; a burst waits while the two before it are not answered.

#![allow(clippy::unwrap_used)] // what it shares with the tests ends where it must not go on

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "support/trend.rs"]
mod trend;

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use comfy_table::{Table, presets};
use support::{
    answers::Answers,
    engine::{self, Engine, Usage},
    relay,
    requests::{self, Numbered, Requests},
};
use trend::Trend;
use vila2::kafka::Embedded;

/// Pictures drawn; requests choose among them.
const PICTURES: u64 = 200;
/// How long nothing may come while something is due.
const PATIENCE: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(100);
const IN_FLIGHT: &str = "vila2_in_flight_records";

#[derive(Debug, Parser)]
struct Arguments {
    /// How long to send requests
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// What counts as warm-up, at the beginning
    #[arg(long, default_value_t = 10.0)]
    warm_up_minutes: f64,
    /// Requests a second, on average
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// Requests sent at once
    #[arg(long, default_value_t = 40)]
    burst: usize,
    /// Of a hundred requests, how many are bad
    #[arg(long, default_value_t = 20)]
    bad_percent: u32,
    /// Seconds between samples
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// How long one fetch may take; so long does the slow drip
    #[arg(long, default_value_t = 10)]
    fetch_seconds: u64,
    /// Of pictures and requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An Apache Kafka with the three topics; else a broker inside this process
    #[arg(long)]
    brokers: Option<String>,
    /// More configuration, as TOML
    #[arg(long, default_value = "[limits]\nrecords = 64\n")]
    config: String,
    /// The program
    #[arg(long, default_value = env!("CARGO_BIN_EXE_vila2"))]
    program: PathBuf,
    /// Where samples and the program's log are left
    #[arg(long, default_value = "target/soak")]
    out: PathBuf,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// One look at the program.
#[derive(Debug, Clone, Copy)]
struct Sample {
    minute: f64,
    usage: Usage,
    in_flight: f64,
    answered: usize,
}

/// The run so far.
struct Soak {
    engine: Engine,
    answers: Answers,
    sent: Vec<Numbered>,
    samples: Vec<Sample>,
    begun: Instant,
    faults: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.out)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let pictures = tempfile::tempdir()?;
    let (server, names) =
        runtime.block_on(requests::serve(pictures.path(), PICTURES, arguments.seed));
    let embedded = match arguments.brokers {
        None => Some(Embedded::start()?),
        Some(_) => None,
    };
    let brokers = match (&embedded, &arguments.brokers) {
        (Some(embedded), _) => embedded.brokers(),
        (None, brokers) => brokers.as_deref().unwrap_or_default(),
    };
    let settings = relay::settings(brokers, "soak");
    if let Some(embedded) = &embedded {
        embedded.create_topics(&settings.topics, 3)?;
    }
    let allow = server.allow_entry();
    let fetch = Duration::from_secs(arguments.fetch_seconds);
    let config = engine::config(&settings, "soak", &allow, fetch, &arguments.config);
    let engine = Engine::start(&arguments.program, &arguments.out, "soak", &config);
    let mut soak = Soak {
        engine,
        answers: Answers::watch(&settings),
        sent: Vec::new(),
        samples: Vec::new(),
        begun: Instant::now(),
        faults: Vec::new(),
    };
    let mut requests = Requests::new(arguments.seed, &server, &names, arguments.bad_percent);
    soak.load(&arguments, |sent, count| {
        let next = requests.take(count);
        requests::publish(&settings, &next);
        sent.extend(next);
    });
    soak.settle();
    let drained = soak.end();
    soak.print(&arguments, drained);
    soak.save(&arguments.out.join("samples.csv"))?;
    Ok(if soak.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Soak {
    /// Sends bursts and takes samples until the time is over or the program is gone.
    fn load(&mut self, arguments: &Arguments, mut send: impl FnMut(&mut Vec<Numbered>, usize)) {
        let every = Duration::from_secs(arguments.every);
        let pause = Duration::from_secs_f64(arguments.burst as f64 / arguments.rate);
        let end = Duration::from_secs_f64(arguments.minutes * 60.0);
        let (mut next_burst, mut next_sample) = (Duration::ZERO, Duration::ZERO);
        while self.begun.elapsed() < end && self.engine.is_running() {
            let now = self.begun.elapsed();
            let open = self.sent.len() - self.answers.answered(&self.sent);
            if now >= next_burst && open <= 2 * arguments.burst {
                send(&mut self.sent, arguments.burst);
                next_burst = now + pause;
            }
            if now >= next_sample {
                self.sample();
                next_sample += every;
            }
            std::thread::park_timeout(TICK);
        }
    }

    /// Waits for the last answers and for the records in flight to come to 0.
    fn settle(&mut self) {
        let sent = &self.sent;
        let all = |answers: &mut Answers| answers.answered(sent) == sent.len();
        if !self.answers.wait(PATIENCE, all) {
            self.faults.push(format!("no answer for {PATIENCE:?}"));
        }
        let engine = &self.engine;
        let idle = |_: &mut Answers| engine.metric(IN_FLIGHT) == Some(0.0);
        if !self.answers.wait(PATIENCE, idle) {
            let left = self.engine.metric(IN_FLIGHT);
            self.faults.push(format!("in flight at the end: {left:?}"));
        }
        self.sample();
    }

    /// Drains the program and judges what came. Returns how long the drain took.
    fn end(&mut self) -> Option<Duration> {
        if !self.engine.is_running() {
            self.faults
                .push(format!("the program ended:\n{}", self.engine.log()));
        }
        let ended = self.engine.terminate(PATIENCE);
        if !ended.is_some_and(|(status, _)| status.success()) {
            self.faults.push(format!("SIGTERM: {ended:?}"));
        }
        let verdict = self.answers.judge(&self.sent, PATIENCE);
        if !verdict.lost.is_empty() {
            self.faults.push(format!("lost: {:?}", verdict.lost));
        }
        if !verdict.repeated.is_empty() {
            let repeated = verdict.repeated.iter().map(|answer| &answer.source);
            let repeated: Vec<_> = repeated.collect();
            self.faults.push(format!("answered twice: {repeated:?}"));
        }
        self.faults.extend(verdict.wrong);
        ended.map(|(_, taken)| taken)
    }

    fn sample(&mut self) {
        let (Some(usage), Some(in_flight)) = (self.engine.usage(), self.engine.metric(IN_FLIGHT))
        else {
            return;
        };
        self.samples.push(Sample {
            minute: self.begun.elapsed().as_secs_f64() / 60.0,
            usage,
            in_flight,
            answered: self.answers.look().len(),
        });
    }

    #[allow(clippy::print_stdout)]
    fn print(&mut self, arguments: &Arguments, drained: Option<Duration>) {
        let warm: Vec<Sample> = (self.samples.iter().copied())
            .filter(|sample| sample.minute >= arguments.warm_up_minutes)
            .collect();
        let half = &warm[warm.len() / 2..];
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY).set_header([
            "after warm-up",
            "first tenth",
            "last tenth",
            "least",
            "most",
            "slope per minute",
            "in the last half",
        ]);
        type Value = fn(&Sample) -> f64;
        let rows: [(&str, Value); 4] = [
            ("resident memory, kB", |s| s.usage.resident_kb as f64),
            ("file descriptors", |s| s.usage.files as f64),
            ("threads", |s| s.usage.threads as f64),
            ("records in flight", |s| s.in_flight),
        ];
        for (name, value) in rows {
            let of = |samples: &[Sample]| {
                Trend::of(samples.iter().map(|sample| (sample.minute, value(sample))))
            };
            let (whole, late) = (of(&warm), of(half));
            table.add_row([
                name.to_owned(),
                format!("{:.1}", whole.first),
                format!("{:.1}", whole.last),
                format!("{:.0}", whole.least),
                format!("{:.0}", whole.most),
                format!("{:+.2} ± {:.2}", whole.slope, whole.error),
                format!("{:+.2} ± {:.2}", late.slope, late.error),
            ]);
        }
        let bad = self.sent.iter().filter(|one| one.refused.is_some()).count();
        println!(
            "{:.1} minutes, {} requests, {bad} of them bad, {} answers; seed {}; drained in {:?}",
            self.begun.elapsed().as_secs_f64() / 60.0,
            self.sent.len(),
            self.answers.look().len(),
            arguments.seed,
            drained
        );
        println!(
            "{} samples, {} after {} minutes of warm-up",
            self.samples.len(),
            warm.len(),
            arguments.warm_up_minutes
        );
        println!("{table}");
        for fault in &self.faults {
            println!("FAULT {fault}");
        }
    }

    fn save(&self, path: &std::path::Path) -> std::io::Result<()> {
        let mut text = String::from("minute,resident_kb,files,threads,in_flight,answered\n");
        for sample in &self.samples {
            let Usage {
                resident_kb,
                files,
                threads,
            } = sample.usage;
            let (minute, in_flight, answered) = (sample.minute, sample.in_flight, sample.answered);
            let _ = writeln!(
                text,
                "{minute:.2},{resident_kb},{files},{threads},{in_flight},{answered}"
            );
        }
        fs::write(path, text)
    }
}
