//! What a kind of destination must be able to do.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::ids::StreamId;

/// One event owed to one destination, leased to us.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub delivery_id: Uuid,
    pub kind: String,
    pub template: String,
    pub event_id: Uuid,
    pub position: i64,
    pub stream: StreamId,
    pub correlation_id: Uuid,
    /// The try that is being made, from 1.
    pub attempt: i32,
    pub fence: i64,
    pub created_at: DateTime<Utc>,
    pub give_up_at: DateTime<Utc>,
    /// An earlier try was cut off after it may have been made.
    pub interrupted: bool,
}

/// What is known after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Accepted {
        response: String,
        provider_message_id: String,
    },
    /// Nothing had to be sent, and why.
    Skipped {
        reason: String,
    },
    /// It cannot have arrived: try again.
    NotSent {
        cause: String,
    },
    Later {
        cause: String,
    },
    /// It will be refused again.
    Refused {
        cause: String,
    },
    /// It may have arrived. Never repeated by itself.
    Unclear {
        cause: String,
    },
}

pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub trait Destination: Send + Sync {
    /// Renders and sends. The pipeline has written the attempt already.
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Fut<'a, Outcome>;

    /// After an interrupted try: did it happen? Only `Accepted`, `NotSent` and `Unclear` make sense here.
    fn reconcile<'a>(&'a self, _delivery: &'a Delivery) -> Fut<'a, Outcome> {
        Box::pin(async {
            Outcome::Unclear {
                cause: "the program stopped while it was sending".to_owned(),
            }
        })
    }

    /// Pause before the next try. Customer messages: 8 tries in 30 minutes.
    fn pause(&self, attempt: i32) -> Duration {
        let seconds = [5, 15, 30, 60, 180, 420, 600];
        Duration::from_secs(
            seconds[usize::try_from(attempt - 1)
                .unwrap_or(0)
                .min(seconds.len() - 1)],
        )
    }

    fn tries(&self) -> i32 {
        8
    }
}
