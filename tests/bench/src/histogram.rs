//! How often operations took how long, in buckets that are narrow enough for percentiles and can be added up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets from a power of two to the next: each is within 1.6 % of what is in it.
const PER_DOUBLING: u64 = 64;
/// What nobody should have to wait.
const LONG_NS: f64 = 5e6;

/// Counts of operations by their time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    buckets: BTreeMap<u64, u64>,
    longest_ns: f64,
    long: u64,
}

/// The bucket of a time, and the middle of a bucket.
fn bucket(ns: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a bucket is meant to be coarse"
    )]
    let place = (ns.max(1.0).log2() * PER_DOUBLING as f64) as u64;
    place
}

fn middle(bucket: u64) -> f64 {
    ((bucket as f64 + 0.5) / PER_DOUBLING as f64).exp2()
}

impl Histogram {
    /// How many operations there are.
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// How many took more than 5 ms.
    pub const fn long(&self) -> u64 {
        self.long
    }

    /// The slowest.
    pub const fn longest_ns(&self) -> f64 {
        self.longest_ns
    }

    /// The time below which this share of the operations lies; 0 where there are none.
    pub fn quantile(&self, share: f64) -> f64 {
        if share >= 1.0 {
            return self.longest_ns;
        }
        let wanted = share * self.count() as f64;
        let mut below = 0;
        for (bucket, count) in &self.buckets {
            below += count;
            if below as f64 >= wanted {
                return middle(*bucket).min(self.longest_ns);
            }
        }
        self.longest_ns
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.long += other.long;
    }
}

impl FromIterator<f64> for Histogram {
    fn from_iter<T: IntoIterator<Item = f64>>(times: T) -> Self {
        let mut histogram = Self::default();
        for ns in times {
            *histogram.buckets.entry(bucket(ns)).or_default() += 1;
            histogram.longest_ns = histogram.longest_ns.max(ns);
            histogram.long += u64::from(ns > LONG_NS);
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_a_bucket_of_the_value() {
        let times: Histogram = (1..=1000).map(|micros| f64::from(micros) * 1e3).collect();
        for (share, value) in [(0.5, 500e3), (0.99, 990e3), (0.999, 999e3)] {
            let found = times.quantile(share);
            assert!((found / value - 1.0).abs() < 0.016, "{share}: {found}");
        }
        assert_eq!((times.count(), times.quantile(1.0), times.long()), (1000, 1e6, 0));
        assert_eq!(Histogram::default().quantile(0.5), 0.0);
    }

    #[test]
    fn two_added_up_are_one_of_all() {
        let (one, other) = ([0.0, 40.0, 6e6], [41.0, 5e6]);
        let mut sum: Histogram = one.into_iter().collect();
        sum.add(&other.into_iter().collect());
        assert_eq!(sum, one.into_iter().chain(other).collect());
        assert_eq!((sum.count(), sum.long(), sum.longest_ns()), (5, 1, 6e6));
    }
}
