//! How long tries took, as the hours of an endpoint count it.

/// Upper ends of the buckets; what is later is told as the last of them.
const BUCKETS_MS: [u32; 11] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 10_000,
];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took([u64; BUCKETS_MS.len()]);

impl Took {
    pub fn add(&mut self, counts: impl IntoIterator<Item = u64>) {
        for (sum, n) in self.0.iter_mut().zip(counts) {
            *sum += n;
        }
    }

    /// The upper end of the bucket in which that one of a hundred lies.
    pub fn percentile(&self, of_hundred: u64) -> Option<u32> {
        let all: u64 = self.0.iter().sum();
        let wanted = (all * of_hundred).div_ceil(100);
        let mut seen = 0;
        let bucket = self.0.iter().position(|n| {
            seen += n;
            seen >= wanted && wanted > 0
        })?;
        Some(BUCKETS_MS[bucket])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_of_a_hundred_lies_in_its_bucket() {
        let took = |counts: [u64; 11]| {
            let mut took = Took::default();
            took.add(counts);
            took
        };
        let slow = took([94, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0]);
        assert_eq!(slow.percentile(95), Some(500));
        assert_eq!(slow.percentile(50), Some(10));
        let quick = took([95, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0]);
        assert_eq!(quick.percentile(95), Some(10));
        assert_eq!(Took::default().percentile(95), None);
    }
}
