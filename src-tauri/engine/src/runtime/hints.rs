//! Hints: "refetch this". Never state, never authority; losing one costs at most a poll.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use crate::app::wire::Hint;

/// Where a process collects what changed and hands it on, at most one message per 50 ms.
#[derive(Clone)]
pub struct Hints {
    inner: Arc<Inner>,
}

struct Inner {
    pending: std::sync::Mutex<BTreeSet<String>>,
    rang: Notify,
    out: broadcast::Sender<Hint>,
}

/// More topics than this at once mean "everything".
pub const MANY: usize = 64;
/// Everything may have changed.
pub const EVERYTHING: &str = "*";
const COALESCE: Duration = Duration::from_millis(50);

impl Default for Hints {
    fn default() -> Self {
        Hints {
            inner: Arc::new(Inner {
                pending: Default::default(),
                rang: Notify::new(),
                out: broadcast::channel(64).0,
            }),
        }
    }
}

impl Hints {
    /// Something under this topic changed.
    pub fn changed(&self, topic: impl Into<String>) {
        let mut pending = self.inner.pending.lock().unwrap_or_else(|e| e.into_inner());
        // Beyond that it is everything already, and who wrote a million rows shall not hold a million names.
        if pending.len() <= MANY {
            pending.insert(topic.into());
        }
        drop(pending);
        self.inner.rang.notify_one();
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.inner.out.subscribe()
    }

    /// True while somebody listens.
    pub fn heard(&self) -> bool {
        self.inner.out.receiver_count() > 0
    }

    /// Hands on what was collected. Runs for as long as the process.
    pub async fn run(self) {
        loop {
            self.inner.rang.notified().await;
            let topics =
                std::mem::take(&mut *self.inner.pending.lock().unwrap_or_else(|e| e.into_inner()));
            let topics = if topics.len() > MANY || topics.contains(EVERYTHING) {
                vec![EVERYTHING.to_owned()]
            } else {
                topics.into_iter().collect()
            };
            if !topics.is_empty() {
                // Nobody listens: fine.
                let _ = self.inner.out.send(Hint { topics });
            }
            tokio::time::sleep(COALESCE).await;
        }
    }
}
