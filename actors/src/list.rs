//! An input that is a list in memory: one partition, offsets from 0.

use std::sync::{Arc, Mutex, PoisonError};

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

#[derive(Debug, Default)]
struct Values {
    all: Vec<Bytes>,
    next: usize,
}

impl ListSource {
    /// An empty list under `topic`, partition 0, assigned to the intake's ledger.
    #[must_use]
    pub fn new(intake: Intake, topic: &str) -> Arc<Self> {
        let topic: Arc<str> = Arc::from(topic);
        intake.ledger().assign(&topic, 0, Some(0), None);
        Arc::new(Self {
            topic,
            intake,
            values: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Adds a value (a bare URL or the JSON form); returns its offset.
    pub fn push(&self, value: impl Into<Bytes>) -> i64 {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.all.push(value.into());
        (values.all.len() - 1) as i64
    }

    /// Feeds until every value is settled. Never ends where the chain gives up: race it with
    /// [`crate::pipeline::PipelineHandle::failed`].
    pub async fn run(&self) {
        loop {
            if self.feed() {
                self.intake.room().await;
                continue;
            }
            if self.settled() {
                return;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = self.intake.idle() => {
                    // All is home; what is unsettled comes again with a restart.
                    if !self.settled() && !self.more() {
                        self.changed.notified().await;
                    }
                }
            }
        }
    }

    /// Admits what there is room for; whether some is left.
    fn feed(&self) -> bool {
        // Held over the admission: a restart moves `next` strictly before or after it.
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(value) = values.all.get(values.next) {
            let record = Record {
                id: RecordId {
                    topic: Arc::clone(&self.topic),
                    partition: 0,
                    offset: values.next as i64,
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

    fn more(&self) -> bool {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.next < values.all.len()
    }

    fn settled(&self) -> bool {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let position = self.intake.ledger().position(&self.topic, 0);
        position.is_some_and(|position| position.offset == values.all.len() as i64)
    }
}

impl Source for ListSource {
    fn rewind(&self) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let ledger = self.intake.ledger();
        if let Some((epoch, offset)) = ledger.seek_to(&self.topic, 0) {
            values.next = offset as usize;
            ledger.sought(&self.topic, 0, epoch);
        }
        drop(values);
        self.changed.notify_one();
    }
}
