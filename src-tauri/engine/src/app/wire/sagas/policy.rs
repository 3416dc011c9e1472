//! By which figures a saga asks a person, and how its steps are tried.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::super::*;

/// What follows when a message reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// Everything is taken back, unless a guard asks first.
    Compensate,
    /// A person decides.
    Park,
    /// The booking stands, with a warning.
    Continue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaPolicy {
    pub version: i32,
    pub on_exhausted: OnExhausted,
    /// From this sum on a second person decides, and nothing is undone by itself.
    pub approval: Money,
    pub blast_sagas: u32,
    pub blast_minutes: u32,
    pub late_hours: u32,
    /// Until so many hours before the start a cancellation is free,
    pub cancel_free_hours: u32,
    /// from then on so much of what was paid stays,
    pub cancel_fee_percent: u32,
    /// and closer to the start than this
    pub cancel_late_hours: u32,
    /// so much.
    pub cancel_late_percent: u32,
    pub steps: StepRules,
    pub changed_by: String,
    pub changed_at: DateTime<Utc>,
    pub reason: String,
    /// Why they cannot be changed from here.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PutSagaPolicy {
    /// The version that was looked at.
    pub version: i32,
    pub on_exhausted: OnExhausted,
    pub approval: Money,
    pub blast_sagas: u32,
    pub blast_minutes: u32,
    pub late_hours: u32,
    /// Until so many hours before the start a cancellation is free,
    pub cancel_free_hours: u32,
    /// from then on so much of what was paid stays,
    pub cancel_fee_percent: u32,
    /// and closer to the start than this
    pub cancel_late_hours: u32,
    /// so much.
    pub cancel_late_percent: u32,
    pub steps: StepRules,
    pub reason: String,
}

/// What follows when a saved card is declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CardDeclined {
    /// The customer gets a link and may use another card.
    Link,
    /// A person decides.
    Park,
}

/// How the steps of a saga are tried, and how long a slot is held for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StepRules {
    pub card_declined: CardDeclined,
    /// Tries at taking the money whose outcome stays open, before a person decides.
    pub capture_tries: u32,
    /// Tries at each undo and each refund, before a person decides.
    pub undo_tries: u32,
    /// The pause after the first failure; it doubles with each,
    pub backoff_base_s: u32,
    /// up to this.
    pub backoff_cap_s: u32,
    /// With a card at hand.
    pub hold_card_minutes: u32,
    /// With a payment link, and never into the appointment.
    pub hold_link_hours: u32,
    /// When the last try at taking the money is spent.
    pub capture_exhausted: CaptureExhausted,
    /// Tries at a message to the customer,
    pub message_tries: u32,
    /// and how long in all, whichever is spent first.
    pub message_minutes: u32,
    /// When the message of a cancellation reaches nobody.
    pub end_exhausted: EndExhausted,
}

/// What follows when the money could not be taken, nor seen to be, after the last try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CaptureExhausted {
    /// A person decides.
    Park,
    /// The booking is taken back; what was taken after all is given back.
    Undo,
}

/// What follows when a cancellation reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum EndExhausted {
    /// Somebody calls.
    Park,
    /// It is over, with a warning.
    Continue,
}
