//! The consumer: one thread that polls, offers records to the chain, commits and rebalances.
//!
//! It has a thread of its own because librdkafka runs rebalance callbacks inside the poll, and
//! polling must never stop: a member that does not poll for `max.poll.interval.ms` is thrown out
//! of its group. When the intake is full it goes on polling with its partitions paused.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    topic_partition_list::Offset,
};
use tokio::sync::watch;
use vila2_actors::{
    intake::Intake,
    ledger::Ledger,
    ports::Source,
    record::{Record, RecordId},
};

use super::{
    Error, KafkaSettings, client, codec,
    commit::{Committer, Turn},
    flow::Flow,
    gate::Gate,
    rebalance::{Event, GroupCallbacks},
    status::Status,
};

/// How long a poll waits when nothing happens: the latency of commands and of the first record.
const POLL: Duration = Duration::from_millis(50);
/// How long a poll waits while records wait for room.
const POLL_BLOCKED: Duration = Duration::from_millis(5);
/// How often the ledger's maps are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a fault of the poll is mentioned.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long the last commit may take.
const LAST_COMMIT: Duration = Duration::from_secs(2);
/// How long the committer's thread may take to end.
const LEAVE: Duration = Duration::from_secs(1);

/// Where records go: the chain's intake.
pub trait Inlet: Send + 'static {
    /// Takes a record without waiting.
    ///
    /// # Errors
    /// The record, when there is no room.
    #[allow(clippy::result_large_err)]
    fn try_admit(&self, record: Record) -> Result<(), Record>;

    /// How many more records would be taken now.
    fn free_records(&self) -> usize;
}

impl Inlet for Intake {
    fn try_admit(&self, record: Record) -> Result<(), Record> {
        Intake::try_admit(self, record)
    }

    fn free_records(&self) -> usize {
        Intake::free_records(self)
    }
}

/// A running member of the group.
pub struct Consumer {
    commands: Sender<Command>,
    finished: watch::Receiver<bool>,
}

enum Command {
    Rewind,
    Drain,
    Stop,
}

impl Consumer {
    /// Joins the group on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Options`] or [`Error::Client`]; an unreachable broker is none: it is tried again
    /// for ever, and [`Status`] says so.
    pub fn start(
        settings: &KafkaSettings,
        inlet: impl Inlet,
        ledger: Arc<Ledger>,
        gate: Arc<Gate>,
        status: Arc<Status>,
    ) -> Result<Self, Error> {
        let turn = Arc::<Turn>::default();
        let callbacks = GroupCallbacks {
            topic: settings.topics.images.as_str().into(),
            ledger: Arc::clone(&ledger),
            gate,
            status,
            turn: Arc::clone(&turn),
            events: Mutex::default(),
        };
        let consumer: BaseConsumer<GroupCallbacks> = client::group_member(settings)?
            .create_with_context(callbacks)
            .map_err(|fault| Error::Client(fault.to_string()))?;
        consumer
            .subscribe(&[&settings.topics.images])
            .map_err(|fault| Error::Client(fault.to_string()))?;
        let consumer = Arc::new(consumer);
        let committer =
            Committer::start(Arc::clone(&consumer), ledger, turn, settings.commit_every)
                .map_err(|fault| Error::Client(fault.to_string()))?;
        let (commands, inbox) = mpsc::channel();
        let (done, finished) = watch::channel(false);
        let member = Member {
            inlet: Box::new(inlet),
            inbox,
            flow: Flow::new(),
            committer,
            seeks: Vec::new(),
            last: HashMap::new(),
            looked: Instant::now(),
            said: None,
            consumer,
        };
        thread::Builder::new()
            .name("kafka-consumer".into())
            .spawn(move || {
                member.run();
                done.send_replace(true);
            })
            .map_err(|fault| Error::Client(fault.to_string()))?;
        Ok(Self { commands, finished })
    }

    /// The chain's handle on its input.
    #[must_use]
    pub fn source(&self) -> Arc<dyn Source> {
        Arc::new(Rewinder(self.commands.clone()))
    }

    /// Stops the intake for good; polling, commits and rebalances go on until
    /// [`Consumer::stop`].
    pub fn drain(&self) {
        let _ = self.commands.send(Command::Drain);
    }

    /// Commits what is settled, gives the partitions back and leaves the group.
    ///
    /// # Errors
    /// [`Error::Broker`] where that took longer than `limit`; the thread is left to itself then.
    pub async fn stop(mut self, limit: Duration) -> Result<(), Error> {
        let _ = self.commands.send(Command::Stop);
        match tokio::time::timeout(limit, self.finished.wait_for(|finished| *finished)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Broker(format!(
                "the group was not left within {limit:?}"
            ))),
        }
    }

    /// Whether the thread has ended, which before [`Consumer::stop`] is a bug.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.finished.borrow() || self.finished.has_changed().is_err()
    }
}

struct Rewinder(Sender<Command>);

impl Source for Rewinder {
    fn rewind(&self) {
        // A consumer that is gone has nothing to go back to.
        let _ = self.0.send(Command::Rewind);
    }
}

/// The thread's own state. Dropping the consumer, the committer's handle on it included, leaves the
/// group.
struct Member {
    consumer: Arc<BaseConsumer<GroupCallbacks>>,
    inlet: Box<dyn Inlet>,
    inbox: Receiver<Command>,
    flow: Flow,
    committer: Committer,
    /// Partitions that must still go back to the ledger's watermark.
    seeks: Vec<i32>,
    /// The offset read last from each partition since it was assigned or sought.
    last: HashMap<i32, i64>,
    looked: Instant,
    said: Option<Instant>,
}

impl Member {
    fn run(mut self) {
        while self.obey() {
            self.seek();
            self.flow.offer_waiting(&*self.inlet);
            if self.flow.hold_on() {
                thread::sleep(Duration::from_millis(1));
            } else {
                self.reconcile();
                self.poll();
            }
            self.look();
        }
        self.flow.drain();
        self.reconcile();
        let deadline = Instant::now() + LAST_COMMIT;
        let ledger = Arc::clone(&self.callbacks().ledger);
        while !self.committer.commit(&ledger) && Instant::now() < deadline {
            self.poll();
        }
        self.callbacks().status.note_joined(false);
        self.leave();
    }

    /// Gives the consumer up on this thread, which leaves the group, unless a commit that is not
    /// answered still needs it.
    fn leave(self) {
        let Self {
            consumer,
            committer,
            ..
        } = self;
        drop(committer);
        let deadline = Instant::now() + LEAVE;
        let mut shared = consumer;
        loop {
            match Arc::try_unwrap(shared) {
                Ok(own) => return drop(own),
                Err(again) if Instant::now() < deadline => shared = again,
                Err(_) => return,
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn callbacks(&self) -> &GroupCallbacks {
        self.consumer.context()
    }

    /// Returns whether to go on.
    fn obey(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Rewind) => self.seeks = self.flow.partitions(),
                Ok(Command::Drain) => self.flow.drain(),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn poll(&mut self) {
        let wait = if self.flow.blocked() {
            POLL_BLOCKED
        } else {
            POLL
        };
        // The record is made before the events are served: a message is never older than them.
        let polled = match self.consumer.poll(wait) {
            Some(Ok(message)) => Some(Ok(record(&message, &self.callbacks().topic))),
            Some(Err(fault)) => Some(Err(fault)),
            None => None,
        };
        self.serve_events();
        match polled {
            Some(Ok(record)) => {
                self.notice_a_new_log(&record.id);
                self.flow.offer(record, &*self.inlet);
            }
            Some(Err(fault)) => self.complain(&fault),
            None => {}
        }
    }

    /// Offsets only rise, unless the topic was deleted and made anew under our feet: then what the
    /// ledger knows is about records that are gone, and must not pass for these.
    fn notice_a_new_log(&mut self, id: &RecordId) {
        let last = self.last.insert(id.partition, id.offset);
        let Some(last) = last.filter(|last| id.offset <= *last) else {
            return;
        };
        tracing::error!(
            topic = &*id.topic,
            partition = id.partition,
            "offset {} after {last}: the topic was made anew or cut; reading it from here",
            id.offset
        );
        let ledger = Arc::clone(&self.callbacks().ledger);
        ledger.assign(&id.topic, id.partition, Some(id.offset), None);
    }

    fn serve_events(&mut self) {
        for event in self.callbacks().take_events() {
            match event {
                Event::Assigned(partitions) => {
                    self.last
                        .retain(|partition, _| !partitions.contains(partition));
                    self.flow.assigned(&partitions);
                }
                Event::Revoked(partitions) => {
                    self.flow.revoked(&partitions);
                    self.seeks
                        .retain(|partition| !partitions.contains(partition));
                }
            }
        }
    }

    /// Tells librdkafka what to pause and to resume.
    fn reconcile(&mut self) {
        let changes = self.flow.changes();
        for (partitions, pause) in [(&changes.pause, true), (&changes.resume, false)] {
            if partitions.is_empty() {
                continue;
            }
            let mut list = TopicPartitionList::new();
            for &partition in partitions {
                list.add_partition(&self.callbacks().topic, partition);
            }
            let told = if pause {
                self.consumer.pause(&list)
            } else {
                self.consumer.resume(&list)
            };
            match told {
                Ok(()) => self.flow.told(partitions, pause),
                Err(fault) => tracing::warn!(?partitions, pause, "pause or resume: {fault}"),
            }
        }
    }

    /// Goes back to the watermark on every partition that still has to. Waiting records are
    /// forgotten only once their partition was sought: otherwise they would be passed over.
    fn seek(&mut self) {
        if self.seeks.is_empty() {
            return;
        }
        let topic = Arc::clone(&self.callbacks().topic);
        let ledger = Arc::clone(&self.callbacks().ledger);
        for partition in std::mem::take(&mut self.seeks) {
            // No watermark: nothing of this partition was ever admitted.
            let Some((epoch, watermark)) = ledger.seek_to(&topic, partition) else {
                continue;
            };
            let offset = Offset::Offset(watermark);
            match self
                .consumer
                .seek(&topic, partition, offset, Duration::from_secs(1))
            {
                Ok(()) => {
                    tracing::info!(partition, offset = watermark, "went back");
                    // Whatever librdkafka had queued before the seek it drops by itself: what the
                    // next poll brings was fetched after it.
                    self.flow.sought(partition);
                    ledger.sought(&topic, partition, epoch);
                    // An offset below the watermark is of a topic that was made anew.
                    self.last.insert(partition, watermark - 1);
                }
                Err(fault) => {
                    tracing::debug!(partition, "cannot go back yet: {fault}");
                    self.seeks.push(partition);
                }
            }
        }
    }

    fn look(&mut self) {
        let ledger = Arc::clone(&self.callbacks().ledger);
        self.committer.tick(&ledger);
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        for partition in self.flow.partitions() {
            let position = ledger.position(&self.callbacks().topic, partition);
            self.flow
                .set_map_full(partition, position.is_some_and(|position| position.full));
        }
        if self.callbacks().status.joined() {
            self.callbacks().drop_suspended();
        }
        self.callbacks().status.say_waiting();
    }

    fn complain(&mut self, fault: &KafkaError) {
        if matches!(
            fault.rdkafka_error_code(),
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown)
        ) {
            return;
        }
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(topic = &*self.callbacks().topic, "reading: {fault}");
        }
    }
}

fn record(message: &BorrowedMessage<'_>, topic: &Arc<str>) -> Record {
    Record {
        id: RecordId {
            topic: Arc::clone(topic),
            partition: message.partition(),
            offset: message.offset(),
        },
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        parent: codec::parent(message.headers()),
        received: Instant::now(),
    }
}
