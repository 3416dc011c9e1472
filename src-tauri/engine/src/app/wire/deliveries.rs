//! What left the desk: each event owed to a destination, its tries, and what a person can do about it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CodeClass {
    /// No answer at all.
    None,
    Ok,
    Redirect,
    Client,
    Server,
}

/// Why the last try of a delivery came to nothing, as a person tells such reasons apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The name was not found, or nobody could be asked for it.
    Name,
    Connect,
    /// No secure connection, or a certificate that is not valid.
    Tls,
    Timeout,
    /// It ended before the answer came, or what came is no answer.
    Broken,
    /// An address that may not be sent to.
    Blocked,
    TooLarge,
    /// It answered, and the answer is a refusal.
    Answer,
}

/// What is asked for; the same filter is the frozen set of a decision for many.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
pub struct DeliveryFilter {
    /// Those whose event is younger.
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    #[serde(default)]
    pub states: Vec<DeliveryState>,
    #[serde(default)]
    pub destination_ids: Vec<Uuid>,
    #[serde(default)]
    pub events: Vec<String>,
    #[serde(default)]
    pub codes: Vec<CodeClass>,
    #[serde(default)]
    pub errors: Vec<ErrorClass>,
    pub booking_id: Option<Uuid>,
    pub event_id: Option<Uuid>,
    /// The event's payload contains this (`jsonb @>`).
    #[ts(type = "Record<string, unknown> | null")]
    pub payload: Option<Value>,
    /// A booking's reference, a delivery's or a message's id.
    pub search: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ListDeliveries {
    #[serde(default)]
    pub filter: DeliveryFilter,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 500.
    pub limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryTrigger {
    /// An event was owed.
    Auto,
    /// A person asked for one more try.
    Manual,
    /// A person had what was over sent again.
    Replay,
    Test,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DeliveryRow {
    pub delivery_id: Uuid,
    /// When something last happened to it.
    pub at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub state: DeliveryState,
    pub event_name: String,
    pub event_id: Uuid,
    #[ts(type = "number")]
    pub position: i64,
    pub booking_id: Option<Uuid>,
    pub reference: Option<String>,
    pub destination_id: Uuid,
    /// `webhook`, `email`
    pub kind: String,
    /// The destination's name.
    pub destination: String,
    /// Of an e-mail: which.
    pub template: Option<String>,
    /// Made so far.
    pub tries: u32,
    /// Made at most.
    pub most_tries: u32,
    pub code: Option<u16>,
    pub error: Option<String>,
    pub total_ms: Option<u32>,
    pub next_at: Option<DateTime<Utc>>,
    pub give_up_at: Option<DateTime<Utc>>,
    /// Why it waits although it is due: `paused`, `failing`, `retry_after`, `held`, `in_order`, `disabled`.
    pub waits_for: Option<String>,
    pub trigger: DeliveryTrigger,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DeliveryCounts {
    #[ts(type = "number")]
    pub delivered_today: i64,
    #[ts(type = "number")]
    pub scheduled: i64,
    #[ts(type = "number")]
    pub retrying: i64,
    #[ts(type = "number")]
    pub gave_up: i64,
    #[ts(type = "number")]
    pub unclear: i64,
    #[ts(type = "number")]
    pub held: i64,
    pub all: Count,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DeliveryList {
    pub rows: Vec<DeliveryRow>,
    pub next: Option<String>,
    pub counts: DeliveryCounts,
    /// Of what was asked for; with a payload or a search it is counted up to 1,000.
    pub matching: Count,
    /// A search in payloads looks through the newest 100,000 deliveries. `None`: that is all of what was asked for.
    pub looked_since: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetDelivery {
    pub delivery_id: Uuid,
}

/// Where the time of a try went. What did not happen (a kept connection needs no look-up) is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct TryTimings {
    pub dns_ms: Option<u32>,
    pub connect_ms: Option<u32>,
    pub tls_ms: Option<u32>,
    pub first_byte_ms: Option<u32>,
    pub body_ms: Option<u32>,
    pub total_ms: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DeliveryTry {
    pub no: u32,
    pub trigger: DeliveryTrigger,
    /// Of a try that a person asked for.
    pub by: Option<String>,
    pub reason: Option<String>,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// `accepted`, `not_sent`, `later`, `refused`, `unclear`, `skipped`; `None` while it is made.
    pub result: Option<String>,
    /// `dns`, `connect`, `tls`, `timeout`, `blocked_address`, `redirect`, `status`, `interrupted`, …
    pub error_class: Option<String>,
    pub error: Option<String>,
    pub code: Option<u16>,
    /// Where it went, and what it was: today's endpoint may differ.
    pub url: Option<String>,
    pub shape: EndpointShape,
    pub timings: Option<TryTimings>,
    pub peer: Option<String>,
    /// `TLSv1.3`; of a webhook that went by `https`.
    pub tls: Option<String>,
    /// Name and value; secret values are `***`.
    pub request_headers: Vec<(String, String)>,
    pub response_headers: Vec<(String, String)>,
    /// The first 16 KiB, as text.
    pub response_body: Option<String>,
    pub response_cut: bool,
}

/// The bytes of a message in one of the shapes that it was sent in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ShapedBody {
    pub shape: EndpointShape,
    pub body: String,
}

/// How the receiver checks that it is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SignatureView {
    /// `msg_…`: the same for every try.
    pub message_id: String,
    /// `msg_….1795520515.{"type":…`: what was signed at the newest try. Of another try: its `webhook-timestamp` and body in the same places.
    pub base_string: String,
    /// One for each secret that signed.
    pub hints: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DeliveryDetail {
    pub row: DeliveryRow,
    pub event_version: u32,
    pub correlation_id: Uuid,
    pub timeout_ms: Option<u32>,
    pub url: Option<String>,
    /// Newest first.
    pub tries: Vec<DeliveryTry>,
    /// The first ones are not among them: those from before then are no longer kept.
    pub tries_forgotten_before: Option<DateTime<Utc>>,
    /// Exactly the bytes that would be sent now. Of an e-mail: `None`.
    pub body: Option<String>,
    /// Those that tries sent, one for each shape.
    pub bodies: Vec<ShapedBody>,
    pub signature: Option<SignatureView>,
    /// Placeholders stand for secrets.
    pub curl: Option<String>,
    /// Why it cannot be sent again.
    pub redeliver_refused: Option<String>,
    pub cancel_refused: Option<String>,
}

/// Once more: what is over is sent again with the same message id (`replay`), what is open is tried now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Redeliver {
    pub delivery_id: Uuid,
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CancelDelivery {
    pub delivery_id: Uuid,
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    Redeliver,
    Cancel,
    /// An endpoint was turned on again and is owed what it missed. Begun by that, and by nothing else.
    Recover,
    /// What came in is processed once more. Begun from the inbox.
    Reprocess,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PreviewRedelivery {
    pub action: BulkAction,
    pub filter: DeliveryFilter,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BulkShare {
    pub destination_id: Uuid,
    pub destination: String,
    #[ts(type = "number")]
    pub count: i64,
    /// Of those, were delivered before: the receiver gets them twice.
    #[ts(type = "number")]
    pub delivered_before: i64,
    /// `paused`, `failing`, `disabled`: they wait until it works.
    pub waits_for: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RedeliveryPlan {
    #[ts(type = "number")]
    pub count: i64,
    pub shares: Vec<BulkShare>,
    /// Cannot be sent again, by reason: messages to customers leave once.
    pub left_out: Vec<(String, u32)>,
    pub first_at: Option<DateTime<Utc>>,
    pub last_at: Option<DateTime<Utc>>,
    /// Of the set as it is now: another set is refused.
    pub hash: String,
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct StartRedelivery {
    /// Made when the dialog opens: pressing twice begins once.
    pub bulk_id: Uuid,
    pub action: BulkAction,
    pub filter: DeliveryFilter,
    pub hash: String,
    pub per_second: u32,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChangeRedelivery {
    pub bulk_id: Uuid,
    /// `stop`, `go_on`, `cancel`
    pub change: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Redelivery {
    pub bulk_id: Uuid,
    pub action: BulkAction,
    pub filter: DeliveryFilter,
    /// What was asked for in the inbox, where that is what it is about.
    pub came: Option<InboxFilter>,
    pub by: String,
    pub reason: String,
    pub at: DateTime<Utc>,
    /// `running`, `stopped`, `done`, `cancelled`
    pub state: String,
    #[ts(type = "number")]
    pub count: i64,
    #[ts(type = "number")]
    pub done: i64,
    #[ts(type = "number")]
    pub delivered: i64,
    #[ts(type = "number")]
    pub failed: i64,
    pub per_second: u32,
    /// Of a recovery: the share of the log that was gone through. `None`: it waits for appends that had begun before the endpoint was on.
    pub looked: Option<f64>,
    pub ended_at: Option<DateTime<Utc>>,
}
