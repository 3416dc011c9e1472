//! What a kind of destination must be able to do.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
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
}

/// How long a message is tried: whichever of the two is spent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub tries: i32,
    pub time: Duration,
}

/// What a delivery of this pipeline is given by the database: it ends so long after its tries began.
const GIVEN: Duration = Duration::from_secs(30 * 60);

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            tries: 8,
            time: GIVEN,
        }
    }
}

impl Budget {
    /// Before the next try: short at first, and spread over the whole time.
    pub fn pause(&self, attempt: i32) -> Duration {
        let seconds = [5, 15, 30, 60, 180, 420, 600];
        let at = usize::try_from(attempt - 1).unwrap_or(0);
        let usual = Duration::from_secs(seconds[at.min(seconds.len() - 1)]);
        usual.mul_f64(self.time.as_secs_f64() / GIVEN.as_secs_f64())
    }

    /// When it is over for this one.
    pub fn ends(&self, delivery: &Delivery) -> DateTime<Utc> {
        delivery
            .give_up_at
            .checked_sub_signed(TimeDelta::from_std(GIVEN).unwrap_or_default())
            .and_then(|began| began.checked_add_signed(TimeDelta::from_std(self.time).ok()?))
            .unwrap_or(delivery.give_up_at)
    }
}
