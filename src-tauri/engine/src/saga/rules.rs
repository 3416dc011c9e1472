//! What people set for the steps of sagas (`saga.policy`): how often something is tried, and what follows. What is not set
//! is as this installation was configured.

use std::time::Duration;

use serde::Deserialize;
use sqlx::PgConnection;

use super::definition::Policy;
use crate::delivery::destination::Budget;

/// The newest version of the policies, as far as it is about steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rules {
    pub card_declined: CardDeclined,
    pub capture_tries: Option<i32>,
    pub undo_tries: Option<i32>,
    pub backoff_base_s: Option<u32>,
    pub backoff_cap_s: Option<u32>,
    pub hold_card_minutes: Option<u32>,
    pub hold_link_hours: Option<u32>,
    pub capture_exhausted: CaptureExhausted,
    /// `None`: as the policy for a booking's message was read before there was one of its own.
    pub end_exhausted: Option<EndExhausted>,
    pub message_tries: Option<i32>,
    pub message_minutes: Option<u32>,
}

/// What follows when the money could not be taken, nor seen to be, after the last try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureExhausted {
    /// A person decides.
    #[default]
    Park,
    /// The booking is taken back. Stripe is looked at first: what was taken after all is given back.
    Undo,
}

/// What follows when a cancellation reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndExhausted {
    /// Somebody calls.
    Park,
    /// It is over, with a warning.
    Continue,
}

/// What follows when a saved card is declined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardDeclined {
    /// The customer gets a link and may use another one.
    #[default]
    Link,
    /// A person decides: another card, a link, or no booking.
    Park,
}

impl Rules {
    /// How long a customer's message is tried.
    pub fn budget(&self) -> Budget {
        let usual = Budget::default();
        Budget {
            tries: self.message_tries.unwrap_or(usual.tries),
            time: self
                .message_minutes
                .map_or(usual.time, |n| Duration::from_secs(u64::from(n) * 60)),
        }
    }

    pub fn over(&self, configured: &Policy) -> Policy {
        let seconds = |n: u32| Duration::from_secs(n.into());
        let mut policy = configured.clone();
        // A number that people chose counts alone.
        if let Some(tries) = self.capture_tries.filter(|n| *n != policy.capture_tries) {
            (policy.capture_tries, policy.capture_margin) = (tries, None);
        }
        if let Some(tries) = self.undo_tries.filter(|n| *n != policy.undo_tries) {
            (policy.undo_tries, policy.undo_budget) = (tries, None);
        }
        policy.backoff_base = self.backoff_base_s.map_or(policy.backoff_base, seconds);
        policy.backoff_cap = self.backoff_cap_s.map_or(policy.backoff_cap, seconds);
        policy.hold_with_card = self
            .hold_card_minutes
            .map_or(policy.hold_with_card, |n| seconds(n * 60));
        policy.hold_with_link = self
            .hold_link_hours
            .map_or(policy.hold_with_link, |n| seconds(n * 3600));
        policy
    }
}

/// A value that cannot be read is of a newer program: then this one goes by what it was configured with.
pub fn read(value: serde_json::Value) -> Rules {
    serde_json::from_value(value).unwrap_or_default()
}

pub const NEWEST: &str = "(select p.value from saga.policy p order by p.version desc limit 1)";

pub async fn newest(conn: &mut PgConnection) -> sqlx::Result<Rules> {
    sqlx::query_scalar("select value from read.saga_policy_v1 order by version desc limit 1")
        .fetch_optional(conn)
        .await
        .map(|value| value.map(read).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_set_is_as_configured_and_what_is_set_counts() {
        let configured = Policy::default();
        let none = read(json!({ "blast_sagas": 3, "of_a_newer_program": true }));
        assert_eq!(none.over(&configured).capture_tries, 40);
        let some =
            read(json!({ "capture_tries": 5, "hold_card_minutes": 30, "card_declined": "park" }));
        let policy = some.over(&configured);
        assert_eq!((policy.capture_tries, policy.capture_margin), (5, None));
        assert_eq!(policy.undo_budget, configured.undo_budget);
        assert_eq!(policy.hold_with_card, Duration::from_secs(1800));
        assert_eq!(policy.undo_tries, configured.undo_tries);
        assert_eq!(some.card_declined, CardDeclined::Park);
    }
}
