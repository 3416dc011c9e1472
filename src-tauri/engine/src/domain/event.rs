//! What can have happened. Past tense, never edited: a new shape is a new version with an upcaster.
//!
//! No names, addresses or numbers of people stand here; everything carries the customer's id. Personal data
//! stands only in the sealed field of [`CustomerRegistered`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::*;
use super::money::Money;
use super::slot::LocalTime;

/// One fact, as the booking's and the customer's streams hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    BookingCreated(BookingCreated),
    InventoryHeld(InventoryHeld),
    PaymentRequested(PaymentRequested),
    PaymentActionRequired(PaymentRef),
    PaymentAuthorized(PaymentAuthorized),
    PaymentFailed(PaymentFailed),
    PaymentReceived(PaymentReceived),
    PaymentVoided(PaymentVoided),
    PaymentLinkExpired(PaymentRef),
    RefundRequested(RefundRequested),
    PaymentRefunded(PaymentRefunded),
    RefundFailed(RefundFailed),
    BookingConfirmed(BookingConfirmed),
    NotificationSent(NotificationSent),
    NotificationFailed(NotificationFailed),
    CalendarSynced(CalendarSynced),
    BookingCancelled(BookingCancelled),
    BookingExpired(BookingExpired),
    InventoryReleased(InventoryReleased),
    InventoryHoldExpired(InventoryReleased),
    CustomerRegistered(CustomerRegistered),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingCreated {
    pub booking_id: BookingId,
    pub reference: Reference,
    pub customer_id: CustomerId,
    pub service_id: ServiceId,
    pub service_version: i32,
    pub service_name: String,
    pub source: Source,
    pub start: LocalTime,
    pub start_utc: DateTime<Utc>,
    pub end_utc: DateTime<Utc>,
    pub duration_min: i32,
    pub buffer_before_min: i32,
    pub buffer_after_min: i32,
    pub resources: Vec<BookedResource>,
    /// Agreed when it was booked: a later price list does not change it.
    pub price: Money,
    pub payment_mode: PaymentMode,
    /// With `card_on_file`: the provider's name of the saved card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookedResource {
    pub resource_id: ResourceId,
    pub unit: i16,
    /// `staff` or `room`
    pub role: String,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Staff,
    Import,
    Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMode {
    Link,
    CardOnFile,
    Venue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryHeld {
    pub claims: Vec<Claim>,
    /// `None`: paid at the venue, the hold has no limit.
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub claim_id: ClaimId,
    pub resource_id: ResourceId,
    pub unit: i16,
    /// Service time and buffers, `[from, until)`.
    pub blocked_from: DateTime<Utc>,
    pub blocked_until: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequested {
    pub payment_id: PaymentId,
    pub amount: Money,
    pub mode: PaymentMode,
    /// `pi_…`; a hosted page has one only once the customer has submitted it.
    pub payment_intent: Option<String>,
    /// `cs_…`
    pub checkout_session: Option<String>,
    pub pay_url: Option<String>,
    pub link_expires_at: Option<DateTime<Utc>>,
    pub idempotency_key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRef {
    pub payment_id: PaymentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_intent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAuthorized {
    pub payment_id: PaymentId,
    pub payment_intent: String,
    pub amount_capturable: Money,
    pub capture_before: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    pub payment_id: PaymentId,
    pub payment_intent: Option<String>,
    pub code: String,
    pub decline_code: Option<String>,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentReceived {
    pub payment_id: PaymentId,
    pub payment_intent: String,
    pub amount_received: Money,
    pub charge_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoided {
    pub payment_id: PaymentId,
    pub payment_intent: Option<String>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequested {
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    pub amount: Money,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    pub provider_refund: String,
    pub amount: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundFailed {
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    pub amount: Money,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingConfirmed {
    pub confirmed_at: DateTime<Utc>,
    /// iCalendar `SEQUENCE` of the confirmation.
    pub sequence: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationSent {
    pub delivery_id: DeliveryId,
    pub template: String,
    pub channel: String,
    pub provider_message_id: String,
    pub attempt: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationFailed {
    pub delivery_id: DeliveryId,
    pub template: String,
    pub channel: String,
    pub attempt: i32,
    pub error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarSynced {
    pub provider: String,
    pub operation: String,
    pub external_id: String,
    pub sequence: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingCancelled {
    pub cancelled_by: Party,
    pub reason_code: CancelReason,
    pub reason: Option<String>,
    /// Money that goes back, so that the message to the customer can say so.
    pub refund_due: Option<Money>,
    /// iCalendar `SEQUENCE` of the cancellation.
    pub sequence: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Customer,
    Staff,
    System,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// A person asked for it.
    Asked,
    HoldExpired,
    PaymentFailed,
    /// Nobody could be told, and the policy takes the booking back.
    NotTold,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingExpired {
    pub expired_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReleased {
    pub claims: Vec<ClaimId>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRegistered {
    pub customer_id: CustomerId,
    pub personal: Sealed,
}

/// Encrypted with the customer's key; unreadable once the key is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which cipher: `xchacha20poly1305`.
    pub cipher: String,
    /// Base64.
    pub nonce: String,
    /// Base64 of the sealed JSON.
    pub text: String,
}

impl Event {
    /// The stable name that the store knows it by.
    pub fn name(&self) -> &'static str {
        match self {
            Event::BookingCreated(_) => "BookingCreated",
            Event::InventoryHeld(_) => "InventoryHeld",
            Event::PaymentRequested(_) => "PaymentRequested",
            Event::PaymentActionRequired(_) => "PaymentActionRequired",
            Event::PaymentAuthorized(_) => "PaymentAuthorized",
            Event::PaymentFailed(_) => "PaymentFailed",
            Event::PaymentReceived(_) => "PaymentReceived",
            Event::PaymentVoided(_) => "PaymentVoided",
            Event::PaymentLinkExpired(_) => "PaymentLinkExpired",
            Event::RefundRequested(_) => "RefundRequested",
            Event::PaymentRefunded(_) => "PaymentRefunded",
            Event::RefundFailed(_) => "RefundFailed",
            Event::BookingConfirmed(_) => "BookingConfirmed",
            Event::NotificationSent(_) => "NotificationSent",
            Event::NotificationFailed(_) => "NotificationFailed",
            Event::CalendarSynced(_) => "CalendarSynced",
            Event::BookingCancelled(_) => "BookingCancelled",
            Event::BookingExpired(_) => "BookingExpired",
            Event::InventoryReleased(_) => "InventoryReleased",
            Event::InventoryHoldExpired(_) => "InventoryHoldExpired",
            Event::CustomerRegistered(_) => "CustomerRegistered",
        }
    }

    /// Version of the shape that this program writes.
    pub fn schema_version(&self) -> i16 {
        1
    }
}

/// An id of anything, for causation across streams and messages.
pub type Cause = Uuid;
