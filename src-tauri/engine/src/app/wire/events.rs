//! The log, as the Events page reads it: rows, one event with its schemas, what caused what, and a state of the past.
//!
//! Everything here is read from the stored events; nothing is ever written back.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::*;

/// What to look for. Everything that is given must hold; nothing given means the whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default)]
pub struct EventFilter {
    /// Event names, `BookingConfirmed`; any of them.
    pub types: Vec<String>,
    /// `booking-0193…`, or a booking's reference, `BK-7Q4M2K`.
    pub stream: Option<String>,
    /// `booking`, `customer`
    pub category: Option<String>,
    pub correlation_id: Option<Uuid>,
    pub causation_id: Option<Uuid>,
    /// The login, as the database knows it.
    pub actor: Option<String>,
    /// Wall time of the place, `2026-11-24T11:00`; recorded at or after it.
    pub from: Option<String>,
    /// Wall time of the place; recorded before it.
    pub to: Option<String>,
    /// SQL/JSON path over the stored payload, `$.price.amount_minor > 10000`.
    pub json_path: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ListEvents {
    #[serde(default)]
    pub filter: EventFilter,
    /// Older than this position. At most one of `before` and `after`; neither: from the newest on.
    #[ts(type = "number | null")]
    pub before: Option<i64>,
    /// Newer than this position: the ones nearest to it.
    #[ts(type = "number | null")]
    pub after: Option<i64>,
    /// 1 to 1,000.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EventPage {
    /// Newest first, whichever way was read.
    pub rows: Vec<EventRow>,
    /// There are more in the direction that was read, or may be: see `searched`.
    pub more: bool,
    /// The filter has to look at one event after the other, and stopped here for now.
    pub searched: Option<Searched>,
    /// Events in the whole log.
    pub total: Count,
    /// Events that match. `None`: nobody counted, because it would read the log.
    pub matched: Option<Count>,
    /// Every event at or below it is decided; rows never lie above it.
    #[ts(type = "number")]
    pub safe_position: i64,
    /// The last check of the hash chain; `None`: never checked.
    pub chain: Option<ChainCheck>,
}

/// How far a search came before somebody waited too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Searched {
    /// `before` or `after` of the page that goes on.
    #[ts(type = "number")]
    pub position: i64,
    /// When the event there was recorded.
    pub at: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Count {
    #[ts(type = "number")]
    pub count: i64,
    /// Taken from the server's statistics, not counted.
    pub estimated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChainCheck {
    pub at: Moment,
    pub intact: bool,
    #[ts(type = "number")]
    pub events: i64,
    /// Where it broke first.
    #[ts(type = "number | null")]
    pub broken_at: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EventRow {
    #[ts(type = "number")]
    pub position: i64,
    pub event_id: Uuid,
    /// `BookingConfirmed`
    pub name: String,
    /// As stored.
    pub schema_version: i32,
    /// `booking-0193…`
    pub stream_id: String,
    /// `booking`
    pub category: String,
    /// What people call the thing: a booking's reference, a customer's name. `None`: nothing shorter than the id.
    pub subject: Option<String>,
    /// In its stream.
    #[ts(type = "number")]
    pub version: i64,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub occurred: Moment,
    pub recorded_at: DateTime<Utc>,
    pub actor: String,
    pub on_behalf_of: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetEvent {
    #[ts(type = "number")]
    pub position: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EventDetail {
    pub row: EventRow,
    /// Versions that the stream has now.
    #[ts(type = "number")]
    pub stream_versions: i64,
    /// The event that caused it, when an event did.
    pub cause: Option<EventRef>,
    pub app_version: Option<String>,
    #[ts(type = "Record<string, unknown>")]
    pub metadata: serde_json::Value,
    /// As it lies in the table, sealed fields included.
    #[ts(type = "Record<string, unknown>")]
    pub stored: serde_json::Value,
    /// As the code of today reads it. `None`: this app cannot read it, see `unreadable`.
    #[ts(type = "Record<string, unknown> | null")]
    pub read: Option<serde_json::Value>,
    pub read_version: i32,
    pub unreadable: Option<String>,
    /// From the stored version to `read_version`, in order; empty when they are one.
    pub upcast: Vec<UpcastStep>,
    pub sealed: Vec<SealedField>,
    /// Every registered version of this event's type, oldest first.
    pub schemas: Vec<EventSchema>,
    /// Hex.
    pub hash: String,
    /// Of the event before in the stream, hex; empty for the first.
    pub hash_before: String,
    /// Computed again while this was read.
    pub hash_matches: bool,
    /// What was owed because of this event.
    pub deliveries: Vec<EventDelivery>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EventRef {
    #[ts(type = "number")]
    pub position: i64,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct UpcastStep {
    pub from_version: i32,
    pub to_version: i32,
    pub changes: Vec<PayloadChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum PayloadChangeKind {
    Added,
    Removed,
    Changed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PayloadChange {
    pub kind: PayloadChangeKind,
    /// `price.amount_minor`
    pub path: String,
    #[ts(type = "unknown")]
    pub before: Option<serde_json::Value>,
    #[ts(type = "unknown")]
    pub after: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SealState {
    /// Opened for this reader.
    Opened,
    /// This reader may not open it.
    Sealed,
    /// The customer's key is gone: nobody can.
    Erased,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SealedField {
    /// `email`
    pub path: String,
    pub state: SealState,
    /// Whose key it is.
    pub subject_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EventSchema {
    pub version: i32,
    /// The one that is written today.
    pub current: bool,
    pub registered_at: Option<DateTime<Utc>>,
    /// JSON Schema.
    #[ts(type = "Record<string, unknown> | null")]
    pub schema: Option<serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EventDelivery {
    pub delivery_id: Uuid,
    /// `email`
    pub kind: String,
    pub destination: String,
    pub template: Option<String>,
    pub state: DeliveryState,
    pub attempts: u32,
    pub next_try_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

// ---- why it happened ------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EventCauses {
    pub correlation_id: Uuid,
}

/// One conversation: what a person or a provider began, and all that followed from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct CauseGraph {
    /// Oldest first.
    pub nodes: Vec<CauseNode>,
    pub edges: Vec<CauseEdge>,
    /// Nodes that were left out because the conversation is longer than one answer.
    pub left_out: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// What somebody asked.
    Command,
    Event,
    /// A try of a saga step.
    SagaAttempt,
    /// What a provider said by itself.
    Signal,
    /// A message or call that was owed.
    Delivery,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct CauseNode {
    /// Unique in this graph.
    pub id: String,
    pub kind: CauseKind,
    /// Event name, `payment.forward`, command name, `email`.
    pub what: String,
    pub schema_version: Option<i32>,
    #[ts(type = "number | null")]
    pub position: Option<i64>,
    pub at: Moment,
    pub actor: Option<String>,
    pub subject: Option<String>,
    /// Result of a try, state of a delivery.
    pub state: Option<String>,
    /// What else names it: the start of a command id, a provider's object.
    pub mark: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CauseHow {
    /// One caused the other.
    Caused,
    /// It came from outside and was matched to it.
    Matched,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CauseEdge {
    pub from: String,
    pub to: String,
    pub how: CauseHow,
}

// ---- as it was ------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StateAsOf {
    /// `booking-0193…`, or a booking's reference.
    pub stream: String,
    pub at: AsOf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "as_of")]
pub enum AsOf {
    Latest,
    Version {
        #[ts(type = "number")]
        version: i64,
    },
    Position {
        #[ts(type = "number")]
        position: i64,
    },
    Time {
        /// Wall time of the place, `2026-11-24T11:00`.
        wall: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct StreamState {
    pub stream_id: String,
    pub category: String,
    pub subject: Option<String>,
    /// The version that is shown; 0: before the first event.
    #[ts(type = "number")]
    pub version: i64,
    /// Every version of the stream, oldest first.
    pub versions: Vec<StreamVersion>,
    /// One a fact, in the order they are to be read.
    pub facts: Vec<StateFact>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct StreamVersion {
    #[ts(type = "number")]
    pub version: i64,
    #[ts(type = "number")]
    pub position: i64,
    pub name: String,
    pub at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// A [`BookingState`].
    BookingState,
    /// A [`PaymentState`].
    PaymentState,
    /// A [`Money`].
    Money,
    /// A [`Moment`].
    Moment,
    Text,
    Number,
    /// Anything else, as JSON.
    Other,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct StateFact {
    /// `state`, `payment`, `starts`, `captured`: the window has the words.
    pub name: String,
    pub kind: FactKind,
    /// One version earlier. `None`: not known then.
    #[ts(type = "unknown")]
    pub before: Option<serde_json::Value>,
    #[ts(type = "unknown")]
    pub at: Option<serde_json::Value>,
}

// ---- what can be in it -------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EventCatalogue {
    /// By name.
    pub types: Vec<EventType>,
    pub categories: Vec<String>,
    /// The logins of people, and who has written lately. Any other login may be asked for as well.
    pub actors: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EventType {
    pub name: String,
    /// Registered versions, oldest first; the last one is written today.
    pub versions: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "copy")]
pub enum CopyEvents {
    Event {
        #[ts(type = "number")]
        position: i64,
    },
    Correlation {
        correlation_id: Uuid,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EventsCopied {
    /// One object for an event, a list for a conversation, indented.
    pub json: String,
    pub events: u32,
    /// Events that were left out because there are more than one answer holds.
    pub left_out: u32,
}

/// A piece of what the filters find, as lines for a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ExportEvents {
    pub filter: EventFilter,
    /// Events after this position: 0, then what the answer before said.
    #[ts(type = "number")]
    pub after: i64,
    /// None for the first piece, then what its answer said: the file ends there, however the log grows.
    #[ts(type = "number | null")]
    pub upto: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct EventLines {
    /// One JSON object a line, as an event is copied.
    pub lines: String,
    pub events: u32,
    /// All up to here was looked at. At `upto` it is the last piece.
    #[ts(type = "number")]
    pub after: i64,
    #[ts(type = "number")]
    pub upto: i64,
}
