//! One decision for many.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreviewBatch {
    /// `retry`, `compensate`, `skip`, `resolve`, `assign`, `pause`, `resume`
    pub action: String,
    /// At most 1,000, chosen one by one; empty with a filter.
    pub saga_ids: Vec<Uuid>,
    /// Instead of ids: all that it finds now, and no more than 1,000.
    #[serde(default)]
    pub filter: Option<SagaFilter>,
}

/// Looks again at what is left of a decision that waits for its second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreviewAskedBatch {
    pub batch_id: Uuid,
}

/// One saga of a set as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BatchMember {
    pub saga_id: Uuid,
    pub version: i32,
    pub hash: String,
    /// `resolve`: by what its end can be seen. Each has its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
}

/// A member as a person knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BatchSeen {
    pub saga_id: Uuid,
    pub reference: String,
    pub customer: String,
    /// What lies with the business.
    pub kept: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BatchRefusal {
    pub saga_id: Uuid,
    pub reference: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BatchPlan {
    /// What would be done: send it back to begin. What comes later never joins.
    pub members: Vec<BatchMember>,
    /// The members by name, in the same order.
    pub seen: Vec<BatchSeen>,
    pub refused: Vec<BatchRefusal>,
    /// A sum for each currency.
    pub refunds: Vec<Money>,
    pub refund_count: u32,
    /// Authorisations that are let go, a sum for each currency.
    pub authorisations: Vec<Money>,
    /// `resolve`: what lies with the business and stays there, a sum for each currency.
    pub kept: Vec<Money>,
    pub bookings_cancelled: u32,
    pub slots_freed: u32,
    pub messages: u32,
    pub needs_approval: bool,
    /// The number of sagas must be typed.
    pub typed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StartBatch {
    /// Made when the dialog opens: pressing twice begins once.
    pub batch_id: Uuid,
    pub action: String,
    pub members: Vec<BatchMember>,
    pub typed: Option<u32>,
    /// `assign`: who looks after them; empty: nobody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChangeBatch {
    pub batch_id: Uuid,
    /// `approve`, `reject`, `stop`, `go_on`, `end`
    pub change: String,
    /// `reject`: why, for whoever asked.
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaBatch {
    pub batch_id: Uuid,
    pub action: String,
    pub reason: String,
    pub by: String,
    pub at: DateTime<Utc>,
    /// `running`, `stopped`, `done`, `rejected`
    pub state: String,
    /// `not_needed`, `pending`, `approved`, `rejected`, `expired`
    pub approval: String,
    pub approved_by: Option<String>,
    /// Why the second person said no.
    pub refusal: Option<String>,
    pub ended_at: Option<DateTime<Utc>>,
    pub refunds: Vec<Money>,
    /// `resolve`: what stays with the business.
    pub kept: Vec<Money>,
    pub count: u32,
    pub applied: u32,
    /// Of those, asked in vain: they wait for a person again.
    pub parked: u32,
    pub left: u32,
    pub refused: Vec<BatchRefusal>,
    pub own: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetBatch {
    pub batch_id: Uuid,
}

/// A decision for many, and what became of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BatchPage {
    pub batch: SagaBatch,
    /// In the order in which they are taken.
    pub items: Vec<BatchItem>,
    /// What was given back so far, a sum for each currency. What is under way is not in it.
    pub refunded: Vec<Money>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BatchItem {
    pub saga_id: Uuid,
    pub reference: String,
    pub customer: String,
    /// `pending`, `applied`, `refused`
    pub status: String,
    /// Why it was left out.
    pub refusal: Option<String>,
    /// When it was asked for, or refused.
    pub at: Option<DateTime<Utc>>,
    /// Where its saga stands now: asking is not succeeding.
    pub saga_state: Option<SagaState>,
    /// What its plan gives back; `None`: nothing, or it was left out.
    pub refund: Option<Money>,
    /// That has come about.
    pub refunded: bool,
    /// By what its end can be seen.
    pub evidence: Option<String>,
}
