//! One engine, without stages.

mod waits;

use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use opentelemetry::Context;

use super::*;
use crate::{
    certainty::Certainty,
    config::ChainConfig,
    ledger::{Admission, Ledger},
    ports::Generated,
    sampling::Sampling,
    stage::Stage,
    testkit::number_of,
};

/// Writes down in which order images are admitted; answers each in one step.
struct OneByOne {
    order: Arc<Mutex<Vec<u64>>>,
    announced: Arc<Mutex<Vec<u64>>>,
    running: Option<crate::ports::RequestId>,
}

impl Generator for OneByOne {
    fn free_slots(&self) -> usize {
        usize::from(self.running.is_none())
    }

    fn announce(&mut self, image: &Arc<Image>) {
        let number = number_of(image);
        let mut announced = self.announced.lock().expect("not poisoned");
        if !announced.contains(&number) {
            assert!(
                !self.order.lock().expect("not poisoned").contains(&number),
                "{number} was admitted before"
            );
            announced.push(number);
        }
    }

    fn admit(
        &mut self,
        request: crate::ports::RequestId,
        image: Arc<Image>,
        _: &Prompt,
    ) -> Result<(), ModelError> {
        self.order
            .lock()
            .expect("not poisoned")
            .push(number_of(&image));
        self.running = Some(request);
        Ok(())
    }

    fn step(
        &mut self,
    ) -> Result<Vec<(crate::ports::RequestId, Result<Generated, ModelError>)>, ModelError> {
        let generated = Generated {
            text: String::new(),
            tokens: 1,
            finish: crate::annotation::Finish::Stop,
            certainty: Certainty::default(),
            placed: None,
        };
        Ok(self
            .running
            .take()
            .map(|id| (id, Ok(generated)))
            .into_iter()
            .collect())
    }

    fn cancel(&mut self, _: crate::ports::RequestId) {
        self.running = None;
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            model: String::from("one by one"),
            revision: String::new(),
            prompt: None,
        }
    }
}

/// An engine whose model is loaded only when `go` is sent.
struct Bench {
    chain: Arc<Chain>,
    engine: GenerateEngine,
    go: mpsc::Sender<()>,
    order: Arc<Mutex<Vec<u64>>>,
    announced: Arc<Mutex<Vec<u64>>>,
    answer: mpsc::Sender<(u64, bool)>,
    answers: mpsc::Receiver<(u64, bool)>,
}

fn bench() -> Bench {
    let ledger = Arc::new(Ledger::new());
    ledger.assign(&Arc::from("images"), 0, Some(0), None);
    let chain = Arc::new(Chain::new(ChainConfig::default(), ledger));
    let order = Arc::new(Mutex::new(Vec::new()));
    let announced = Arc::new(Mutex::new(Vec::new()));
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let load: Load<dyn Generator> = {
        let (order, announced) = (Arc::clone(&order), Arc::clone(&announced));
        Arc::new(move || {
            let _ = gone.lock().expect("not poisoned").recv();
            Ok(Box::new(OneByOne {
                order: Arc::clone(&order),
                announced: Arc::clone(&announced),
                running: None,
            }))
        })
    };
    let (engine, _) = Engine::of_generator("bench", load, &chain);
    let (answer, answers) = mpsc::channel();
    Bench {
        chain,
        engine,
        go,
        order,
        announced,
        answer,
        answers,
    }
}

impl Bench {
    fn ask(&self, number: u64, stage: Stage, time: Duration) {
        let (chain, engine) = (&self.chain, &self.engine);
        ask(chain, engine, (number, 0), stage, time, self.answer.clone());
    }

    fn answers(self, count: usize) -> (Vec<(u64, bool)>, Vec<u64>) {
        let _ = self.go.send(());
        let patience = Duration::from_secs(60);
        let answers = (0..count)
            .map(|_| self.answers.recv_timeout(patience).expect("an answer"))
            .collect();
        let order = self.order.lock().expect("not poisoned").clone();
        (answers, order)
    }
}

/// A question about picture `number`, offset `number` of its partition.
fn ask(
    chain: &Chain,
    engine: &GenerateEngine,
    (number, partition): (u64, i32),
    stage: Stage,
    time: Duration,
    answers: mpsc::Sender<(u64, bool)>,
) {
    let record = record(number, partition);
    let Admission::New(epoch) = chain.ledger.admit(&record) else {
        panic!("{record} is not new");
    };
    let pixels = Bytes::copy_from_slice(&(number as u32).to_le_bytes()[..3]);
    engine.ask(Ask {
        question: Question {
            image: Image::new(1, 1, pixels, (1, 1)),
            prompt: Prompt {
                text: Arc::from("?"),
                max_tokens: 1,
                seed: 0,
                sampling: Sampling::default(),
            },
        },
        ticket: Ticket {
            stage,
            record,
            epoch,
            budget: time,
            spent: Duration::ZERO,
            timeout: None,
            trace: Trace {
                root: Context::new(),
                recording: false,
            },
        },
        reply: Box::new(move |answer| {
            let _ = answers.send((number, answer.result.is_ok()));
        }),
    });
}

fn record(number: u64, partition: i32) -> RecordId {
    RecordId {
        topic: Arc::from("images"),
        partition,
        offset: number as i64,
    }
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn questions_about_captioned_images_go_first_and_the_rest_in_order_of_arrival() {
    let bench = bench();
    for number in 0..4 {
        bench.ask(number, Stage::Caption, LONG);
    }
    for number in 4..6 {
        bench.ask(number, Stage::GROUND, LONG);
    }
    let (_, order) = bench.answers(6);
    assert_eq!(order, [4, 5, 0, 1, 2, 3]);
}

#[test]
fn images_are_announced_before_their_turn_in_the_order_of_their_turns() {
    let bench = bench();
    for number in 0..8 {
        bench.ask(number, Stage::Caption, LONG);
    }
    let announced = Arc::clone(&bench.announced);
    bench.answers(8);
    let announced = announced.lock().expect("not poisoned").clone();
    // The first one found a free slot.
    assert_eq!(announced, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_is_out_of_time_or_stale_never_reaches_the_model() {
    let bench = bench();
    bench.ask(0, Stage::Caption, Duration::ZERO);
    bench.ask(1, Stage::Caption, LONG);
    bench.chain.ledger.rewind();
    bench.ask(0, Stage::Caption, LONG);
    let (mut answers, order) = bench.answers(3);
    answers.sort_unstable();
    assert_eq!(answers, [(0, false), (0, true), (1, false)]);
    assert_eq!(order, [0]);
}

#[test]
fn an_engine_that_stops_gives_back_what_it_holds() {
    let bench = bench();
    bench.ask(0, Stage::Caption, LONG);
    bench.engine.stop();
    let (answers, order) = bench.answers(1);
    assert_eq!(answers, [(0, false)]);
    assert!(order.is_empty());
}

/// Holds its first requests for ever and panics when one is cancelled; once it is built again it
/// answers at once.
struct Clinging {
    builds: usize,
    running: Vec<crate::ports::RequestId>,
    admitted: mpsc::Sender<u64>,
}

impl Generator for Clinging {
    fn free_slots(&self) -> usize {
        4 - self.running.len()
    }

    fn admit(
        &mut self,
        request: crate::ports::RequestId,
        image: Arc<Image>,
        _: &Prompt,
    ) -> Result<(), ModelError> {
        self.running.push(request);
        let _ = self.admitted.send(number_of(&image));
        Ok(())
    }

    fn step(
        &mut self,
    ) -> Result<Vec<(crate::ports::RequestId, Result<Generated, ModelError>)>, ModelError> {
        std::thread::yield_now();
        if self.builds == 1 {
            return Ok(Vec::new());
        }
        let generated = || Generated {
            text: String::new(),
            tokens: 1,
            finish: crate::annotation::Finish::Stop,
            certainty: Certainty::default(),
            placed: None,
        };
        Ok((self.running.drain(..).map(|id| (id, Ok(generated())))).collect())
    }

    fn cancel(&mut self, _: crate::ports::RequestId) {
        panic!("a bug in the model");
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            model: String::from("clinging"),
            revision: self.builds.to_string(),
            prompt: None,
        }
    }
}

#[test]
fn a_model_that_panics_when_it_is_told_to_stop_harms_nobody_else() {
    let ledger = Arc::new(Ledger::new());
    for partition in 0..2 {
        ledger.assign(&Arc::from("images"), partition, Some(0), None);
    }
    let chain = Arc::new(Chain::new(ChainConfig::default(), ledger));
    let (admitted, admissions) = mpsc::channel();
    let builds = Mutex::new(0);
    let load: Load<dyn Generator> = Arc::new(move || {
        let mut builds = builds.lock().expect("not poisoned");
        *builds += 1;
        Ok(Box::new(Clinging {
            builds: *builds,
            running: Vec::new(),
            admitted: admitted.clone(),
        }))
    });
    let (engine, _) = Engine::of_generator("bench", load, &chain);
    let (answer, answers) = mpsc::channel();
    // Three of one partition and one of another, all running.
    for one in [(0, 0), (1, 0), (2, 1), (3, 0)] {
        ask(&chain, &engine, one, Stage::Caption, LONG, answer.clone());
    }
    let patience = Duration::from_secs(60);
    for _ in 0..4 {
        admissions.recv_timeout(patience).expect("admitted");
    }
    chain.ledger.revoke("images", 0);
    let mut all: Vec<_> = (0..4)
        .map(|_| answers.recv_timeout(patience).expect("an answer"))
        .collect();
    all.sort_unstable();
    assert_eq!(all, [(0, false), (1, false), (2, true), (3, false)]);
    let stats = engine.stats();
    assert_eq!((stats.rebuilds, stats.model.revision.as_str()), (1, "2"));
    let failed = chain.ledger.attempts(&record(2, 1), Stage::Caption);
    assert_eq!(failed, 0, "nobody is to blame");
    assert!(!chain.has_failed());
    engine.stop();
}

/// Fails every run, each after a while.
struct AlwaysFails(Duration);

impl BatchModel for AlwaysFails {
    type Question = u64;
    type Answer = ();

    fn max_batch(&self) -> usize {
        4
    }

    fn run(&mut self, _: &[u64]) -> Result<Vec<Result<(), ModelError>>, ModelError> {
        let started = Instant::now();
        while started.elapsed() < self.0 {
            std::thread::park_timeout(self.0);
        }
        Err(ModelError::Run(String::from("NaN")))
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            model: String::from("always fails"),
            revision: String::new(),
            prompt: None,
        }
    }
}

#[test]
fn every_run_of_a_question_counts_as_work_until_its_budget_is_spent() {
    let (run, budget) = (Duration::from_millis(20), Duration::from_millis(50));
    let ledger = Arc::new(Ledger::new());
    ledger.assign(&Arc::from("images"), 0, Some(0), None);
    let record = RecordId {
        topic: Arc::from("images"),
        partition: 0,
        offset: 0,
    };
    let Admission::New(epoch) = ledger.admit(&record) else {
        panic!("{record} is not new");
    };
    let config = ChainConfig {
        attempts: 100,
        ..ChainConfig::default()
    };
    let chain = Arc::new(Chain::new(config, ledger));
    let load: Load<AlwaysFails> = Arc::new(move || Ok(Box::new(AlwaysFails(run))));
    let (engine, _) = Engine::of_batch_model("fails", load, &chain);
    let (answers, answer) = mpsc::channel();
    engine.ask(Ask {
        question: 0,
        ticket: Ticket {
            stage: Stage::READ_TEXT,
            record: record.clone(),
            epoch,
            budget,
            spent: Duration::ZERO,
            timeout: None,
            trace: Trace {
                root: Context::new(),
                recording: false,
            },
        },
        reply: Box::new(move |answer| drop(answers.send(answer))),
    });
    let answer = answer
        .recv_timeout(Duration::from_secs(60))
        .expect("an answer");
    assert!(
        matches!(answer.result, Err(Failure::Cut(Cut::Expired))),
        "{answer:?}"
    );
    assert!(answer.worked.before >= budget, "{answer:?}");
    assert!(chain.ledger.attempts(&record, Stage::READ_TEXT) <= 3);
    engine.stop();
}
