//! Connections that wait for their next use.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::connect::Live;
use super::guard::Target;

/// Receivers close idle connections after some time of their own; most keep them for longer than this.
const IDLE: Duration = Duration::from_secs(15);
const PER_TARGET: usize = 256;
const IN_ALL: usize = 1_024;

#[derive(Default)]
pub struct Pool(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_target: HashMap<(bool, String), Vec<(Live, Instant)>>,
    count: usize,
}

fn key(target: &Target) -> (bool, String) {
    (target.https, format!("{}:{}", target.host, target.port))
}

impl Pool {
    pub fn take(&self, target: &Target) -> Option<Live> {
        let mut kept = self.lock();
        let waiting = kept.by_target.get_mut(&key(target))?;
        let taken = waiting.pop();
        // The newest was given back last: if it is too old, all are.
        let (taken, gone) = match taken {
            Some((live, since)) if since.elapsed() < IDLE => (Some(live), 1),
            Some(_) => {
                let gone = waiting.len() + 1;
                waiting.clear();
                (None, gone)
            }
            None => (None, 0),
        };
        if waiting.is_empty() {
            kept.by_target.remove(&key(target));
        }
        kept.count -= gone;
        taken
    }

    pub fn give_back(&self, target: &Target, live: Live) {
        let mut kept = self.lock();
        if kept.count >= IN_ALL {
            kept.forget_old();
        }
        if kept.count >= IN_ALL {
            return;
        }
        let waiting = kept.by_target.entry(key(target)).or_default();
        if waiting.len() < PER_TARGET {
            waiting.push((live, Instant::now()));
            kept.count += 1;
        }
    }

    /// Closes what has waited for too long. Nobody polls an idle connection, so somebody has to come by.
    pub fn tidy(&self) {
        self.lock().forget_old();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Kept {
    fn forget_old(&mut self) {
        for waiting in self.by_target.values_mut() {
            waiting.retain(|(_, since)| since.elapsed() < IDLE);
        }
        self.by_target.retain(|_, waiting| !waiting.is_empty());
        self.count = self.by_target.values().map(Vec::len).sum();
    }
}
