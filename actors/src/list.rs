//! An input in memory: one partition, offsets from 0. What is settled is forgotten.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use opentelemetry::Context;
use tokio::sync::Notify;

use crate::{
    intake::Intake,
    ports::Source,
    record::{Record, RecordId},
};

/// Feeds values in order, and goes back when the chain restarts.
#[derive(Debug)]
pub struct ListSource {
    topic: Arc<str>,
    intake: Intake,
    values: Mutex<Values>,
    changed: Notify,
}

/// Values that are not settled, in order, and some that are.
#[derive(Debug, Default)]
struct Values {
    kept: VecDeque<Bytes>,
    /// The offset of the first that is kept.
    first: i64,
    /// The offset of the next to feed.
    next: i64,
    /// Whether more may come.
    open: bool,
}

impl Values {
    fn end(&self) -> i64 {
        self.first + self.kept.len() as i64
    }

    fn next(&self) -> Option<&Bytes> {
        let at = usize::try_from(self.next - self.first).ok()?;
        self.kept.get(at)
    }
}

impl ListSource {
    /// An empty list under `topic`, partition 0, assigned to the intake's ledger.
    #[must_use]
    pub fn new(intake: Intake, topic: &str) -> Arc<Self> {
        Self::with(intake, topic, false)
    }

    /// The same, and [`ListSource::run`] waits for more until [`ListSource::close`].
    #[must_use]
    pub fn open(intake: Intake, topic: &str) -> Arc<Self> {
        Self::with(intake, topic, true)
    }

    fn with(intake: Intake, topic: &str, open: bool) -> Arc<Self> {
        let topic: Arc<str> = Arc::from(topic);
        intake.ledger().assign(&topic, 0, Some(0), None);
        let values = Values {
            open,
            ..Values::default()
        };
        Arc::new(Self {
            topic,
            intake,
            values: Mutex::new(values),
            changed: Notify::new(),
        })
    }

    /// Adds a value (a bare URL or the JSON form); returns its offset.
    pub fn push(&self, value: impl Into<Bytes>) -> i64 {
        let mut values = self.lock();
        values.kept.push_back(value.into());
        let offset = values.end() - 1;
        drop(values);
        self.changed.notify_one();
        offset
    }

    /// No more values come.
    pub fn close(&self) {
        self.lock().open = false;
        self.changed.notify_one();
    }

    /// How many values are kept, from the first one on that is not settled; and how many of them
    /// wait to be fed.
    pub fn kept(&self) -> (usize, usize) {
        let mut values = self.lock();
        self.forget(&mut values);
        let unfed = usize::try_from(values.end() - values.next).unwrap_or(0);
        (values.kept.len(), unfed)
    }

    /// Feeds until every value is settled, and none comes any more. Never ends where the chain
    /// gives up: race it with [`crate::pipeline::PipelineHandle::failed`].
    pub async fn run(&self) {
        loop {
            if self.feed() {
                self.intake.room().await;
                continue;
            }
            if self.is_over() {
                return;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = self.intake.idle() => {
                    // All is home: more may come, or what is unsettled comes again with a restart.
                    if !self.is_over() && !self.more() {
                        self.changed.notified().await;
                    }
                }
            }
        }
    }

    /// Admits what there is room for; whether some is left.
    fn feed(&self) -> bool {
        // Held over the admission: a restart moves `next` strictly before or after it.
        let mut values = self.lock();
        self.forget(&mut values);
        while let Some(value) = values.next() {
            let record = Record {
                id: RecordId {
                    topic: Arc::clone(&self.topic),
                    partition: 0,
                    offset: values.next,
                },
                key: None,
                value: Some(value.clone()),
                parent: Context::new(),
                received: std::time::Instant::now(),
            };
            if self.intake.try_admit(record).is_err() {
                return true;
            }
            values.next += 1;
        }
        false
    }

    /// Drops what no restart asks for again.
    fn forget(&self, values: &mut Values) {
        let Some(position) = self.intake.ledger().position(&self.topic, 0) else {
            return;
        };
        while values.first < position.offset && values.kept.pop_front().is_some() {
            values.first += 1;
        }
    }

    fn more(&self) -> bool {
        self.lock().next().is_some()
    }

    fn is_over(&self) -> bool {
        let values = self.lock();
        let position = self.intake.ledger().position(&self.topic, 0);
        !values.open && position.is_some_and(|position| position.offset == values.end())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for ListSource {
    fn rewind(&self) {
        let mut values = self.lock();
        let ledger = self.intake.ledger();
        if let Some((epoch, offset)) = ledger.seek_to(&self.topic, 0) {
            values.next = offset;
            ledger.sought(&self.topic, 0, epoch);
        }
        drop(values);
        self.changed.notify_one();
    }
}
