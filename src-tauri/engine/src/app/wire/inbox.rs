//! What came in: each event of a provider, how it came, whether it is genuine, and what became of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum InboxVia {
    Webhook,
    Poll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum InboxCheck {
    /// We asked the provider ourselves.
    Asked,
    /// The signature is the provider's.
    Genuine,
    /// The signature fits, the time does not: somebody's clock is wrong, or it was recorded and sent again.
    TooOld,
    FromTheFuture,
    /// No secret of ours made it.
    Forged,
    Malformed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum InboxResult {
    /// Kept, not yet looked at.
    Waiting,
    /// A saga was told.
    Done,
    /// It concerns us and changed nothing.
    NothingNew,
    /// Of another program that uses the same account.
    NotOurs,
    /// A type that this desk does not know. Kept as it is.
    Kept,
    /// Came before, in whatever way.
    Duplicate,
    /// Not genuine, or too old: answered with an error, and nothing followed.
    NotTaken,
    /// It could not be processed again and again: a person decides. Others go on.
    Quarantined,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
pub struct InboxFilter {
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    #[serde(default)]
    pub results: Vec<InboxResult>,
    pub via: Option<InboxVia>,
    #[serde(default)]
    pub kinds: Vec<String>,
    pub booking_id: Option<Uuid>,
    /// The payload contains this (`jsonb @>`).
    #[ts(type = "Record<string, unknown> | null")]
    pub payload: Option<Value>,
    /// `evt_…`, `pi_…`, `re_…`, a booking's reference.
    pub search: Option<String>,
    /// What this decision for many had processed again.
    pub decision: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ListInbox {
    #[serde(default)]
    pub filter: InboxFilter,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 500.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct InboxRow {
    /// Of one arrival: a duplicate or a refused one has its own.
    #[ts(type = "number")]
    pub arrival_id: i64,
    /// `stripe`
    pub source: String,
    /// `evt_…`; `None` if it could not be read.
    pub external_id: Option<String>,
    pub kind: Option<String>,
    pub object_id: Option<String>,
    pub via: InboxVia,
    pub received_at: DateTime<Utc>,
    pub check: InboxCheck,
    pub result: InboxResult,
    pub booking_id: Option<Uuid>,
    pub reference: Option<String>,
    /// Why it waits or failed, in words.
    pub problem: Option<String>,
    pub tries: u32,
    pub next_at: Option<DateTime<Utc>>,
    /// What the desk wrote because of it.
    pub led_to: Option<LedTo>,
}

/// The last of the events that an arrival led to: what it came to in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct LedTo {
    pub event_name: String,
    #[ts(type = "number")]
    pub position: i64,
    /// How many there are before it.
    pub before: u32,
}

/// How what comes in comes in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct InboxSource {
    /// `stripe`
    pub source: String,
    pub polls: bool,
    pub poll_at: Option<DateTime<Utc>>,
    pub poll_problem: Option<String>,
    /// Seconds between two questions as things are.
    pub poll_every_s: Option<u32>,
    #[ts(type = "number")]
    pub payments_awaited: i64,
    pub cursor: Option<String>,
    pub cursor_created_at: Option<DateTime<Utc>>,
    /// Kept, not processed.
    #[ts(type = "number")]
    pub waiting: i64,
    /// From the provider's clock to our inbox, of today.
    pub lag_p95_s: Option<f64>,
    /// Our clock less the provider's.
    pub skew_s: Option<f64>,
    /// A secret is set: webhooks are taken.
    pub webhook: bool,
    pub webhook_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct InboxCounts {
    #[ts(type = "number")]
    pub today: i64,
    #[ts(type = "number")]
    pub done_today: i64,
    #[ts(type = "number")]
    pub duplicates_today: i64,
    #[ts(type = "number")]
    pub refused_today: i64,
    #[ts(type = "number")]
    pub waiting: i64,
    #[ts(type = "number")]
    pub quarantined: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct InboxList {
    pub rows: Vec<InboxRow>,
    pub next: Option<String>,
    pub counts: InboxCounts,
    pub sources: Vec<InboxSource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetArrival {
    #[ts(type = "number")]
    pub arrival_id: i64,
}

/// One thing that followed, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct InboxStep {
    /// `refused`, `kept`, `came_again`, `came_by_poll`, `signalled`, `event`, `quarantined`, `reprocessed`
    pub what: String,
    pub at: DateTime<Utc>,
    /// Of an event that followed: `PaymentReceived`.
    pub name: Option<String>,
    #[ts(type = "number | null")]
    pub position: Option<i64>,
    pub event_id: Option<Uuid>,
    pub by: Option<String>,
    pub text: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Arrival {
    pub row: InboxRow,
    pub api_version: Option<String>,
    pub created_at: Option<DateTime<Utc>>,
    pub bytes: Option<u32>,
    /// Which secret of how many, from 1.
    pub secret_no: Option<u32>,
    pub secrets: Option<u32>,
    pub signed_at: Option<DateTime<Utc>>,
    /// Allowed between signing and receiving.
    pub tolerance_s: u32,
    /// The receiving computer's clock less the provider's, when it was seen.
    pub skew_s: Option<f64>,
    pub receiver: Option<String>,
    pub saga_id: Option<Uuid>,
    pub steps: Vec<InboxStep>,
    /// As it came, byte for byte; cut at 256 KiB.
    pub raw: Option<String>,
    pub reprocess_refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Reprocess {
    /// At most 500.
    #[ts(type = "Array<number>")]
    pub arrival_ids: Vec<i64>,
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Reprocessed {
    pub count: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PreviewReprocess {
    pub filter: InboxFilter,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ReprocessPlan {
    /// Events, however often each of them came.
    #[ts(type = "number")]
    pub count: i64,
    /// By what became of them so far.
    #[ts(type = "Array<[InboxResult, number]>")]
    pub shares: Vec<(InboxResult, i64)>,
    /// Not processed again, by reason.
    #[ts(type = "Array<[string, number]>")]
    pub left_out: Vec<(String, i64)>,
    /// Of the set as it is now: another set is refused.
    pub hash: String,
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct StartReprocess {
    /// Made when the dialog opens: pressing twice begins once.
    pub bulk_id: Uuid,
    pub filter: InboxFilter,
    pub hash: String,
    pub per_second: u32,
    pub reason: String,
}

/// What a provider signs with, beside what the environment of a computer names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct IncomingSecret {
    pub secret_id: Uuid,
    /// `whsec_…t4Qe`
    pub hint: String,
    pub added_at: DateTime<Utc>,
    pub added_by: String,
    /// Counts until then; `None`: for good.
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct IncomingSecretChange {
    pub at: DateTime<Utc>,
    pub by: String,
    /// Added, or ended.
    pub added: bool,
    pub hint: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct IncomingSecrets {
    /// The newest first.
    pub secrets: Vec<IncomingSecret>,
    pub changes: Vec<IncomingSecretChange>,
    /// Why the person may not add or end one.
    pub refused: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AddIncomingSecret {
    /// Made when the dialog opens: pressed twice, it is one.
    pub secret_id: Uuid,
    pub secret: String,
    /// So long those that are here go on beside it, 0 to 168 hours; `None`: for good.
    pub others_for_h: Option<u32>,
    pub reason: String,
}

impl std::fmt::Debug for AddIncomingSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddIncomingSecret")
            .field("secret_id", &self.secret_id)
            .field("secret", &"***")
            .field("others_for_h", &self.others_for_h)
            .field("reason", &self.reason)
            .finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EndIncomingSecret {
    pub secret_id: Uuid,
    pub reason: String,
}
