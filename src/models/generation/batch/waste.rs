//! When rebuilding the caches pays: what dead rows and padding have cost since the last time,
//! against what a rebuild costs. Never waiting longer than that is at most twice as dear as
//! knowing the future.

use std::time::Duration;

/// What one more row adds to a step, as a part of the step's mean per row: weights are read once
/// for all of them.
const MARGINAL_ROW: f64 = 0.5;

/// The graph copies the whole cache at each step and attends to all of it, padding included: so
/// many rebuilds' worth.
const COPIES_PER_STEP: f64 = 1.5;

/// How much a new measurement counts against the older ones.
const FRESH: f64 = 0.25;

/// The account of one batch, in seconds.
#[derive(Debug, Default)]
pub(super) struct Waste {
    wasted: f64,
    rebuild: Option<f64>,
}

impl Waste {
    /// Nothing is wasted now.
    pub(super) fn clear(&mut self) {
        self.wasted = 0.0;
    }

    /// A rebuild took so long.
    pub(super) fn rebuilt(&mut self, took: Duration) {
        self.measure(took.as_secs_f64());
        self.clear();
    }

    /// Putting `new` rows into the slots of a batch of `rows` took so long: a rebuild would copy
    /// all of them.
    pub(super) fn put(&mut self, took: Duration, new: usize, rows: usize) {
        self.measure(took.as_secs_f64() * rows as f64 / new as f64);
    }

    /// A step took so long, with `dead` of `rows` rows dead and `padding` of `length` positions
    /// needed by no row.
    pub(super) fn step(
        &mut self,
        took: Duration,
        (dead, rows): (usize, usize),
        (padding, length): (usize, usize),
    ) {
        let per_row = took.as_secs_f64() / rows.max(1) as f64;
        let copies = self.rebuild.unwrap_or(0.0) * COPIES_PER_STEP;
        self.wasted +=
            per_row * MARGINAL_ROW * dead as f64 + copies * padding as f64 / length.max(1) as f64;
    }

    /// Whether a rebuild pays now. Before the first measurement: as soon as anything is wasted.
    pub(super) fn due(&self) -> bool {
        self.wasted > self.rebuild.unwrap_or(0.0)
    }

    fn measure(&mut self, seconds: f64) {
        let before = self.rebuild.unwrap_or(seconds);
        self.rebuild = Some(before + (seconds - before) * FRESH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_rebuild_is_due_when_dead_rows_have_cost_as_much() {
        let mut waste = Waste::default();
        waste.rebuilt(MS);
        // Each step wastes 8 ms / 8 rows × 0.5 on its dead row.
        waste.step(8 * MS, (1, 8), (0, 100));
        assert!(!waste.due());
        waste.step(8 * MS, (1, 8), (0, 100));
        waste.step(8 * MS, (1, 8), (0, 100));
        assert!(waste.due());
        waste.rebuilt(MS);
        assert!(!waste.due());
    }

    #[test]
    fn padding_adds_up_too() {
        let mut waste = Waste::default();
        waste.put(MS, 1, 8);
        for _ in 0..4 {
            waste.step(8 * MS, (0, 8), (50, 100));
        }
        assert!(waste.due());
    }

    #[test]
    fn a_batch_without_waste_is_never_rebuilt() {
        let mut waste = Waste::default();
        for _ in 0..1000 {
            waste.step(8 * MS, (0, 8), (0, 100));
        }
        assert!(!waste.due());
    }
}
