//! How sagas went in the last days.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetSagaFigures {
    /// 1 to 366.
    pub days: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaFigures {
    pub since: DateTime<Utc>,
    /// Of each kind that ended since.
    pub kinds: Vec<SagaKindFigures>,
    /// What failed, by step and cause, the most frequent first.
    pub failures: Vec<SagaFailures>,
    /// What went back to customers since, by the books.
    pub given_back: Vec<Money>,
    pub parked: ParkedFigures,
    /// What people decided, the most frequent first.
    pub acts: Vec<SagaActs>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaKindFigures {
    pub definition: String,
    #[ts(type = "number")]
    pub over: i64,
    #[ts(type = "number")]
    pub completed: i64,
    /// Completed, with a warning.
    #[ts(type = "number")]
    pub warned: i64,
    #[ts(type = "number")]
    pub compensated: i64,
    /// Ended by a person, with evidence.
    #[ts(type = "number")]
    pub resolved: i64,
    /// Of the completed ones that nobody had to decide about, without the time in which a customer was waited for; the newest
    /// 20,000 count.
    pub p50_s: Option<f64>,
    pub p95_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaFailures {
    pub step: String,
    pub undoing: bool,
    pub cause: String,
    #[ts(type = "number")]
    pub tries: i64,
    #[ts(type = "number")]
    pub sagas: i64,
    pub last_at: DateTime<Utc>,
}

/// Those that waited for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ParkedFigures {
    #[ts(type = "number")]
    pub decided: i64,
    pub p50_s: Option<f64>,
    pub p95_s: Option<f64>,
    #[ts(type = "number")]
    pub open: i64,
    pub oldest_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SagaActs {
    pub action: String,
    #[ts(type = "number")]
    pub applied: i64,
    /// By the plan, or because somebody was faster.
    #[ts(type = "number")]
    pub refused: i64,
    /// Decided by a second person: yes, and no.
    #[ts(type = "number")]
    pub approved: i64,
    #[ts(type = "number")]
    pub rejected: i64,
}
