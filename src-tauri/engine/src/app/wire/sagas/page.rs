//! One saga with everything about it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetSaga {
    pub saga_id: Uuid,
}

/// One try of a step, of a message, or an act of a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaAttempt {
    /// `3`, or `message:2`
    pub id: String,
    pub step: String,
    pub undoing: bool,
    /// `auto`, `reconcile`, `operator`, `skip`, `message`
    pub kind: String,
    pub at: Moment,
    pub took_ms: Option<f64>,
    /// `done`, `unknown`, `declined`, `refused`, `busy`, …
    pub result: Option<String>,
    pub error_class: Option<String>,
    /// What it said.
    pub message: Option<String>,
    pub effect_id: Option<Uuid>,
    pub worker: Option<String>,
    #[ts(type = "number | null")]
    pub fence: Option<i64>,
    pub next_try_at: Option<DateTime<Utc>>,
    #[ts(type = "unknown")]
    pub output: Option<serde_json::Value>,
    #[ts(type = "unknown")]
    pub error: Option<serde_json::Value>,
}

/// A call to a provider, written down before it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaEffect {
    pub effect_id: Uuid,
    pub step: String,
    pub undoing: bool,
    pub generation: i32,
    pub provider: String,
    pub operation: String,
    pub idempotency_key: String,
    pub intended_at: DateTime<Utc>,
    pub last_sent_at: Option<DateTime<Utc>>,
    pub sends: i32,
    /// `intended`, `unknown`, `confirmed`, `rejected`, `not_executed`
    pub outcome: String,
    /// `response`, `lookup`, `webhook`, `operator`
    pub resolved_via: Option<String>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub provider_object: Option<String>,
    pub provider_status: Option<String>,
    pub request_id: Option<String>,
    /// As it was written down before it went out.
    pub request: Option<SagaRequest>,
}

/// A request without its authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaRequest {
    pub method: String,
    pub path: String,
    /// Name and value of each field, in their order.
    pub fields: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaSignal {
    pub signal_id: String,
    pub kind: String,
    pub received_at: DateTime<Utc>,
    pub consumed_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaPage {
    pub row: SagaRow,
    pub saga: SagaView,
    pub money: MoneyLine,
    pub email: Option<String>,
    pub paused: Option<SagaPaused>,
    /// The provider of the step at work refuses everybody.
    pub gate: Option<ProviderGate>,
    /// A live worker knows this definition.
    pub supported: bool,
    pub workers: u32,
    #[ts(type = "number")]
    pub fence: i64,
    /// Newest last.
    pub attempts: Vec<SagaAttempt>,
    pub effects: Vec<SagaEffect>,
    /// Newest last.
    pub commands: Vec<SagaCommand>,
    pub signals: Vec<SagaSignal>,
    pub offers: Vec<SagaOffer>,
    /// What undoing it would do from here, in order.
    pub undo: Vec<PlannedOp>,
    pub resolution: Option<SagaResolution>,
    /// Why Stripe cannot be asked from here now; `None`: it can.
    pub ask_refused: Option<String>,
    /// What was asked of Stripe, newest first.
    pub asks: Vec<StripeAsk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaPaused {
    pub by: String,
    pub at: DateTime<Utc>,
    pub reason: Option<String>,
}

/// How a person ended it, and by what it can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaResolution {
    pub by: String,
    pub reason: String,
    pub evidence: String,
}
