//! Whom the steps ask, and how much of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

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
