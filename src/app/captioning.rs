//! From inputs into a folder: every one that is not done yet, through the chain, once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;
use vila2_actors::{annotation::EnrichedCaption, ports::QuestionId, request};

use super::{
    Error as ChainError,
    gallery::Gallery,
    local::{Answer, Local, Query, Receipt},
    sidecar::Sidecars,
};
use crate::{
    dataset::{self, Answered, Caption, Dead, Folder, Found, Repetitions, Seen},
    inputs::{Ask, Fault, Inputs, Place, Refusal, Sample},
    shutdown::Shutdown,
};

/// Entries read ahead of the chain.
const READ_AHEAD: usize = 256;
/// Failures kept for repeats that were on their way when the first of them failed: more than there
/// are records in flight.
const FAILURES: usize = 4096;

/// Why it ended early. What was answered until then is in the folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain gave up, or a signal came.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// An input cannot be read any more.
    #[error(transparent)]
    Input(#[from] Fault),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] dataset::Error),
}

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Inputs behind us, those of earlier runs included.
    pub answered: u64,
    /// Dead letters among them.
    pub dead: u64,
    /// The input that was answered just now.
    pub ordinal: u64,
}

/// What is to be captioned, and where to.
#[derive(Debug)]
pub struct Job {
    /// The pictures.
    pub inputs: Arc<Inputs>,
    /// The folder, opened for them.
    pub folder: Folder,
    /// Which of them; `None`: all.
    pub sample: Option<Sample>,
    /// Writes a text beside each picture that is a file.
    pub sidecars: Option<Sidecars>,
}

/// What became of a [`Job`].
#[derive(Debug)]
pub struct Ran {
    /// The folder, complete where there is no error.
    pub folder: Folder,
    /// As it was given.
    pub sidecars: Option<Sidecars>,
    /// See [`Error`].
    pub result: Result<(), Error>,
}

/// One entry on its way.
struct Item {
    at: Answered,
    name: String,
    what: What,
}

enum What {
    /// It is done, or not asked for.
    Passed,
    Refused(Refusal),
    Asked(Ask),
}

impl Job {
    /// What the chain asks about pictures it has the bytes of.
    #[must_use]
    pub fn repetitions(&self) -> Arc<Repetitions> {
        Arc::new(Repetitions(self.folder.seen()))
    }

    /// Captions what is not done yet.
    pub async fn run(
        self,
        local: Local,
        gallery: Arc<Gallery>,
        shutdown: &mut Shutdown,
        tell: &mut dyn FnMut(Progress),
    ) -> Ran {
        let Self {
            inputs,
            mut folder,
            sample,
            sidecars,
        } = self;
        folder.begin();
        let (sender, items) = mpsc::channel(READ_AHEAD);
        let fault: Arc<Mutex<Option<Fault>>> = Arc::default();
        let reader = Reader {
            inputs,
            start: folder.start(),
            wants: wanted(&folder, sample),
            gallery: Arc::clone(&gallery),
            fault: Arc::clone(&fault),
        };
        std::thread::spawn(move || reader.run(&sender));
        let mut sink = Sink {
            seen: folder.seen(),
            folder,
            gallery,
            sidecars,
            waiting: HashMap::new(),
            failures: VecDeque::new(),
        };
        let answered = local
            .answer(items, shutdown, |item, answer, receipt| {
                let ordinal = item.at.ordinal;
                let taken = sink.take(item, answer, receipt);
                tell(sink.progress(ordinal));
                taken
            })
            .await;
        let mut result: Result<(), Error> = match answered {
            Ok(taken) => taken.map_err(Error::from),
            Err(error) => Err(error.into()),
        };
        let fault = fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(fault), Ok(())) = (fault, &result) {
            result = Err(fault.into());
        }
        let (mut folder, sidecars) = (sink.folder, sink.sidecars);
        let is_disk = matches!(result, Err(Error::Folder(_)));
        if !is_disk && let Err(error) = folder.save(result.is_ok()) {
            result = result.and(Err(error.into()));
        }
        Ran {
            folder,
            sidecars,
            result,
        }
    }
}

/// Whether an ordinal is asked for: the folder as it is now, and the sample.
fn wanted(folder: &Folder, sample: Option<Sample>) -> Box<dyn Fn(u64) -> bool + Send> {
    let wants = folder.wanted();
    Box::new(move |ordinal| {
        wants(ordinal) && sample.as_ref().is_none_or(|sample| sample.has(ordinal))
    })
}

/// Reads entries on a thread of its own, no faster than they are taken.
struct Reader {
    inputs: Arc<Inputs>,
    start: (Place, u64),
    wants: Box<dyn Fn(u64) -> bool + Send>,
    gallery: Arc<Gallery>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Reader {
    fn run(self, sender: &mpsc::Sender<Query<Item>>) {
        let (place, first) = self.start;
        for (ordinal, read) in (first..).zip(self.inputs.read(place)) {
            let (entry, place) = match read {
                Ok(read) => read,
                Err(fault) => {
                    *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
                    return;
                }
            };
            let what = match entry.content {
                _ if !(self.wants)(ordinal) => What::Passed,
                Ok(ask) => What::Asked(ask),
                Err(refusal) => What::Refused(refusal),
            };
            let (request, names_file) = match &what {
                What::Asked(ask) => {
                    self.gallery.announce(ordinal, &ask.request);
                    (Some(ask.request.clone()), ask.names_file())
                }
                _ => (None, false),
            };
            let item = Item {
                at: Answered { ordinal, place },
                name: entry.name,
                what,
            };
            let query = Query {
                request,
                names_file,
                with: item,
            };
            if sender.blocking_send(query).is_err() {
                return;
            }
        }
    }
}

/// Puts answers into the folder.
struct Sink {
    folder: Folder,
    seen: Arc<Mutex<Seen>>,
    gallery: Arc<Gallery>,
    sidecars: Option<Sidecars>,
    /// Repeats of what is being asked.
    waiting: HashMap<QuestionId, Vec<(Item, Receipt)>>,
    /// The last questions that ended as dead letters.
    failures: VecDeque<(QuestionId, Failed)>,
}

/// Reason and detail of a dead letter.
#[derive(Debug, Clone)]
struct Failed {
    reason: String,
    detail: String,
}

impl Sink {
    fn progress(&self, ordinal: u64) -> Progress {
        let totals = self.folder.totals();
        Progress {
            answered: totals.read(),
            dead: totals.dead(),
            ordinal,
        }
    }

    fn take(&mut self, item: Item, answer: Answer, receipt: Receipt) -> Result<(), dataset::Error> {
        let question = self.lock().take(receipt.offset);
        match (&item.what, answer) {
            (What::Refused(refusal), _) => {
                let (reason, detail) = (refusal.reason, refusal.detail.as_str());
                self.dead(&item, reason, detail)
            }
            (What::Passed, _) | (What::Asked(_), Answer::NotAsked) => {
                self.folder.pass_over(item.at);
                Ok(())
            }
            (What::Asked(_), Answer::Captioned(record)) => self.captioned(&item, &record, question),
            (What::Asked(_), Answer::Repeated) => match question {
                Some(question) => self.repeated(item, question, receipt),
                None => Ok(()),
            },
            (What::Asked(_), Answer::Dead { reason, detail }) => {
                self.dead(&item, &reason, &detail)?;
                match question {
                    Some(question) => self.failed(question, Failed { reason, detail }),
                    None => Ok(()),
                }
            }
        }
    }

    fn captioned(
        &mut self,
        item: &Item,
        record: &[u8],
        question: Option<QuestionId>,
    ) -> Result<(), dataset::Error> {
        let What::Asked(ask) = &item.what else {
            return Ok(());
        };
        let renamed = ask.url.as_ref().and_then(|url| with_url(record, url));
        let record = renamed.as_deref().unwrap_or(record);
        self.keep(item, record, question, false)?;
        let Some(question) = question else {
            return Ok(());
        };
        for (item, _receipt) in self.waiting.remove(&question).unwrap_or_default() {
            self.repeat(&item, record, question)?;
        }
        Ok(())
    }

    /// The same picture, asked the same, under another name.
    fn repeated(
        &mut self,
        item: Item,
        question: QuestionId,
        receipt: Receipt,
    ) -> Result<(), dataset::Error> {
        let found = self.lock().find(question);
        match found {
            Some(Found::Answered(spot)) => {
                let record = self.folder.record(spot)?;
                self.repeat(&item, &record, question)
            }
            Some(Found::Asked) => {
                self.waiting
                    .entry(question)
                    .or_default()
                    .push((item, receipt));
                Ok(())
            }
            None => {
                let known = self
                    .failures
                    .iter()
                    .rev()
                    .find(|(failed, _)| *failed == question);
                let failed = known.map(|(_, failed)| failed.clone()).unwrap_or(Failed {
                    reason: "model_failed".to_owned(),
                    detail: "the same picture under another name failed".to_owned(),
                });
                self.dead(&item, &failed.reason, &failed.detail)
            }
        }
    }

    /// A row of its own for a repeat: its own names, the other's answer.
    fn repeat(
        &mut self,
        item: &Item,
        record: &[u8],
        question: QuestionId,
    ) -> Result<(), dataset::Error> {
        let What::Asked(ask) = &item.what else {
            return Ok(());
        };
        let own = request::parse(Some(&ask.request)).ok();
        let answer = serde_json::from_slice::<EnrichedCaption>(record).ok();
        let (Some(own), Some(mut answer)) = (own, answer) else {
            return self.dead(item, "bad_request", "its request cannot be read any more");
        };
        answer.id = own.id;
        answer.meta = own.meta;
        answer.url = ask.url.clone().unwrap_or(own.url);
        let row = serde_json::to_vec(&answer).unwrap_or_default();
        self.keep(item, &row, Some(question), true)
    }

    /// A question that ends as a dead letter, for those that ask the same.
    fn failed(&mut self, question: QuestionId, failed: Failed) -> Result<(), dataset::Error> {
        self.lock().failed(question);
        for (item, _receipt) in self.waiting.remove(&question).unwrap_or_default() {
            self.dead(&item, &failed.reason, &failed.detail)?;
        }
        if self.failures.len() == FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back((question, failed));
        Ok(())
    }

    fn keep(
        &mut self,
        item: &Item,
        record: &[u8],
        question: Option<QuestionId>,
        repeat: bool,
    ) -> Result<(), dataset::Error> {
        let caption = Caption {
            record,
            question,
            repeat,
        };
        if let Some(sidecars) = &mut self.sidecars
            && let What::Asked(Ask {
                path: Some(path), ..
            }) = &item.what
        {
            sidecars.write(path, record)?;
        }
        self.gallery.keep(item.at.ordinal, record);
        self.folder.caption(item.at, &caption)?;
        Ok(())
    }

    fn dead(&mut self, item: &Item, reason: &str, detail: &str) -> Result<(), dataset::Error> {
        let dead = Dead {
            input: &item.name,
            reason,
            detail,
        };
        self.folder.dead(item.at, &dead)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_url(record: &[u8], url: &str) -> Option<Vec<u8>> {
    let mut record: EnrichedCaption = serde_json::from_slice(record).ok()?;
    url.clone_into(&mut record.url);
    serde_json::to_vec(&record).ok()
}
