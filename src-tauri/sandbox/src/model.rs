//! What the sandbox remembers, in the form in which the journal keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Canceled,
    Succeeded,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::RequiresPaymentMethod => "requires_payment_method",
            Status::RequiresConfirmation => "requires_confirmation",
            Status::RequiresAction => "requires_action",
            Status::RequiresCapture => "requires_capture",
            Status::Canceled => "canceled",
            Status::Succeeded => "succeeded",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Intent {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub manual_capture: bool,
    pub status: Status,
    pub client_secret: String,
    pub metadata: BTreeMap<String, String>,
    #[serde(default)]
    pub payment_method: Option<String>,
    #[serde(default)]
    pub customer: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub receipt_email: Option<String>,
    #[serde(default)]
    pub return_url: Option<String>,
    #[serde(default)]
    pub cancellation_reason: Option<String>,
    #[serde(default)]
    pub canceled_at: Option<i64>,
    #[serde(default)]
    pub last_payment_error: Option<Value>,
    /// The newest attempt to charge, failed ones included.
    #[serde(default)]
    pub charge: Option<Charge>,
    /// The Checkout session it belongs to.
    #[serde(default)]
    pub session: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Charge {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub state: ChargeState,
    pub captured: i64,
    /// Refunds that succeeded or may still succeed.
    pub refunded: i64,
    pub capture_before: i64,
    #[serde(default)]
    pub failure: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeState {
    Failed,
    Authorised,
    Captured,
    /// The bank was told to let the money go, or let it go by itself.
    Released,
}

impl Intent {
    pub fn capturable(&self) -> i64 {
        match &self.charge {
            Some(charge) if charge.state == ChargeState::Authorised => charge.amount,
            _ => 0,
        }
    }

    pub fn received(&self) -> i64 {
        self.charge.as_ref().map_or(0, |charge| charge.captured)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    pub id: String,
    pub created: i64,
    pub expires_at: i64,
    pub state: SessionState,
    pub amount: i64,
    pub currency: String,
    pub product: String,
    pub manual_capture: bool,
    pub success_url: String,
    #[serde(default)]
    pub cancel_url: Option<String>,
    #[serde(default)]
    pub customer: Option<String>,
    #[serde(default)]
    pub customer_email: Option<String>,
    #[serde(default)]
    pub client_reference_id: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub intent_metadata: BTreeMap<String, String>,
    /// Exists only once the customer has submitted the page.
    #[serde(default)]
    pub intent: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    Open,
    Complete,
    Expired,
}

impl SessionState {
    pub fn as_str(self) -> &'static str {
        match self {
            SessionState::Open => "open",
            SessionState::Complete => "complete",
            SessionState::Expired => "expired",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refund {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub intent: String,
    pub charge: String,
    pub state: RefundState,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub failure_reason: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// When a pending one is decided, and how.
    #[serde(default)]
    pub settles: Option<(i64, RefundState)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    Pending,
    Succeeded,
    Failed,
}

impl RefundState {
    pub fn as_str(self) -> &'static str {
        match self {
            RefundState::Pending => "pending",
            RefundState::Succeeded => "succeeded",
            RefundState::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dispute {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub intent: String,
    pub charge: String,
    pub reason: String,
    pub state: DisputeState,
    pub evidence_due_by: i64,
    /// Evidence was sent in so often.
    #[serde(default)]
    pub submissions: i64,
    /// Amount and fee of each line that it made in the account, below zero: withdrawn.
    #[serde(default)]
    pub moved: Vec<(i64, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    WarningNeedsResponse,
    WarningClosed,
    NeedsResponse,
    UnderReview,
    Won,
    Lost,
}

impl DisputeState {
    pub fn as_str(self) -> &'static str {
        match self {
            DisputeState::WarningNeedsResponse => "warning_needs_response",
            DisputeState::WarningClosed => "warning_closed",
            DisputeState::NeedsResponse => "needs_response",
            DisputeState::UnderReview => "under_review",
            DisputeState::Won => "won",
            DisputeState::Lost => "lost",
        }
    }
}

/// An event keeps its object as text: fifty thousand of them as trees would be half a gigabyte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    pub created: i64,
    pub kind: String,
    pub object: String,
    #[serde(default)]
    pub request_id: Option<String>,
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// A webhook is still owed.
    pub pending: bool,
}

/// The stored answer of one idempotency key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub id: String,
    pub created: i64,
    /// Of method, path and parameters.
    pub fingerprint: String,
    pub status: u16,
    pub body: String,
    pub request_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    pub id: String,
    pub created: i64,
    pub from: String,
    pub to: Vec<String>,
    pub subject: String,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub html: Option<String>,
    #[serde(default)]
    pub ics: Option<String>,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    pub size: usize,
}

pub trait Row {
    fn id(&self) -> &str;
    fn created(&self) -> i64;
}

macro_rules! rows {
    ($($row:ty),+) => { $(impl Row for $row {
        fn id(&self) -> &str { &self.id }
        fn created(&self) -> i64 { self.created }
    })+ };
}
rows!(Intent, Session, Refund, Dispute, Event, Answer, Message);
