//! What a sample says about the whole: shares, means and differences with 95 % intervals.
//!
//! Everything random is drawn from a seed, so the same figures come again.

#[cfg(test)]
mod tests;

use rand_pcg::{Pcg64, rand_core::Rng as _};
use serde::{Deserialize, Serialize};

/// The standard normal quantile of 97.5 %.
pub const Z: f64 = 1.959_963_984_540_054;
/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Estimate {
    /// A figure that is known.
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }

    /// The same of another unit, or of so many more. `factor` is not negative.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            value: self.value * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }

    /// The same with a known amount on top.
    #[must_use]
    pub fn plus(self, amount: f64) -> Self {
        Self {
            value: self.value + amount,
            low: self.low + amount,
            high: self.high + amount,
        }
    }

    /// Whether a number lies in the interval, ends included.
    #[must_use]
    pub fn holds(&self, number: f64) -> bool {
        (self.low..=self.high).contains(&number)
    }
}

/// A share with Wilson's score interval (without continuity correction). Of nothing, it is 0 and
/// anything between 0 and 1.
#[must_use]
pub fn wilson(hits: u64, of: u64) -> Estimate {
    score_interval(share(hits, of), of as f64)
}

/// The share that the next `ahead` will have, where `hits` `of` those before had it: Wilson's
/// interval for as many as say the same about the next as these do (1/n + 1/m).
#[must_use]
pub fn wilson_ahead(hits: u64, of: u64, ahead: u64) -> Estimate {
    let (n, m) = (of as f64, ahead as f64);
    let worth = if of == 0 || ahead == 0 {
        0.0
    } else {
        n * m / (n + m)
    };
    score_interval(share(hits, of), worth)
}

fn share(hits: u64, of: u64) -> f64 {
    if of == 0 {
        0.0
    } else {
        hits as f64 / of as f64
    }
}

fn score_interval(share: f64, n: f64) -> Estimate {
    if n <= 0.0 {
        return Estimate {
            value: share,
            low: 0.0,
            high: 1.0,
        };
    }
    let z2 = Z * Z;
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    Estimate {
        value: share,
        low: (middle - half).max(0.0).min(share),
        high: (middle + half).min(1.0).max(share),
    }
}

/// The mean; 0 of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of a sample (n − 1); 0 of fewer than two.
#[must_use]
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = mean(values);
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// A percentile, `at` from 0 to 1, with linear interpolation between neighbours (as NumPy does by
/// default); 0 of nothing.
#[must_use]
pub fn percentile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = at.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// A statistic of `count` observations with its percentile bootstrap interval. `statistic` is given
/// the indices of a resample. Of fewer than two observations the interval is the figure itself.
pub fn bootstrap(count: usize, seed: u64, statistic: impl Fn(&[usize]) -> f64) -> Estimate {
    let mut indices: Vec<usize> = (0..count).collect();
    let value = statistic(&indices);
    if count < 2 {
        return Estimate::exact(value);
    }
    let mut random = Pcg64::new(u128::from(seed), 0xb007);
    let drawn: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for index in &mut indices {
                *index = below(&mut random, count);
            }
            statistic(&indices)
        })
        .collect();
    Estimate {
        value,
        low: percentile(&drawn, 0.025),
        high: percentile(&drawn, 0.975),
    }
}

/// The mean of values with its bootstrap interval.
#[must_use]
pub fn mean_of(values: &[f64], seed: u64) -> Estimate {
    ratio_of(values, None, seed)
}

/// The sum of `tops` over the sum of `bottoms`, observation by observation, with its bootstrap
/// interval; without `bottoms` each of them is 1.
#[must_use]
pub fn ratio_of(tops: &[f64], bottoms: Option<&[f64]>, seed: u64) -> Estimate {
    bootstrap(tops.len(), seed, |indices| {
        let top: f64 = indices.iter().map(|&index| tops[index]).sum();
        let bottom: f64 = match bottoms {
            Some(bottoms) => indices.iter().map(|&index| bottoms[index]).sum(),
            None => indices.len() as f64,
        };
        if bottom > 0.0 { top / bottom } else { 0.0 }
    })
}

/// A random whole number below `count`, which is not 0.
fn below(random: &mut Pcg64, count: usize) -> usize {
    ((u128::from(random.next_u64()) * count as u128) >> 64) as usize
}

/// The exact two-sided sign test: how often fair coins would be at least as lopsided.
#[must_use]
pub fn sign_test(wins: u64, losses: u64) -> f64 {
    let (n, fewer) = (wins + losses, wins.min(losses));
    // ln C(n, k) − n ln 2, step by step.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = term.exp();
    for k in 0..fewer {
        term += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
        tail += term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// Student's quantile of 97.5 % for so many degrees of freedom (at least 1).
#[must_use]
pub fn student(freedom: usize) -> f64 {
    const FEW: [f64; 10] = [
        12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004,
        2.262_157, 2.228_139,
    ];
    if let Some(known) = FEW.get(freedom.max(1) - 1) {
        return *known;
    }
    // The expansion of Cornish and Fisher.
    let n = freedom as f64;
    let first = (Z.powi(3) + Z) / 4.0;
    let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
    let third = (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0;
    Z + first / n + second / n.powi(2) + third / n.powi(3)
}
