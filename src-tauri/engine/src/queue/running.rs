//! What is being worked on here, and so keeps its lease. One row may be worked on twice for a while: whoever was too slow lost its
//! lease to this very process, and has not noticed yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// How many runs of each row there are.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<HashMap<Uuid, usize>>>);

/// One run. Its end is the end of this, also when it panics: then the lease runs out, and the next run counts it.
pub struct Run {
    running: Running,
    id: Uuid,
}

impl Running {
    pub fn begin(&self, id: Uuid) -> Run {
        *self.lock().entry(id).or_default() += 1;
        Run {
            running: self.clone(),
            id,
        }
    }

    pub fn ids(&self) -> Vec<Uuid> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut all = self.running.lock();
        if let Some(runs) = all.get_mut(&self.id) {
            *runs -= 1;
            if *runs == 0 {
                all.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_that_lost_its_lease_leaves_the_next_ones_lease_alone() {
        let (running, id) = (Running::default(), Uuid::from_u128(1));
        let slow = running.begin(id);
        let next = running.begin(id);
        drop(slow);
        assert_eq!(running.ids(), [id], "the next one goes on");
        drop(next);
        assert!(running.ids().is_empty());
    }

    #[test]
    fn a_run_that_panics_keeps_no_lease() {
        let running = Running::default();
        let own = running.clone();
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _run = own.begin(Uuid::from_u128(1));
            panic!("as a bug does");
        }));
        assert!(run.is_err());
        assert!(running.ids().is_empty());
    }
}
