//! Time in a model that is no work: a server that is away.

use super::*;
use crate::ports::RequestId;

/// Holds each request until it is told to answer, and says that all of that time it only waited.
struct Waits {
    waits: bool,
    running: Vec<(RequestId, Instant)>,
    answers: Arc<AtomicBool>,
}

impl Generator for Waits {
    fn free_slots(&self) -> usize {
        4 - self.running.len()
    }

    fn admit(&mut self, request: RequestId, _: Arc<Image>, _: &Prompt) -> Result<(), ModelError> {
        self.running.push((request, Instant::now()));
        Ok(())
    }

    fn step(&mut self) -> Result<Vec<(RequestId, Result<Generated, ModelError>)>, ModelError> {
        std::thread::yield_now();
        if !self.answers.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let generated = || Generated {
            text: String::new(),
            tokens: 1,
            finish: crate::annotation::Finish::Stop,
            certainty: Certainty::default(),
            placed: None,
        };
        Ok((self.running.drain(..).map(|(id, _)| (id, Ok(generated())))).collect())
    }

    fn cancel(&mut self, request: RequestId) {
        self.running.retain(|(id, _)| *id != request);
    }

    fn waited(&self, request: RequestId) -> Duration {
        let one = self.running.iter().find(|(id, _)| *id == request);
        let since = one.map(|(_, since)| since.elapsed());
        since.filter(|_| self.waits).unwrap_or_default()
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            model: String::from("waits"),
            revision: String::new(),
            prompt: None,
        }
    }
}

/// Asks a question that may be worked on for half a second: no less, since a busy machine takes a
/// thread off its core for a while. A model that waits answers after six times that long, one that
/// works never.
fn outcome(waits: bool) -> mpsc::Receiver<(u64, bool)> {
    let ledger = Arc::new(Ledger::new());
    ledger.assign(&Arc::from("images"), 0, Some(0), None);
    let chain = Arc::new(Chain::new(ChainConfig::default(), ledger));
    let answers = Arc::new(AtomicBool::new(false));
    let load: Load<dyn Generator> = {
        let answers = Arc::clone(&answers);
        Arc::new(move || {
            Ok(Box::new(Waits {
                waits,
                running: Vec::new(),
                answers: Arc::clone(&answers),
            }))
        })
    };
    let (engine, _) = Engine::of_generator("bench", load, &chain);
    let (sender, answered) = mpsc::channel();
    let short = Duration::from_millis(500);
    ask(&chain, &engine, (0, 0), Stage::Caption, short, sender);
    if waits {
        let early = answered.recv_timeout(short * 6);
        assert!(early.is_err(), "given up while it waited: {early:?}");
        answers.store(true, Ordering::Relaxed);
    }
    answered
}

#[test]
fn what_a_model_only_waits_is_no_work_of_the_record() {
    let patience = Duration::from_secs(60);
    let worked = outcome(false).recv_timeout(patience).expect("an answer");
    assert_eq!(worked, (0, false), "work is");
    let waited = outcome(true).recv_timeout(patience).expect("an answer");
    assert_eq!(waited, (0, true));
}
