//! Back-pressure: which partitions are paused, and the records that found the intake full.
//!
//! What is wanted and what librdkafka was last told are kept apart and reconciled, so that
//! reasons to pause (intake full, map full, draining) never undo each other.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use vila2_actors::record::Record;

use super::consumer::Inlet;

/// How long the intake may be full before the partitions are paused.
const MOMENT: Duration = Duration::from_millis(200);

/// The flow of one consumer.
pub(super) struct Flow {
    /// Partition → whether librdkafka has it paused (`None`: not told yet).
    held: BTreeMap<i32, Option<bool>>,
    map_full: HashSet<i32>,
    waiting: VecDeque<Record>,
    full_since: Option<Instant>,
    congested: bool,
    draining: bool,
    /// Free places of the idle intake.
    capacity: usize,
}

/// Partitions to pause and to resume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub pause: Vec<i32>,
    pub resume: Vec<i32>,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            map_full: HashSet::new(),
            waiting: VecDeque::new(),
            full_since: None,
            congested: false,
            draining: false,
            capacity: 0,
        }
    }

    pub(super) fn assigned(&mut self, partitions: &[i32]) {
        self.held
            .extend(partitions.iter().map(|&partition| (partition, None)));
    }

    /// Forgets partitions and their waiting records: whoever has them next reads those again.
    pub(super) fn revoked(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.held.remove(partition);
            self.map_full.remove(partition);
        }
        self.waiting
            .retain(|record| !partitions.contains(&record.id.partition));
    }

    /// Forgets the waiting records of a partition that was sought: they come again.
    pub(super) fn sought(&mut self, partition: i32) {
        self.waiting
            .retain(|record| record.id.partition != partition);
    }

    pub(super) fn partitions(&self) -> Vec<i32> {
        self.held.keys().copied().collect()
    }

    /// From now on nothing is offered any more.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.waiting.clear();
    }

    pub(super) fn set_map_full(&mut self, partition: i32, full: bool) {
        let changed = if full {
            self.map_full.insert(partition)
        } else {
            self.map_full.remove(&partition)
        };
        if changed && full {
            tracing::warn!(
                partition,
                "paused: too much finished above a record that is not"
            );
        } else if changed {
            tracing::info!(partition, "resumed: the offsets in between are settled");
        }
    }

    /// Offers a record, behind those that wait already.
    pub(super) fn offer(&mut self, record: Record, inlet: &dyn Inlet) {
        if self.draining {
            return;
        }
        if self.waiting.is_empty() {
            self.capacity = self.capacity.max(inlet.free_records());
            if let Err(record) = inlet.try_admit(record) {
                self.waiting.push_back(record);
                self.full_since = Some(Instant::now());
            }
        } else {
            self.waiting.push_back(record);
        }
    }

    /// Offers what waits, in order, and decides whether the intake is congested.
    pub(super) fn offer_waiting(&mut self, inlet: &dyn Inlet) {
        while let Some(record) = self.waiting.pop_front() {
            if let Err(record) = inlet.try_admit(record) {
                self.waiting.push_front(record);
                break;
            }
        }
        if self.waiting.is_empty() {
            self.full_since = None;
            // The low-water mark: a quarter free, so that pausing is rare.
            self.congested &= inlet.free_records() < (self.capacity / 4).max(1);
        } else if self
            .full_since
            .is_some_and(|since| since.elapsed() >= MOMENT)
        {
            self.congested = true;
        }
    }

    /// Whether records wait and the partitions are not paused yet: polling would only pile up
    /// more.
    pub(super) fn hold_on(&self) -> bool {
        !self.waiting.is_empty() && !self.congested
    }

    /// Whether anything waits for room.
    pub(super) fn blocked(&self) -> bool {
        self.congested || !self.waiting.is_empty()
    }

    /// What librdkafka must be told.
    pub(super) fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        for (&partition, &paused) in &self.held {
            match (self.wanted(partition), paused) {
                (true, Some(true)) | (false, Some(false)) => {}
                (true, _) => changes.pause.push(partition),
                (false, _) => changes.resume.push(partition),
            }
        }
        changes
    }

    /// librdkafka was told.
    pub(super) fn told(&mut self, partitions: &[i32], paused: bool) {
        for partition in partitions {
            if let Some(state) = self.held.get_mut(partition) {
                *state = Some(paused);
            }
        }
    }

    fn wanted(&self, partition: i32) -> bool {
        self.draining || self.congested || self.map_full.contains(&partition)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::Context;
    use vila2_actors::record::RecordId;

    use super::*;

    struct Room(Mutex<(usize, Vec<i64>)>);

    impl Inlet for Room {
        fn try_admit(&self, record: Record) -> Result<(), Record> {
            let mut room = self.0.lock().unwrap();
            if room.0 == 0 {
                return Err(record);
            }
            room.0 -= 1;
            room.1.push(record.id.offset);
            Ok(())
        }

        fn free_records(&self) -> usize {
            self.0.lock().unwrap().0
        }
    }

    fn record(partition: i32, offset: i64) -> Record {
        Record {
            id: RecordId {
                topic: "images".into(),
                partition,
                offset,
            },
            key: None,
            value: None,
            parent: Context::new(),
            received: Instant::now(),
        }
    }

    fn tell(flow: &mut Flow) -> Changes {
        let changes = flow.changes();
        flow.told(&changes.pause, true);
        flow.told(&changes.resume, false);
        changes
    }

    /// A flow of partitions 0 and 1 whose intake of 8 is full and has been for a moment.
    fn congested(room: &Room) -> Flow {
        let mut flow = Flow::new();
        flow.assigned(&[0, 1]);
        assert_eq!(tell(&mut flow).resume, [0, 1]);
        for offset in 0..10 {
            flow.offer(record(0, offset), room);
        }
        assert!(flow.hold_on() && flow.changes() == Changes::default());
        flow.full_since = Instant::now().checked_sub(MOMENT);
        flow.offer_waiting(room);
        assert_eq!(tell(&mut flow).pause, [0, 1]);
        flow
    }

    #[test]
    fn a_full_intake_pauses_and_the_low_water_mark_resumes_in_order() {
        let room = Room(Mutex::new((8, Vec::new())));
        let mut flow = congested(&room);
        room.0.lock().unwrap().0 = 3;
        flow.offer_waiting(&room);
        assert_eq!(
            tell(&mut flow),
            Changes::default(),
            "1 of 8 free is below the mark"
        );
        room.0.lock().unwrap().0 = 2;
        flow.offer_waiting(&room);
        assert_eq!(tell(&mut flow).resume, [0, 1]);
        assert_eq!(room.0.lock().unwrap().1, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn partitions_that_arrive_while_congested_are_paused_at_once() {
        let room = Room(Mutex::new((8, Vec::new())));
        let mut flow = congested(&room);
        flow.assigned(&[2]);
        assert_eq!(tell(&mut flow).pause, [2]);
    }

    #[test]
    fn a_full_map_pauses_its_partition_alone() {
        let mut flow = Flow::new();
        flow.assigned(&[0, 1]);
        tell(&mut flow);
        flow.set_map_full(1, true);
        assert_eq!(
            tell(&mut flow),
            Changes {
                pause: vec![1],
                resume: vec![]
            }
        );
        flow.set_map_full(1, false);
        assert_eq!(
            tell(&mut flow),
            Changes {
                pause: vec![],
                resume: vec![1]
            }
        );
    }

    #[test]
    fn waiting_records_of_revoked_partitions_are_forgotten() {
        let room = Room(Mutex::new((0, Vec::new())));
        let mut flow = Flow::new();
        flow.assigned(&[0, 1]);
        flow.offer(record(0, 5), &room);
        flow.offer(record(1, 7), &room);
        flow.revoked(&[0]);
        room.0.lock().unwrap().0 = 8;
        flow.offer_waiting(&room);
        assert_eq!(room.0.lock().unwrap().1, [7]);
    }

    #[test]
    fn a_draining_flow_pauses_everything_and_offers_nothing() {
        let room = Room(Mutex::new((8, Vec::new())));
        let mut flow = Flow::new();
        flow.assigned(&[0]);
        tell(&mut flow);
        flow.drain();
        flow.offer(record(0, 1), &room);
        flow.offer_waiting(&room);
        assert_eq!(tell(&mut flow).pause, [0]);
        assert!(room.0.lock().unwrap().1.is_empty());
    }
}
