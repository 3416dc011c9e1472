//! What both doors push to a window: hints, and a heartbeat so that it can tell silence from a lost connection.

use std::time::Duration;

use bizing_engine::app::host::Host;
use bizing_engine::app::wire::Hint;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Interval, MissedTickBehavior};

const BEAT: Duration = Duration::from_secs(2);

pub struct Feed {
    hints: Receiver<Hint>,
    beat: Interval,
}

impl Feed {
    pub fn of(host: &Host) -> Feed {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Feed {
            hints: host.hints(),
            beat,
        }
    }

    /// The first is a heartbeat, at once. `None`: nothing will come any more. Nothing is lost when this is dropped.
    pub async fn next(&mut self) -> Option<Hint> {
        tokio::select! {
            hint = self.hints.recv() => match hint {
                Ok(hint) => Some(hint),
                Err(RecvError::Lagged(_)) => Some(Hint { topics: vec!["*".to_owned()] }),
                Err(RecvError::Closed) => None,
            },
            _ = self.beat.tick() => Some(Hint { topics: vec![] }),
        }
    }
}
