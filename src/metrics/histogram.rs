//! Times, counted by how long they are.

use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets. A request takes some 20 us; one that waits for keys, up to 2 s;
/// a fetch of the keys, up to 5 s.
pub const BOUNDS: [Duration; 16] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Counts of times.
#[derive(Debug)]
pub struct Histogram {
    /// One for each bound, and one for times beyond the last.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Nanoseconds. They suffice for 584 years.
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one.
    pub const fn new() -> Histogram {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        let at = BOUNDS.iter().position(|bound| time <= *bound);
        self.buckets[at.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What has been observed so far.
    pub fn observed(&self) -> Observed {
        let mut observed = Observed::default();
        observed.add(self);
        observed
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

/// What histograms have observed together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    buckets: [u64; BOUNDS.len() + 1],
    nanoseconds: u64,
}

impl Observed {
    /// Adds what another histogram has observed.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in iter::zip(&mut self.buckets, &histogram.buckets) {
            *sum += count.load(Ordering::Relaxed);
        }
        let nanoseconds = histogram.sum.load(Ordering::Relaxed);
        self.nanoseconds = self.nanoseconds.wrapping_add(nanoseconds);
    }

    /// The number of times.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }

    /// For each bound, how many times are not above it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        iter::zip(BOUNDS, counts)
    }
}

#[cfg(test)]
mod tests;
