//! How long something took, on a computer that may have slept meanwhile.

use std::time::{Duration, Instant, SystemTime};

/// A moment, by the clock that only runs forward and by the clock on the wall. The first may stand still while a computer
/// sleeps (on Linux it does), the second may be set; so neither alone says whether a lease is still alive.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    pub fn now() -> Moment {
        Moment {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// What the computer was awake for.
    pub fn elapsed(self) -> Duration {
        self.steady.elapsed()
    }

    /// What has gone by at most: with the sleep, or with what the clock on the wall was set forward by.
    pub fn elapsed_at_most(self) -> Duration {
        let by_the_wall = self.wall.elapsed().unwrap_or_default();
        self.elapsed().max(by_the_wall)
    }
}

#[cfg(test)]
impl Moment {
    /// Now, on a computer that then slept for so long.
    pub fn slept(for_so_long: Duration) -> Moment {
        Moment {
            wall: SystemTime::now() - for_so_long,
            ..Moment::now()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_sleep_that_the_steady_clock_did_not_see_counts() {
        let slept = Moment::slept(HOUR);
        assert!(slept.elapsed() < HOUR && slept.elapsed_at_most() >= HOUR);
    }

    #[test]
    fn a_clock_that_was_set_back_takes_nothing_away() {
        let set_back = Moment {
            wall: SystemTime::now() + HOUR,
            ..Moment::now()
        };
        assert!(set_back.elapsed_at_most() >= set_back.elapsed().saturating_sub(HOUR));
        assert!(set_back.elapsed_at_most() < HOUR);
    }
}
