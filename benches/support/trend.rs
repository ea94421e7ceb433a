//! A straight line through samples.

/// What a series of (minute, value) does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trend {
    /// Mean of the first tenth.
    pub first: f64,
    /// Mean of the last tenth.
    pub last: f64,
    /// The least value.
    pub least: f64,
    /// The greatest value.
    pub most: f64,
    /// Least squares: change of the value per minute.
    pub slope: f64,
    /// Standard error of the slope, as if samples were independent.
    pub error: f64,
}

impl Trend {
    /// Of samples in order of time; all 0 where there are fewer than three.
    pub fn of(samples: impl Iterator<Item = (f64, f64)>) -> Self {
        let samples: Vec<_> = samples.collect();
        let count = samples.len();
        if count < 3 {
            return Self::default();
        }
        let mean = |part: &[(f64, f64)], value: fn(&(f64, f64)) -> f64| {
            part.iter().map(value).sum::<f64>() / part.len() as f64
        };
        let tenth = (count / 10).max(1);
        let (x, y) = (mean(&samples, |s| s.0), mean(&samples, |s| s.1));
        let spread: f64 = samples.iter().map(|s| (s.0 - x).powi(2)).sum();
        let slope = samples.iter().map(|s| (s.0 - x) * (s.1 - y)).sum::<f64>() / spread;
        let off = |s: &(f64, f64)| (s.1 - y - slope * (s.0 - x)).powi(2);
        let rest: f64 = samples.iter().map(off).sum();
        let values = || samples.iter().map(|s| s.1);
        Self {
            first: mean(&samples[..tenth], |s| s.1),
            last: mean(&samples[count - tenth..], |s| s.1),
            least: values().fold(f64::INFINITY, f64::min),
            most: values().fold(f64::NEG_INFINITY, f64::max),
            slope,
            error: (rest / (count - 2) as f64 / spread).sqrt(),
        }
    }
}
