//! Metric families, put together from values that are counted elsewhere.

use overlay::LatencyHistogram;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// Names and values of labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A counter's or gauge's name, its HELP, and how it is read from a `T`.
pub(super) type Field<T> = (&'static str, &'static str, fn(&T) -> f64);

/// Powers of two of microseconds that latency buckets end at: 64 µs to 8.4 s, either side of every repair that is
/// still in time.
const LATENCY_BOUNDS_LOG2_US: std::ops::RangeInclusive<u32> = 6..=23;

/// Families in the order in which they were added; a family without a sample is left out.
#[derive(Debug, Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// Adds counters of each of `items`.
    pub(super) fn counters<T>(
        &mut self,
        fields: &[Field<T>],
        items: &[T],
        labels: impl Fn(&T) -> Labels,
    ) {
        for (name, help, value) in fields {
            let samples = items.iter().map(|item| (labels(item), value(item)));
            self.counter(name, help, samples);
        }
    }

    /// Adds gauges of each of `items`.
    pub(super) fn gauges<T>(
        &mut self,
        fields: &[Field<T>],
        items: &[T],
        labels: impl Fn(&T) -> Labels,
    ) {
        for (name, help, value) in fields {
            let samples = items.iter().map(|item| (labels(item), value(item)));
            self.gauge(name, help, samples);
        }
    }

    /// Adds a counter.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = metric(labels);
            metric.set_counter(counter);
            metric
        });
        self.add(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// Adds a gauge.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = metric(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.add(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// Adds a histogram of latencies in seconds.
    pub(super) fn latency<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'a LatencyHistogram)>,
    ) {
        let metrics = samples.into_iter().map(|(labels, latency)| {
            let mut metric = metric(labels);
            metric.set_histogram(histogram(latency));
            metric
        });
        self.add(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    /// The families.
    pub(super) fn into_vec(self) -> Vec<MetricFamily> {
        self.0
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn metric(labels: Labels) -> Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    });
    Metric::from_label(pairs.collect())
}

/// Latencies are counted in whole microseconds, rounded down: all that are below 2^k µs are in buckets up to 2^k − 1.
fn histogram(latency: &LatencyHistogram) -> Histogram {
    let buckets = LATENCY_BOUNDS_LOG2_US.map(|log2| {
        let bound_us = 1_u64 << log2;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound_us as f64 / 1e6);
        bucket.set_cumulative_count(latency.count_up_to_us(bound_us - 1));
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(latency.count());
    histogram.set_sample_sum(latency.sum_us() as f64 / 1e6);
    histogram
}
