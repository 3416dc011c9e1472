//! The operator's console: which sagas need whom, one saga with everything about it, and what can be done.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SagaTab {
    NeedsPerson,
    AtRisk,
    WaitingForCustomer,
    WaitingForProvider,
    Running,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ListSagas {
    pub tab: SagaTab,
    /// A group's key: only sagas of that step and cause.
    pub group: Option<String>,
    /// Only those that the reader, or nobody, looks after.
    #[serde(default)]
    pub who: Option<SagaWho>,
    /// Reference, name, e-mail, phone, `pi_…`, `re_…`, `evt_…` or the saga's id. Looks in every tab.
    pub search: Option<String>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 500.
    pub limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SagaWho {
    Me,
    Nobody,
}

/// A page of a list as comma-separated values, for a spreadsheet. Names and addresses of customers are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaCsv {
    /// The first page begins with the names of the columns.
    pub csv: String,
    pub rows: u32,
    pub next: Option<String>,
}

/// Why a person is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaParked {
    /// `guard_money`, `guard_blast`, `guard_late`, `refund_failed`, `refund_refused`, `exhausted`, `reopened`, …; `other` of old.
    pub code: String,
    /// What the engine noted, as it was.
    pub reason: String,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaRow {
    pub saga_id: Uuid,
    pub booking: BookingRow,
    /// The step at work: `hold`, `payment`, `capture`, `confirm`, `notify`; of a cancellation `cancel`, `refund`, `release`, `notify`. `None` when it is over.
    pub step: Option<String>,
    pub undoing: bool,
    pub parked: Option<SagaParked>,
    pub error_class: Option<String>,
    pub error: Option<String>,
    /// Captured less refunded: what lies with the business.
    pub kept: Money,
    pub captured: Money,
    pub attempt: u32,
    pub next_try_at: Option<DateTime<Utc>>,
    /// Since when it is as it is.
    pub since: DateTime<Utc>,
    /// Who looks after it.
    pub assigned_to: Option<String>,
    pub snoozed_until: Option<DateTime<Utc>>,
    pub version: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaGroup {
    /// `notify:F:refused`
    pub key: String,
    pub step: String,
    pub undoing: bool,
    /// Error class, or the code of what parked it.
    pub cause: String,
    /// `stripe`, `email`; `None`: it happened here.
    pub provider: Option<String>,
    #[ts(type = "number")]
    pub count: i64,
    /// What lies with the business, a sum for each currency.
    pub kept: Vec<Money>,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    /// One of their messages, as an example.
    pub message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ProviderGate {
    pub provider: String,
    /// Nothing is asked of it now; sagas wait and use up no tries.
    pub paused: bool,
    pub reason: Option<String>,
    pub since: Option<DateTime<Utc>>,
    /// Sagas whose next step asks it.
    #[ts(type = "number")]
    pub waiting: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaCounts {
    #[ts(type = "number")]
    pub needs_person: i64,
    #[ts(type = "number")]
    pub at_risk: i64,
    #[ts(type = "number")]
    pub waiting_for_customer: i64,
    #[ts(type = "number")]
    pub waiting_for_provider: i64,
    #[ts(type = "number")]
    pub running: i64,
    pub done: Count,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaList {
    pub rows: Vec<SagaRow>,
    pub next: Option<String>,
    pub counts: SagaCounts,
    /// Of what needs a person, by step and cause; most money first.
    pub groups: Vec<SagaGroup>,
    /// What waits for a person, a sum for each currency.
    pub kept: Vec<Money>,
    pub gates: Vec<ProviderGate>,
    /// Requests that wait for a second person, oldest first.
    pub approvals: Vec<SagaCommand>,
    /// Decisions for many: open ones, and those that ended lately.
    pub batches: Vec<SagaBatch>,
    /// What Stripe and the ledger do not agree about, oldest first; at most 50.
    pub orphans: Vec<Orphan>,
    /// Those that are open, by their last day.
    pub disputes: Vec<Dispute>,
    pub sweep: Sweep,
}

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
}

/// What a person asked of a saga. What was refused stays, with the refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaCommand {
    pub command_id: Uuid,
    pub saga_id: Uuid,
    /// `BK-7Q4M2K`
    pub reference: Option<String>,
    pub action: String,
    pub reason: String,
    pub by: String,
    pub at: DateTime<Utc>,
    /// `applied`, `awaiting_approval`, `refused`, `rejected`, `expired`
    pub status: String,
    pub refusal: Option<String>,
    pub approved_by: Option<String>,
    pub approved_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    /// What the next try came to; `None` while it has not ended.
    pub outcome: Option<String>,
    pub refund: Option<Money>,
    /// The reader asked for it, so somebody else decides.
    pub own: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaSignal {
    pub signal_id: String,
    pub kind: String,
    pub received_at: DateTime<Utc>,
    pub consumed_at: Option<DateTime<Utc>>,
}

/// One line of what an action will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PlannedOp {
    pub step: Option<String>,
    /// `correct_email`, `migrate`, `contradicts`, `refund`, `void`, `release`, `cancel_booking`, `correct`, `nothing`, `look_first`, `send_again`, …
    pub op: String,
    pub amount: Option<Money>,
    pub count: Option<u32>,
    /// Of what was paid, where a fee stays.
    pub percent: Option<u32>,
    /// Versions of a definition.
    pub from: Option<i32>,
    pub to: Option<i32>,
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

// ---- orphans ---------------------------------------------------------------------------------------------------------

/// An object at Stripe that does not fit the ledger. A person looks; nothing is done by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Orphan {
    pub case_id: Uuid,
    pub saga_id: Option<Uuid>,
    pub reference: Option<String>,
    /// `unknown`: no call of ours made it. `denied`: we believe that it never happened. `missing`: we believe that it is
    /// there, and Stripe's list does not show it.
    pub why: String,
    /// `intent`, `refund`
    pub what: String,
    pub object: String,
    pub status: Option<String>,
    pub amount: Option<Money>,
    pub opened_at: DateTime<Utc>,
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
}

// ---- asking the provider ---------------------------------------------------------------------------------------------

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
    /// Each sum is the same on both sides.
    pub agrees: bool,
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

// ---- one decision for many -----------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreviewBatch {
    /// `retry`, `compensate`, `skip`
    pub action: String,
    /// At most 500.
    pub saga_ids: Vec<Uuid>,
}

/// One saga of a set as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BatchMember {
    pub saga_id: Uuid,
    pub version: i32,
    pub hash: String,
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
    pub refused: Vec<BatchRefusal>,
    /// A sum for each currency.
    pub refunds: Vec<Money>,
    pub refund_count: u32,
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
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChangeBatch {
    pub batch_id: Uuid,
    /// `approve`, `reject`, `stop`, `go_on`
    pub change: String,
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
    pub ended_at: Option<DateTime<Utc>>,
    pub refunds: Vec<Money>,
    pub count: u32,
    pub applied: u32,
    pub left: u32,
    pub refused: Vec<BatchRefusal>,
    pub own: bool,
}

// ---- policies ------------------------------------------------------------------------------------------------------

/// What follows when a message reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// Everything is taken back, unless a guard asks first.
    Compensate,
    /// A person decides.
    Park,
    /// The booking stands, with a warning.
    Continue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaPolicy {
    pub version: i32,
    pub on_exhausted: OnExhausted,
    /// From this sum on a second person decides, and nothing is undone by itself.
    pub approval: Money,
    pub blast_sagas: u32,
    pub blast_minutes: u32,
    pub late_hours: u32,
    /// Until so many hours before the start a cancellation is free,
    pub cancel_free_hours: u32,
    /// from then on so much of what was paid stays,
    pub cancel_fee_percent: u32,
    /// and closer to the start than this
    pub cancel_late_hours: u32,
    /// so much.
    pub cancel_late_percent: u32,
    pub steps: StepRules,
    pub changed_by: String,
    pub changed_at: DateTime<Utc>,
    pub reason: String,
    /// Why they cannot be changed from here.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PutSagaPolicy {
    /// The version that was looked at.
    pub version: i32,
    pub on_exhausted: OnExhausted,
    pub approval: Money,
    pub blast_sagas: u32,
    pub blast_minutes: u32,
    pub late_hours: u32,
    /// Until so many hours before the start a cancellation is free,
    pub cancel_free_hours: u32,
    /// from then on so much of what was paid stays,
    pub cancel_fee_percent: u32,
    /// and closer to the start than this
    pub cancel_late_hours: u32,
    /// so much.
    pub cancel_late_percent: u32,
    pub steps: StepRules,
    pub reason: String,
}

/// What follows when a saved card is declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CardDeclined {
    /// The customer gets a link and may use another card.
    Link,
    /// A person decides.
    Park,
}

/// How the steps of a saga are tried, and how long a slot is held for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StepRules {
    pub card_declined: CardDeclined,
    /// Tries at taking the money whose outcome stays open, before a person decides.
    pub capture_tries: u32,
    /// Tries at each undo and each refund, before a person decides.
    pub undo_tries: u32,
    /// The pause after the first failure; it doubles with each,
    pub backoff_base_s: u32,
    /// up to this.
    pub backoff_cap_s: u32,
    /// With a card at hand.
    pub hold_card_minutes: u32,
    /// With a payment link, and never into the appointment.
    pub hold_link_hours: u32,
}

// ---- providers -----------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Providers {
    pub rows: Vec<Provider>,
    /// Why limits cannot be changed from here.
    pub limits_refused: Option<String>,
    /// Why a gate cannot be opened from here.
    pub open_refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Provider {
    pub provider: String,
    /// `closed`: it is asked. `open`: it refuses everybody, and nobody asks. `half_open`: one saga was sent ahead.
    pub state: String,
    pub reason: Option<String>,
    /// When one saga is sent ahead.
    pub next_at: Option<DateTime<Utc>>,
    /// So many sagas a second follow when it answers again.
    pub rate_per_s: f32,
    /// So many calls at once, from each worker.
    pub max_in_flight: u32,
    #[ts(type = "number")]
    pub waiting: i64,
    /// Running workers that hold its key.
    #[ts(type = "number")]
    pub workers: i64,
    pub changed_by: Option<String>,
    pub changed_at: Option<DateTime<Utc>>,
    /// `limits`, `opened`
    pub change: Option<String>,
    pub change_reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PutProvider {
    pub provider: String,
    /// The limits that were looked at.
    pub seen_rate_per_s: f32,
    pub seen_max_in_flight: u32,
    pub rate_per_s: f32,
    pub max_in_flight: u32,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct OpenGate {
    pub provider: String,
    pub reason: String,
}
