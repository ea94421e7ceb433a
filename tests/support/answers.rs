//! What comes out of both output topics, read while it is written, and the verdict on it: every
//! request has exactly one answer, of the right kind, once duplicates are dropped by source.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use vila2::kafka::{
    KafkaSettings,
    read::{Reader, Received, Start, bounds},
};

use super::requests::Numbered;

const IDLE: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One record of an output topic.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its key: that of the request.
    pub key: String,
    /// `topic/partition/offset` of the request.
    pub source: String,
    /// `None`: a caption; else why it is a dead letter.
    pub reason: Option<String>,
    /// When the engine handed it to its producer, in milliseconds since the Unix epoch.
    pub written_ms: i64,
    /// When it was read here.
    pub read: Instant,
}

impl Answer {
    fn new(received: &Received) -> Self {
        let key = received.key.as_deref().unwrap_or_default();
        Self {
            key: String::from_utf8_lossy(key).into_owned(),
            source: received
                .header("vila2-source")
                .unwrap_or_default()
                .to_owned(),
            reason: received.header("vila2-reason").map(str::to_owned),
            written_ms: received.timestamp_ms.unwrap_or_default(),
            read: Instant::now(),
        }
    }

    /// The partition of the request.
    pub fn partition(&self) -> i32 {
        let part = self.source.rsplit('/').nth(1);
        part.and_then(|part| part.parse().ok()).unwrap_or(-1)
    }

    /// The offset of the request.
    pub fn offset(&self) -> i64 {
        let part = self.source.rsplit('/').next();
        part.and_then(|part| part.parse().ok()).unwrap_or(-1)
    }
}

/// Everything that came so far.
pub struct Answers {
    settings: KafkaSettings,
    all: Vec<Answer>,
    keys: BTreeSet<String>,
    inbox: Receiver<Answer>,
    stop: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
}

/// What is to be said of the answers once nothing runs any more.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Requests without an answer.
    pub lost: Vec<String>,
    /// Answers of the wrong kind or to no request, in words.
    pub wrong: Vec<String>,
    /// Sources that were answered more than once.
    pub repeated: Vec<Answer>,
    /// Requests with more than one answer after dropping duplicates by source.
    pub duplicates_left: usize,
}

impl Answers {
    /// Reads both topics from their beginning, on two threads, through any outage.
    pub fn watch(settings: &KafkaSettings) -> Self {
        let (sender, inbox) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let topics = [&settings.topics.captions, &settings.topics.dead];
        let readers = topics
            .map(|topic| {
                let reader = Reader::new(settings, topic, Start::Beginning).expect("a topic");
                let (sender, stop) = (sender.clone(), Arc::clone(&stop));
                std::thread::spawn(move || read(&reader, &sender, &stop))
            })
            .into();
        Self {
            settings: settings.clone(),
            all: Vec::new(),
            keys: BTreeSet::new(),
            inbox,
            stop,
            readers,
        }
    }

    /// Takes in what was read since the last call; all answers so far, as they came.
    pub fn look(&mut self) -> &[Answer] {
        while let Ok(answer) = self.inbox.try_recv() {
            self.keys.insert(answer.key.clone());
            self.all.push(answer);
        }
        &self.all
    }

    /// How many of the requests have an answer.
    pub fn answered(&mut self, requests: &[Numbered]) -> usize {
        self.look();
        let keys = &self.keys;
        requests
            .iter()
            .filter(|one| keys.contains(&one.key))
            .count()
    }

    /// Looks until `enough` holds; `false` where nothing new came for `patience` before.
    pub fn wait(&mut self, patience: Duration, mut enough: impl FnMut(&mut Self) -> bool) -> bool {
        let (mut came, mut since) = (self.look().len(), Instant::now());
        while !enough(self) {
            let now = self.look().len();
            if now > came {
                (came, since) = (now, Instant::now());
            }
            if since.elapsed() > patience {
                return false;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        true
    }

    /// Reads what is there to the end and judges it. To be called when no engine runs any more.
    pub fn judge(&mut self, requests: &[Numbered], patience: Duration) -> Verdict {
        let topics = [&self.settings.topics.captions, &self.settings.topics.dead];
        let count: i64 = topics
            .into_iter()
            .map(|topic| bounds(&self.settings, topic).expect("a topic"))
            .flat_map(BTreeMap::into_values)
            .map(|(_, end)| end)
            .sum();
        let whole = self.wait(patience, |answers| answers.look().len() as i64 >= count);
        assert!(whole, "{count} records, {} read", self.all.len());
        verdict(requests, &self.all)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

fn read(reader: &Reader, sender: &Sender<Answer>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match reader.next(IDLE) {
            Ok(Some(received)) if sender.send(Answer::new(&received)).is_err() => return,
            Ok(_) => {}
            // A broker that comes back says this and that at first.
            Err(_) => std::thread::park_timeout(IDLE),
        }
    }
}

fn verdict(requests: &[Numbered], answers: &[Answer]) -> Verdict {
    let expected: BTreeMap<&str, &Numbered> = requests
        .iter()
        .map(|request| (request.key.as_str(), request))
        .collect();
    let mut verdict = Verdict::default();
    let mut sources = BTreeSet::new();
    let mut answered: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers {
        match expected.get(answer.key.as_str()) {
            Some(request) if request.refused.map(|it| it.as_str()) == answer.reason.as_deref() => {}
            Some(request) => verdict.wrong.push(format!(
                "{}: {:?} instead of {:?}: {}",
                answer.key, answer.reason, request.refused, request.value
            )),
            None => verdict
                .wrong
                .push(format!("{:?}: nobody asked", answer.key)),
        }
        if sources.insert(answer.source.as_str()) {
            *answered.entry(&answer.key).or_default() += 1;
        } else {
            verdict.repeated.push(answer.clone());
        }
    }
    verdict.duplicates_left = answered.values().filter(|count| **count > 1).count();
    verdict.lost = expected
        .keys()
        .filter(|key| !answered.contains_key(*key))
        .map(|key| (*key).to_owned())
        .collect();
    verdict
}
