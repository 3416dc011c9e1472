//! Narrow views of Stripe's objects: the fields the desk decides by, and nothing that could fail to decode for a
//! reason that doesn't concern us. async-stripe's own types need twelve more fields of an intent to be present.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A 2xx answer to one attempt.
#[derive(Clone, PartialEq)]
pub struct Answer {
    pub object: Object,
    /// Stripe's `req_…`, which its support asks for.
    pub request_id: Option<String>,
    /// Stripe had done this before under the same key and repeated its stored answer.
    pub replayed: bool,
    /// The object as sent, less its client secrets, for the timeline.
    pub raw: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Intent(Intent),
    Checkout(Checkout),
    Refund(Refund),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub id: String,
    pub status: IntentStatus,
    pub amount: i64,
    #[serde(default)]
    pub amount_capturable: i64,
    #[serde(default)]
    pub amount_received: i64,
    pub currency: String,
    pub latest_charge: Option<String>,
    /// When the authorisation lapses, as the card network told Stripe. Known where the charge is expanded: in answers
    /// to create and capture, and when the intent is read; not in lists nor inside errors.
    pub capture_before: Option<i64>,
    pub last_payment_error: Option<Decline>,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    pub cancellation_reason: Option<String>,
}

/// What Stripe kept of a payment for carrying it, in the currency in which it keeps the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fee {
    pub amount: i64,
    pub currency: String,
    /// `txn_…`
    pub balance_transaction: String,
}

/// An intent, read for its fee. `None`: Stripe has not booked the payment yet.
pub(crate) struct Carried(pub Option<Fee>);

/// Why the bank or Stripe said no.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    #[serde(default)]
    pub code: String,
    pub decline_code: Option<String>,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    pub id: String,
    /// Where the customer pays; gone once the session is closed.
    pub url: Option<String>,
    pub status: CheckoutStatus,
    pub payment_status: PaymentStatus,
    /// `None` until the customer submits the page.
    pub payment_intent: Option<String>,
    pub expires_at: i64,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    pub id: String,
    pub status: RefundStatus,
    pub amount: i64,
    pub payment_intent: Option<String>,
    pub failure_reason: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// A customer's bank asks for the money back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    pub id: String,
    pub status: DisputeStatus,
    /// What is contested, in the payment's currency.
    pub amount: i64,
    pub currency: String,
    pub reason: String,
    pub charge: Option<String>,
    pub payment_intent: Option<String>,
    /// Until when Stripe takes evidence.
    pub evidence_due_by: Option<i64>,
    /// Evidence was sent in so often.
    pub submissions: i64,
    /// What it moved, oldest first: out when the money is withdrawn, in when it is reinstated.
    pub moved: Vec<DisputeMove>,
}

/// A line of the account that a dispute made, in the account's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeMove {
    /// Below zero: withdrawn.
    pub amount: i64,
    /// Taken from us; below zero: given back.
    pub fee: i64,
    pub currency: String,
}

/// A payment or a refund in a list, as far as it tells whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    pub id: String,
    pub status: String,
    pub amount: i64,
    /// Of a payment: what was taken of it.
    pub received: Option<i64>,
    pub currency: String,
    pub created: i64,
    /// Of a refund: what it gives back.
    pub payment_intent: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// One entry of Stripe's event log: a doorbell. The object is fetched before anything is decided by it, since the
/// copy inside is as old as the event and written in the account's version.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    pub id: String,
    pub kind: String,
    pub created: i64,
    pub object_id: Option<String>,
    pub api_version: Option<String>,
    pub raw: Value,
}

/// A status Stripe may extend: what we don't know is kept, not refused, so that a new status parks one saga instead of
/// breaking every read.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($variant,)+ Unknown(String) }

        impl $name {
            pub fn as_str(&self) -> &str {
                match self { $($name::$variant => $text,)+ $name::Unknown(text) => text }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                match text { $($text => $name::$variant,)+ other => $name::Unknown(other.to_owned()) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok($name::from(String::deserialize(deserializer)?.as_str()))
            }
        }
    };
}

open_enum!(IntentStatus {
    RequiresPaymentMethod = "requires_payment_method",
    RequiresConfirmation = "requires_confirmation",
    RequiresAction = "requires_action",
    Processing = "processing",
    RequiresCapture = "requires_capture",
    Canceled = "canceled",
    Succeeded = "succeeded",
});
open_enum!(CheckoutStatus { Open = "open", Complete = "complete", Expired = "expired" });
open_enum!(
    /// Of a Checkout session. A manual-capture session is `unpaid` until the desk captures.
    PaymentStatus { Paid = "paid", Unpaid = "unpaid", NoPaymentRequired = "no_payment_required" }
);
open_enum!(RefundStatus {
    Pending = "pending",
    RequiresAction = "requires_action",
    Succeeded = "succeeded",
    Failed = "failed",
    Canceled = "canceled",
});

open_enum!(
    /// Those with `warning` are inquiries: the bank asks, and no money has moved.
    DisputeStatus {
        WarningNeedsResponse = "warning_needs_response",
        WarningUnderReview = "warning_under_review",
        WarningClosed = "warning_closed",
        NeedsResponse = "needs_response",
        UnderReview = "under_review",
        Won = "won",
        Lost = "lost",
        Prevented = "prevented",
    }
);

/// The object's JSON as a view, or which field was in the way.
pub(crate) trait View: Sized {
    fn view(raw: &Value) -> Result<Self, String>;
}

impl View for Intent {
    fn view(raw: &Value) -> Result<Intent, String> {
        let charge = &raw["latest_charge"];
        Ok(Intent {
            id: text(raw, "id")?,
            status: IntentStatus::from(text(raw, "status")?.as_str()),
            amount: number(raw, "amount")?,
            amount_capturable: raw["amount_capturable"].as_i64().unwrap_or(0),
            amount_received: raw["amount_received"].as_i64().unwrap_or(0),
            currency: text(raw, "currency")?,
            latest_charge: id_of(charge),
            capture_before: charge["payment_method_details"]["card"]["capture_before"].as_i64(),
            last_payment_error: decline(&raw["last_payment_error"]),
            metadata: metadata(raw),
            cancellation_reason: optional(raw, "cancellation_reason"),
        })
    }
}

impl View for Carried {
    fn view(raw: &Value) -> Result<Carried, String> {
        let line = &raw["latest_charge"]["balance_transaction"];
        if !line.is_object() {
            return Ok(Carried(None));
        }
        Ok(Carried(Some(Fee {
            amount: number(line, "fee")?,
            currency: text(line, "currency")?,
            balance_transaction: text(line, "id")?,
        })))
    }
}

impl View for Checkout {
    fn view(raw: &Value) -> Result<Checkout, String> {
        Ok(Checkout {
            id: text(raw, "id")?,
            url: optional(raw, "url"),
            status: CheckoutStatus::from(text(raw, "status")?.as_str()),
            payment_status: PaymentStatus::from(text(raw, "payment_status")?.as_str()),
            payment_intent: id_of(&raw["payment_intent"]),
            expires_at: number(raw, "expires_at")?,
            metadata: metadata(raw),
        })
    }
}

impl View for Refund {
    fn view(raw: &Value) -> Result<Refund, String> {
        Ok(Refund {
            id: text(raw, "id")?,
            status: RefundStatus::from(text(raw, "status")?.as_str()),
            amount: number(raw, "amount")?,
            payment_intent: id_of(&raw["payment_intent"]),
            failure_reason: optional(raw, "failure_reason"),
            metadata: metadata(raw),
        })
    }
}

impl View for Dispute {
    fn view(raw: &Value) -> Result<Dispute, String> {
        let lines = raw["balance_transactions"].as_array();
        Ok(Dispute {
            id: text(raw, "id")?,
            status: DisputeStatus::from(text(raw, "status")?.as_str()),
            amount: number(raw, "amount")?,
            currency: text(raw, "currency")?,
            reason: optional(raw, "reason").unwrap_or_default(),
            charge: id_of(&raw["charge"]),
            payment_intent: id_of(&raw["payment_intent"]),
            evidence_due_by: raw["evidence_details"]["due_by"].as_i64(),
            submissions: raw["evidence_details"]["submission_count"]
                .as_i64()
                .unwrap_or(0),
            moved: lines
                .into_iter()
                .flatten()
                .map(|line| {
                    Ok(DisputeMove {
                        amount: number(line, "amount")?,
                        fee: number(line, "fee")?,
                        currency: text(line, "currency")?,
                    })
                })
                .collect::<Result<_, String>>()?,
        })
    }
}

impl View for Marked {
    fn view(raw: &Value) -> Result<Marked, String> {
        Ok(Marked {
            id: text(raw, "id")?,
            status: optional(raw, "status").unwrap_or_default(),
            amount: number(raw, "amount")?,
            received: raw["amount_received"].as_i64(),
            currency: text(raw, "currency")?,
            created: number(raw, "created")?,
            payment_intent: id_of(&raw["payment_intent"]),
            metadata: metadata(raw),
        })
    }
}

impl View for EventRecord {
    fn view(raw: &Value) -> Result<EventRecord, String> {
        Ok(EventRecord {
            id: text(raw, "id")?,
            kind: text(raw, "type")?,
            created: number(raw, "created")?,
            object_id: optional(&raw["data"]["object"], "id"),
            api_version: optional(raw, "api_version"),
            raw: without_client_secrets(raw.clone()),
        })
    }
}

impl View for Object {
    fn view(raw: &Value) -> Result<Object, String> {
        match raw["object"].as_str() {
            Some("payment_intent") => Intent::view(raw).map(Object::Intent),
            Some("checkout.session") => Checkout::view(raw).map(Object::Checkout),
            Some("refund") => Refund::view(raw).map(Object::Refund),
            other => Err(format!("an object of an unexpected kind: {other:?}")),
        }
    }
}

/// A client secret lets a browser finish the payment. The desk never needs one, so it is never stored.
pub(crate) fn without_client_secrets(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("client_secret");
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

fn decline(raw: &Value) -> Option<Decline> {
    raw.is_object().then(|| Decline {
        code: optional(raw, "code")
            .or_else(|| optional(raw, "type"))
            .unwrap_or_default(),
        decline_code: optional(raw, "decline_code"),
        message: optional(raw, "message").unwrap_or_default(),
    })
}

/// A reference is an id, or the object itself where it was expanded.
fn id_of(raw: &Value) -> Option<String> {
    raw.as_str()
        .or_else(|| raw["id"].as_str())
        .map(str::to_owned)
}

fn metadata(raw: &Value) -> BTreeMap<String, String> {
    let pairs = raw["metadata"].as_object().into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn text(raw: &Value, field: &str) -> Result<String, String> {
    optional(raw, field).ok_or_else(|| format!("no text in `{field}`"))
}

fn optional(raw: &Value, field: &str) -> Option<String> {
    raw[field].as_str().map(str::to_owned)
}

fn number(raw: &Value, field: &str) -> Result<i64, String> {
    raw[field]
        .as_i64()
        .ok_or_else(|| format!("no whole number in `{field}`"))
}

// `raw` holds names, addresses and amounts: printing an answer must not print those.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("object", &self.object)
            .field("request_id", &self.request_id)
            .field("replayed", &self.replayed)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EventRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRecord")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("created", &self.created)
            .field("object_id", &self.object_id)
            .finish_non_exhaustive()
    }
}
