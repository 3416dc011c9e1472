//! What this process counts of its own work, since it started.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper ends of the buckets, in microseconds.
pub const BUCKETS_US: [u64; 10] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000,
];

/// How long something took, and how much it carried.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
    carried: AtomicU64,
}

/// Appends to the log, the round trip to the database only.
pub static APPENDS: Histogram = Histogram::new();

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// How many took at most as long as each bucket's end.
    pub up_to: [u64; BUCKETS_US.len()],
    pub count: u64,
    pub sum_us: u64,
    pub carried: u64,
}

impl Histogram {
    const fn new() -> Histogram {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BUCKETS_US.len()],
            count: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
            carried: AtomicU64::new(0),
        }
    }

    pub fn took(&self, time: Duration, carried: usize) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS_US.iter().position(|end| us <= *end) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
        self.carried.fetch_add(carried as u64, Relaxed);
    }

    pub fn counted(&self) -> Counted {
        let mut sum = 0;
        Counted {
            up_to: std::array::from_fn(|n| {
                sum += self.buckets[n].load(Relaxed);
                sum
            }),
            count: self.count.load(Relaxed),
            sum_us: self.sum_us.load(Relaxed),
            carried: self.carried.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_counts_in_every_bucket_that_is_long_enough() {
        let histogram = Histogram::new();
        for us in [400, 500, 501, 9_000_000] {
            histogram.took(Duration::from_micros(us), 2);
        }
        let c = histogram.counted();
        assert_eq!((c.up_to[0], c.up_to[1], c.up_to[9]), (2, 3, 3));
        assert_eq!((c.count, c.carried, c.sum_us), (4, 8, 9_001_401));
    }
}
