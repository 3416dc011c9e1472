//! The list of bookings, and one booking's page.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum BookingState {
    Held,
    AwaitingPayment,
    Confirmed,
    Cancelled,
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum PaymentState {
    NotAsked,
    Requested,
    LinkSent,
    ActionRequired,
    Authorised,
    Paid,
    AtVenue,
    Declined,
    Unknown,
    Voided,
    RefundPending,
    PartRefunded,
    Refunded,
    RefundFailed,
    /// The customer's bank asks for it back.
    Disputed,
    DisputeLost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    NotBegun,
    Running,
    Waiting,
    Done,
    /// This booking does not need the step (paid at the venue).
    NotNeeded,
    /// Asked, no answer yet: looked up, never guessed.
    Unknown,
    Failed,
    NeedsPerson,
    Undone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SagaState {
    Running,
    WaitingForCustomer,
    WaitingForProvider,
    NeedsPerson,
    Done,
    DoneWithWarnings,
    Undoing,
    Undone,
    Resolved,
    Paused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMode {
    /// The customer pays on a hosted page; the link is mailed and shown.
    Link,
    /// A saved card is charged while the customer is away.
    CardOnFile,
    /// Cash or a terminal at the desk: no Stripe step.
    Venue,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BookingRow {
    pub booking_id: Uuid,
    /// `BK-7Q4M2K`
    pub reference: String,
    pub customer: Named,
    pub service: Named,
    /// Staff first, then rooms.
    pub resources: Vec<Named>,
    pub starts: Moment,
    pub ends: Moment,
    pub state: BookingState,
    pub hold_expires_at: Option<DateTime<Utc>>,
    pub payment: PaymentState,
    pub payment_mode: PaymentMode,
    pub price: Money,
    pub saga_state: Option<SagaState>,
    /// Which saga runs this booking: `booking`, `booking_free`, `cancellation`. It says what the steps are.
    pub saga: Option<String>,
    /// One for each step of it, in order. Empty when no saga runs this booking.
    pub steps: Vec<StepState>,
    pub changed_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum BookingSort {
    Starts,
    Changed,
    Customer,
    Price,
    Reference,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ListBookings {
    /// Matches reference, customer name, e-mail, phone and provider object ids (`pi_…`, `cs_…`).
    pub search: Option<String>,
    #[serde(default)]
    pub states: Vec<BookingState>,
    #[serde(default)]
    pub payments: Vec<PaymentState>,
    pub service_id: Option<Uuid>,
    pub resource_id: Option<Uuid>,
    /// Local dates of the place, inclusive, `2026-11-24`.
    pub from: Option<String>,
    pub to: Option<String>,
    pub sort: BookingSort,
    #[serde(default)]
    pub descending: bool,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 1,000.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BookingList {
    pub rows: Vec<BookingRow>,
    pub next: Option<String>,
    /// Bookings in all.
    #[ts(type = "number")]
    pub total: i64,
    /// Bookings that match the filters.
    #[ts(type = "number")]
    pub matched: i64,
    /// Position of the log that this answer shows.
    #[ts(type = "number")]
    pub position: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetBooking {
    /// A booking id, or a reference such as `BK-7Q4M2K`.
    pub booking: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CustomerRow {
    pub customer_id: Uuid,
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    #[ts(type = "number")]
    pub bookings: i64,
    pub last_booking_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetCustomerHistory {
    pub customer_id: Uuid,
}

/// What somebody did here, over all their bookings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CustomerHistory {
    #[ts(type = "number")]
    pub bookings: i64,
    /// Confirmed, not given up, begun, and they came.
    #[ts(type = "number")]
    pub visits: i64,
    #[ts(type = "number")]
    pub no_shows: i64,
    #[ts(type = "number")]
    pub cancelled: i64,
    /// Paid and not given back, by currency. Empty: nothing yet.
    pub spent: Vec<Money>,
    /// By their start, the latest first; no more than eight.
    pub latest: Vec<CustomersBooking>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CustomersBooking {
    pub booking_id: Uuid,
    pub reference: String,
    pub service: String,
    pub starts: Moment,
    pub state: BookingState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MoneyLine {
    pub price: Money,
    pub authorised: Money,
    pub captured: Money,
    pub refunded: Money,
    /// What the customer's bank has taken back in disputes and not returned.
    pub disputed: Money,
    /// Captured less refunded and disputed: what the business keeps before fees.
    pub kept: Money,
    /// What of that stays because a person decided so, when more could have gone back.
    pub kept_by_decision: Money,
    /// What the provider kept for carrying the payment, in its account's currency; known some time after the payment.
    pub fee: Option<Money>,
    /// `pi_…`, once known.
    pub payment_intent: Option<String>,
    /// When the provider's answer behind these figures was recorded.
    pub as_of: Option<DateTime<Utc>>,
    /// An answer is missing: the figures may be short by this effect.
    pub unknown: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaStep {
    /// `hold`, `payment`, `capture`, `confirm`, `notify`
    pub step: String,
    pub state: StepState,
    /// Tries forward.
    pub attempts: u32,
    /// Tries at undoing it.
    pub undo_attempts: u32,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub undo_started_at: Option<DateTime<Utc>>,
    pub undo_ended_at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    pub next_try_at: Option<DateTime<Utc>>,
}

/// Data behind "why is this stuck?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "waits_for")]
pub enum WaitsFor {
    Nothing,
    /// The customer must pay before the hold ends.
    Customer {
        until: Option<DateTime<Utc>>,
    },
    /// A retry is due.
    Retry {
        at: DateTime<Utc>,
        attempt: u32,
        cause: String,
    },
    /// The message is not accepted yet.
    Delivery {
        at: Option<DateTime<Utc>>,
        attempt: u32,
        cause: Option<String>,
    },
    /// The provider has not settled a refund yet.
    Provider {
        what: String,
    },
    /// No live process does background work.
    Worker,
    Person {
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaView {
    pub saga_id: Uuid,
    /// `booking@1`
    pub definition: String,
    pub state: SagaState,
    pub steps: Vec<SagaStep>,
    pub waits_for: WaitsFor,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it was undone, when it was.
    pub undo_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    /// A domain event of the booking.
    Event,
    /// A try of a saga step that left no event of its own (failed, waiting, looked up).
    SagaAttempt,
    /// A try at delivering a message.
    DeliveryAttempt,
    /// Planned: the next try. `at` lies ahead.
    Planned,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct TimelineItem {
    pub id: String,
    pub kind: TimelineKind,
    pub at: Moment,
    /// Event type, or `step.forward` / `step.undo`, or `email`.
    pub what: String,
    pub schema_version: Option<i32>,
    #[ts(type = "number | null")]
    pub position: Option<i64>,
    /// Login or worker that did it.
    pub actor: Option<String>,
    pub on_behalf_of: Option<String>,
    pub correlation_id: Option<Uuid>,
    /// Id of the item that caused this one, when it is on this timeline.
    pub caused_by: Option<String>,
    /// Event payload, or the facts of the try: `result`, `error`, `error_class`, `attempt`, `request_id`, `duration_ms`.
    #[ts(type = "Record<string, unknown>")]
    pub data: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BookingPage {
    pub row: BookingRow,
    pub customer: CustomerRow,
    /// What took the booking there: `cancelled_by`, `reason_code`, `reason`.
    pub cancelled: Option<Cancelled>,
    /// Somebody noted that they did not come.
    pub no_show: bool,
    pub money: MoneyLine,
    /// Of its payment, oldest first.
    pub disputes: Vec<Dispute>,
    pub saga: Option<SagaView>,
    /// The message that tells the customer.
    pub message: Option<MessageView>,
    /// Where the customer pays, while that is open.
    pub pay_url: Option<String>,
    /// Newest last.
    pub timeline: Vec<TimelineItem>,
    pub actions: Vec<Action>,
    /// Version of the booking's stream: send it back with a command.
    #[ts(type = "number")]
    pub version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Cancelled {
    pub by: String,
    /// `hold_expired`, `payment_failed`, `not_told`, `asked`
    pub reason_code: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Scheduled,
    Sending,
    Retrying,
    Delivered,
    GaveUp,
    Unclear,
    /// Nothing had to be said.
    Skipped,
    /// Its destination is paused, turned off or not answering.
    Paused,
    /// Waits for a decision after this desk was closed for long.
    Held,
    /// By a person.
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MessageView {
    pub delivery_id: Uuid,
    /// `email`
    pub channel: String,
    /// `booking_confirmed`, `booking_cancelled`, `payment_link`
    pub template: String,
    pub state: DeliveryState,
    pub attempts: u32,
    pub next_try_at: Option<DateTime<Utc>>,
    pub problem: Option<String>,
}
