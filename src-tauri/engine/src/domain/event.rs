//! What can have happened. Past tense, never edited: a new shape is a new version with an upcaster.
//!
//! No names, addresses or numbers of people stand here; everything carries the customer's id. Personal data
//! stands only in the sealed field of [`CustomerRegistered`].

use chrono::{DateTime, Utc};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::ids::*;
use super::money::Money;
use super::slot::LocalTime;

/// The one list of event types: the enum, the stable names, the versions, their schemas and how each is read all come
/// from it, so none of them can drift. `Name(Data): versions;`, oldest first; the last is what this program writes.
macro_rules! event_types {
    ( $( $name:ident($data:ty): $($version:literal),+; )* ) => {
        /// One fact, as the booking's and the customer's streams hold it.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum Event {
            $( $name($data), )*
        }

        pub static TYPES: &[EventType] = &[ $( EventType {
            name: stringify!($name),
            versions: &[ $( Shape {
                version: $version,
                json_schema: include_str!(concat!("schemas/", stringify!($name), ".v", $version, ".json")),
                example: include_str!(concat!("fixtures/", stringify!($name), ".v", $version, ".json")),
            } ),+ ],
            from_text: |json| serde_json::from_str::<$data>(json).map(Event::$name),
            from_value: |json| <$data>::deserialize(json).map(Event::$name),
            generate: generated::<$data>,
        }, )* ];

        impl Event {
            /// The stable name that the store knows it by.
            pub fn name(&self) -> &'static str {
                match self { $( Event::$name(_) => stringify!($name), )* }
            }

            /// Version of the shape that this program writes.
            pub fn schema_version(&self) -> i16 {
                match self { $( Event::$name(_) => last(&[$($version),+]), )* }
            }
        }
    };
}

event_types! {
    BookingCreated(BookingCreated): 1;
    InventoryHeld(InventoryHeld): 1;
    HoldExtended(HoldExtended): 1;
    PaymentRequested(PaymentRequested): 1;
    PaymentActionRequired(PaymentRef): 1;
    PaymentAuthorized(PaymentAuthorized): 1;
    PaymentFailed(PaymentFailed): 1;
    PaymentMethodCorrected(PaymentMethodCorrected): 1;
    PaymentReceived(PaymentReceived): 1;
    ProviderFeeCharged(ProviderFeeCharged): 1;
    PaymentVoided(PaymentVoided): 1;
    PaymentLinkExpired(PaymentRef): 1;
    RefundRequested(RefundRequested): 1;
    PaymentRefunded(PaymentRefunded): 1;
    RefundFailed(RefundFailed): 1;
    RefundReturned(RefundReturned): 1;
    RemainderKept(RemainderKept): 1;
    PaymentDisputed(PaymentDisputed): 1;
    DisputeFundsWithdrawn(DisputeFunds): 1;
    DisputeFundsReinstated(DisputeFunds): 1;
    DisputeClosed(DisputeClosed): 1;
    BookingConfirmed(BookingConfirmed): 1;
    NotificationSent(NotificationSent): 1;
    NotificationFailed(NotificationFailed): 1;
    CalendarSynced(CalendarSynced): 1;
    BookingCancelled(BookingCancelled): 1, 2;
    BookingExpired(BookingExpired): 1;
    NoShowRecorded(NoShowRecorded): 1;
    NoShowWithdrawn(NoShowWithdrawn): 1;
    InventoryReleased(InventoryReleased): 1;
    InventoryHoldExpired(InventoryReleased): 1;
    CustomerRegistered(CustomerRegistered): 1;
    CustomerErased(CustomerErased): 1;
}

/// A type of event: what it is called, which shapes it has had, and how today's is read.
pub struct EventType {
    pub name: &'static str,
    pub versions: &'static [Shape],
    pub from_text: fn(&str) -> serde_json::Result<Event>,
    pub from_value: fn(&Value) -> serde_json::Result<Event>,
    /// JSON Schema of today's Rust type. A test holds it against the committed file.
    pub generate: fn() -> Value,
}

/// One version of an event's data.
pub struct Shape {
    pub version: i16,
    /// As committed in `schemas/`, and never edited.
    pub json_schema: &'static str,
    /// One of it, as type and data: what the tests of reading start from, and what receivers of webhooks are shown.
    pub example: &'static str,
}

impl EventType {
    pub fn named(name: &str) -> Option<&'static EventType> {
        TYPES.iter().find(|t| t.name == name)
    }

    /// The version that this program writes.
    pub fn current(&self) -> i16 {
        self.versions.last().map_or(0, |s| s.version)
    }

    pub fn shape(&self, version: i16) -> Option<&'static Shape> {
        self.versions.iter().find(|s| s.version == version)
    }
}

const fn last(versions: &[i16]) -> i16 {
    versions[versions.len() - 1]
}

/// What may be read as `T`. A field that no version knew is a mistake of whoever wrote it, so it is refused.
fn generated<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .with(|s| s.inline_subschemas = true)
        .with_transform(RecursiveTransform(|schema: &mut Schema| {
            if schema.get("properties").is_some() {
                schema.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }))
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BookedResource {
    pub resource_id: ResourceId,
    pub unit: i16,
    /// `staff` or `room`
    pub role: String,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Staff,
    Import,
    Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMode {
    Link,
    CardOnFile,
    Venue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InventoryHeld {
    pub claims: Vec<Claim>,
    /// `None`: paid at the venue, the hold has no limit.
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    pub claim_id: ClaimId,
    pub resource_id: ResourceId,
    pub unit: i16,
    /// Service time and buffers, `[from, until)`.
    pub blocked_from: DateTime<Utc>,
    pub blocked_until: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRef {
    pub payment_id: PaymentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_intent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAuthorized {
    pub payment_id: PaymentId,
    pub payment_intent: String,
    pub amount_capturable: Money,
    pub capture_before: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentFailed {
    pub payment_id: PaymentId,
    pub payment_intent: Option<String>,
    pub code: String,
    pub decline_code: Option<String>,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentReceived {
    pub payment_id: PaymentId,
    pub payment_intent: String,
    pub amount_received: Money,
    pub charge_id: Option<String>,
}

/// What the provider kept of a payment for carrying it, in the currency in which the account is kept. It is known some
/// time after the payment, and no refund gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderFeeCharged {
    pub payment_id: PaymentId,
    pub payment_intent: String,
    pub fee: Money,
    /// The line of the provider's books that says so: `txn_…`.
    pub balance_transaction: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentVoided {
    pub payment_id: PaymentId,
    pub payment_intent: Option<String>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefundRequested {
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    pub amount: Money,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefunded {
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    pub provider_refund: String,
    pub amount: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefundFailed {
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    pub amount: Money,
    pub reason: String,
}

/// A refund that had succeeded came back, days later: the customer's bank would not take it. The money is here again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefundReturned {
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    pub provider_refund: String,
    pub amount: Money,
    pub reason: String,
}

/// A person decided that a part of what was taken stays here: what is refunded is the rest. Another decision takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemainderKept {
    pub payment_id: PaymentId,
    /// What stays by decision from now on; beside a fee that the terms of a cancellation keep.
    pub amount: Money,
    /// What stayed by the decision before.
    pub before: Money,
    /// Who decided it, and who said yes to that.
    pub decided_by: String,
    pub approved_by: Option<String>,
    pub reason: String,
}

/// The customer told their bank that they do not owe this payment. The business may answer with evidence until a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentDisputed {
    /// The provider's id of it: `dp_…`.
    pub dispute_id: String,
    pub payment_id: PaymentId,
    pub charge_id: Option<String>,
    /// What is contested, in the currency of the payment.
    pub amount: Money,
    /// In the provider's word: `fraudulent`, `product_not_received`, …
    pub reason: String,
    pub evidence_due: Option<DateTime<Utc>>,
    /// The bank only asks: no money has moved, and none may.
    pub inquiry: bool,
}

/// Money that a dispute moved between the provider's account of us and the customer's bank, in the currency in which
/// the account is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DisputeFunds {
    pub dispute_id: String,
    pub payment_id: PaymentId,
    pub amount: Money,
    /// The provider's fee, which goes the same way: taken when money is withdrawn, sometimes given back with it.
    pub fee: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DisputeClosed {
    pub dispute_id: String,
    pub payment_id: PaymentId,
    pub outcome: DisputeOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeOutcome {
    Won,
    Lost,
    /// An inquiry that came to nothing.
    WarningClosed,
    /// Settled before it became one.
    Prevented,
}

/// A person gave the customer more time to pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldExtended {
    pub expires_at: DateTime<Utc>,
    /// When it would have ended.
    pub before: DateTime<Utc>,
}

/// A person put another saved card in the place of the one that is asked for the money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentMethodCorrected {
    /// The provider's id of it: `pm_…`.
    pub payment_method: String,
    pub before: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BookingConfirmed {
    pub confirmed_at: DateTime<Utc>,
    /// iCalendar `SEQUENCE` of the confirmation.
    pub sequence: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationSent {
    pub delivery_id: DeliveryId,
    pub template: String,
    pub channel: String,
    pub provider_message_id: String,
    pub attempt: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationFailed {
    pub delivery_id: DeliveryId,
    pub template: String,
    pub channel: String,
    pub attempt: i32,
    pub error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CalendarSynced {
    pub provider: String,
    pub operation: String,
    pub external_id: String,
    pub sequence: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BookingCancelled {
    pub cancelled_by: Party,
    pub reason_code: CancelReason,
    pub reason: Option<String>,
    /// Money that goes back, so that the message to the customer can say so.
    pub refund_due: Option<Money>,
    /// iCalendar `SEQUENCE` of the cancellation.
    pub sequence: i32,
    /// Whole minutes from the cancellation to the start, negative once it had begun: a late cancellation is a slot that
    /// is hard to sell again. `None`: version 1 did not say.
    pub notice_min: Option<i64>,
    /// Whether the customer could count on it; else a request came to nothing. `None`: version 1 did not say.
    pub was_confirmed: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Customer,
    Staff,
    System,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// A person asked for it.
    Asked,
    HoldExpired,
    PaymentFailed,
    /// Nobody could be told, and the policy takes the booking back.
    NotTold,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BookingExpired {
    pub expired_at: DateTime<Utc>,
}

/// The customer did not come, as somebody of the place saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoShowRecorded {
    pub recorded_at: DateTime<Utc>,
}

/// They came after all, or it was another booking that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoShowWithdrawn {
    pub withdrawn_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InventoryReleased {
    pub claims: Vec<ClaimId>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerRegistered {
    pub customer_id: CustomerId,
    pub personal: Sealed,
}

/// The customer's key is gone: what was sealed with it cannot be read any more, here or in any copy of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerErased {
    pub customer_id: CustomerId,
    /// Why, in the words of whoever did it; never who the person was.
    pub reason: String,
}

/// Encrypted with the customer's key; unreadable once the key is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sealed {
    /// Which cipher: `xchacha20poly1305`.
    pub cipher: String,
    /// Base64.
    pub nonce: String,
    /// Base64 of the sealed JSON.
    pub text: String,
}

/// An id of anything, for causation across streams and messages.
pub type Cause = Uuid;
