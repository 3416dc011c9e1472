//! Which sagas need whom.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SagaTab {
    NeedsPerson,
    /// Needs a person, and somebody has put it off.
    Snoozed,
    AtRisk,
    WaitingForCustomer,
    WaitingForProvider,
    Running,
    Done,
}

/// A page of what a filter finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ListSagas {
    #[serde(flatten)]
    pub filter: SagaFilter,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 500.
    pub limit: u32,
}

impl ListSagas {
    /// The first page.
    pub fn first(filter: impl Into<SagaFilter>, limit: u32) -> ListSagas {
        ListSagas {
            filter: filter.into(),
            after: None,
            limit,
        }
    }
}

/// All that a list shows, whether or not its page has reached it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaFilter {
    pub tab: SagaTab,
    /// A group's key: only sagas of that step and cause.
    #[serde(default)]
    pub group: Option<String>,
    /// Only those that the reader, or nobody, looks after.
    #[serde(default)]
    pub who: Option<SagaWho>,
    /// Reference, name, e-mail, phone, `pi_…`, `re_…`, `evt_…` or the saga's id. Looks in every tab.
    #[serde(default)]
    pub search: Option<String>,
    /// `booking`, `booking_free`, `cancellation`.
    #[serde(default)]
    pub definition: Option<String>,
    /// Only what is as it is for longer than so many hours: 1 to 87,600.
    #[serde(default)]
    pub older_than_h: Option<u32>,
    #[serde(default)]
    pub price: Option<PriceRange>,
    #[serde(default)]
    pub order: SagaOrder,
}

impl From<SagaTab> for SagaFilter {
    /// All of a tab.
    fn from(tab: SagaTab) -> SagaFilter {
        SagaFilter {
            tab,
            group: None,
            who: None,
            search: None,
            definition: None,
            older_than_h: None,
            price: None,
            order: SagaOrder::Time,
        }
    }
}

/// What bookings cost, in one currency; both ends belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PriceRange {
    pub currency: String,
    #[ts(type = "number | null")]
    pub from_minor: Option<i64>,
    #[ts(type = "number | null")]
    pub to_minor: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SagaOrder {
    /// Who waits longest first; of what is over, and of what a search finds, the newest.
    #[default]
    Time,
    /// The dearest first, each currency by itself.
    Price,
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
pub struct SagaCounts {
    #[ts(type = "number")]
    pub needs_person: i64,
    #[ts(type = "number")]
    pub snoozed: i64,
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
