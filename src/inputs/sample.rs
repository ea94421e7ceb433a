//! A part of the entries, chosen by a seed.

use std::collections::BTreeSet;

use rand_pcg::{Pcg64, rand_core::Rng as _};

/// Ordinals that are taken, from 0 on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample(BTreeSet<u64>);

impl Sample {
    /// `size` of `count`, every one as likely as every other (Floyd's algorithm); all of them where
    /// there are no more.
    #[must_use]
    pub fn choose(count: u64, size: u64, seed: u64) -> Self {
        let mut random = Pcg64::new(u128::from(seed), 0x5a3d);
        let mut chosen = BTreeSet::new();
        for top in count.saturating_sub(size)..count {
            let below = u128::from(top) + 1;
            let drawn = ((u128::from(random.next_u64()) * below) >> 64) as u64;
            if !chosen.insert(drawn) {
                chosen.insert(top);
            }
        }
        Self(chosen)
    }

    /// Exactly these.
    #[must_use]
    pub fn of(ordinals: impl IntoIterator<Item = u64>) -> Self {
        Self(ordinals.into_iter().collect())
    }

    /// Whether it has this one.
    #[must_use]
    pub fn has(&self, ordinal: u64) -> bool {
        self.0.contains(&ordinal)
    }

    /// The first `size` of them.
    #[must_use]
    pub fn first(&self, size: u64) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Self(self.0.iter().copied().take(size).collect())
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
