//! A chain in simulated time, to hold forecasts to what a whole run would take.
//!
//! Pictures are fetched and decoded by two hands at a time, then wait for a model with some places;
//! a picture holds a place for its own time, longer where the model's speed is down. What is bad ends
//! after its decoding. Everything is drawn from a seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use rand_pcg::{Pcg64, rand_core::Rng as _};

use super::{DeadLetter, Record, Sampled, Step, Written};

/// A world of pictures and a machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    /// Pictures that the model works on at a time.
    pub(super) places: usize,
    /// The relative spread of the work (a lognormal's).
    pub(super) spread: f64,
    /// The share that ends as dead letters.
    pub(super) bad: f64,
    /// Seconds of fetching and decoding, on average.
    pub(super) before: f64,
    /// How much the machine's speed goes up and down, with a period of 3 s.
    pub(super) drift: f64,
    /// Whether pictures with more work stand at the end of the input.
    pub(super) sorted: bool,
}

/// A picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture {
    before: f64,
    work: f64,
    is_bad: bool,
    bytes: u64,
}

pub(super) struct Random(Pcg64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Pcg64::new(u128::from(seed), 0x51))
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Of mean 1.
    fn lognormal(&mut self, spread: f64) -> f64 {
        let variance = (1.0 + spread * spread).ln();
        (variance.sqrt() * self.normal() - variance / 2.0).exp()
    }

    /// `size` of `count`.
    pub(super) fn sample(&mut self, count: usize, size: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        for at in 0..size {
            let other = at + (self.unit() * (count - at) as f64) as usize;
            all.swap(at, other.min(count - 1));
        }
        let mut chosen = all[..size].to_vec();
        chosen.sort_unstable();
        chosen
    }
}

impl World {
    pub(super) fn pictures(&self, count: usize, random: &mut Random) -> Vec<Picture> {
        let mut pictures: Vec<_> = (0..count)
            .map(|_| Picture {
                before: self.before * random.lognormal(0.5),
                work: random.lognormal(self.spread) * self.places as f64 * 0.1,
                is_bad: random.unit() < self.bad,
                bytes: (50_000.0 * random.lognormal(0.8)) as u64,
            })
            .collect();
        if self.sorted {
            pictures.sort_by(|one, other| one.work.total_cmp(&other.work));
        }
        pictures
    }

    /// Runs some of the pictures, of so many in all; the machine's speed begins at `phase`.
    pub(super) fn run(&self, pictures: &[(u64, Picture)], of: usize, phase: f64) -> Sampled {
        let mut sampled = Sampled {
            inputs: of as u64,
            asked: pictures.len() as u64,
            written: Written {
                frame: 20_000.0,
                row: 900.0,
                least: 900.0,
                most: 900.0,
            },
            ..Sampled::default()
        };
        let mut hands = BinaryHeap::from([Reverse(0_u64), Reverse(0)]);
        let mut places: BinaryHeap<Reverse<u64>> = (0..self.places).map(|_| Reverse(0)).collect();
        // Whole microseconds, for a heap has to order them.
        let micros = |seconds: f64| (seconds * 1e6) as u64;
        let mut decoded = Vec::new();
        for (ordinal, picture) in pictures {
            let Reverse(from) = hands.pop().expect("two hands");
            let to = from + micros(picture.before);
            hands.push(Reverse(to));
            sampled.fetched.insert(*ordinal, picture.bytes);
            if picture.is_bad {
                sampled.dead.insert(*ordinal, DeadLetter::default());
                sampled.answered.insert(*ordinal, to as f64 / 1e6);
            } else {
                decoded.push((to, *ordinal, *picture, from));
            }
        }
        decoded.sort_by_key(|(at, ordinal, ..)| (*at, *ordinal));
        for (at, ordinal, picture, began) in decoded {
            let Reverse(free) = places.pop().expect("a place");
            let from = free.max(at);
            let slower =
                1.0 + self.drift * (phase + from as f64 / 3e6 * std::f64::consts::TAU).sin();
            let to = from + micros(picture.work * slower);
            places.push(Reverse(to));
            let step = |stage: &str, queue: u64, work: u64| Step {
                stage: stage.to_owned(),
                model: (stage == "caption").then(|| "model".to_owned()),
                queue_ms: queue as f64 / 1e3,
                work_ms: work as f64 / 1e3,
            };
            let record = Record {
                steps: vec![
                    step("decode", began, at - began),
                    step("caption", from - at, to - from),
                ],
                total_ms: to as f64 / 1e3,
                bytes: 1500,
                clauses: 1,
                ..Record::default()
            };
            sampled.captions.insert(ordinal, record);
            sampled.answered.insert(ordinal, to as f64 / 1e6);
        }
        sampled.seconds = sampled.answered.values().copied().fold(0.0, f64::max);
        sampled
    }
}

/// All pictures with their places.
pub(super) fn numbered(pictures: &[Picture]) -> BTreeMap<u64, Picture> {
    (0..).zip(pictures.iter().copied()).collect()
}
