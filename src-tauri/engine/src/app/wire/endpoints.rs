//! Where things are sent: destinations with their health, and the webhook endpoints among them, which admins make and change.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    Works,
    /// It answered badly several times; one is sent ahead at `next_at`, its answer lets the others follow.
    Failing,
    /// It asked us to wait (`Retry-After`).
    Waiting,
    /// By a person.
    Paused,
    /// By a person, by 410 or after days of failures; events are no longer owed to it.
    Disabled,
}

/// One hour of the last 24; hours without a delivery are there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EndpointHour {
    pub at: DateTime<Utc>,
    pub delivered: u32,
    pub failed: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EndpointRow {
    pub destination_id: Uuid,
    /// `webhook`, `email`
    pub kind: String,
    pub name: String,
    /// Of a webhook: its host.
    pub host: Option<String>,
    pub state: EndpointState,
    /// Why it is not working, as the engine noted it: `failing`, `gone`, `refuses_key`, `retry_after`, `by_person`, `days_of_failures`.
    pub why: Option<String>,
    /// The last thing that went wrong, in the words of whoever said it.
    pub last_error: Option<String>,
    pub last_code: Option<u16>,
    pub since: Option<DateTime<Utc>>,
    pub failing_since: Option<DateTime<Utc>>,
    /// It turns itself off then, if nothing gets through.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Types of events that it takes, written out.
    pub takes: Vec<String>,
    pub hours: Vec<EndpointHour>,
    #[ts(type = "number")]
    pub delivered_today: i64,
    /// Due or scheduled, not over.
    #[ts(type = "number")]
    pub owed: i64,
    #[ts(type = "number")]
    pub sending: i64,
    /// Wait for a decision after this desk was closed for long.
    #[ts(type = "number")]
    pub held: i64,
    #[ts(type = "number")]
    pub gave_up: i64,
    #[ts(type = "number")]
    pub unclear: i64,
    pub oldest_owed_at: Option<DateTime<Utc>>,
    pub p95_ms: Option<u32>,
    /// When it is tried next, or its next delivery is due.
    pub next_at: Option<DateTime<Utc>>,
    pub version: i32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Endpoints {
    /// Worst first.
    pub rows: Vec<EndpointRow>,
    #[ts(type = "number")]
    pub delivered_today: i64,
    /// Why the person may not make or change endpoints, turn them on and off, delete them or look at secrets: admins do.
    pub refused: Option<String>,
    /// Why the person may not pause and resume them, try them now, send a test or decide what is held: managers do.
    pub run_refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetEndpoint {
    pub destination_id: Uuid,
}

/// How far back the history of an endpoint goes: 24 hours by the hour, 7 and 30 days by the day of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum EndpointSpan {
    Day,
    Week,
    Month,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetEndpointHistory {
    pub destination_id: Uuid,
    pub span: EndpointSpan,
}

/// An hour or a day; those in which nothing was sent are there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EndpointBar {
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
    pub delivered: u32,
    /// Tries; a delivery may have several.
    pub failed: u32,
    /// Half of its tries, and 19 of 20, took at most so long. From counts by length, so a little high.
    pub p50_ms: Option<u32>,
    pub p95_ms: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EndpointHistory {
    /// The oldest first; the last is not over.
    pub bars: Vec<EndpointBar>,
    /// Of all of them.
    pub delivered: u32,
    pub failed: u32,
    pub p50_ms: Option<u32>,
    pub p95_ms: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EndpointSecret {
    pub secret_id: Uuid,
    /// `whsec_…t4Qe`
    pub hint: String,
    pub created_at: DateTime<Utc>,
    /// Signs until then; `None`: for good.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What an endpoint is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum EndpointShape {
    /// The event, as Standard Webhooks has it.
    #[default]
    Event,
    /// A message that the chat program shows.
    Slack,
    Discord,
    Teams,
}

/// How it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EndpointSending {
    /// Seconds before each try; the first is 0.
    pub schedule_s: Vec<u32>,
    pub timeout_ms: u32,
    pub max_in_flight: u32,
    pub rate_per_s: Option<u32>,
    /// The deliveries of one booking follow one another.
    pub in_order: bool,
    /// Values are sealed at rest and shown as `***`, except to whoever just typed them.
    pub headers: BTreeMap<String, String>,
}

/// What is to be changed of it. What is left out stays as it is, or takes the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default)]
#[ts(optional_fields)]
pub struct SendingChange {
    pub schedule_s: Option<Vec<u32>>,
    pub timeout_ms: Option<u32>,
    pub max_in_flight: Option<u32>,
    /// 0: no limit.
    pub rate_per_s: Option<u32>,
    pub in_order: Option<bool>,
    /// All that are to be there: `***` keeps the value.
    pub headers: Option<BTreeMap<String, String>>,
}

impl From<EndpointSending> for SendingChange {
    fn from(all: EndpointSending) -> SendingChange {
        SendingChange {
            schedule_s: Some(all.schedule_s),
            timeout_ms: Some(all.timeout_ms),
            max_in_flight: Some(all.max_in_flight),
            rate_per_s: Some(all.rate_per_s.unwrap_or(0)),
            in_order: Some(all.in_order),
            headers: Some(all.headers),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EndpointChange {
    pub at: DateTime<Utc>,
    pub by: String,
    /// `created`, `changed`, `paused`, `resumed`, `disabled`, `enabled`, `secret_rotated`, `secret_shown`, `deleted`, …
    pub what: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Endpoint {
    pub row: EndpointRow,
    /// Of a webhook; other kinds are set up under Settings.
    pub url: Option<String>,
    pub note: Option<String>,
    pub shape: EndpointShape,
    /// `BookingConfirmed`, `Payment*`, `*`
    pub events: Vec<String>,
    /// Those that it takes today.
    pub matches: Vec<String>,
    #[ts(type = "Record<string, unknown> | null")]
    pub filter: Option<Value>,
    pub secrets: Vec<EndpointSecret>,
    pub sending: Option<EndpointSending>,
    pub last_delivered_at: Option<DateTime<Utc>>,
    pub consecutive_failures: u32,
    pub changes: Vec<EndpointChange>,
}

/// A new endpoint or a changed one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PutEndpoint {
    /// Made when the dialog opens: pressing twice makes one.
    pub destination_id: Uuid,
    /// `None`: a new one. Otherwise the version that was looked at.
    pub version: Option<i32>,
    pub name: String,
    pub url: String,
    pub note: Option<String>,
    /// `None`: stays as it is, or the event.
    #[serde(default)]
    pub shape: Option<EndpointShape>,
    pub events: Vec<String>,
    #[ts(type = "Record<string, unknown> | null")]
    pub filter: Option<Value>,
    #[serde(default)]
    pub sending: SendingChange,
}

/// The endpoint, and its secret if it was just made: shown once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EndpointSaved {
    pub endpoint: Endpoint,
    pub secret: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum EndpointAction {
    Pause,
    Resume,
    /// One is sent ahead now, whatever the breaker says.
    TryNow,
    /// The clock that turns it off begins anew.
    KeepOn,
    Disable,
    Enable,
    Delete,
    /// What was held after a long absence: all of it.
    SendHeld,
    /// Only the newest of each booking.
    SendHeldNewest,
    CancelHeld,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChangeEndpoint {
    pub destination_id: Uuid,
    pub version: i32,
    pub action: EndpointAction,
    /// With `enable`: what happened since then is owed too.
    pub recover_since: Option<DateTime<Utc>>,
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreviewRecovery {
    pub destination_id: Uuid,
    pub since: DateTime<Utc>,
}

/// What turning it on with what happened since would owe to it. Counted up to 100,000 of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RecoveryPlan {
    /// Events that it wanted and was not owed.
    #[ts(type = "number")]
    pub missed: i64,
    /// Deliveries that were given up.
    #[ts(type = "number")]
    pub given_up: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RotateSecret {
    pub destination_id: Uuid,
    /// Hours in which the old one signs too: 0 to 168.
    pub overlap_hours: u32,
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RevealSecret {
    pub destination_id: Uuid,
    pub secret_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SecretShown {
    pub secret_id: Uuid,
    pub secret: String,
}

/// Which of the last events an endpoint with these patterns and this filter would have got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct TryFilter {
    pub events: Vec<String>,
    #[ts(type = "Record<string, unknown> | null")]
    pub filter: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct TriedEvent {
    #[ts(type = "number")]
    pub position: i64,
    pub event_id: Uuid,
    pub name: String,
    pub at: DateTime<Utc>,
    pub matches: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FilterTried {
    /// The last 20 of the types it takes, newest first.
    pub events: Vec<TriedEvent>,
    pub types_today: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SendTest {
    pub destination_id: Uuid,
    /// Whose example is sent.
    pub event_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DeliveryRef {
    pub delivery_id: Uuid,
}

/// Who is told, by e-mail or in a chat program, when an endpoint needs somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct NoticeList {
    pub version: i32,
    pub count: u32,
    /// E-mail addresses, and addresses of chat programs. Only admins see them.
    pub entries: Vec<String>,
    /// Whether this computer has a mail server.
    pub mail_set: bool,
    /// What was not taken yet, and why.
    pub problems: Vec<String>,
    pub changed_by: Option<String>,
    pub changed_at: DateTime<Utc>,
    pub reason: Option<String>,
    /// Why the person may not change it.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PutNoticeList {
    /// Of the list that was looked at.
    pub version: i32,
    pub entries: Vec<String>,
    pub reason: String,
}

/// Hosts and networks that may be sent to although they are private. Everything else private is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AllowList {
    pub version: i32,
    /// `10.1.0.0/16`, `printer.local`
    pub entries: Vec<String>,
    pub changed_by: Option<String>,
    pub changed_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PutAllowList {
    pub version: i32,
    pub entries: Vec<String>,
    pub reason: String,
}

/// How long webhooks that were delivered or cancelled are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DeliveryRetention {
    pub version: i32,
    pub deliveries_days: u32,
    /// `None`: as shipped.
    pub changed_by: Option<String>,
    pub changed_at: DateTime<Utc>,
    pub reason: Option<String>,
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PutDeliveryRetention {
    pub version: i32,
    pub deliveries_days: u32,
    pub reason: String,
}

/// What a receiver can get: each type with the schema of its newest version and an example as it would be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct HookEvent {
    pub name: String,
    pub version: u32,
    #[ts(type = "Record<string, unknown>")]
    pub schema: Value,
    #[ts(type = "Record<string, unknown>")]
    pub example: Value,
}
