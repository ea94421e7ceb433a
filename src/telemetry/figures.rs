//! The metrics of this process as figures, for a closing table and a live line: the same counters
//! and histograms as on the Prometheus page, with percentiles to within one percent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_exporter_prometheus::PrometheusRecorder;

/// The lower bound of the first bucket, in the metric's unit (seconds: 10 µs).
const LEAST: f64 = 1e-5;
/// Each bucket's upper bound over its lower one.
const STEP: f64 = 1.02;
/// Buckets: up to about 10⁵.
const BUCKETS: usize = 1_163;

/// Name and label values of a metric.
type Series = (String, String);

/// What was counted and measured so far.
#[derive(Debug, Default)]
pub struct Figures {
    counters: Mutex<BTreeMap<Series, Arc<AtomicU64>>>,
    sketches: Mutex<BTreeMap<Series, Arc<Sketch>>>,
}

/// Percentiles of a histogram, in its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// Half were no larger.
    pub p50: f64,
    /// 95 % were no larger.
    pub p95: f64,
    /// 99 % were no larger.
    pub p99: f64,
}

impl Figures {
    /// A counter by the value of its label.
    #[must_use]
    pub fn counter(&self, name: &str, label: &str) -> u64 {
        let counters = lock(&self.counters);
        let counter = counters.get(&(name.to_owned(), label.to_owned()));
        counter.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// All values of a counter that are not 0, by label.
    #[must_use]
    pub fn counters(&self, name: &str) -> BTreeMap<String, u64> {
        lock(&self.counters)
            .iter()
            .filter(|((known, _), _)| known == name)
            .map(|((_, label), count)| (label.clone(), count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Percentiles of a histogram by the value of its label; `None`: nothing was measured.
    #[must_use]
    pub fn percentiles(&self, name: &str, label: &str) -> Option<Percentiles> {
        let sketches = lock(&self.sketches);
        sketches
            .get(&(name.to_owned(), label.to_owned()))?
            .percentiles()
    }

    fn count(&self, key: &Key) -> Arc<AtomicU64> {
        Arc::clone(lock(&self.counters).entry(series(key)).or_default())
    }

    fn sketch(&self, key: &Key) -> Arc<Sketch> {
        Arc::clone(lock(&self.sketches).entry(series(key)).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn series(key: &Key) -> Series {
    let labels: Vec<_> = key.labels().map(metrics::Label::value).collect();
    (key.name().to_owned(), labels.join(","))
}

/// Counts per bucket; the bounds grow by [`STEP`].
#[derive(Debug)]
struct Sketch(Vec<AtomicU64>);

impl Default for Sketch {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Sketch {
    fn record(&self, value: f64) {
        let bucket = ((value / LEAST).ln() / STEP.ln()).floor().max(0.0) as usize;
        self.0[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let counts: Vec<u64> = self
            .0
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let count: u64 = counts.iter().sum();
        if count == 0 {
            return None;
        }
        let at = |share: f64| {
            let rank = (share * count as f64).ceil().max(1.0) as u64;
            let mut seen = 0;
            let bucket = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            // The geometric middle is at most one percent from any value of the bucket.
            LEAST * STEP.powf(bucket.unwrap_or_default() as f64 + 0.5)
        };
        Some(Percentiles {
            count,
            p50: at(0.50),
            p95: at(0.95),
            p99: at(0.99),
        })
    }
}

/// Hands every metric to the page and to the figures.
pub(super) struct Both {
    pub(super) page: PrometheusRecorder,
    pub(super) figures: Arc<Figures>,
}

impl Recorder for Both {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.page.describe_counter(key, unit, text);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.page.describe_gauge(key, unit, text);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.page.describe_histogram(key, unit, text);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Counted {
            page: self.page.register_counter(key, metadata),
            figure: self.figures.count(key),
        }))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.page.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Measured {
            page: self.page.register_histogram(key, metadata),
            figure: self.figures.sketch(key),
        }))
    }
}

struct Counted {
    page: Counter,
    figure: Arc<AtomicU64>,
}

impl CounterFn for Counted {
    fn increment(&self, value: u64) {
        self.page.increment(value);
        self.figure.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.page.absolute(value);
        self.figure.fetch_max(value, Ordering::Relaxed);
    }
}

struct Measured {
    page: Histogram,
    figure: Arc<Sketch>,
}

impl HistogramFn for Measured {
    fn record(&self, value: f64) {
        self.page.record(value);
        self.figure.record(value);
    }
}

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn percentiles_are_within_one_percent_over_seven_decades() {
        let sketch = Sketch::default();
        for scale in [1e-4, 1e-2, 1.0, 100.0] {
            let sketch = Sketch::default();
            (1..=1_000).for_each(|n| sketch.record(f64::from(n) * scale));
            let found = sketch.percentiles().expect("values");
            assert_eq!(found.count, 1_000);
            for (found, exact) in [(found.p50, 500.0), (found.p95, 950.0), (found.p99, 990.0)] {
                assert!((found / (exact * scale) - 1.0).abs() < 0.0101, "{found}");
            }
        }
        assert_eq!(sketch.percentiles(), None);
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            sketch.record(odd);
        }
        assert_eq!(sketch.percentiles().map(|found| found.count), Some(4));
    }

    #[test]
    fn the_page_and_the_figures_say_the_same() {
        let page = PrometheusBuilder::new().build_recorder();
        let handle = page.handle();
        let figures = Arc::new(Figures::default());
        let both = Both {
            page,
            figures: Arc::clone(&figures),
        };
        with_local_recorder(&both, || {
            metrics::counter!("records", "outcome" => "published").increment(3);
            metrics::counter!("records", "outcome" => "dead").increment(0);
            metrics::histogram!("work", "stage" => "fetch").record(0.5);
        });
        assert!(handle.render().contains("records{outcome=\"published\"} 3"));
        assert_eq!(figures.counter("records", "published"), 3);
        assert_eq!(figures.counters("records").len(), 1);
        assert_eq!(
            figures
                .percentiles("work", "fetch")
                .map(|found| found.count),
            Some(1)
        );
    }
}
