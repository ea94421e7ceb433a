//! From files into the input topic: rows in order, positions that follow the broker's
//! confirmations, bad rows told and passed over.
//!
//! With a resume file nothing is skipped: a position is noted once every row before it is
//! confirmed. After an orderly end (a signal included) nothing is sent twice; after a crash, what
//! was confirmed since the file was last written (a second) and what was under way (at most
//! [`WINDOW`] records) is sent again.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::{
    kafka::{
        self, KafkaSettings,
        feeder::{Feeder, key},
    },
    requests::{Fault, Input, Position, resume::Resume},
};

/// The most records without a confirmation.
pub const WINDOW: u64 = 10_000;
/// How often the resume file is written.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long the last confirmations may take.
const CONFIRM: Duration = Duration::from_secs(60);
/// The same after a signal: a person waits.
const CONFIRM_STOPPED: Duration = Duration::from_secs(8);
/// How long a wait for confirmations lasts before signals and progress are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// An input that cannot be read any more, or the resume file.
    #[error(transparent)]
    Input(#[from] Fault),
}

/// What is told on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note<'a> {
    /// So many rows are behind us since the start, bad ones included.
    Progress(u64),
    /// Rows that are no requests.
    Bad {
        /// The input.
        name: &'a str,
        /// What is counted: `line`, `row` or `element`.
        unit: &'static str,
        /// The first.
        first: u64,
        /// The last.
        last: u64,
        /// What is wrong.
        problem: &'a str,
    },
    /// An input has ended, and every row of it was bad.
    Barren {
        /// The input.
        name: &'a str,
    },
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Records the broker confirmed.
    pub confirmed: u64,
    /// Rows that were passed over.
    pub bad: u64,
    /// Inputs that an earlier run had finished.
    pub finished_before: usize,
    /// Whether a signal ended it.
    pub stopped: bool,
    /// Records that the broker had not answered when a signal ended it.
    pub open: u64,
}

/// What to publish, and how.
pub struct Job<'a> {
    /// The clients' settings; the topic is `settings.topics.images`.
    pub settings: &'a KafkaSettings,
    /// In this order.
    pub inputs: &'a [Input],
    /// Where positions are kept.
    pub resume: Option<Resume>,
    /// At most so many records.
    pub limit: Option<u64>,
    /// Set where it shall stop.
    pub stop: &'a AtomicBool,
}

impl Job<'_> {
    /// Publishes. Blocks.
    ///
    /// # Errors
    /// See [`Error`]; the resume file holds what was confirmed until then.
    pub fn run(self, tell: &mut dyn FnMut(Note<'_>)) -> Result<Published, Error> {
        let feeder = Feeder::new(self.settings, &self.settings.topics.images)?;
        let mut run = Run {
            job: self,
            feeder,
            under_way: VecDeque::new(),
            published: Published::default(),
            behind: 0,
            saved: Instant::now(),
            tell,
        };
        let fed = run.feed();
        let settled = run.settle();
        let saved = run.save();
        // The first fault is the cause of the others.
        fed.and(settled).and(saved)?;
        run.published.confirmed = run.feeder.progress().confirmed;
        Ok(run.published)
    }
}

/// A row on its way, or the end of an input.
struct UnderWay {
    input: usize,
    first: u64,
    after: Position,
    rows: u64,
    /// It is behind us when so many records are answered.
    needs: u64,
    done: bool,
}

struct Run<'a, 'b> {
    job: Job<'a>,
    feeder: Feeder,
    under_way: VecDeque<UnderWay>,
    published: Published,
    behind: u64,
    saved: Instant,
    tell: &'b mut dyn FnMut(Note<'_>),
}

impl Run<'_, '_> {
    fn feed(&mut self) -> Result<(), Error> {
        let inputs = self.job.inputs;
        for (index, input) in inputs.iter().enumerate() {
            let from = match &self.job.resume {
                None => Some(Position::default()),
                Some(resume) => resume.position(input),
            };
            let Some(from) = from else {
                self.published.finished_before += 1;
                continue;
            };
            let mut last = from;
            let (sent_before, bad_before) = (self.feeder.progress().sent, self.published.bad);
            for item in input.read(from)? {
                if self.is_over() {
                    return Ok(());
                }
                let item = item?;
                let rows = item.rows();
                last = item.after;
                let sent = match item.content {
                    Ok(value) => {
                        match self.feeder.send(key(&value).as_deref(), Some(&value), &[]) {
                            Ok(()) => Ok(()),
                            Err(fault @ kafka::Error::TooLarge(_)) => Err(fault.to_string()),
                            Err(fault) => return Err(fault.into()),
                        }
                    }
                    Err(problem) => Err(problem),
                };
                if let Err(problem) = sent {
                    self.bad(input, item.first, item.after.number, &problem);
                }
                self.under_way.push_back(UnderWay {
                    input: index,
                    first: item.first,
                    after: item.after,
                    rows,
                    needs: self.feeder.progress().sent,
                    done: false,
                });
                self.advance()?;
                while self.feeder.progress().sent - self.feeder.answered() >= WINDOW
                    && !self.is_stopped()
                {
                    self.feeder.poll(LOOK);
                    self.advance()?;
                }
            }
            let sent = self.feeder.progress().sent;
            // Of what an earlier run saw of it nothing is known.
            let is_barren = from == Position::default()
                && sent == sent_before
                && self.published.bad > bad_before;
            if is_barren {
                (self.tell)(Note::Barren { name: &input.name });
            }
            self.under_way.push_back(UnderWay {
                input: index,
                first: last.number,
                // Nothing of it went out: the next run begins it again.
                after: if is_barren { from } else { last },
                rows: 0,
                needs: sent,
                done: !is_barren,
            });
        }
        Ok(())
    }

    fn is_stopped(&mut self) -> bool {
        self.published.stopped |= self.job.stop.load(Ordering::Relaxed);
        self.published.stopped
    }

    fn is_over(&mut self) -> bool {
        let sent = self.feeder.progress().sent;
        self.job.limit.is_some_and(|limit| sent >= limit) || self.is_stopped()
    }

    /// Moves the positions to where everything is answered.
    fn advance(&mut self) -> Result<(), Error> {
        let mut answered = self.feeder.answered();
        let mut broken = None;
        for refusal in self.feeder.take_refusals() {
            if !refusal.for_good {
                answered = answered.min(refusal.number);
                broken.get_or_insert(refusal.fault);
                continue;
            }
            let row = self
                .under_way
                .iter()
                .find(|row| row.needs == refusal.number + 1 && row.rows > 0);
            if let Some(&UnderWay {
                input,
                first,
                after,
                ..
            }) = row
            {
                let input = &self.job.inputs[input];
                self.bad(input, first, after.number, &refusal.fault);
            }
        }
        while let Some(row) = self.under_way.front().filter(|row| row.needs <= answered) {
            self.behind += row.rows;
            if let Some(resume) = &mut self.job.resume {
                resume.note(&self.job.inputs[row.input], row.after, row.done);
            }
            self.under_way.pop_front();
        }
        (self.tell)(Note::Progress(self.behind));
        if let Some(fault) = broken {
            // Positions must not pass it: everything after it is sent again by the next run.
            self.under_way.clear();
            return Err(kafka::Error::Broker(format!("a record was not written: {fault}")).into());
        }
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save()?;
        }
        Ok(())
    }

    /// Waits for the last confirmations.
    fn settle(&mut self) -> Result<(), Error> {
        let limit = if self.is_stopped() {
            CONFIRM_STOPPED
        } else {
            CONFIRM
        };
        let deadline = Instant::now() + limit;
        while !self.under_way.is_empty() {
            self.advance()?;
            if self.under_way.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                let open = self.feeder.progress().sent - self.feeder.answered();
                if self.is_stopped() {
                    self.published.open = open;
                    return Ok(());
                }
                let text = format!("{open} records were not confirmed within {limit:?}");
                return Err(kafka::Error::Broker(text).into());
            }
            self.feeder.poll(LOOK);
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), Error> {
        self.saved = Instant::now();
        if let Some(resume) = &self.job.resume {
            resume.save()?;
        }
        Ok(())
    }

    fn bad(&mut self, input: &Input, first: u64, last: u64, problem: &str) {
        self.published.bad += last + 1 - first;
        (self.tell)(Note::Bad {
            name: &input.name,
            unit: input.unit(),
            first,
            last,
            problem,
        });
    }
}
