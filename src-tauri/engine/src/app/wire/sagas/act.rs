//! What a person does about one saga: looked at first, asked for, and decided by a second person.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::super::*;

/// One line of what an action will do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PlannedOp {
    pub step: Option<String>,
    /// `disputed`, `correct_email`, `migrate`, `contradicts`, `refund`, `keep_part`, `void`, `release`, `cancel_booking`, `correct`, `nothing`, `look_first`, `send_again`, …
    pub op: String,
    pub amount: Option<Money>,
    pub count: Option<u32>,
    /// Of what was paid, where a fee stays.
    pub percent: Option<u32>,
    /// Versions of a definition.
    pub from: Option<i32>,
    pub to: Option<i32>,
    /// `disputed`, `dispute_lost`: which dispute; `slot_taken`: the booking that has the slot.
    pub object: Option<String>,
    /// `clock_hold`, `clock_authorisation`: when it runs out, whatever is done; `extend`, `hold_again`: until when.
    pub at: Option<Moment>,
    /// `extend`: when it would have ended; `hold_again`: when it ended.
    pub since: Option<Moment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaOffer {
    pub action: String,
    /// `None`: can be done now. Else why not, in one word, and in a sentence.
    pub code: Option<String>,
    pub refused: Option<String>,
    pub needs_approval: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PreviewSaga {
    pub saga_id: Uuid,
    pub action: String,
    #[serde(default)]
    pub params: SagaParams,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaParams {
    /// `resolve_step`: `done` or `not_done`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    /// By what it can be seen: `re_…`, a bank's reference, a note.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub minutes: Option<u32>,
    /// `cancel`: a manager lets the fee go.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waive_fee: Option<bool>,
    /// `correct`: `email` or `payment_method`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// `correct`: another saved card, `pm_…`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payment_method: Option<String>,
    /// `migrate`: the version to go over to; the newest when left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_version: Option<i32>,
    /// `resolve`: what was looked at before it was ended: `money`, `booking` and `slot`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checked: Option<Vec<String>>,
    /// `undo_from`: the step from which the undoing goes on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<String>,
    /// `refund_part`: what goes back, in minor units of the payment's currency; the rest stays.
    #[ts(type = "number | null")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refund_minor: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaPlan {
    /// Send it back with the command: another plan is refused.
    pub hash: String,
    pub version: i32,
    pub code: Option<String>,
    pub refused: Option<String>,
    pub operations: Vec<PlannedOp>,
    pub refund: Option<Money>,
    pub kept: Money,
    pub needs_approval: bool,
    /// From this sum on a second person decides.
    pub threshold: Money,
    /// `undo_from`: the step that was chosen, and those that can be, in the order of an undoing.
    pub step: Option<String>,
    pub choices: Vec<String>,
    /// `refund_part`: what could go back, and what of it stays.
    pub whole: Option<Money>,
    pub keeps: Option<Money>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct CommandSaga {
    /// Made when the dialog opens: pressing twice acts once.
    pub command_id: Uuid,
    pub saga_id: Uuid,
    pub action: String,
    pub version: i32,
    pub plan_hash: Option<String>,
    #[serde(default)]
    pub params: SagaParams,
    #[serde(default)]
    pub reason: String,
    /// `correct`: the customer's right address. It goes sealed into the customer's history, and never into the audit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub email: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaCommanded {
    pub command_id: Uuid,
    /// A second person has to say yes first.
    pub awaits_approval: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetApproval {
    pub command_id: Uuid,
}

/// A request as the second person sees it: the plan as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Approval {
    pub command: SagaCommand,
    pub plan: SagaPlan,
    /// Something changed since it was asked for: it can only be refused.
    pub changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DecideCommand {
    pub command_id: Uuid,
    pub approve: bool,
    pub plan_hash: String,
    #[serde(default)]
    pub reason: String,
}

/// What a person asked of a saga. What was refused stays, with the refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaCommand {
    pub command_id: Uuid,
    /// None where a case at Stripe belongs to no saga.
    pub saga_id: Option<Uuid>,
    /// `BK-7Q4M2K`
    pub reference: Option<String>,
    pub action: String,
    pub reason: String,
    pub by: String,
    pub at: DateTime<Utc>,
    /// `applied`, `awaiting_approval`, `refused`, `rejected`, `expired`
    pub status: String,
    pub refusal: Option<String>,
    /// Of a decision about a case: what it is about at Stripe.
    pub object: Option<String>,
    pub approved_by: Option<String>,
    pub approved_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    /// What the next try came to; `None` while it has not ended.
    pub outcome: Option<String>,
    pub refund: Option<Money>,
    /// What stays of it by the decision.
    pub keeps: Option<Money>,
    /// The reader asked for it, so somebody else decides.
    pub own: bool,
}
