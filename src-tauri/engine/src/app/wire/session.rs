//! Who is at the desk, and how the desk is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    Viewer,
    Staff,
    Manager,
    Admin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No money moves.
    Sandbox,
    Live,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Session {
    pub login: String,
    pub display_name: String,
    pub group: Group,
    pub mode: Mode,
    pub profile: ProfileKind,
    pub business_name: String,
    pub location_name: String,
    pub zone: String,
    pub currency: String,
    pub database_name: String,
    /// `15.18`
    pub server_version: String,
    pub schema_version: u32,
    /// Why nothing can be changed from this window, and who must do what. `None`: changes are possible.
    pub read_only: Option<String>,
    /// This process runs background work.
    pub works_here: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum LampState {
    Works,
    /// Works, but something needs attention.
    Limited,
    Down,
    /// Not asked, or no answer yet: grey, never green.
    Unknown,
    /// Not set up; the hint says how.
    NotSet,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Lamp {
    pub state: LampState,
    /// When this was last looked up.
    pub checked_at: Option<DateTime<Utc>>,
    pub latency_ms: Option<u32>,
    /// What is wrong.
    pub problem: Option<String>,
    /// How to mend it.
    pub hint: Option<String>,
}

/// What this process is in the middle of, for whoever closes its window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Leaving {
    /// Bookings of which a request is with the payment provider, and its answer not written yet.
    pub with_provider: u32,
    /// Another process does background work, and takes them up at once.
    pub elsewhere: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ProjectionStatus {
    pub name: String,
    pub version: i32,
    #[ts(type = "number")]
    pub position: i64,
    /// Positions that were given out and are not in its rows, those of appends that are still open among them.
    #[ts(type = "number")]
    pub lag_events: i64,
    pub lag_seconds: f64,
    pub parked: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Status {
    pub now: Moment,
    pub database: Lamp,
    pub stripe: Lamp,
    pub mail: Lamp,
    /// Live processes that do background work, this one included.
    pub workers: u32,
    pub works_here: bool,
    #[ts(type = "number")]
    pub position: i64,
    pub projections: Vec<ProjectionStatus>,
    /// Of the running rebuild that is least far. `None`: none runs.
    pub rebuild_percent: Option<u32>,
    /// Who keeps readers waiting, when somebody does: `pid 4242, open for 12 s: insert into …`
    pub lag_cause: Option<String>,
    /// Who has kept old rows from being cleaned up for long: `pid 4242, …`. It delays nobody and lets tables grow.
    pub old_snapshot: Option<String>,
    /// Which log this is: a restore gives it a new id. `None`: the schema is older than that.
    pub log_id: Option<Uuid>,
    /// The log is not the one that this computer followed before.
    pub log_change: Option<LogChange>,
    /// When the newest backup was taken that was restored on trial.
    pub last_good_backup: Option<Moment>,
    /// There is something to lose, and no good backup of the last days.
    pub backup_overdue: bool,
    pub counts: Counts,
    /// Webhook endpoints that turned themselves off and about which nobody has decided, or that will.
    pub endpoints_in_trouble: Vec<EndpointTrouble>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EndpointTrouble {
    pub destination_id: Uuid,
    pub name: String,
    /// `gone`, `days_of_failures`; `None`: it still works on, and warns.
    pub off: Option<String>,
    pub since: Option<DateTime<Utc>>,
    /// When it turns itself off, if nothing gets through.
    pub off_at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    /// Rises with each thing that there is to tell.
    #[ts(type = "number")]
    pub news: i64,
}

/// A count is shown only if it asks something of somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Counts {
    /// Sagas that a person must decide, and disputes that nobody has answered yet.
    #[ts(type = "number")]
    pub sagas_need_person: i64,
    #[ts(type = "number")]
    pub sagas_open: i64,
    #[ts(type = "number")]
    pub deliveries_failing: i64,
    /// Gave up, are unclear or held, and endpoints that turned themselves off: nobody tries again by itself. Counted up to 1,000.
    #[ts(type = "number")]
    pub deliveries_need_person: i64,
}
