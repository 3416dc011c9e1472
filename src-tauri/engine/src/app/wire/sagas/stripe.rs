//! What Stripe says: the answer to a question, and what does not fit the ledger.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AskStripe {
    /// Made when it is pressed: pressing twice asks once.
    pub ask_id: Uuid,
    pub saga_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetAsk {
    pub ask_id: Uuid,
}

/// A question to Stripe, which a worker that holds the key answers. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StripeAsk {
    pub ask_id: Uuid,
    pub by: String,
    pub at: DateTime<Utc>,
    /// `open`, `answered`, `failed`, `unanswered`
    pub state: String,
    pub answered_at: Option<DateTime<Utc>>,
    /// Why there is no answer.
    pub problem: Option<String>,
    pub answer: Option<StripeAnswer>,
}

/// The money of a saga's booking as Stripe has it, beside what the ledger had at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StripeAnswer {
    pub intent: Option<StripeObject>,
    pub page: Option<StripeObject>,
    pub authorised: StripeSum,
    pub captured: StripeSum,
    pub refunded: StripeSum,
    pub refunds: Vec<StripeRefund>,
    /// Calls whose outcome was open, and what Stripe shows of them.
    pub calls: Vec<StripeCall>,
    /// What our books name and Stripe does not know.
    pub absent: Option<StripeAbsent>,
    /// Each sum is the same on both sides, and what our books name is there.
    pub agrees: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StripeAbsent {
    pub id: String,
    /// Of the example's past, which was written and never asked for at Stripe.
    pub example: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StripeObject {
    pub id: String,
    pub status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StripeSum {
    pub stripe: Money,
    pub ledger: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StripeRefund {
    pub id: String,
    pub status: String,
    pub amount: Money,
    /// A call of ours asked for it.
    pub known: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StripeCall {
    pub effect_id: Uuid,
    pub operation: String,
    /// `happened`, `overtaken`, `absent`
    pub found: String,
    pub object: Option<String>,
}

/// An object at Stripe that does not fit the ledger. A person looks; nothing is done by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Orphan {
    pub case_id: Uuid,
    pub saga_id: Option<Uuid>,
    pub reference: Option<String>,
    /// `unknown`: no call of ours made it. `denied`: we believe that it never happened. `settled`: a person
    /// had said what became of its call, and it went through besides. `missing`: we believe that it is there, and Stripe's
    /// list does not show it. `differs`: both have it, with another sum.
    pub why: String,
    /// `intent`, `refund`
    pub what: String,
    pub object: String,
    pub status: Option<String>,
    /// What Stripe has.
    pub amount: Option<Money>,
    /// `differs`: what the books have.
    pub booked: Option<Money>,
    pub opened_at: DateTime<Utc>,
    /// When it was looked at again, and for whom.
    pub checked_at: Option<DateTime<Utc>>,
    pub checked_by: Option<String>,
    /// What Stripe had given back of it by then.
    pub refunded: Option<Money>,
    /// Why it cannot be looked at again from here; `None`: it can.
    pub check_refused: Option<String>,
    /// Why it cannot be taken into the books, or given back; `None`: it can.
    pub adopt_refused: Option<String>,
    pub give_back_refused: Option<String>,
    /// As much goes back only when a second person says yes.
    pub give_back_waits: bool,
}

/// A payment that the customer's bank contests. It is answered at Stripe; nothing is done by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Dispute {
    /// `dp_…`
    pub dispute_id: String,
    pub saga_id: Uuid,
    pub booking_id: Uuid,
    pub reference: Option<String>,
    /// In Stripe's words: `needs_response`, `under_review`, `won`, …; `None`: it could not be looked at yet.
    pub status: Option<String>,
    /// In Stripe's words: `fraudulent`, `product_not_received`, …
    pub reason: Option<String>,
    pub amount: Option<Money>,
    /// Until when Stripe takes evidence.
    pub evidence_due_at: Option<DateTime<Utc>>,
    /// Evidence was sent in.
    pub answered: bool,
    pub told_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    /// Why it could not be looked at, or fits no payment here.
    pub problem: Option<String>,
}

/// The walk along Stripe's lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Sweep {
    pub running: bool,
    pub ended_at: Option<DateTime<Utc>>,
    #[ts(type = "number")]
    pub looked: i64,
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CloseOrphan {
    pub case_id: Uuid,
    pub reason: String,
    /// By what it can be seen: `re_…`, a bank's reference, a note.
    pub evidence: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DecideOrphan {
    /// Made when the dialog opens: pressing twice does it once.
    pub ask_id: Uuid,
    pub case_id: Uuid,
    /// `adopt`, `give_back`
    pub deed: String,
    /// At least 10 characters; it stands with the case and in the saga's history.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CheckOrphan {
    /// Made when it is pressed: pressing twice asks once.
    pub ask_id: Uuid,
    pub case_id: Uuid,
}
