use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What we ask of Stripe. Every one of these moves money or promises to, so each is sent with a key.
///
/// `metadata` always carries `saga_id`, `booking_id` and `effect_id`: they are how an object whose answer was lost is
/// found again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    /// Authorise a stored card now, while the customer is away; the money moves at [`Operation::Capture`].
    CreateIntent {
        amount_minor: i64,
        currency: String,
        payment_method: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        metadata: BTreeMap<String, String>,
    },
    /// A page on which the customer enters the card; it authorises, the desk captures.
    CreateCheckout {
        amount_minor: i64,
        currency: String,
        product_name: String,
        success_url: String,
        cancel_url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer_email: Option<String>,
        /// Unix seconds. Stripe takes 30 minutes to 24 hours from creation.
        expires_at: i64,
        client_reference_id: String,
        metadata: BTreeMap<String, String>,
    },
    /// Take the authorised money. `amount_minor: None` takes all of it; less releases the rest.
    Capture {
        payment_intent: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        amount_minor: Option<i64>,
    },
    CancelIntent {
        payment_intent: String,
        reason: CancelReason,
    },
    /// Close an unpaid page. An intent behind an open page can't be cancelled directly.
    ExpireCheckout { session: String },
    Refund {
        payment_intent: String,
        amount_minor: i64,
        metadata: BTreeMap<String, String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    RequestedByCustomer,
    Abandoned,
    Duplicate,
    Fraudulent,
}

impl Operation {
    /// The stable name, for timelines, metrics and gates.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::CreateIntent { .. } => "create_intent",
            Operation::CreateCheckout { .. } => "create_checkout",
            Operation::Capture { .. } => "capture",
            Operation::CancelIntent { .. } => "cancel_intent",
            Operation::ExpireCheckout { .. } => "expire_checkout",
            Operation::Refund { .. } => "refund",
        }
    }
}

/// The exact bytes that will be sent. They go into the effect ledger before they go out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoded {
    pub method: String,
    /// With the `/v1`, without the host.
    pub path: String,
    pub body: String,
}

impl Encoded {
    /// What the ledger compares: a key that is to be sent with other bytes is a bug, caught before Stripe sees it.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // A newline ends each part; neither a method nor a path can contain one, so no two requests share a preimage.
        for part in [&self.method, &self.path, &self.body] {
            hash.update(part.as_bytes());
            hash.update(b"\n");
        }
        hash.finalize().into()
    }
}

// Both carry a customer's address and amounts: a stray `{:?}` in a log line must not spill them.
impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}
