//! Projections whose rows cannot be written for now, and no event is to blame. Each is tried again after a rest that grows,
//! so that it costs those that go on nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::Generation;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Resting(Mutex<HashMap<(String, i32), Rest>>);

struct Rest {
    tries: u32,
    until: Instant,
}

impl Resting {
    pub fn rests(&self, generation: &Generation) -> bool {
        let held = self.held();
        held.get(&key(generation))
            .is_some_and(|rest| Instant::now() < rest.until)
    }

    /// How often it has failed by now, in a row.
    pub fn failed(&self, generation: &Generation) -> u32 {
        let mut held = self.held();
        let rest = held.entry(key(generation)).or_insert(Rest {
            tries: 0,
            until: Instant::now(),
        });
        rest.until = Instant::now() + pause(rest.tries);
        rest.tries += 1;
        rest.tries
    }

    pub fn went_on(&self, generation: &Generation) {
        self.held().remove(&key(generation));
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(String, i32), Rest>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn key(generation: &Generation) -> (String, i32) {
    (generation.name.clone(), generation.generation)
}

fn pause(tries: u32) -> Duration {
    FIRST
        .saturating_mul(2u32.saturating_pow(tries))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_a_minute() {
        let rests: Vec<u64> = [0, 1, 2, 5, 6, 90].map(|n| pause(n).as_secs()).into();
        assert_eq!(rests, [1, 2, 4, 32, 60, 60]);
    }
}
