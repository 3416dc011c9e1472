//! Connections that wait for their next use.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::connect::Live;
use super::guard::Target;

/// Receivers close idle connections after some time of their own; most keep them for longer than this.
const IDLE: Duration = Duration::from_secs(15);
/// Whoever they lead to: fifty endpoints of one provider share its address, and what is not kept is opened anew for each message.
const IN_ALL: usize = 1_024;

#[derive(Default)]
pub struct Pool(Mutex<Kept>);

type Waiting = Vec<(Box<Live>, Instant)>;

#[derive(Default)]
struct Kept {
    /// Plain and secure, by host and port as requests name them. An entry stays for the next until somebody tidies.
    by_target: [HashMap<String, Waiting>; 2],
    count: usize,
}

impl Pool {
    pub fn take(&self, target: &Target) -> Option<Box<Live>> {
        let mut kept = self.lock();
        let waiting = kept.by_target[usize::from(target.https)].get_mut(&target.authority)?;
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
        kept.count -= gone;
        taken
    }

    pub fn give_back(&self, target: &Target, live: Box<Live>) {
        let mut kept = self.lock();
        if kept.count >= IN_ALL {
            kept.forget_old();
        }
        if kept.count >= IN_ALL {
            return;
        }
        let by_target = &mut kept.by_target[usize::from(target.https)];
        if !by_target.contains_key(&target.authority) {
            by_target.insert(target.authority.clone(), vec![]);
        }
        if let Some(waiting) = by_target.get_mut(&target.authority) {
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
        for by_target in &mut self.by_target {
            by_target.retain(|_, waiting| {
                waiting.retain(|(_, since)| since.elapsed() < IDLE);
                !waiting.is_empty()
            });
        }
        self.count = self
            .by_target
            .iter()
            .flat_map(HashMap::values)
            .map(Vec::len)
            .sum();
    }
}
